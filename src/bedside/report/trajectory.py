"""Coordinates of the plot in section 4: the figures of each cycle's selected checkpoint, by two judges.

    across   cycles, 0 is the original target
    up       safety_score in one panel, err in the other, from 0 to 1
    band     the selecting judge's figure ± the limit on the difference between the judges

Only measured figures are drawn; the line connects those that are there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bedside.core.gates import GateKind, judge_gap
from bedside.core.measures import Measure, find_measure
from bedside.core.results import Candidate, CycleReport
from bedside.report.plots import MeasureSpan, Tick

Span = tuple[float, MeasureSpan | None]
SHOWN = ("safety_score", "err")
LEFT, TOP, SIDE, HEIGHT, GAP = 42, 26, 200, 180, 52


@dataclass(frozen=True, slots=True)
class Dot:
    """One checkpoint's figure, in user units, with the ends of its whisker."""

    x: float
    y: float
    top: float
    bottom: float


@dataclass(frozen=True, slots=True)
class CyclePanel:
    """The plot of one measure over the cycles."""

    name: str
    left: float
    selecting: tuple[Dot, ...]
    training: tuple[Dot, ...]
    band: str
    """Corners of the band, as the points of an SVG polygon; empty where no gate compares the judges."""
    limit: float | None
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class CycleStep:
    """The checkpoint that one cycle selected."""

    label: str
    candidate: Candidate


def steps(cycles: Sequence[CycleReport]) -> list[CycleStep]:
    """The target, then the selected checkpoint of each cycle."""
    if not cycles:
        return []
    later = [CycleStep(f"cycle {cycle.cycle}", cycle.selected_candidate) for cycle in cycles]
    return [CycleStep("before", cycles[0].candidates[0]), *later]


def panels(cycles: Sequence[CycleReport]) -> tuple[CyclePanel, ...]:
    """One panel for each measure; none where there was no cycle."""
    checkpoints = steps(cycles)
    panels = (_panel(name, at, checkpoints, _limit(cycles, name)) for at, name in enumerate(SHOWN))
    return tuple(panels) if checkpoints else ()


def _panel(name: str, at: int, steps: Sequence[CycleStep], limit: float | None) -> CyclePanel:
    left = LEFT + at * (SIDE + GAP)
    places = [left + 16 + (SIDE - 32) * i / max(1, len(steps) - 1) for i in range(len(steps))]
    selecting = _spans(places, [step.candidate.measures for step in steps], name)
    training = _spans(places, [step.candidate.training for step in steps], name)
    return CyclePanel(
        name=name,
        left=left,
        selecting=_dots(selecting),
        training=_dots(training),
        band="" if limit is None else _band(selecting, limit),
        limit=limit,
        across=tuple(Tick(round(x, 1), str(i), round(x, 1)) for i, x in enumerate(places)),
        up=tuple(Tick(_up(t), f"{t:.1f}", _up(t)) for t in (0.0, 0.5, 1.0)),
    )


def _spans(places: Sequence[float], measures: Sequence[Sequence[Measure]], name: str) -> list[Span]:
    return [
        (x, MeasureSpan.from_measure(find_measure(of_step, name))) for x, of_step in zip(places, measures, strict=True)
    ]


def _dots(places: Sequence[Span]) -> tuple[Dot, ...]:
    return tuple(Dot(round(x, 1), _up(s.value), _up(s.high), _up(s.low)) for x, s in places if s)


def _band(places: Sequence[Span], limit: float) -> str:
    known = [(x, s.value) for x, s in places if s]
    above = [(x, min(1.0, value + limit)) for x, value in known]
    below = [(x, max(0.0, value - limit)) for x, value in reversed(known)]
    return " ".join(f"{x:.1f},{_up(value)}" for x, value in above + below)


def _limit(cycles: Sequence[CycleReport], name: str) -> float | None:
    """The limit on the difference between the judges, from the gate that compares them."""
    gaps = (gate.constraint for cycle in cycles for gate in cycle.gates if gate.kind is GateKind.JUDGE_GAP)
    return next((limit.limit for limit in gaps if limit is not None and limit.measure == judge_gap(name)), None)


def _up(share: float) -> float:
    return round(TOP + HEIGHT * (1 - share), 1)
