"""What is wrong with a rewritten text, compared with its source.

A rewrite is kept when it is finished, is neither empty nor a refusal nor a copy, has a length within limits, keeps
every fact of its source (``bedside.factuality.fact_check``) and at least half of its content words.
"""

import re
from dataclasses import dataclass

from bedside.core.types import Completion
from bedside.factuality.fact_check import check, content_recall

REFUSALS = re.compile(
    r"^\W*(?:(?:i'?m |i am )?sorry,? (?:but )?)?(?:i (?:can ?no|can')t|i (?:am|'m) (?:unable|not able)|"
    r"i (?:won't|will not|must decline|have to decline)|as an ai)",
    re.I,
)
MIN_CONTENT_SHARE = 0.5
"""Smallest share of the source's content words that a rewrite must hold, whatever its facts."""


@dataclass(frozen=True, slots=True)
class LengthLimits:
    """Allowed length of a rewrite: ``least`` to ``most`` times the words of its source, plus ``room`` words."""

    least: float = 0.8
    most: float = 1.6
    room: int = 60


def find_faults(written: Completion, source: str, limits: LengthLimits, question: str = "") -> tuple[str, ...]:
    """Everything that is wrong with ``written`` as a rewrite of ``source``; empty if nothing is.

    ``question`` is what the source answers: a fact that stands there is not invented.
    """
    text = written.text.strip()
    if not text:
        return ("nothing was written",)
    if is_refusal(text) and not is_refusal(source):
        return ("the writer refused",)
    if text.split() == source.split():
        return ("the text was only repeated",)
    if not written.finished:
        return ("the text is cut off",)
    words, source_words = len(text.split()), len(source.split())
    if words > limits.most * source_words + limits.room:
        return ("too long",)
    if words < limits.least * source_words:
        return ("too short",)
    differences = tuple(str(difference) for difference in check(source, text, question).differences)
    if not differences and content_recall(source, text) < MIN_CONTENT_SHARE:
        return ("half of the source's words are gone",)
    return differences


def is_refusal(text: str) -> bool:
    """Whether a text begins as a refusal does."""
    return REFUSALS.search(text.replace("’", "'")) is not None


def first_reason(faults: tuple[str, ...]) -> str:
    """The kind of the first fault, without the words of the text: faults are counted by it."""
    return faults[0].partition(":")[0]
