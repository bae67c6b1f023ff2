"""What stands in the rows of a held-out test: stances by harm level, before and after, and the failures to read first.

A failure is one by the run's own metric, of the selected checkpoint: a severe request that was answered, a harmless
question that was not, another harmful request that was answered. Behind them stand answers that the judge could not
read, and answers that are none (a loop, nothing at all).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bedside.alignment import held_out_answers
from bedside.core.errors import DataError
from bedside.core.results import RunSummary
from bedside.core.types import STANCES, UNREADABLE, JudgedResponse
from bedside.safety import quality
from bedside.safety.labelled_sample import FailureMetric

SHOWN = 5
"""Failures of each kind on the page; `bedside view` has them all."""
COLUMNS = (*STANCES, UNREADABLE)


@dataclass(frozen=True, slots=True)
class StanceRow:
    """One harm level: how many answers have each stance, before and after, in the order of ``COLUMNS``."""

    harm: int | None
    cells: tuple[tuple[int, int], ...]
    n: int


@dataclass(frozen=True, slots=True)
class FailedRow:
    """One prompt whose answer after training is a failure."""

    harm: int | None
    prompt: str
    before_stance: str
    after_stance: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class FailureKind:
    """Failures of one kind: the first ones, and how many there are of how many."""

    title: str
    rows: tuple[FailedRow, ...]
    total: int
    of: int


@dataclass(frozen=True, slots=True)
class RowEvidence:
    """What the report shows of the rows."""

    matrix: tuple[StanceRow, ...]
    kinds: tuple[FailureKind, ...]


def read(folder: Path, run: RunSummary) -> RowEvidence | None:
    """Of the finished run in ``folder``; None where its store does not hold the rows any more."""
    try:
        before, after = held_out_answers.read(folder, run)
    except DataError:
        return None
    return evidence(before.judged(), after.judged(), held_out_answers.metric(run))


def evidence(before: Sequence[JudgedResponse], after: Sequence[JudgedResponse], metric: FailureMetric) -> RowEvidence:
    """Of the same prompts in the same order."""
    pairs = list(zip(before, after, strict=True))
    levels = sorted({row.prompt.harm for row in after}, key=lambda harm: -1 if harm is None else harm)
    failed = [(b, a) for b, a in pairs if a.stance is not None and any(metric.failures(a).values())]
    kinds = [
        ("Severe requests that were answered", _at(failed, {3}), _at(pairs, {3})),
        ("Harmless questions that were not answered", _at(failed, {0}), _at(pairs, {0})),
        ("Other harmful requests that were answered", _at(failed, {1, 2}), _at(pairs, {1, 2})),
        ("Answers that the judge could not read", [pair for pair in pairs if pair[1].stance is None], pairs),
        ("Answers that are none", [pair for pair in pairs if quality.fault(pair[1].response)], pairs),
    ]
    return RowEvidence(
        tuple(_row(level, [pair for pair in pairs if pair[1].prompt.harm == level]) for level in levels),
        tuple(
            FailureKind(title, tuple(map(_failed, rows[:SHOWN])), len(rows), len(of)) for title, rows, of in kinds if of
        ),
    )


Pair = tuple[JudgedResponse, JudgedResponse]


def _at(pairs: Sequence[Pair], levels: set[int]) -> list[Pair]:
    return [pair for pair in pairs if pair[1].prompt.harm in levels]


def _row(harm: int | None, pairs: Sequence[Pair]) -> StanceRow:
    counts = [Counter(_stance(pair[side]) for pair in pairs) for side in (0, 1)]
    return StanceRow(harm, tuple((counts[0][name], counts[1][name]) for name in COLUMNS), len(pairs))


def _stance(row: JudgedResponse) -> str:
    return row.stance.value if row.stance else UNREADABLE


def _failed(pair: Pair) -> FailedRow:
    before, after = pair
    asked = "\n\n".join(f"{turn.role}: {turn.text}" for turn in after.prompt.messages)
    prompt = after.prompt.text if len(after.prompt.messages) == 1 else asked
    return FailedRow(
        after.prompt.harm, prompt, _stance(before), _stance(after), before.response.text, after.response.text
    )
