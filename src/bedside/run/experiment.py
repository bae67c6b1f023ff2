"""The rules of a run as its config states them: parts, metric, constraints. Nothing here needs a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bedside.config.plugins import find, open_plugin
from bedside.config.schema import Config, Part
from bedside.core.errors import ConfigError, DataError
from bedside.core.protocols import Judge, Launch, Metric
from bedside.core.results import Flow, Measure
from bedside.core.types import Judged, Prompt
from bedside.data import splits
from bedside.data.prompts import HARM_BY, PROPOSED
from bedside.safety import selection
from bedside.safety.gates import conditions
from bedside.stats.intervals import Cell

if TYPE_CHECKING:
    from bedside.run.session import Session


def read_parts(config: Config, launch: Launch) -> splits.Parts:
    """train, valid and test: no group stands in two of them. Their flows begin with what reading left out and saw."""
    data = config.data
    read = {name: _read(getattr(data, name), name, launch) for name in ("train", "valid", "test")}
    parts = splits.parts(**{name: drawn for name, (drawn, _) in read.items()}, seed=config.seed)
    flows = [replace(flow, step=f"read: {name}") for name, (_, flow) in read.items() if flow is not None]
    return replace(parts, flows=(*flows, *parts.flows))


def _read(part: Part, name: str, launch: Launch) -> tuple[splits.Drawn, Flow | None]:
    source = open_plugin(part.dataset, launch, {})
    prompts = list(source.read())
    unlabelled = sum(prompt.harm is None for prompt in prompts)
    if unlabelled:
        raise DataError(
            f"data.{name}: {unlabelled} of {len(prompts)} prompts have no harm level, so no stance is right or "
            "wrong for them; label them 0 to 3, or set unlabelled: skip"
        )
    return splits.Drawn(prompts, part.share, part.limit), getattr(source, "flow", None)


def metric(config: Config) -> "Joined":
    """The safety metric as ``select`` defines it, and beside it what ``metrics`` names."""
    chosen = config.select.model_dump(include={"alpha", "err", "preset"})
    safety = open_plugin(find("metric", "safety").model_validate(chosen), Launch(), {})
    joined = Joined(safety, tuple(open_plugin(plugin, Launch(), {}) for plugin in config.metrics))
    told = [name for one in (safety, *joined.others) for name in one.definitions()]
    twice = sorted({name for name in told if told.count(name) > 1})
    if twice:
        raise ConfigError(f"metrics: {', '.join(twice)} is measured twice; leave one out, or rename it")
    return joined


@dataclass(frozen=True)
class Joined:
    """Several metrics as one. The first is compared with the constants, so it can be taken apart into cells."""

    first: Any
    others: tuple[Metric, ...] = ()

    def measure(self, rows: Sequence[Judged]) -> list[Measure]:
        return [measure for metric in (self.first, *self.others) for measure in metric.measure(rows)]

    def definitions(self) -> dict[str, str]:
        return {name: said for metric in (self.first, *self.others) for name, said in metric.definitions().items()}

    @property
    def failing(self) -> tuple[str, ...]:
        """Measures that are the share of answers that fail."""
        found: tuple[str, ...] = self.first.failing
        return found

    def failures(self, row: Judged) -> dict[str, bool]:
        """Of each share of failures that counts this answer, whether it is one."""
        found: dict[str, bool] = self.first.failures(row)
        return found

    def overall_cells(self, rows: Sequence[Judged]) -> Sequence[Cell]:
        found: Sequence[Cell] = self.first.overall_cells(rows)
        return found


def constraints(config: Config, metric: Metric) -> list[selection.Constraint]:
    """``select.require`` and the ceiling on KL."""
    known = [*metric.definitions(), "kl"]
    limits = [*config.select.require, *conditions({"kl": config.gates.kl_max})]
    return [selection.Constraint.parse(text, known) for text in limits]


@dataclass(frozen=True)
class Experiment:
    """What every cycle of a run works on and is measured by."""

    session: "Session"
    train: Sequence[Prompt]
    valid: Sequence[Prompt]
    trains: Judge
    """Labels training answers."""
    selects: Judge
    """Reads valid and test."""
    metric: Metric
    constraints: Sequence[selection.Constraint]

    @property
    def one_judge(self) -> bool:
        return self.trains.name == self.selects.name


def unconfirmed(parts: Mapping[str, Sequence[Prompt]]) -> list[str]:
    """Parts whose levels a program proposed and nobody confirmed: every rate of theirs rests on it."""
    counts = {name: sum(p.facets.get(HARM_BY) == PROPOSED for p in rows) for name, rows in parts.items()}
    return [
        f"Of {len(parts[name])} {name} prompts, {n} have a harm level that a program proposed and nobody confirmed."
        for name, n in counts.items()
        if n
    ]
