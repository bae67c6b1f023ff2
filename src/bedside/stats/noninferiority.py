"""Paired comparison of two models on the same rows: superiority, non-inferiority, and no increase.

    superiority        the two-sided interval of the mean difference lies above 0
    non-inferiority    the one-sided lower bound of the mean difference is at least −margin
    no increase        the one-sided upper bound of the mean difference is at most margin

All at 95 %, or at a higher confidence if a decision shares its probability of error with others. They are about the
mean over groups (scenarios) of the group's mean difference. The interval is a t interval over groups. The bounds are
those of ``intervals.paired_bounds``: bootstrap by group if it is allowed, else exact. A row without a value in either
model is left out of both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from bedside.core.gates import TARGET, Constraint, Gate, GateKind, GateState, Op
from bedside.core.measures import Measure
from bedside.stats.intervals import (
    CONFIDENCE,
    LEAST_GROUPS,
    TWO_SIDED,
    Cell,
    mean_interval,
    mean_over_groups,
    paired_bounds,
)
from bedside.stats.measures import mean

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class PairedRows:
    """The rows that two models answered, and how their differences are bounded."""

    groups: Sequence[str]
    """Of each row."""
    seed: int
    """Of the bootstrap."""
    confidence: float = CONFIDENCE
    """One-sided, of the bounds that decide."""

    def difference(self, name: str, after: Values, before: Values) -> Measure:
        """Mean of after − before over the rows that have both values, each in [0, 1].

        ``low`` and ``high`` are the two-sided interval, of 95 % or what ``confidence`` needs; ``worst_low`` and
        ``worst_high`` the one-sided bounds of ``worst``, the mean over groups.
        """
        both = zip(after, before, self.groups, strict=True)
        rows = [(a, b, g) for a, b, g in both if a is not None and b is not None]
        if not rows:
            return Measure(name, None, 0, len(self.groups))
        after_R, before_R, groups_R = zip(*rows, strict=True)
        interval = partial(mean_interval, quantile=max(TWO_SIDED, self.confidence))
        difference = mean(name, [a - b for a, b, _ in rows], groups_R, interval)
        cells = [[Cell(1.0, values_R, groups_R)] for values_R in (after_R, before_R)]
        bounds = paired_bounds(cells[0], cells[1], np.random.default_rng(self.seed), self.confidence)
        return replace(
            difference,
            unreadable=len(self.groups) - len(rows),
            worst=mean_over_groups([a - b for a, b, _ in rows], groups_R),
            worst_low=bounds.low,
            worst_high=bounds.high,
        )


def paired_mean_difference(name: str, after: Values, before: Values, groups: Sequence[str], seed: int) -> Measure:
    """``PairedRows.difference`` at 95 %."""
    return PairedRows(groups, seed).difference(name, after, before)


def superior(subject: str, difference: Measure) -> Gate:
    """PASS if the interval of ``difference`` lies above 0, FAIL if it lies below 0, else INCONCLUSIVE."""
    return _gate(
        GateKind.SUPERIORITY,
        subject,
        (Op.ABOVE, 0.0),
        difference,
        bound=difference.low or 0.0,
        fails=(difference.high or 0.0) < 0,
    )


def not_inferior(subject: str, difference: Measure, margin: float) -> Gate:
    """PASS if the lower bound is at least −``margin``, FAIL if the upper bound is below it, else INCONCLUSIVE."""
    return _gate(
        GateKind.NON_INFERIORITY,
        subject,
        (Op.AT_LEAST, -margin),
        difference,
        bound=difference.worst_low or 0.0,
        fails=(difference.worst_high or 0.0) < -margin,
    )


def does_not_rise(subject: str, difference: Measure, margin: float) -> Gate:
    """PASS if the upper bound is at most ``margin``, FAIL if the lower bound is above 0, else INCONCLUSIVE."""
    return _gate(
        GateKind.NO_RISE,
        subject,
        (Op.AT_MOST, margin),
        difference,
        bound=difference.worst_high or 0.0,
        fails=(difference.worst_low or 0.0) > 0,
    )


def _gate(
    kind: GateKind, subject: str, rule: tuple[Op, float], difference: Measure, *, bound: float, fails: bool
) -> Gate:
    """A failure is reported with any number of groups; a pass needs at least LEAST_GROUPS."""
    limit = Constraint(difference.name, *rule, TARGET)
    if difference.value is None:
        return Gate(kind, subject, limit, GateState.NOT_CHECKED, reason="no row has a value in both models")
    change = difference.value if difference.worst is None else difference.worst
    reason = f"changed by {change:+.3f} on {difference.n} rows, bound {bound:+.3f}"
    groups = difference.groups or difference.n
    if fails:
        return Gate(kind, subject, limit, GateState.FAIL, difference, reason)
    if groups < LEAST_GROUPS:
        return Gate(kind, subject, limit, GateState.INCONCLUSIVE, difference, f"{reason}; {groups} groups are too few")
    state = GateState.PASS if limit.allows(bound) else GateState.INCONCLUSIVE
    return Gate(kind, subject, limit, state, difference, reason)
