"""Two models on the same rows: paired differences, and what may be said of them.

    superior        the two-sided 95 % interval of the mean difference lies above 0
    not inferior    its one-sided 95 % lower bound is at least −margin
    does not rise   its one-sided 95 % upper bound is at most margin

Intervals by t over groups; bounds by ``stats.intervals.paired_bounds``: bootstrap by group where that is allowed,
else exact. Where rows lack a value in either arm they are left out of both.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bedside.core.results import Gate, GateState, Measure
from bedside.stats.intervals import LEAST_GROUPS, Cell, mean_interval, paired_bounds
from bedside.stats.measures import mean

Values = Sequence[float | None]


def paired(name: str, after: Values, before: Values, groups: Sequence[str], seed: int) -> Measure:
    """Mean of after − before, values in [0, 1]. ``low`` and ``high`` two-sided, ``worst_low``/``high`` one-sided."""
    rows = [(a, b, g) for a, b, g in zip(after, before, groups, strict=True) if a is not None and b is not None]
    if not rows:
        return Measure(name, None, 0, len(groups))
    difference = [a - b for a, b, _ in rows]
    kept = [g for _, _, g in rows]
    found = mean(name, difference, kept, mean_interval)
    cells = [[Cell(1.0, tuple(values), tuple(kept))] for values in ([a for a, _, _ in rows], [b for _, b, _ in rows])]
    one = paired_bounds(cells[0], cells[1], np.random.default_rng(seed))
    lost = len(groups) - len(rows)
    return replace(found, unreadable=lost, worst=found.value, worst_low=one.low, worst_high=one.high)


def superior(name: str, difference: Measure) -> Gate:
    """Is there more of it than before?"""
    low, high = difference.low or 0.0, difference.high or 0.0
    return _gate(name, difference, "> 0", low, passes=low > 0, fails=high < 0)


def not_inferior(name: str, difference: Measure, margin: float) -> Gate:
    """Is there not less of it, but for ``margin``?"""
    low, high = _bounds(difference)
    return _gate(name, difference, f">= -{margin:g}", low, passes=low >= -margin, fails=high < -margin)


def does_not_rise(name: str, difference: Measure, margin: float) -> Gate:
    """Is there not more of it, but for ``margin``?"""
    low, high = _bounds(difference)
    return _gate(name, difference, f"<= {margin:g}", high, passes=high <= margin, fails=low > 0)


def _bounds(difference: Measure) -> tuple[float, float]:
    return difference.worst_low or 0.0, difference.worst_high or 0.0


def _gate(name: str, difference: Measure, limit: str, bound: float, *, passes: bool, fails: bool) -> Gate:
    if difference.value is None:
        return Gate(name, GateState.NOT_CHECKED, limit, None, "no row has a value in both")
    said = f"changed by {difference.value:+.3f} on {difference.n} rows, 95 % bound {bound:+.3f}"
    groups = difference.groups or difference.n
    if fails:
        return Gate(name, GateState.FAIL, limit, difference, said)
    if groups < LEAST_GROUPS or not passes:
        few = f"; {groups} groups are too few" if groups < LEAST_GROUPS else ""
        return Gate(name, GateState.INCONCLUSIVE, limit, difference, said + few)
    return Gate(name, GateState.PASS, limit, difference, said)
