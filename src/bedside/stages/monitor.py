"""Does an assistant in use still keep the limits it was shipped under? Judged answers in their order in, alarms out.

A limit ``err <= 0.15`` is watched on the answers it is about, here those to harmless prompts; one that nobody could
read fails it. Of a group, a conversation, only the first such answer counts: those after it lean on it. All limits
together cry out with probability ``false_alarm`` at most, ever, as long as each of them is kept at every moment.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bedside.core.reports import Measure
from bedside.core.types import Judged
from bedside.stats import sequential
from bedside.stats.shares import share

_MOST_NATS = 700.0
"""Beyond it a double has no room."""
Failures = Callable[[Judged], Mapping[str, bool]]
"""Of each measure that counts an answer, whether that answer fails it."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One limit over all answers so far."""

    measure: Measure
    """Share that failed. What nobody could read is in it."""
    limit: float
    unread: int
    """Answers in it that nobody could read."""
    again: int
    """Answers left out, since one of their group had been counted."""
    evidence: float
    """By how much a bet on "the rate is above its limit" had multiplied when it stood highest."""
    needed: float
    """From where on it is an alarm."""
    alarm: int | None = None
    """Number of the answer, from 1, at which it was raised. It stays raised."""
    since: int | None = None
    """Number of the answer from which the rate most likely was too high; to ``BLOCK`` counted answers."""

    @property
    def name(self) -> str:
        return f"{self.measure.name} <= {self.limit:g}"


def watch(
    rows: Sequence[Judged], limits: Mapping[str, float], failures: Failures, *, false_alarm: float
) -> list[Watched]:
    """Every limit, in [0, 1), on ``rows`` in the order in which they were answered."""
    about = [(row, failures(row)) for row in rows]
    needed = len(limits) / false_alarm
    return [_watched(name, limit, list(_about(name, about)), needed=needed) for name, limit in limits.items()]


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer that a limit is about."""

    number: int
    row: Judged
    failed: bool
    again: bool
    """One of its group stands before it."""


def _about(name: str, rows: Sequence[tuple[Judged, Mapping[str, bool]]]) -> Iterator[_Answer]:
    seen = set[str]()
    for number, (row, failed) in enumerate(rows, 1):
        if name in failed:
            group = row.prompt.group
            yield _Answer(number, row, failed[name], group in seen)
            seen |= set() if group is None else {group}


def _watched(name: str, limit: float, about: Sequence[_Answer], *, needed: float) -> Watched:
    counted = [one for one in about if not one.again]
    losses = [float(one.failed) for one in counted]
    measure = share(name, losses, range(len(losses)), worst=1.0)
    unread = sum(one.row.stance is None for one in counted)
    evidence = sequential.log_evidence(losses, limit)
    found = Watched(
        measure, limit, unread, len(about) - len(counted), math.exp(min(_MOST_NATS, evidence.max())), needed
    )
    at = sequential.alarm(evidence, math.log(needed))
    if at is None:
        return found
    since = sequential.rise(losses[:at], limit)
    return replace(found, alarm=counted[at - 1].number, since=counted[since].number)
