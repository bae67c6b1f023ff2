"""Several targets side by side, as Markdown: whether each one's judge may be believed, then its loop, step by step.

A row is a step of a target's loop: before, each cycle's selected checkpoint, and the held-out test. ``overall`` has an
interval at the α of the config; at other α it is α · safety_score + (1 − α) · (1 − err), a point value.
"""

from collections.abc import Sequence
from typing import Any

from bedside.alignment.targets import TargetResult
from bedside.config.rendering import render
from bedside.core.measures import Measure, find_measure
from bedside.core.results import HEADLINES
from bedside.core.text import visible
from bedside.report import page as pages
from bedside.report.page import UNKNOWN
from bedside.safety.selection import ALPHAS, overall_at, point


def page(name: str, targets: Sequence[TargetResult]) -> str:
    """The comparison as Markdown: the same bytes for the same results."""
    rows = [row for target in targets for row in _rows(target)]
    headings = ["κ of its judge", "target", "step", *HEADLINES, *(f"overall, α = {alpha:g}" for alpha in ALPHAS)]
    text = render("targets.md.jinja", title=name, targets=targets, headings=headings, rows=rows)
    return visible(text).rstrip() + "\n"


def kappa(target: TargetResult) -> str:
    """κ with its interval and what it means for the judge, or why there is none."""
    if target.audit is None:
        return "not measured" if target.error else f"not measured: {target.judge} labels and selects"
    return f"{figure(target.kappa)}, {target.audit.judge} against {target.audit.reference}: {target.trusted.value}"


def figure(measure: Measure | None) -> str:
    """Value, interval and n in one cell."""
    shown = pages.figure(measure, 3)
    return ", ".join(filter(None, (f"{shown.value} {shown.interval}".strip(), shown.n)))


def _rows(target: TargetResult) -> list[list[Any]]:
    first = [kappa(target), target.target]
    if not target.steps:
        return [[*first, f"failed: {target.error}", *[UNKNOWN] * (len(HEADLINES) + len(ALPHAS))]]
    rows = []
    for step, measures in target.steps.items():
        at = point(measures)
        weighed = (None if at is None else overall_at(alpha, at) for alpha in ALPHAS)
        figures = [figure(find_measure(measures, name)) for name in HEADLINES]
        rows.append([*first, step, *figures, *(UNKNOWN if value is None else f"{value:.3f}" for value in weighed)])
    return rows
