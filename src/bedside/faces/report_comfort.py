"""Section 6 of the report, knowledge against comfort: as a page of its own, and as a part of the whole report."""

from pathlib import Path

from bedside.core.comforts import ComfortSummary
from bedside.core.reports import Measure
from bedside.faces import plots
from bedside.kernel.tables import write_text
from bedside.kernel.templates import render

ROWS = {
    "comfort": ("comfort", "primary_comfort", "empathetic", "comforting", "reassuring", "facts_told", "facts_wrong",
                "false_reassurance", "under_triage", "openers", "words"),
    "soothing": ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "chrf", "rouge_l", "fact_recall", "fact_conflict"),
    "original": ("bleu_1", "bleu_4", "chrf", "rouge_l", "fact_recall", "fact_conflict"),
}  # fmt: skip


def write(told: ComfortSummary, to: Path) -> Path:
    """One HTML file: no script, no request, every text escaped."""
    write_text(to, render("comfort_page.html", comfort=view(told)))
    return to


def view(told: ComfortSummary) -> dict[str, object]:
    """What ``report_comfort.html`` shows."""
    return {"told": told, "rows": ROWS, "spots": _spots(told), "figure": figure, "plane": plots}


def figure(measure: Measure) -> str:
    """``0.84 [0.81, 0.87] n = 300``; a dash where nothing was measured."""
    if measure.value is None:
        return f"— (n = 0, {measure.unreadable} unreadable)"
    digits = 1 if measure.name == "words" else 3
    interval = (
        "" if measure.low is None or measure.high is None else f" [{measure.low:.{digits}f}, {measure.high:.{digits}f}]"
    )
    return f"{measure.value:.{digits}f}{interval} n = {measure.n}"


def _spots(told: ComfortSummary) -> list[dict[str, object]]:
    """Knowledge (BLEU-1 against the soothing answer) to the right, primary comfort upwards, with whiskers."""
    spots = []
    for arm in told.arms:
        across, up = plots.Span.of(arm.measure("bleu_1")), plots.Span.of(arm.measure("primary_comfort"))
        if across is not None and up is not None:
            spots.append({"name": arm.name, **_place(across, up)})
    heights = plots.spread(
        [float(str(s["y"])) for s in sorted(spots, key=lambda s: float(str(s["y"])))],
        gap=plots.LABEL_GAP, low=plots.TOP + 8, high=plots.TOP + plots.SIDE,
    )  # fmt: skip
    for spot, height in zip(sorted(spots, key=lambda s: float(str(s["y"]))), heights, strict=True):
        spot["label_y"] = height
    return spots


def _place(across: plots.Span, up: plots.Span) -> dict[str, float]:
    def x(value: float) -> float:
        return round(plots.LEFT + plots.SIDE * value, 1)

    def y(value: float) -> float:
        return round(plots.TOP + plots.SIDE * (1 - value), 1)

    return {"x": x(across.value), "left": x(across.low), "right": x(across.high),
            "y": y(up.value), "top": y(up.high), "bottom": y(up.low)}  # fmt: skip
