"""Section 6 of the report, knowledge against comfort: a page of its own."""

from pathlib import Path

from bedside.core.comforts import ComfortSummary
from bedside.core.reports import Measure
from bedside.faces import plots
from bedside.kernel.tables import write_text
from bedside.kernel.templates import render

ROWS = {
    "comfort": ("comfort", "primary_comfort", "empathetic", "comforting", "reassuring", "facts_told", "facts_wrong",
                "false_reassurance", "under_triage", "over_triage", "openers", "words"),
    "soothing": ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "chrf", "rouge_l", "fact_recall", "fact_conflict"),
    "original": ("bleu_1", "bleu_4", "chrf", "rouge_l", "fact_recall", "fact_conflict"),
}  # fmt: skip


def write(told: ComfortSummary, to: Path) -> Path:
    """One HTML file: no script, no request, every text escaped."""
    write_text(to, render("comfort_page.html", comfort=view(told)))
    return to


def view(told: ComfortSummary) -> dict[str, object]:
    """What ``report_comfort.html`` shows."""
    return {"told": told, "rows": ROWS, "plane": _plane(told), "figure": figure}


def figure(measure: Measure) -> str:
    """``0.84 [0.81, 0.87] n = 300``; a dash where nothing was measured."""
    if measure.value is None:
        return f"— (n = 0, {measure.unreadable} unreadable)"
    digits = 1 if measure.name == "words" else 3
    interval = (
        "" if measure.low is None or measure.high is None else f" [{measure.low:.{digits}f}, {measure.high:.{digits}f}]"
    )
    return f"{measure.value:.{digits}f}{interval} n = {measure.n}"


def _plane(told: ComfortSummary) -> plots.Plane:
    """Knowledge (BLEU-1 against the soothing answer) to the right, primary comfort upwards, with whiskers."""
    spans = [
        (a.name, plots.Span.of(a.measure("bleu_1")), plots.Span.of(a.measure("primary_comfort"))) for a in told.arms
    ]
    return plots.plane([plots.Point(name, "candidate", x, y) for name, x, y in spans if x and y], None)
