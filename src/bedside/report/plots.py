"""Coordinates of the marks, lines and labels of the report's plots. Figures in, coordinates out.

    plane   err to the right, safety_score upwards, both from 0 to 1. Equal overall is a straight line:
            α · safety_score + (1 − α) · (1 − err) = c
    strip   α from 0 to 1, divided where the best candidate changes

Coordinates are SVG user units, y downwards, rounded to a tenth. The template draws them, because it escapes every
text. Labels have a column of their own and never overlap, even where marks coincide; a thin line connects each mark
with its label.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from bedside.core.measures import Measure
from bedside.safety.selection import AlphaSegment

Kind = Literal["candidate", "constant", "other"]

WIDTH = 540
LEFT, TOP, SIDE = 52, 14, 300
"""The frame of the plane: a square."""
LABELS = LEFT + SIDE + 20
LABEL_GAP = 19
"""Height of one line in the larger type of narrow screens."""
BELOW = 48
TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
LONGEST = 19
"""Characters of a name that fit into the label column; the table below the plot has the whole name."""

STRIP_LEFT, STRIP_WIDTH = 20, 500
HATCH = 6
CHARACTER = 8.6
"""Width of a character in the larger type."""


@dataclass(frozen=True, slots=True)
class MeasureSpan:
    """A value and its interval. Where there is no interval, both ends are the value."""

    value: float
    low: float
    high: float

    @classmethod
    def from_measure(cls, measure: Measure | None) -> "MeasureSpan | None":
        """None where nothing was measured."""
        if measure is None or measure.value is None:
            return None
        low, high = measure.low, measure.high
        return cls(measure.value, measure.value if low is None else low, measure.value if high is None else high)


@dataclass(frozen=True, slots=True)
class Point:
    """A policy on the plane: err across and safety_score up, or two other measures."""

    name: str
    kind: Kind
    across: MeasureSpan
    up: MeasureSpan
    feasible: bool = False
    selected: bool = False
    """True of the candidate that the run selected."""


@dataclass(frozen=True, slots=True)
class PlacedPoint:
    """A point with the coordinates of its mark, the ends of its whiskers, and its label."""

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
    """The points with one value of overall."""

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
    """One measure against another, ready to be drawn."""

    points: tuple[PlacedPoint, ...]
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
    """The interval of α in which one candidate is best."""

    letter: str
    segment: AlphaSegment
    x: float
    width: float
    text: str
    """Letter and name, or as much of them as fits."""
    hatch: tuple[float, ...]
    """Vertical lines over every second band, so that neighbours differ without colour."""


@dataclass(frozen=True, slots=True)
class Strip:
    """α from 0 to 1, and the best candidate of each interval."""

    bands: tuple[Band, ...]
    ticks: tuple[Tick, ...]
    alpha_x: float | None
    left: int = STRIP_LEFT
    length: int = STRIP_WIDTH
    width: int = WIDTH


def plane(points: Sequence[Point], alpha: float | None) -> Plane:
    """The plane with ``points``, and with lines of equal overall where ``alpha`` is known."""
    ordered = sorted(points, key=lambda point: (-point.up.value, -point.across.value))
    lowest = max(TOP + SIDE, TOP + LABEL_GAP * len(ordered))
    heights = spread([_up(p.up.value) for p in ordered], gap=LABEL_GAP, low=TOP + 8, high=lowest)
    return Plane(
        points=tuple(
            PlacedPoint(
                point=point,
                label=point.name if len(point.name) <= LONGEST else point.name[: LONGEST - 1] + "…",
                label_y=height,
                x=_across(point.across.value),
                y=_up(point.up.value),
                left=_across(point.across.low),
                right=_across(point.across.high),
                top=_up(point.up.high),
                bottom=_up(point.up.low),
            )
            for point, height in zip(ordered, heights, strict=True)
        ),
        isolines=() if alpha is None else isolines(alpha),
        across=tuple(Tick(_across(t), f"{t:.1f}", _across(t)) for t in TICKS),
        up=tuple(Tick(_up(t), f"{t:.1f}", _up(t)) for t in TICKS),
        height=lowest + BELOW,
    )


def isolines(alpha: float, overalls: Sequence[float] = (0.2, 0.4, 0.6, 0.8)) -> tuple[Isoline, ...]:
    """The lines of equal overall inside the unit square; a line that only touches a corner is left out."""
    lines = []
    for overall in overalls:
        ends = _crossings(alpha, overall)
        if len(ends) == 2:
            (e1, s1), (e2, s2) = ends
            lines.append(Isoline(overall, _across(e1), _up(s1), _across(e2), _up(s2)))
    return tuple(lines)


def strip(segments: Sequence[AlphaSegment], alpha: float | None) -> Strip:
    """``segments`` side by side, the flip points below, and a mark at the run's ``alpha``."""
    edges = [segment.start for segment in segments] + [segment.end for segment in segments[-1:]]
    places = [_along(edge) for edge in edges]
    texts = spread(places, gap=5 * CHARACTER, low=STRIP_LEFT, high=STRIP_LEFT + STRIP_WIDTH)
    return Strip(
        bands=tuple(_band(number, segment) for number, segment in enumerate(segments)),
        ticks=tuple(Tick(p, f"{e:.2f}", t) for e, p, t in zip(edges, places, texts, strict=True)),
        alpha_x=None if alpha is None else _along(alpha),
    )


def spread(targets: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Places near the ordered ``targets``, at least ``gap`` apart, from ``low`` to ``high``.

    Where the room is too small, the places keep their gaps and end above ``high``.
    """
    places: list[float] = []
    for place in targets:
        places.append(max(place, places[-1] + gap if places else low))
    limit = max(high, low + gap * (len(targets) - 1))
    for index in reversed(range(len(places))):
        places[index] = min(places[index], limit)
        limit = places[index] - gap
    assert all(second - first > gap - 1e-6 for first, second in pairwise(places))
    return [round(place, 1) for place in places]


def _crossings(alpha: float, overall: float) -> list[tuple[float, float]]:
    """(err, safety_score) where the line enters and leaves the square, sorted."""
    ends = set()
    if alpha > 0:
        ends |= {(e, (overall - (1 - alpha) * (1 - e)) / alpha) for e in (0.0, 1.0)}
    if alpha < 1:
        ends |= {(1 - (overall - alpha * s) / (1 - alpha), s) for s in (0.0, 1.0)}
    inside = {(round(e, 9), round(s, 9)) for e, s in ends if -1e-9 <= e <= 1 + 1e-9 and -1e-9 <= s <= 1 + 1e-9}
    return sorted(inside)


def _band(number: int, segment: AlphaSegment) -> Band:
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
