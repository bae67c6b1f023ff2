"""`bedside view`: the rows of a run's held-out test in a browser. It changes none of them.

/             harm × stance, filters, search, failures first; the whole state is in the address
/row/17       one row in full, with its neighbours in the same filter
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from bedside.alignment import held_out_answers
from bedside.core.audit_results import Audit
from bedside.core.measures import FAILURES_AT, Measure, find_measure
from bedside.core.protocols import Progress
from bedside.core.results import RunSummary
from bedside.core.types import HARM_WORDS, STANCES, UNREADABLE, Verdict
from bedside.judge_audit.correct import read_report
from bedside.report.page import render_page
from bedside.run import summary_file
from bedside.web import kept_index, static
from bedside.web.entrance import Entrance
from bedside.web.row_filter import AFTER, BEFORE, RowFilter
from bedside.web.row_index import RowIndex, level, stance

FLAGS = {
    "changed": "stance changed",
    "failed": "failed",
    "unreadable": "unreadable",
    "degenerate": "loops, nothing, another script",
}
LEAD = (
    ("Severe requests that were answered", "unsafe_accept@3", "/?level=3&stance=accept"),
    ("Harmless questions that were not answered", "err", "/?level=0&failed=1"),
    ("Answers that stop at the limit of tokens", "truncated", ""),
)
"""What stands first: words, measure, and where its rows are."""
WORTH = {
    "accept_sensitivity": "of the answers that accept, by {}, it finds",
    "accept_specificity": "of those that do not accept it leaves alone",
}
"""Measure of an audit to what the page says of it."""
LEVEL_WORDS = {level: f"{level}, {words}" for level, words in HARM_WORDS.items() if level is not None}
"""Harm level to what a page calls it."""


@dataclass(frozen=True)
class RunView:
    """A finished run, with its rows indexed."""

    run: RunSummary
    names: Mapping[str, str]
    """``before`` and ``after`` to the name of the candidate."""
    index: RowIndex
    audits: tuple[Audit, ...] = ()
    """What `bedside audit` found about the judge of these rows."""

    @property
    def values(self) -> dict[str, object]:
        """What every page of this run shows."""
        return {
            "run": self.run,
            "lead": {
                words: (find_measure(self.run.before, name), find_measure(self.run.after, name), address)
                for words, name, address in LEAD
            },
            "names": self.names,
            "stances": (*STANCES, UNREADABLE),
            "level_words": {str(number): words for number, words in LEVEL_WORDS.items()} | {"none": "not labelled"},
            "flags": FLAGS,
            "level_of": level,
            "stance_of": stance,
            "reason_of": reason,
            "close_call": close_call,
            "worth": [_worth(audit) for audit in self.audits],
        }


def open_run(folder: Path, progress: Progress) -> RunView:
    """The rows of the finished run in ``folder``. DataError where there is none, or its store was emptied."""
    run = summary_file.read(folder)
    before, after = held_out_answers.compared(run)
    index = kept_index.open_index(folder, run, progress)
    return RunView(run, {BEFORE: before.name, AFTER: after.name}, index, _audits(folder, index))


def _audits(folder: Path, index: RowIndex) -> tuple[Audit, ...]:
    """Those of the judge that read the rows, in the file of `bedside audit`."""
    audited = read_report(folder)
    judge = index.row(1).after.verdict.judge if len(index) else ""
    return tuple(audit for audit in audited.audits if audit.name == judge) if audited else ()


def _worth(audit: Audit) -> dict[str, Measure]:
    """Words to measure."""
    found = {words.format(audit.reference): find_measure(audit.measures, name) for name, words in WORTH.items()}
    return {words: measure for words, measure in found.items() if measure and measure.n}


def reason(verdict: Verdict) -> str:
    """Why the verdict is what it is, as far as its judge says."""
    shares = ", ".join(f"{name} {share:.2f}" for name, share in verdict.probabilities.items())
    votes = ", ".join(f"{rater}: {vote}" for rater, vote in verdict.votes.items())
    scores = ", ".join(f"{name} {score:.2f}" for name, score in verdict.scores.items())
    reasons = {"": verdict.unreadable, "probability ": shares, "votes ": votes, "scores ": scores}
    return "; ".join(f"{words}{value}" for words, value in reasons.items() if value) or "the judge gives no reason"


def close_call(verdict: Verdict) -> bool:
    """Whether the judge gives its own verdict a probability under 0.6."""
    return 0 < max(verdict.probabilities.values(), default=0.0) < 0.6


def application(view: RunView, key: str | None = None) -> ASGIApp:
    """The pages of one run. ``key``: what a reader types first; None where only this machine reaches the pages."""

    async def page(request: Request) -> HTMLResponse:
        chosen = RowFilter.read(request.query_params)
        shown = {"filter": chosen, "page": view.index.page(chosen), "matrix": view.index.matrix(chosen)}
        lists = {name: view.index.values(name) for name in ("level", "style", "principle")}
        failing = _failing(view.run, chosen)
        return HTMLResponse(render_page("view_rows.html", **view.values, **shown, lists=lists, failing=failing))

    async def row(request: Request) -> HTMLResponse:
        chosen, number = RowFilter.read(request.query_params), request.path_params["number"]
        if not 1 <= number <= len(view.index):
            return HTMLResponse(render_page("view_missing.html", **view.values, number=number), 404)
        shown = {"row": view.index.row(number), "beside": view.index.neighbours(number, chosen)}
        return HTMLResponse(render_page("view_row.html", **view.values, filter=chosen, **shown))

    app = Starlette(routes=[Route("/", page), Route("/row/{number:int}", row), *static.ROUTES])
    return Entrance(app, key, f"Rows of run “{view.run.name}”") if key else app


def _failing(run: RunSummary, chosen: RowFilter) -> dict[str, Measure | None]:
    """Of each harm level the share of failures on all rows, with its interval, as the report has it."""
    measures = run.before if chosen.of == BEFORE else run.after
    return {str(level): find_measure(measures, name) for level, name in FAILURES_AT.items()}
