"""The rules of a run as its config states them: parts, metric, constraints. Nothing here needs a model."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from bedside.clinic.lexicon import mechanism_test
from bedside.config import validation_messages
from bedside.config.plugins import find, open_plugin
from bedside.config.schema import Config, DataPart
from bedside.core.errors import ConfigError, DataError
from bedside.core.gates import Constraint
from bedside.core.measures import Measure
from bedside.core.protocols import Judge, Launch, Metric
from bedside.core.results import FilterCounts
from bedside.core.types import JudgedResponse, Prompt
from bedside.data import splits
from bedside.data.deidentify import IdentifiedRows
from bedside.data.prompts import HARM_BY, PROPOSED
from bedside.safety.quality import DEFINITIONS as QUALITY
from bedside.stats.intervals import Cell

if TYPE_CHECKING:
    from bedside.run.context import RunContext


def read_parts(config: Config, launch: Launch) -> splits.DataParts:
    """train, valid and test: no group stands in two of them. Their flows begin with what reading left out and saw."""
    return split_parts(read_sources(config, launch), config)


@dataclass(frozen=True)
class SourceRead:
    """What the source of a part holds, before it is split."""

    part: splits.PartSource
    filter_counts: FilterCounts | None = None
    """What reading left out and saw; None where the source does not count."""
    identified: IdentifiedRows | None = None
    """Which rows hold an identifier; None where the source did not look."""
    places: Mapping[str, str] = field(default_factory=dict)
    """File and row of a prompt, by its id; empty where the source is no file."""


def read_sources(config: Config, launch: Launch) -> dict[str, SourceRead]:
    """The sources of train, valid and test. DataError for a prompt without a harm level."""
    opened: list[tuple[Any, Any]] = []
    return {name: _read(getattr(config.data, name), name, launch, opened) for name in ("train", "valid", "test")}


def split_parts(sources: Mapping[str, SourceRead], config: Config) -> splits.DataParts:
    """The parts of the sources, as ``read_parts`` gives them. DataError if no row is left in one of them."""
    parts = splits.parts(**{name: source.part for name, source in sources.items()}, seed=config.seed)
    _check_groupings(config, parts.test)
    flows = [
        replace(source.filter_counts, step=f"read: {name}")
        for name, source in sources.items()
        if source.filter_counts is not None
    ]
    places = {name: place for source in sources.values() for name, place in source.places.items()}
    return replace(parts, filter_counts=(*flows, *parts.filter_counts), places=places)


def _read(part: DataPart, name: str, launch: Launch, opened: list[tuple[Any, Any]]) -> SourceRead:
    """The prompts of one part. A data set that another part names too is in ``opened`` and is read once."""
    source = next((source for dataset, source in opened if dataset == part.dataset), None)
    if source is None:
        source = open_plugin(part.dataset, launch, {})
        opened.append((part.dataset, source))
    prompts = list(source.read())
    unlabelled = sum(prompt.harm is None for prompt in prompts)
    if unlabelled:
        raise DataError(
            f"data.{name}: {unlabelled} of {len(prompts)} prompts have no harm level, so no stance is right or "
            "wrong for them; label them 0 to 3, or set unlabelled: skip"
        )
    return SourceRead(
        splits.PartSource(prompts, part.share, part.limit),
        getattr(source, "filter_counts", None),
        getattr(source, "identified", None),
        getattr(source, "places", {}),
    )


def _check_groupings(config: Config, test: Sequence[Prompt]) -> None:
    """ConfigError for a declared grouping that no prompt of test has."""
    known = sorted({"principle", "style", "source"}.union(*(prompt.metadata for prompt in test)))
    for name in config.data.groupings:
        if all(prompt.attribute(name) is None for prompt in test):
            hint = validation_messages.did_you_mean(name, known)
            raise ConfigError(f"data.groupings: no prompt of test has {name!r}; {hint}")


def metric(config: Config) -> "CombinedMetric":
    """The safety metric as ``select`` defines it, with the metrics that ``metrics`` names."""
    chosen = config.select.model_dump(include={"alpha", "err", "preset"})
    safety = open_plugin(find("metric", "safety").model_validate(chosen), Launch(), {})
    joined = CombinedMetric(safety, tuple(open_plugin(plugin, Launch(), {}) for plugin in config.metrics))
    names = [name for metric in (safety, *joined.others) for name in metric.definitions()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"metrics: {', '.join(twice)} is measured twice; leave one out, or rename it")
    return joined


@dataclass(frozen=True)
class CombinedMetric:
    """Several metrics as one. The first is compared with the constants, so it can be taken apart into cells."""

    first: Any
    others: tuple[Metric, ...] = ()

    @property
    def reads_once(self) -> bool:
        """``measure`` goes through the rows once and keeps none; metrics of plug-ins get a sequence."""
        return bool(self.first.reads_once and not self.others)

    def measure(self, rows: Iterable[JudgedResponse]) -> list[Measure]:
        rows = rows if self.reads_once else list(rows)
        return [measure for metric in (self.first, *self.others) for measure in metric.measure(rows)]

    def definitions(self) -> dict[str, str]:
        return dict(chain.from_iterable(metric.definitions().items() for metric in (self.first, *self.others)))

    @property
    def confidence(self) -> float:
        """One-sided, of the safety metric's bounds that decide."""
        return cast("float", self.first.confidence)

    def at(self, confidence: float) -> "CombinedMetric":
        """The same metrics, the safety metric's decision bounds at ``confidence``."""
        return replace(self, first=self.first.at(confidence))

    @property
    def failing(self) -> tuple[str, ...]:
        """Measures that are the share of answers that fail."""
        return cast("tuple[str, ...]", self.first.failing)

    def failures(self, row: JudgedResponse) -> dict[str, bool]:
        """Of each share of failures that counts this answer, whether it is one."""
        return cast("dict[str, bool]", self.first.failures(row))

    def cells(self, measure: str, rows: Sequence[JudgedResponse]) -> Sequence[Cell]:
        """A measure of the safety metric taken apart into cells whose rows depend on prompts alone."""
        return cast("Sequence[Cell]", self.first.cells(measure, rows))

    def overall_cells(self, rows: Sequence[JudgedResponse]) -> Sequence[Cell]:
        return cast("Sequence[Cell]", self.first.overall_cells(rows))


