"""Where the marks, lines and labels of the report's plots stand. Figures in, coordinates out.

    plane   err to the right, safety_score upwards, both from 0 to 1. Equal overall is a straight line:
            α · safety_score + (1 − α) · (1 − err) = c
    strip   α from 0 to 1, cut where the winner flips

Coordinates are user units of an SVG with y downwards, rounded to a tenth. The template draws them, so that
every text passes through its escaping. Labels stand in a column of their own, apart from each other however
closely the marks coincide, and a thin line leads from each mark to its label.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from bedside.core.results import Measure
from bedside.safety.selection import Segment

Kind = Literal["candidate", "constant", "beside"]

WIDTH = 540
LEFT, TOP, SIDE = 52, 14, 300
"""The frame of the plane: a square."""
LABELS = LEFT + SIDE + 20
LABEL_GAP = 19
"""Room for one line of the larger type that narrow screens get."""
BELOW = 48
TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
LONGEST = 19
"""Characters of a name that fit into the column of labels; the table under the plot has the whole name."""

STRIP_LEFT, STRIP_WIDTH = 20, 500
HATCH = 6
CHARACTER = 8.6
"""Width of a character in the larger type."""


@dataclass(frozen=True, slots=True)
class Span:
    """A value and its interval; the interval of an unknown one is the value alone."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, measure: Measure | None) -> "Span | None":
        """None where nothing was measured, so nothing can be drawn."""
        if measure is None or measure.value is None:
            return None
        low, high = measure.low, measure.high
        return cls(measure.value, measure.value if low is None else low, measure.value if high is None else high)


@dataclass(frozen=True, slots=True)
class Point:
    """A policy on the plane: err across and safety_score up, or what else is set against each other."""

    name: str
    kind: Kind
    across: Span
    up: Span
    feasible: bool = False
    carried: bool = False
    """True of the one that the run ended with."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A point with its place: the mark, the ends of its whiskers, and its label."""

    point: Point
    label: str
    label_y: float
    x: float
    y: float
    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Isoline:
    """Every place on it has the same overall."""

    overall: float
    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A number on an axis."""

    at: float
    text: str
    text_at: float


@dataclass(frozen=True, slots=True)
class Plane:
    """One figure against another, ready to be drawn."""

    spots: tuple[Spot, ...]
    isolines: tuple[Isoline, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    height: float
    width: int = WIDTH
    left: int = LEFT
    top: int = TOP
    side: int = SIDE
    labels: int = LABELS


@dataclass(frozen=True, slots=True)
class Band:
    """The α for which one candidate wins."""

    letter: str
    segment: Segment
    x: float
    width: float
    text: str
    """As much of letter and name as fits."""
    hatch: tuple[float, ...]
    """Vertical lines over every second band, so that neighbours differ without colour."""


@dataclass(frozen=True, slots=True)
class Strip:
    """α from 0 to 1 and who wins where."""

    bands: tuple[Band, ...]
    ticks: tuple[Tick, ...]
    alpha_x: float | None
    left: int = STRIP_LEFT
    length: int = STRIP_WIDTH
    width: int = WIDTH


def plane(points: Sequence[Point], alpha: float | None) -> Plane:
    """The plane with ``points`` on it. Lines of equal overall need the run's ``alpha``."""
    ordered = sorted(points, key=lambda point: (-point.up.value, -point.across.value))
    lowest = max(TOP + SIDE, TOP + LABEL_GAP * len(ordered))
    heights = spread([_up(p.up.value) for p in ordered], gap=LABEL_GAP, low=TOP + 8, high=lowest)
    return Plane(
        spots=tuple(_spot(point, height) for point, height in zip(ordered, heights, strict=True)),
        isolines=() if alpha is None else isolines(alpha),
        across=tuple(Tick(_across(t), f"{t:.1f}", _across(t)) for t in TICKS),
        up=tuple(Tick(_up(t), f"{t:.1f}", _up(t)) for t in TICKS),
        height=lowest + BELOW,
    )


def isolines(alpha: float, overalls: Sequence[float] = (0.2, 0.4, 0.6, 0.8)) -> tuple[Isoline, ...]:
    """Where the lines of equal overall cross the unit square; one that only touches a corner is left out."""
    found = []
    for overall in overalls:
        ends = _crossings(alpha, overall)
        if len(ends) == 2:
            (e1, s1), (e2, s2) = ends
            found.append(Isoline(overall, _across(e1), _up(s1), _across(e2), _up(s2)))
    return tuple(found)


def strip(segments: Sequence[Segment], alpha: float | None) -> Strip:
    """``segments`` side by side, the flip points under them, and a mark at the run's ``alpha``."""
    edges = [segment.start for segment in segments] + [segment.end for segment in segments[-1:]]
    places = [_along(edge) for edge in edges]
    texts = spread(places, gap=5 * CHARACTER, low=STRIP_LEFT, high=STRIP_LEFT + STRIP_WIDTH)
    return Strip(
        bands=tuple(_band(number, segment) for number, segment in enumerate(segments)),
        ticks=tuple(Tick(p, f"{e:.2f}", t) for e, p, t in zip(edges, places, texts, strict=True)),
        alpha_x=None if alpha is None else _along(alpha),
    )


def spread(wanted: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Places near the ``wanted`` ones, which are in order, at least ``gap`` apart and from ``low`` to ``high``.

    Where there is too little room the first ones leave it at ``low`` and the gaps stay.
    """
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + gap if places else low))
    limit = max(high, low + gap * (len(wanted) - 1))
    for index in reversed(range(len(places))):
        places[index] = min(places[index], limit)
        limit = places[index] - gap
    assert all(second - first > gap - 1e-6 for first, second in pairwise(places))
    return [round(place, 1) for place in places]


def _spot(point: Point, label_y: float) -> Spot:
    name = point.name
    return Spot(
        point=point,
        label=name if len(name) <= LONGEST else name[: LONGEST - 1] + "…",
        label_y=label_y,
        x=_across(point.across.value),
        y=_up(point.up.value),
        left=_across(point.across.low),
        right=_across(point.across.high),
        top=_up(point.up.high),
        bottom=_up(point.up.low),
    )


def _crossings(alpha: float, overall: float) -> list[tuple[float, float]]:
    """(err, safety_score) where the line enters and leaves the square, by err and then by safety_score."""
    ends = set()
    if alpha > 0:
        ends |= {(e, (overall - (1 - alpha) * (1 - e)) / alpha) for e in (0.0, 1.0)}
    if alpha < 1:
        ends |= {(1 - (overall - alpha * s) / (1 - alpha), s) for s in (0.0, 1.0)}
    inside = {(round(e, 9), round(s, 9)) for e, s in ends if -1e-9 <= e <= 1 + 1e-9 and -1e-9 <= s <= 1 + 1e-9}
    return sorted(inside)


def _band(number: int, segment: Segment) -> Band:
    x, end = _along(segment.start), _along(segment.end)
    letter = chr(ord("A") + number % 26)
    texts = (f"{letter}: {segment.winner}", letter, "")
    fits = next(text for text in texts if not text or len(text) * CHARACTER < end - x - 6)
    lines = range(round(x) + HATCH, round(end), HATCH) if number % 2 else ()
    return Band(letter, segment, x, round(end - x, 1), fits, tuple(float(line) for line in lines))


def _across(err: float) -> float:
    return round(LEFT + SIDE * err, 1)


def _up(safety: float) -> float:
    return round(TOP + SIDE * (1 - safety), 1)


def _along(alpha: float) -> float:
    return round(STRIP_LEFT + STRIP_WIDTH * alpha, 1)
