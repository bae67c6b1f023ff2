"""Means and shares as a ``Measure``: estimate, number of rows, unreadable rows, interval and decision bounds."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

from bedside.core.measures import Measure
from bedside.stats.intervals import Interval, mean_over_groups, share_bounds, share_interval


def mean(
    name: str,
    values: Sequence[float | None],
    groups: Sequence[Hashable],
    interval: Callable[[Sequence[float], Sequence[Hashable]], Interval | None] = share_interval,
) -> Measure:
    """Mean of the ``values`` that are not None, with a two-sided 95 % interval by ``interval``.

    ``values`` must lie in [0, 1] for the default interval; use ``mean_interval`` for unbounded values. ``interval``
    gets the value and the group of each row; it is None if there is no interval. A row with None is left out and
    counted as unreadable. ``groups`` names the cluster of each row: the interval is about the mean over groups, and is
    extended to include the value, the mean over rows. The measure's value is None if no row has a value. ``worst``, the
    mean over groups, is None if a row has none, because an unbounded scale has no worst value.
    """
    readable = [(value, group) for value, group in zip(values, groups, strict=True) if value is not None]
    unreadable = len(values) - len(readable)
    if not readable:
        return Measure(name, None, 0, unreadable)
    known, clusters = [value for value, _ in readable], [group for _, group in readable]
    value, limits = sum(known) / len(known), interval(known, clusters)
    low, high = (min(limits.low, value), max(limits.high, value)) if limits else (None, None)
    worst = None if unreadable else mean_over_groups(known, clusters)
    return Measure(name, value, len(known), unreadable, low, high, worst, groups=len(set(clusters)))


def share(name: str, values: Sequence[float | None], groups: Sequence[Hashable], *, worst: float = 0.0) -> Measure:
    """Mean of ``values`` in [0, 1], with a two-sided 95 % interval and two one-sided 95 % decision bounds.

    The value is the mean over rows. ``worst``, which is decided on, is the mean over groups of the group's mean.
    A row with None is unreadable. It is left out of the mean and its interval. In the decision bounds it counts as
    ``worst``: 0 for a share that should be high, 1 for a share that should be low.
    """
    measure = mean(name, values, groups)
    if measure.value is None:
        return measure
    imputed = [worst if value is None else value for value in values]
    bounds = share_bounds(imputed, groups)
    return replace(measure, worst=mean_over_groups(imputed, groups), worst_low=bounds.low, worst_high=bounds.high)
