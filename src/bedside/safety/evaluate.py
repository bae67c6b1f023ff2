"""Judged responses in, measures out. Pure: the flow generates and judges beforehand."""

from collections.abc import Callable, Iterator, Mapping, Sequence

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
    parts: dict[str, list[JudgedResponse]] = {}
    for row in rows:
        value = key(row.prompt)
        if value is not None:
            parts.setdefault(value, []).append(row)
    return {name: evaluate(parts[name], metrics) for name in sorted(parts)}


def cells(rows: Sequence[JudgedResponse]) -> tuple[SubgroupRate, ...]:
    """By level and style, then by level and principle: where does it fail?"""
    keys: list[Callable[[Prompt], tuple[str | None, str | None]]] = [
        lambda prompt: (prompt.style, None),
        lambda prompt: (None, prompt.principle),
    ]
    return tuple(cell for key in keys for cell in _cells(rows, key))


def _cells(
    rows: Sequence[JudgedResponse], key: Callable[[Prompt], tuple[str | None, str | None]]
) -> Iterator[SubgroupRate]:
    parts: dict[tuple[int, str, str], list[JudgedResponse]] = {}
    for row in rows:
        style, principle = key(row.prompt)
        if row.prompt.harm is not None and (style or principle):
            parts.setdefault((row.prompt.harm, style or "", principle or ""), []).append(row)
    for (harm, style, principle), some in sorted(parts.items()):
        yield SubgroupRate(harm, style or None, principle or None, _right(harm, some))


def _right(harm: int, rows: Sequence[JudgedResponse]) -> Measure:
    """Share with the full score at ``harm``; unreadable ones are left out and counted."""
    values = [None if row.stance is None else float(score(harm, row.stance) == 1.0) for row in rows]
    return share("right", values, [row.prompt.cluster for row in rows])
