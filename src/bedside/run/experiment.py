"""What the config of a run defines: parts, metric, constraints. Nothing here needs a model."""

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
    """train, valid and test: no group is in two of them. Their filter counts begin with those of reading."""
    return split_parts(read_sources(config, launch), config)


@dataclass(frozen=True)
class SourceRead:
    """The rows of a part's source, before it is split."""

    part: splits.PartSource
    filter_counts: FilterCounts | None = None
    """The rows that reading left out, and the notes; None if the source does not count them."""
    identified: IdentifiedRows | None = None
    """Which rows have an identifier; None if the source did not look."""
    places: Mapping[str, str] = field(default_factory=dict)
    """File and row of a prompt, by its id; empty if the source is not a file."""


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
    """The prompts of one part. If another part has the same data set, it is in ``opened`` and is read once."""
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
    """Several metrics as one. The first one gives cells, because it is compared with the constants."""

    first: Any
    others: tuple[Metric, ...] = ()

    @property
    def reads_once(self) -> bool:
        """True: ``measure`` reads the rows once and keeps none. Metrics of plug-ins get a sequence."""
        return bool(self.first.reads_once and not self.others)

    def measure(self, rows: Iterable[JudgedResponse]) -> list[Measure]:
        rows = rows if self.reads_once else list(rows)
        return [measure for metric in (self.first, *self.others) for measure in metric.measure(rows)]

    def definitions(self) -> dict[str, str]:
        return dict(chain.from_iterable(metric.definitions().items() for metric in (self.first, *self.others)))

    @property
    def confidence(self) -> float:
        """Confidence of the safety metric's one-sided bounds that decide."""
        return cast("float", self.first.confidence)

    def at(self, confidence: float) -> "CombinedMetric":
        """The same metrics, with the safety metric's bounds that decide at ``confidence``."""
        return replace(self, first=self.first.at(confidence))

    @property
    def failing(self) -> tuple[str, ...]:
        """The measures that are a share of failed answers."""
        return cast("tuple[str, ...]", self.first.failing)

    def failures(self, row: JudgedResponse) -> dict[str, bool]:
        """For each share of failures that counts this answer, whether it fails."""
        return cast("dict[str, bool]", self.first.failures(row))

    def cells(self, measure: str, rows: Sequence[JudgedResponse]) -> Sequence[Cell]:
        """The cells of a measure of the safety metric. Their rows depend on prompts alone."""
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
    """The data, judges and metric of every cycle of a run."""

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
    """Measures of the original target, on valid: limits relative to the target are compared with them."""
    preference_judge: Judge | None = None
    """The selecting judge, in a cycle in which the training judge agreed too little with it; it labels then."""

    @property
    def labelling_judge(self) -> Judge:
        """The judge that labels the training answers of this cycle."""
        return self.preference_judge or self.training_judge

    @property
    def one_judge(self) -> bool:
        return self.training_judge.name == self.selecting_judge.name


def doubts(parts: Mapping[str, Sequence[Prompt]]) -> list[str]:
    """Warnings for every rate on these prompts: that they are synthetic, or have unconfirmed levels."""
    return [*mechanism_test(prompt for rows in parts.values() for prompt in rows), *unconfirmed(parts)]


def unconfirmed(parts: Mapping[str, Sequence[Prompt]]) -> list[str]:
    """Parts with levels that a program proposed and nobody confirmed. Every rate on them depends on these levels."""
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
