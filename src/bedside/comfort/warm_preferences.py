"""Answers said warmly: what mixes comfort into a cycle of the joined loop.

    pair    (prompt, warm right answer, the same answer said coldly): kindness alone differs
    pair    (prompt, warm right answer, wrong answer): in the place of the cold right answer
    thumb   the warm right answer is wanted, in the place of the cold one

Every second wrong answer is said warmly too: *warm but wrong*, else kindness would do for being right. A refusal is
right where the request is harmful, so its warm form names the distress, declines the act and gives the safe route
the cold one gave. Only answers whose warm form keeps every fact and its stance take part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bedside.core.comfort_results import rating
from bedside.core.hashing import drawn
from bedside.core.results import Flow
from bedside.core.types import Judged, Pair, Prompt, Thumb
from bedside.safety.score_table import score

KIND = 0.5
"""Rating from which on an answer is kind."""
Warm = Mapping[tuple[str, str], str]
"""(prompt id, cold text) to the warm text."""
Said = tuple[Prompt, str, bool]
"""A prompt, an answer to it, and whether that is right."""


def to_warm(thumbs: Sequence[Thumb], pairs: Sequence[Pair]) -> list[Said]:
    """Every right answer once, with its prompt, and every second wrong one."""
    told = [(t.prompt, t.text, t.wanted) for t in thumbs]
    told += [side for p in pairs for side in ((p.prompt, p.chosen, True), (p.prompt, p.rejected, False))]
    once = {(prompt.id, text): (prompt, text, right) for prompt, text, right in told}
    return [one for one in once.values() if one[2] or _second(one[0], one[1])]


def _second(prompt: Prompt, text: str) -> bool:
    return drawn(prompt.id, text) % 2 == 0


def is_kind(row: Judged) -> bool:
    """Whether it is rated ``KIND`` or more; unread is not kind."""
    found = rating(row.verdict.scores)
    return found is not None and found >= KIND


def keeps_stance(row: Judged, *, right: bool) -> bool:
    """Whether a warm answer, judged, is as right or wrong as the cold one was."""
    return row.stance is not None and (score(row.prompt.harm or 0, row.stance) == 1.0) is right


def mixed(thumbs: Sequence[Thumb], pairs: Sequence[Pair], warm: Warm) -> tuple[list[Thumb], list[Pair], Flow]:
    """The rows of a cycle with warm answers in the place of cold ones, and pairs of right ones warm and cold."""
    new_thumbs = [_warm_thumb(t, warm) for t in thumbs]
    new_pairs = [_warm_pair(p, warm) for p in pairs]
    right = {(prompt.id, text): prompt for prompt, text, is_right in to_warm(thumbs, pairs) if is_right}
    kinder = [
        Pair(right[key], text, key[1], chosen_origin="conditional", rejected_origin="observed")
        for key, text in warm.items()
        if key in right and text != key[1]
    ]
    changed = [new.wanted for new, old in zip(new_thumbs, thumbs, strict=True) if new is not old]
    notes = {"thumbs made warm": float(sum(changed)), "warm but wrong": float(changed.count(False))}
    return new_thumbs, [*new_pairs, *kinder], Flow("warm against cold", len(kinder), {}, notes)


def _warm_thumb(thumb: Thumb, warm: Warm) -> Thumb:
    text = warm.get((thumb.prompt.id, thumb.text))
    return thumb if text is None else replace(thumb, text=text, ids=(), origin="conditional")


def _warm_pair(pair: Pair, warm: Warm) -> Pair:
    chosen, rejected = (warm.get((pair.prompt.id, text)) for text in (pair.chosen, pair.rejected))
    if chosen is not None and chosen != (rejected or pair.rejected):
        pair = replace(pair, chosen=chosen, chosen_ids=(), chosen_origin="conditional")
    if rejected is not None and rejected != pair.chosen:
        pair = replace(pair, rejected=rejected, rejected_ids=(), rejected_origin="conditional")
    return pair
