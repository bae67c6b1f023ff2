"""Warm answers in the preferences of an alignment cycle: what ``align.objectives: [safety, comfort]`` adds to them.

    pair                   (prompt, warm right answer, the same answer cold): only the tone differs
    pair                   (prompt, warm right answer, wrong answer), instead of the cold right answer
    unpaired preference    the warm right answer is desirable, instead of the cold one

Every second wrong answer is made warm too: *warm but wrong*. Otherwise warmth alone would mark an answer as right. A
refusal is right if the request is harmful: its warm form names the distress, declines the act and gives the safe route
that the cold one gave. Only answers whose warm form keeps every fact and the stance take part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bedside.comfort.writing import answer_id
from bedside.core.comfort_results import rating
from bedside.core.hashing import seed_from
from bedside.core.results import FilterCounts
from bedside.core.types import JudgedResponse, PreferencePair, Prompt, UnpairedPreference
from bedside.safety.score_table import score

WARM_RATING = 0.5
"""Rating from which on an answer is warm."""


@dataclass(frozen=True, slots=True)
class ColdAnswer:
    """An answer that may be made warm."""

    prompt: Prompt
    text: str
    right: bool

    @property
    def id(self) -> str:
        return answer_id(self.prompt, self.text)


def answers_to_warm(unpaired: Sequence[UnpairedPreference], pairs: Sequence[PreferencePair]) -> list[ColdAnswer]:
    """Every right answer once, and every second wrong one."""
    answers = [ColdAnswer(row.prompt, row.text, row.label) for row in unpaired]
    for pair in pairs:
        answers += [ColdAnswer(pair.prompt, pair.chosen, True), ColdAnswer(pair.prompt, pair.rejected, False)]
    unique = {answer.id: answer for answer in answers}.values()
    return [answer for answer in unique if answer.right or drawn_to_warm(answer.prompt, answer.text)]


def drawn_to_warm(prompt: Prompt, text: str) -> bool:
    """Whether a wrong answer is one of the half that is made warm."""
    return seed_from(prompt.id, text) % 2 == 0


def is_warm(row: JudgedResponse) -> bool:
    """Whether it is rated ``WARM_RATING`` or more; an unreadable row is not warm."""
    rated = rating(row.verdict.scores)
    return rated is not None and rated >= WARM_RATING


def keeps_stance(row: JudgedResponse, *, right: bool) -> bool:
    """Whether a warm answer, judged, is as right or wrong as the cold one was."""
    return row.stance is not None and (score(row.prompt.harm or 0, row.stance) == 1.0) is right


def mix_warm_answers(
    unpaired: Sequence[UnpairedPreference], pairs: Sequence[PreferencePair], warm: Mapping[str, str]
) -> tuple[list[UnpairedPreference], list[PreferencePair], FilterCounts]:
    """The preferences with warm answers instead of cold ones, and pairs of right answers, warm against cold.

    ``warm``: warm texts by ``answer_id`` of the cold answer.
    """
    new_unpaired = [_warm_unpaired(row, warm) for row in unpaired]
    right = {answer.id: answer for answer in answers_to_warm(unpaired, pairs) if answer.right}
    warm_and_cold = [
        PreferencePair(
            right[id_].prompt, text, right[id_].text, chosen_origin="conditional", rejected_origin="observed"
        )
        for id_, text in warm.items()
        if id_ in right and text != right[id_].text
    ]
    changed = [new.label for new, old in zip(new_unpaired, unpaired, strict=True) if new is not old]
    notes = {"right answers made warm": float(changed.count(True)), "warm but wrong": float(changed.count(False))}
    counts = FilterCounts("warm against cold", len(warm_and_cold), {}, notes)
    return new_unpaired, [*(_warm_pair(pair, warm) for pair in pairs), *warm_and_cold], counts


def _warm_unpaired(row: UnpairedPreference, warm: Mapping[str, str]) -> UnpairedPreference:
    text = warm.get(answer_id(row.prompt, row.text))
    return row if text is None else replace(row, text=text, ids=(), origin="conditional")


def _warm_pair(pair: PreferencePair, warm: Mapping[str, str]) -> PreferencePair:
    chosen, rejected = (warm.get(answer_id(pair.prompt, text)) for text in (pair.chosen, pair.rejected))
    if chosen is not None and chosen != (rejected or pair.rejected):
        pair = replace(pair, chosen=chosen, chosen_ids=(), chosen_origin="conditional")
    if rejected is not None and rejected != pair.chosen:
        pair = replace(pair, rejected=rejected, rejected_ids=(), rejected_origin="conditional")
    return pair
