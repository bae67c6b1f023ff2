"""A share as a measure: value, n, unreadable count, interval and decision bounds. What most metrics come down to."""

from collections.abc import Hashable, Sequence

from bedside.core.reports import Measure
from bedside.stats.intervals import share_bounds, share_interval


def share(name: str, values: Sequence[float | None], groups: Sequence[Hashable], *, worst: float = 0.0) -> Measure:
    """Mean of ``values``, each in [0, 1]; None is a row nobody could read.

    Such rows are left out of value and interval, counted, and stand in the decision bounds as ``worst``: 0 where
    more is better, 1 where less is. ``groups``: rows that belong together, as long as ``values``.
    """
    read = [(value, group) for value, group in zip(values, groups, strict=True) if value is not None]
    unreadable = len(values) - len(read)
    if not read:
        return Measure(name, None, 0, unreadable)
    known = [value for value, _ in read]
    interval = share_interval(known, [group for _, group in read])
    all_rows = [worst if value is None else value for value in values]
    bounds = share_bounds(all_rows, groups)
    value, pessimistic = sum(known) / len(known), sum(all_rows) / len(all_rows)
    return Measure(
        name, value, len(known), unreadable, interval.low, interval.high, pessimistic, bounds.low, bounds.high
    )
