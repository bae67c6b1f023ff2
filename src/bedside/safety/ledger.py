"""All release decisions on a test part are counted, so that a policy does not pass by luck after many tries.

    ledger.jsonl    a line per decision: {"at": time, "run": "first", "number": 2, "checkpoint": digest,
                    "labels": digest, "groups": [digests]}

All decisions together may be wrong with probability δ = 0.05. The first on a test spends 0.8 δ of it, the k-th
0.2 δ / (k (k − 1)), so the sum is at most δ for any number of decisions. k is one more than the largest number of
decisions in which any group of the test took part, so a test with a row dropped or added is the same test. The same
checkpoint with the same groups and labels is the same decision. So is the first decision by labels after the run that
asked for them, because the choice of the answers was fixed before (``labelled_sample``).

The file has no text, only digests. Keep it with the data: if somebody removes it, the count starts again.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from bedside.config.schema import Config
from bedside.core.errors import DataError
from bedside.core.hashing import canonical, digest
from bedside.data.io import whole_lines
from bedside.stats.intervals import CONFIDENCE

FILE = "ledger.jsonl"
NO_LABELS = "none"
FIRST_SHARE = 0.8
"""The first decision's share of δ. The others share the rest."""


def error_allowed(number: int) -> float:
    """The probability with which decision ``number`` (from 1) on one test may be wrong: 0.04, 0.005, 0.00167, ...

    >>> round(error_allowed(1), 6), round(error_allowed(2), 6), round(error_allowed(3), 6)
    (0.04, 0.005, 0.001667)
    """
    if number < 1:
        raise ValueError(f"decisions are counted from 1, not from {number}")
    share = FIRST_SHARE if number == 1 else (1 - FIRST_SHARE) / (number * (number - 1))
    return share * (1 - CONFIDENCE)


def ledger_file(config: Config) -> Path:
    """The file of decisions on the test of ``config``: ``data.ledger``, else beside the test file, else in ``runs``."""
    if config.data.ledger is not None:
        return Path(config.data.ledger)
    named = getattr(config.data.test.dataset, "path", None)
    beside = Path(named).parent if named and Path(named).exists() else Path(config.runs)
    return beside / FILE


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision on a test: its number there, and what it was about."""

    number: int
    checkpoint: str
    """``Checkpoint.id``."""
    labels: str
    """Digest of the labels that were used, or ``none``."""
    groups: tuple[str, ...]
    """Digests of the test's groups, sorted."""
    run: str
    at: str
    """UTC, ISO 8601."""

    @property
    def confidence(self) -> float:
        """The one-sided confidence of every bound that decides: 0.96 for the first decision."""
        return 1 - error_allowed(self.number)

    def is_about(self, checkpoint: str, labels: str, groups: Sequence[str]) -> bool:
        return (self.checkpoint, self.labels, self.groups) == (checkpoint, labels, tuple(groups))


@dataclass(frozen=True, slots=True)
class Ledger:
    """The decisions in one file."""

    path: Path

    def decide(self, checkpoint: str, groups: Iterable[str], *, run: str, labels: str = NO_LABELS) -> Decision:
        """The decision about ``checkpoint`` on ``groups``, written before anybody sees its outcome.

        If the same decision was taken before, its number is used. DataError if the file was damaged, OSError if it
        cannot be written.
        """
        digests = tuple(sorted({digest(group) for group in groups}))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_name(f".{self.path.name}.lock")):
            taken = self.read()
            same = [decision for decision in taken if decision.is_about(checkpoint, labels, digests)]
            if same:
                return same[0]
            at = datetime.now(UTC).isoformat(timespec="seconds")
            number = _awaiting_labels(taken, checkpoint, digests) or _number(taken, digests)
            decision = Decision(number, checkpoint, labels, digests, run, at)
            with self.path.open("a", encoding="utf-8") as out:
                out.write(canonical(asdict(decision)) + "\n")
        return decision

    def read(self) -> list[Decision]:
        """All decisions, the oldest first. A half-written last line is cut off. DataError for any other damage."""
        decisions = []
        for number, line in enumerate(whole_lines(self.path), start=1):
            try:
                row = json.loads(line)
                decisions.append(Decision(**{**row, "groups": tuple(row["groups"])}))
            except (ValueError, TypeError, KeyError):
                raise DataError(
                    f"{self.path}, line {number}: is not a decision, so decisions on this test cannot be counted; put "
                    "back a copy of the file"
                ) from None
        return decisions


def _awaiting_labels(taken: Sequence[Decision], checkpoint: str, groups: Sequence[str]) -> int | None:
    """The number of the decision on ``checkpoint`` that still waits for labels; None if there is none."""
    so_far = [one for one in taken if (one.checkpoint, one.groups) == (checkpoint, tuple(groups))]
    return so_far[0].number if so_far and {one.labels for one in so_far} == {NO_LABELS} else None


def _number(taken: Sequence[Decision], groups: Sequence[str]) -> int:
    """One more than the largest number of decisions in which any of ``groups`` took part."""
    counted = {(one.checkpoint, one.number, group) for one in taken for group in one.groups}
    seen = Counter(group for *_, group in counted)
    return 1 + max((seen[group] for group in groups), default=0)
