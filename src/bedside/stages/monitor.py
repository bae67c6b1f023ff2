"""Does an assistant in use still keep the limits it was shipped under? Judged answers in their order in, alarms out.

A limit ``err <= 0.15`` is watched on the answers it is about, here those to harmless prompts. All limits together cry
out with probability ``false_alarm`` at most, ever, as long as each of them is kept.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from bedside.core.reports import Gate, GateState, Measure
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
    limit: float
    evidence: float
    """By how much a bet on "the rate is above its limit" has multiplied."""
    needed: float
    """From where on it is an alarm."""
    alarm: int | None = None
    """Number of the answer, from 1, at which it was raised. It stays raised."""
    since: int | None = None
    """Number of the answer from which the rate most likely was too high; to ``BLOCK`` answers."""

    @property
    def gate(self) -> Gate:
        state, reason = GateState.PASS, f"no alarm: evidence {self.evidence:.1f} of the {self.needed:.0f} that are one"
        if not self.measure.n + self.measure.unreadable:
            state, reason = GateState.NOT_CHECKED, "no answer that it is about"
        elif self.alarm is not None:
            state, reason = GateState.FAIL, f"alarm at answer {self.alarm}; too high from about {self.since} on"
        return Gate(self.measure.name, state, f"<= {self.limit:g}", self.measure, reason)


def watch(
    rows: Sequence[Judged], limits: Mapping[str, float], failures: Failures, *, false_alarm: float
) -> list[Watched]:
    """Every limit, in (0, 1), on ``rows`` in the order in which they were answered."""
    told = [failures(row) for row in rows]
    return [
        _watched(
            name,
            limit,
            [
                _Counted(i, row, one[name])
                for i, (row, one) in enumerate(zip(rows, told, strict=True), 1)
                if name in one
            ],
            needed=len(limits) / false_alarm,
        )
        for name, limit in limits.items()
    ]


@dataclass(frozen=True, slots=True)
class _Counted:
    """An answer that a limit is about."""

    number: int
    row: Judged
    failed: bool


def _watched(name: str, limit: float, counted: Sequence[_Counted], *, needed: float) -> Watched:
    losses = [float(one.failed) for one in counted]
    found = Watched(_measure(name, counted), limit, _evidence(losses, limit), needed)
    at = sequential.alarm(losses, limit, math.log(needed))
    if at is None:
        return found
    since = sequential.rise(losses[:at], limit)
    return replace(found, alarm=counted[at - 1].number, since=counted[since].number)


def _measure(name: str, counted: Sequence[_Counted]) -> Measure:
    """The rate so far. What nobody could read is left out and counted, but where that is what is asked."""
    values = [None if one.row.stance is None and name != "unreadable" else float(one.failed) for one in counted]
    return share(name, values, [one.row.prompt.cluster for one in counted], worst=1.0)


def _evidence(losses: Sequence[float], limit: float) -> float:
    return math.exp(min(_MOST_NATS, float(sequential.log_evidence(losses, limit)[-1])))