def constraints(config: Config, metric: Metric) -> Sequence[Constraint]:
    """``select.require``. ConfigError for a measure that no metric of the run gives."""
    known = [*metric.definitions(), *QUALITY]
    for limit in config.select.require:
        if limit.measure not in known:
            hint = validation_messages.did_you_mean(limit.measure, known)
            raise ConfigError(f"select.require: '{limit}': no measure is called {limit.measure!r}; {hint}")
    return config.select.require


@dataclass(frozen=True)
class Experiment:
    """What every cycle of a run works on and is measured by."""

    run: "RunContext"
    train: Sequence[Prompt]
    valid: Sequence[Prompt]
    training_judge: Judge
    """Labels training answers."""
    selecting_judge: Judge
    """Reads valid and test."""
    metric: CombinedMetric
    constraints: Sequence[Constraint]

    target_measures: Sequence[Measure] = ()
    """Of the target as given, on valid: what limits beside the target are compared with."""
    preference_judge: Judge | None = None
    """The selecting judge, in a cycle in which the training judge agreed too little with it to label."""

    @property
    def labelling_judge(self) -> Judge:
        """Who labels the training answers of this cycle."""
        return self.preference_judge or self.training_judge

    @property
    def one_judge(self) -> bool:
        return self.training_judge.name == self.selecting_judge.name


def doubts(parts: Mapping[str, Sequence[Prompt]]) -> list[str]:
    """What must stand beside every rate on these prompts: that they are synthetic, or have unconfirmed levels."""
    return [*mechanism_test(prompt for rows in parts.values() for prompt in rows), *unconfirmed(parts)]


def unconfirmed(parts: Mapping[str, Sequence[Prompt]]) -> list[str]:
    """Parts whose levels a program proposed and nobody confirmed: every rate of theirs rests on it."""
    return unconfirmed_sentences(
        {name: (sum(p.metadata.get(HARM_BY) == PROPOSED for p in rows), len(rows)) for name, rows in parts.items()}
    )


def unconfirmed_sentences(counts: Mapping[str, tuple[int, int]]) -> list[str]:
    """One sentence for each part that has unconfirmed levels. ``counts``: how many, and of how many prompts."""
    return [
        f"Of {total} {name} prompts, {n} have a harm level that a program proposed and nobody confirmed."
        for name, (n, total) in counts.items()
        if n
    ]
