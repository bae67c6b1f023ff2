"""Measures of judged responses. Nothing here generates or judges."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from bedside.core.measures import Measure
from bedside.core.protocols import Metric
from bedside.core.results import SubgroupRate
from bedside.core.types import JudgedResponse, Prompt, with_id
from bedside.safety.score_table import score
from bedside.stats.intervals import LEAST_GROUPS
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


def by_clustering(
    rows: Sequence[JudgedResponse],
    groupings: Sequence[str],
    measure: Callable[[Iterable[JudgedResponse]], Sequence[Measure]],
) -> dict[str, tuple[Measure, ...]]:
    """Every measure again, for each declared grouping with 40 values or more, with its values as groups."""
    names = clusterings([row.prompt for row in rows], groupings)
    return {name: tuple(measure(_clustered(rows, name))) for name in names}


def clustered_by(rows: Sequence[JudgedResponse], grouping: str) -> list[JudgedResponse]:
    """The same rows with the values of ``grouping`` as groups; a row without a value keeps its group."""
    return list(_clustered(rows, grouping))


def _clustered(rows: Iterable[JudgedResponse], grouping: str) -> Iterator[JudgedResponse]:
    for row in rows:
        value = row.prompt.attribute(grouping)
        yield row if value is None else _in_group(row, f"{grouping}: {value}")


def _in_group(row: JudgedResponse, group: str) -> JudgedResponse:
    prompt = with_id(replace(row.prompt, group=group), row.prompt.id)
    return replace(row, response=with_id(replace(row.response, prompt=prompt), row.response.id))


def clusterings(prompts: Sequence[Prompt], groupings: Sequence[str]) -> list[str]:
    """The declared ``groupings`` with at least 40 values: each is a second clustering, and the worse bound decides."""
    return [name for name in groupings if len(_values(prompts, name)) >= LEAST_GROUPS]


def strata(prompts: Sequence[Prompt], groupings: Sequence[str]) -> dict[str, set[str]]:
    """The other ``groupings`` and their values: too few to say anything about values that were not drawn."""
    return {name: values for name in groupings if 0 < len(values := _values(prompts, name)) < LEAST_GROUPS}


def _values(prompts: Sequence[Prompt], grouping: str) -> set[str]:
    return {value for prompt in prompts if (value := prompt.attribute(grouping)) is not None}


def subgroup_rates(rows: Sequence[JudgedResponse]) -> tuple[SubgroupRate, ...]:
    """The share of right answers by level and style, then by level and principle.

    A right answer has the full score. Unreadable rows are left out and counted.
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
