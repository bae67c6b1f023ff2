"""A mean as a measure: value, n, unreadable count, interval and decision bounds. What most metrics come down to."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

from bedside.core.results import Measure
from bedside.stats.intervals import Interval, share_bounds, share_interval

Limits = Callable[[Sequence[float], Sequence[Hashable]], Interval | None]


def mean(
    name: str, values: Sequence[float | None], groups: Sequence[Hashable], limits: Limits = share_interval
) -> Measure:
    """Mean of ``values`` with its two-sided 95 % interval by ``limits``; None is left out and counted as unreadable.

    ``groups``: rows that belong together, as long as ``values``.
    """
    read = [(value, group) for value, group in zip(values, groups, strict=True) if value is not None]
    unreadable = len(values) - len(read)
    if not read:
        return Measure(name, None, 0, unreadable)
    known = [value for value, _ in read]
    value, interval = sum(known) / len(known), limits(known, [group for _, group in read])
    low, high = (min(interval.low, value), max(interval.high, value)) if interval else (None, None)
    return Measure(name, value, len(known), unreadable, low, high, groups=len({group for _, group in read}))


def share(name: str, values: Sequence[float | None], groups: Sequence[Hashable], *, worst: float = 0.0) -> Measure:
    """Mean of ``values``, each in [0, 1]; None is a row nobody could read.

    Such rows are left out of value and interval, counted, and stand in the decision bounds as ``worst``: 0 where
    more is better, 1 where less is.
    """
    found = mean(name, values, groups)
    if found.value is None:
        return found
    every = [worst if value is None else value for value in values]
    bounds = share_bounds(every, groups)
    return replace(found, worst=sum(every) / len(every), worst_low=bounds.low, worst_high=bounds.high)
