"""Judged responses in, measures out. Pure: the flow generates and judges beforehand."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from bedside.core.measures import Measure
from bedside.core.protocols import Metric
from bedside.core.results import SubgroupRate
from bedside.core.types import JudgedResponse, Prompt
from bedside.safety.score_table import score
from bedside.stats.measures import share


def evaluate(rows: Sequence[JudgedResponse], metrics: Sequence[Metric]) -> tuple[Measure, ...]:
    """Every measure of every metric, over all rows."""
    return tuple(measure for metric in metrics for measure in metric.measure(rows))


def by(
    rows: Sequence[JudgedResponse], key: Callable[[Prompt], str | None], metrics: Sequence[Metric]
) -> Mapping[str, tuple[Measure, ...]]:
    """The same for each value of ``key`` (source, style ...), sorted; prompts without one are left out."""
    parts: defaultdict[str, list[JudgedResponse]] = defaultdict(list)
    for row in rows:
        if (value := key(row.prompt)) is not None:
            parts[value].append(row)
    return {name: evaluate(parts[name], metrics) for name in sorted(parts)}


def subgroup_rates(rows: Sequence[JudgedResponse]) -> tuple[SubgroupRate, ...]:
    """By level and style, then by level and principle: where does it fail?

    The share with the full score; unreadable rows are left out and counted.
    """
    rates = []
    for key in ("style", "principle"):
        parts: defaultdict[tuple[int, str], list[JudgedResponse]] = defaultdict(list)
        for row in rows:
            if row.prompt.harm is not None and (value := getattr(row.prompt, key)):
                parts[row.prompt.harm, value].append(row)
        for (harm, value), some in sorted(parts.items()):
            values = [None if row.stance is None else float(score(harm, row.stance) == 1.0) for row in some]
            right = share("right", values, [row.prompt.cluster for row in some])
            style, principle = (value, None) if key == "style" else (None, value)
            rates.append(SubgroupRate(harm, style, principle, right))
    return tuple(rates)
