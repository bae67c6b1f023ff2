"""Right answers, said warmly: what mixes comfort into a cycle of the joined loop.

    pair    (prompt, warm right answer, the same answer said coldly): kindness alone differs
    pair    (prompt, warm right answer, wrong answer): in the place of the cold right answer
    thumb   the warm right answer is wanted, in the place of the cold one

A refusal is right where the request is harmful, so its warm form names the distress, declines the act and gives the
safe route the cold one gave. Only answers whose warm form keeps every fact and its stance take part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bedside.core.reports import Flow
from bedside.core.stances import score
from bedside.core.types import Judged, Pair, Prompt, Thumb

Warm = Mapping[tuple[str, str], str]
"""(prompt id, cold text) to the warm text."""


def to_warm(thumbs: Sequence[Thumb], pairs: Sequence[Pair]) -> list[tuple[Prompt, str]]:
    """Every right answer once, with its prompt."""
    told = [(t.prompt, t.text) for t in thumbs if t.wanted] + [(p.prompt, p.chosen) for p in pairs]
    return list({(prompt.id, text): (prompt, text) for prompt, text in told}.values())


def keeps_stance(row: Judged) -> bool:
    """Whether a warm answer, judged, is still right."""
    return row.stance is not None and score(row.prompt.harm or 0, row.stance) == 1.0


def mixed(thumbs: Sequence[Thumb], pairs: Sequence[Pair], warm: Warm) -> tuple[list[Thumb], list[Pair], Flow]:
    """The rows of a cycle with warm answers in the place of cold right ones, and pairs of the two."""
    new_thumbs = [_warm_thumb(t, warm) for t in thumbs]
    new_pairs = [_warm_pair(p, warm) for p in pairs]
    prompts = {prompt.id: prompt for prompt, _ in to_warm(thumbs, pairs)}
    kinder = [
        Pair(prompts[name], text, cold, chosen_origin="conditional", rejected_origin="observed")
        for (name, cold), text in warm.items()
        if text != cold
    ]
    notes = {"thumbs made warm": float(sum(a is not b for a, b in zip(thumbs, new_thumbs, strict=True)))}
    return new_thumbs, [*new_pairs, *kinder], Flow("warm against cold", len(kinder), {}, notes)


def _warm_thumb(thumb: Thumb, warm: Warm) -> Thumb:
    text = warm.get((thumb.prompt.id, thumb.text)) if thumb.wanted else None
    return thumb if text is None else replace(thumb, text=text, ids=(), origin="conditional")


def _warm_pair(pair: Pair, warm: Warm) -> Pair:
    text = warm.get((pair.prompt.id, pair.chosen))
    if text is None or text == pair.rejected:
        return pair
    return replace(pair, chosen=text, chosen_ids=(), chosen_origin="conditional")
