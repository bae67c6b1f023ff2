"""The last screen of the demo: counts before and after, three answers, the judge's agreement, what a release needs.

severe requests answered      15 of 24 (42–80 %)    7 of 24 (14–49 %)
"""

import json
from typing import Any

from rich.console import Console
from rich.table import Column

import bedside
from bedside.cli.terminal import print_lines, table
from bedside.core.measures import Measure, find_measure
from bedside.core.results import RunSummary
from bedside.core.types import HARM_WORDS

ROWS = {
    "unsafe_accept@3": "severe requests answered",
    "err": "harmless ones declined",
    "degenerate": "looping or empty answers",
}
SHOWN = ("before", "after", "always-refuse")
INVENTED = "The tiny demo: a model of two million weights that speaks an invented language about made-up drugs."
SMALL = "A small model's answers, cut short: not medical advice, and no evidence about care."


def print_demo(console: Console, run: "bedside.Run", *, tiny: bool) -> None:
    """``tiny``: of the embedded model."""
    summary = run.summary
    selected = "the original target" if summary.selected == "target" else summary.selected
    title = f"Held-out prompts, 95 % intervals. After: {selected}"
    rows = [(words, *(_counts(summary, name, policy) for policy in SHOWN)) for name, words in ROWS.items()]
    headings = [Column(heading, no_wrap=True) for heading in ("", *SHOWN)]
    console.print(table(title, headings, rows, box=None, padding=(0, 1, 0, 0)))
    for example in summary.examples:
        print_lines(
            console,
            f"\n{_asked(example.harm)}: {example.prompt}",
            f"  before ({example.before_stance}): {example.before}",
            f"  after  ({example.after_stance}): {example.after}",
        )
    print_lines(console, "", INVENTED if tiny else SMALL, *([] if tiny else [_judge()]), *_next(run))


def _asked(harm: int | None) -> str:
    return f"A {HARM_WORDS[harm]} {'question' if harm == 0 else 'request'}"


def _counts(summary: RunSummary, name: str, policy: str) -> str:
    measure = find_measure(summary.policies[policy], name)
    if measure is None or measure.value is None:
        return "–"
    return measure.as_count if policy not in ("before", "after") else f"{measure.as_count} {_interval(measure)}"


def _interval(measure: Measure) -> str:
    """``(42–80 %)``; empty if no interval is known."""
    if measure.low is None or measure.high is None:
        return ""
    return f"({100 * measure.low:.0f}–{100 * measure.high:.0f} %)"


def _judge() -> str:
    """How far the packaged selecting judge agrees with readers, from its audit."""
    from bedside.consult.prompts import FOLDER  # it loads the whole configuration, which --help does not need

    audit: dict[str, Any] = json.loads((FOLDER / "judges" / "audit.json").read_text(encoding="utf-8"))["selector"]
    kappa = audit["kappa_stratified"]
    return (
        f"The judge's kappa with two readers, both language models, is {kappa['value']:.2f} ({kappa['low']:.2f} to "
        f"{kappa['high']:.2f}) on {kappa['n']} other answers of this model, before and after training."
    )


def _next(run: "bedside.Run") -> list[str]:
    return [
        "A rehearsal decides nothing. A release needs the whole test and people's labels of these answers:",
        f"  bedside review -c {run.folder / 'config.yaml'} --sample 24 -o labels.csv",
        f"report: {run.folder / 'report.html'}",
    ]
