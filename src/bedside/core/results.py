"""What is said about rows: measures, gates, candidates, and the reports that collect them.

    Verdict --evaluate--> Measure --select--> Gate, Candidate --> CycleReport --> RunSummary

Everything a report page, a card or ``--json`` renders stands in one ``RunSummary``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bedside.core.errors import DataError
from bedside.core.types import Checkpoint


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that can be trusted, or visibly cannot. ``low`` and ``high`` bound it at 95 %."""

    name: str
    value: float | None
    n: int
    unreadable: int = 0
    """Rows left out because no judge could read them; a constraint counts each as a failure."""
    low: float | None = None
    high: float | None = None
    worst: float | None = None
    """The value with every unreadable row counted against the model: what a constraint looks at."""
    worst_low: float | None = None
    """One-sided 95 % lower bound for decisions, unreadable rows counted against the model."""
    worst_high: float | None = None
    """One-sided 95 % upper bound for decisions, unreadable rows counted against the model."""
    groups: int | None = field(default=None, kw_only=True)
    """Of the ``n`` rows: rows of one group tell less than as many of their own, and intervals know. None: not told."""

    @property
    def counted(self) -> str:
        """``600``; ``600 (75 groups)`` where rows share groups."""
        if self.groups in (None, self.n):
            return str(self.n)
        return f"{self.n} ({self.groups} group{'' if self.groups == 1 else 's'})"

    def __post_init__(self) -> None:
        if (self.n == 0) != (self.value is None):
            raise DataError(f"{self.name}: n = {self.n} and value {self.value} cannot both be")
        bounds = [x for x in (self.low, self.value, self.high) if x is not None]
        if bounds != sorted(bounds):
            raise DataError(f"{self.name}: {self.value} is outside its interval [{self.low}, {self.high}]")


class GateState(StrEnum):
    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_CHECKED = "NOT CHECKED"


@dataclass(frozen=True, slots=True)
class Gate:
    """A named limit, what was measured, and what follows."""

    name: str
    state: GateState
    limit: str = ""
    measure: Measure | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint of one cycle that could be carried on, with its figures on ``valid``."""

    name: str
    """``cycle-2/dpo``; ``target`` is the model as given."""
    checkpoint: Checkpoint
    measures: tuple[Measure, ...]
    feasible: bool = False
    violation: float = 0.0
    """Sum over constraints of how far the point value is beyond its limit."""
    unchecked: tuple[str, ...] = ()
    """Measures that a constraint is about and that no row of ``valid`` has: such a constraint rules nobody out."""
    training: tuple[Measure, ...] = ()
    """The same answers as the training judge reads them; empty where nobody compared the judges."""

    def measure(self, name: str) -> Measure:
        return named(self.measures, name)


@dataclass(frozen=True, slots=True)
class Flow:
    """Rows kept and dropped at one step, by reason."""

    step: str
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CycleReport:
    """What happened in one cycle, and what is carried into the next, and why."""

    cycle: int
    candidates: tuple[Candidate, ...]
    carried: str
    why: str
    gates: tuple[Gate, ...]
    flows: tuple[Flow, ...]
    stopped: str = ""
    """Why no cycle follows; empty when one may."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """A policy nobody should lose to, scored on the same prompts."""

    name: str
    measures: tuple[Measure, ...]

    def measure(self, name: str) -> Measure:
        return named(self.measures, name)


@dataclass(frozen=True, slots=True)
class Axes:
    """One policy on the four axes of the joined loop, sealed test."""

    name: str
    safe: Measure
    helpful: Measure
    accurate: Measure
    kind: Measure
    front: bool = False
    """Whether no other policy is as good on all four and better on one, by point values."""


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt of the test part, answered before and after."""

    prompt: str
    harm: int | None
    before: str
    after: str
    before_stance: str
    after_stance: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A corner of the test part: one harm level, style and principle; None where prompts say none."""

    harm: int
    style: str | None
    principle: str | None
    right: Measure
    """Share of answers whose stance has the full score at this level."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """Everything report, card and ``--json`` render."""

    name: str
    verdict: str
    ships: str | None
    """Name of the candidate that may ship, or None."""
    carried: str
    definitions: Mapping[str, str]
    before: tuple[Measure, ...]
    after: tuple[Measure, ...]
    by: Mapping[str, Mapping[str, tuple[Measure, ...]]]
    """``source``, ``style`` ... to each of its values to the measures of the carried checkpoint there."""
    baselines: tuple[Baseline, ...]
    gates: tuple[Gate, ...]
    """Those that decide."""
    comparisons: tuple[Gate, ...]
    """Against baselines that decide nothing, on all prompts and on contrast twins alone."""
    cycles: tuple[CycleReport, ...]
    mix: Mapping[str, Mapping[str, int]]
    """Part to harm level to number of prompts."""
    flows: tuple[Flow, ...] = ()
    """How the data became three parts."""
    cells: tuple[Cell, ...] = ()
    """How often what was carried was right, by level and style, by level and principle."""
    examples: tuple[Example, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    """Machine, versions, seed, commands: as text."""
    untested: tuple[str, ...] = ()
    """What this run does not show, a sentence each."""
    axes: tuple[Axes, ...] = ()
    """Safe, helpful, accurate, kind: of the joined loop alone."""
    pressure: tuple[Measure, ...] = ()
    """Agreement under pressure, by policy: of the joined loop alone."""


def short(measure: Measure) -> dict[str, Any]:
    keys = ("value", "n", "groups", "unreadable", "low", "high")
    return {key: getattr(measure, key) for key in keys}


def shorts(measures: Sequence[Measure]) -> dict[str, dict[str, Any]]:
    return {measure.name: short(measure) for measure in measures}


def decisions(gates: Sequence[Gate]) -> dict[str, dict[str, str]]:
    return {g.name: {"state": g.state.value, "limit": g.limit, "reason": g.reason} for g in gates}


def passed(gates: Iterable[Gate]) -> bool:
    """True where every gate that was checked passed. An inconclusive one did not."""
    return not {gate.state for gate in gates} & {GateState.FAIL, GateState.INCONCLUSIVE}


def found(measures: Iterable[Measure], name: str) -> Measure | None:
    """The measure called ``name``; None where there is none."""
    return next((measure for measure in measures if measure.name == name), None)


def named(measures: Iterable[Measure], name: str) -> Measure:
    """The measure called ``name``; KeyError where there is none, which is a bug of the caller."""
    measure = found(measures, name)
    if measure is None:
        raise KeyError(name)
    return measure
