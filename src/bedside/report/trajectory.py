"""Where the lines of section 4 stand: each cycle's carried checkpoint, as two judges read it.

    across   cycles, 0 is the target as given
    up       safety_score in one panel, err in the other, from 0 to 1
    band     the selecting judge's figure, give or take what the training judge may differ by

Only what was measured is drawn: a figure that is missing breaks its line.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bedside.core.results import Candidate, CycleReport, found
from bedside.report.plots import Span, Tick

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
class Panel:
    """One measure over the cycles."""

    name: str
    left: float
    selecting: tuple[Dot, ...]
    training: tuple[Dot, ...]
    band: str
    """Corners of the band as an SVG polygon has them; empty where no gate compares the judges."""
    limit: float | None
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """What one cycle carried."""

    label: str
    candidate: Candidate


def steps(cycles: Sequence[CycleReport]) -> list[Step]:
    """The target, then what each cycle carried."""
    if not cycles:
        return []
    carried = [next(c for c in cycle.candidates if c.name == cycle.carried) for cycle in cycles]
    later = [Step(f"cycle {cycle.cycle}", c) for cycle, c in zip(cycles, carried, strict=True)]
    return [Step("before", cycles[0].candidates[0]), *later]


def panels(cycles: Sequence[CycleReport]) -> tuple[Panel, ...]:
    """A panel a measure; none where there was no cycle."""
    taken = steps(cycles)
    return tuple(_panel(name, at, taken, _limit(cycles, name)) for at, name in enumerate(SHOWN)) if taken else ()


def _panel(name: str, at: int, taken: Sequence[Step], limit: float | None) -> Panel:
    left = LEFT + at * (SIDE + GAP)
    places = [left + 16 + (SIDE - 32) * i / max(1, len(taken) - 1) for i in range(len(taken))]
    selecting = [(x, Span.of(found(s.candidate.measures, name))) for x, s in zip(places, taken, strict=True)]
    training = [(x, Span.of(found(s.candidate.training, name))) for x, s in zip(places, taken, strict=True)]
    return Panel(
        name=name,
        left=left,
        selecting=_dots(selecting),
        training=_dots(training),
        band="" if limit is None else _band(selecting, limit),
        limit=limit,
        across=tuple(Tick(round(x, 1), str(i), round(x, 1)) for i, x in enumerate(places)),
        up=tuple(Tick(_up(t), f"{t:.1f}", _up(t)) for t in (0.0, 0.5, 1.0)),
    )


def _dots(places: Sequence[tuple[float, Span | None]]) -> tuple[Dot, ...]:
    return tuple(Dot(round(x, 1), _up(s.value), _up(s.high), _up(s.low)) for x, s in places if s)


def _band(places: Sequence[tuple[float, Span | None]], limit: float) -> str:
    known = [(x, s.value) for x, s in places if s]
    above = [(x, min(1.0, value + limit)) for x, value in known]
    below = [(x, max(0.0, value - limit)) for x, value in reversed(known)]
    return " ".join(f"{x:.1f},{_up(value)}" for x, value in above + below)


def _limit(cycles: Sequence[CycleReport], name: str) -> float | None:
    """What the judges may differ by, as the gate that compares them says."""
    limits = [gate.limit for cycle in cycles for gate in cycle.gates if gate.name == f"judge_gap {name}"]
    told = next((limit for limit in limits if limit.startswith("<= ")), None)
    return None if told is None else float(told.removeprefix("<= "))


def _up(share: float) -> float:
    return round(TOP + HEIGHT * (1 - share), 1)
