"""Judged responses in, measures out. Pure: the flow generates and judges beforehand."""

from collections.abc import Callable, Mapping, Sequence

from bedside.core.protocols import Metric
from bedside.core.reports import Measure
from bedside.core.types import Judged, Prompt
from bedside.stats.intervals import mean_interval


def evaluate(rows: Sequence[Judged], metrics: Sequence[Metric]) -> tuple[Measure, ...]:
    """Every measure of every metric, over all rows."""
    return tuple(measure for metric in metrics for measure in metric.measure(rows))


def by(
    rows: Sequence[Judged], key: Callable[[Prompt], str | None], metrics: Sequence[Metric]
) -> Mapping[str, tuple[Measure, ...]]:
    """The same for each value of ``key`` (source, style ...), sorted; prompts without one are left out."""
    parts: dict[str, list[Judged]] = {}
    for row in rows:
        value = key(row.prompt)
        if value is not None:
            parts.setdefault(value, []).append(row)
    return {name: evaluate(parts[name], metrics) for name in sorted(parts)}


def mean(name: str, values: Sequence[float], groups: Sequence[str]) -> Measure:
    """The mean of an unbounded figure with its 95 % interval, rows clustered by group."""
    if not values:
        return Measure(name, None, 0)
    value = sum(values) / len(values)
    interval = mean_interval(values, groups)
    low, high = (min(interval.low, value), max(interval.high, value)) if interval else (None, None)
    return Measure(name, value, len(values), 0, low, high)
