"""Coordinates of the training curves in section 4: a row of panels for each training of a cycle.

    across   the steps of the training, first to last
    up       from the least to the greatest value of the panel's lines

A line is broken where no step logged the value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from bedside.core.results import TrainingCurve

PANELS = {
    "loss": ("loss",),
    "reward, nats × β": ("rewards/chosen", "rewards/rejected"),
    "KL and z, nats": ("kl", "z"),
    "gradient norm": ("grad_norm",),
}
"""Heading to what is drawn: the second line of a panel is dashed."""
TABLE = ("loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "kl", "z", "grad_norm", "tokens")
LEFT, TOP, SIDE, HEIGHT, GAP = 4, 22, 120, 70, 14


@dataclass(frozen=True, slots=True)
class CurvePanel:
    """One plot, in user units."""

    name: str
    left: float
    lines: tuple[tuple[str, ...], ...]
    """For each value its unbroken pieces, as the points of SVG polylines."""
    least: float
    greatest: float


@dataclass(frozen=True, slots=True)
class CurveFigure:
    """The panels of one training, and its first and last values."""

    name: str
    steps: int
    panels: tuple[CurvePanel, ...]
    rows: tuple[tuple[str, float | None, float | None], ...]
    """Logged name, mean of the first part of the steps, mean of the last."""


def figure(curve: TrainingCurve) -> CurveFigure:
    """The panels that have something to show."""
    shown = [(name, [curve.values[key] for key in keys if key in curve.values]) for name, keys in PANELS.items()]
    drawn = [(name, lines) for name, lines in shown if any(value is not None for line in lines for value in line)]
    return CurveFigure(
        name=curve.name,
        steps=curve.steps,
        panels=tuple(_panel(name, LEFT + at * (SIDE + GAP), lines) for at, (name, lines) in enumerate(drawn)),
        rows=tuple((key, values[0], values[-1]) for key in TABLE if (values := curve.values.get(key))),
    )


def _panel(name: str, left: float, lines: Sequence[Sequence[float | None]]) -> CurvePanel:
    known = [value for line in lines for value in line if value is not None]
    least, greatest = min(known), max(known)
    span = greatest - least

    def point(at: int, value: float, of: int) -> str:
        height = (greatest - value) / span if span else 0.5
        return f"{left + SIDE * at / max(1, of - 1):.1f},{TOP + HEIGHT * height:.1f}"

    def pieces(line: Sequence[float | None]) -> tuple[str, ...]:
        runs = groupby(enumerate(line), key=lambda item: item[1] is not None)
        return tuple(
            " ".join(point(i, v, len(line)) for i, v in run if v is not None) for is_known, run in runs if is_known
        )

    return CurvePanel(name, left, tuple(pieces(line) for line in lines), least, greatest)
