"""The report: one HTML file that opens on "may we ship it?", prints, and asks nothing of any network.

    write([summary], "report.html")

Here is said what stands where and in which words; ``templates/report.html`` says how it looks. Every text
passes through the template's escaping, and a content policy in the file forbids the browser every request.
A figure never stands without its n, and what was not measured is a dash, never a zero.

Section 6 of the report, knowledge against comfort: a page of its own.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from bedside.alignment.offline import candidates_of
from bedside.config.rendering import render
from bedside.core.audit_results import Audits
from bedside.core.comfort_results import ComfortSummary
from bedside.core.errors import DataError
from bedside.core.results import Baseline, Candidate, Cell, GateState, Measure, RunSummary, found
from bedside.data.io import write_text
from bedside.report import plots, trajectory
from bedside.safety import selection

HEADLINES = ("unsafe_accept@3", "err", "safety_score")
MAIN = (
    "safety_score",
    "err",
    "overall",
    "unsafe_accept@1",
    "unsafe_accept@2",
    "unsafe_accept@3",
    "f1",
    "unreadable",
)
UNSHOWN = ("precision", "recall")
"""They stand in f1."""
BY_SOURCE = ("err", "unsafe_accept@3", "safety_score")
BY_CANDIDATE = ("safety_score", "err", "overall", "unsafe_accept@3", "kl")
WORDS = {
    "safety_score": "Safety score",
    "err": "Erroneous refusals",
    "overall": "Overall",
    "unsafe_accept@1": "Mild harm, answered",
    "unsafe_accept@2": "Moderate harm, answered",
    "unsafe_accept@3": "Severe harm, answered",
    "f1": "Detection of harm, F1",
    "unreadable": "Unreadable answers",
    "kl": "KL to target, nats a token",
}
JUDGE_WORDS = {
    "kappa_stratified": "kappa within harm levels",
    "kappa": "kappa, pooled",
    "kappa_quadratic": "kappa, quadratic",
    "ac1": "AC1",
    "agreement": "Equal labels",
    "chance": "Equal labels by chance",
    "accept_sensitivity@3": "Severe requests answered: share it saw",
    "accept_specificity": "Answers that do not accept: share it saw",
    "order_flips": "Another label in another order",
    "repeat_flips": "Another label when asked again",
    "overconfidence": "Probability minus right",
    "unreadable": "Unreadable to it",
}
GATES = {
    "unreadable": "Answers no judge could read. Too many: the run stops, because every rate would be about the rest.",
    "kappa": "Agreement of the training judge with the selecting one on the same answers, beyond chance.",
    "err after training": "Refusals of harmless prompts. Too many: the run stops.",
    "judge_gap": "How far the two judges' figures are apart. Too far: an alarm; nothing stops.",
    "dpo_share": "Pairs a KTO row. Too few: DPO is skipped.",
    "displacement": "Whether DPO made the preferred answers less likely, too. If so: an alarm.",
    "plateau": "Whether cycles still gain. If not: no further cycle.",
}
"""What the gates of a cycle mean."""
LESS_IS_BETTER = ("unsafe_accept@1", "unsafe_accept@2", "unsafe_accept@3", "err", "unreadable", "kl")
HARM = {None: "not labelled", 0: "harmless", 1: "mild", 2: "moderate", 3: "severe"}
UNKNOWN = "—"
NO_BREAK = "\N{NO-BREAK SPACE}"
WORST, WORST_ROWS = 5, 5
"""How many corners are named as the worst, and the fewest answers one must have."""
CONSTANTS = ("always-accept", "always-caution", "always-refuse")

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters HTML or UTF-8 cannot hold, and those that would turn round the reading order of what follows."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A measure in print."""

    value: str
    interval: str
    n: str


@dataclass(frozen=True, slots=True)
class Page:
    """One run of the report: its summary, and what has to be worked out before it can be shown."""

    key: str
    """Begins every anchor, so that several runs can share a file."""
    run: RunSummary
    columns: Mapping[str, tuple[Measure, ...]]
    """Heading to measures, on the sealed test: before, after, and the policies nobody should lose to."""
    main: tuple[str, ...]
    """Measures of the table: ours, then those of other metrics."""
    states: Mapping[GateState, int]
    levels: tuple[str, ...]
    """Harm levels that some part has."""
    alpha: float | None
    plane: plots.Plane
    undrawn: tuple[str, ...]
    """Policies without a place on the plane, because nothing was measured for one of its axes."""
    strip: plots.Strip
    winners: Mapping[float, str]
    steps: tuple[trajectory.Step, ...]
    panels: tuple[trajectory.Panel, ...]
    grids: tuple["Grid", ...]
    unsaid: tuple[str, ...]
    """What no cell is told by, because no prompt says it."""
    worst: tuple[Cell, ...]
    """Corners where the fewest answers were right, of those with enough rows to say so."""
    judges: Audits | None = None
    """What `bedside audit` found; None where it did not run."""


@dataclass(frozen=True, slots=True)
class Grid:
    """How often it was right, a row a harm level, a column a style or a principle."""

    by: str
    columns: tuple[str, ...]
    rows: Mapping[int, Mapping[str, Measure]]


def write(summaries: Sequence[RunSummary], path: Path, judges: Sequence[Audits | None] = ()) -> Path:
    """The report of these runs, whole or not at all. DataError where there is none.

    ``judges``: what `bedside audit` found for each of them, where it ran.
    """
    if not summaries:
        raise DataError(f"{path}: there is no run to report; run `bedside align` first")
    write_text(path, html(summaries, judges))
    return path


def html(summaries: Sequence[RunSummary], judges: Sequence[Audits | None] = ()) -> str:
    """The whole file as text."""
    text = render(
        "report.html",
        pages=[
            replace(_page(f"run-{number}", run), judges=audits)
            for number, (run, audits) in enumerate(zip_longest(summaries, judges[: len(summaries)]), start=1)
        ],
        judge_words=JUDGE_WORDS,
        advice=selection.ADVICE,
        figure=figure,
        of=found,
        words=WORDS,
        less_is_better=LESS_IS_BETTER,
        harm_words=HARM,
        headlines=HEADLINES,
        by_source=BY_SOURCE,
        by_candidate=BY_CANDIDATE,
        gate_words=GATES,
        worst_rows=WORST_ROWS,
    )
    return _UNSEEN.sub("\ufffd", text)


def figure(measure: Measure | None, digits: int = 2) -> Figure:
    """``measure`` in print; a difference, which has no interval of its own, shows its decision bounds."""
    if measure is None:
        return Figure(UNKNOWN, "", "not measured")
    unread = f", {measure.unreadable}{NO_BREAK}unreadable" if measure.unreadable else ""
    n = f"n = {measure.counted.replace(' groups', NO_BREAK + 'groups')}{unread}"
    if measure.value is None:
        return Figure(UNKNOWN, "", n)
    return Figure(_number(measure.value, digits), _interval(measure, digits), n)


def _interval(measure: Measure, digits: int) -> str:
    said, low, high = "", measure.low, measure.high
    if low is None or high is None:
        said, low, high = "bounds ", measure.worst_low, measure.worst_high
    if low is None or high is None:
        return "no interval"
    return f"{said}[{_number(low, digits)}, {_number(high, digits)}]"


def _number(value: float, digits: int) -> str:
    """With a true minus, and never minus zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def _page(key: str, run: RunSummary) -> Page:
    alpha, candidates = _alpha(run.facts), candidates_of(run)
    points, undrawn = _points(run, candidates)
    grids = {by: _grid(by, run.cells) for by in ("style", "principle")}
    return Page(
        key=key,
        run=run,
        columns=_columns(run),
        main=(*MAIN, *(m.name for m in run.after if m.name not in (*MAIN, *UNSHOWN))),
        states=Counter(gate.state for gate in run.gates),
        levels=tuple(sorted({level for levels in run.mix.values() for level in levels})),
        alpha=alpha,
        plane=plots.plane(points, alpha),
        undrawn=tuple(undrawn),
        strip=plots.strip(selection.flip_points(selection.lines(candidates)), alpha),
        winners=selection.sweep(candidates),
        steps=tuple(trajectory.steps(run.cycles)),
        panels=trajectory.panels(run.cycles),
        grids=tuple(grid for grid in grids.values() if grid.columns),
        unsaid=tuple(by for by, grid in grids.items() if not grid.columns),
        worst=_worst(run.cells),
    )


def _grid(by: str, cells: Sequence[Cell]) -> Grid:
    named = [(str(name), cell) for cell in cells if (name := getattr(cell, by)) is not None]
    rows: dict[int, dict[str, Measure]] = {}
    for name, cell in named:
        rows.setdefault(cell.harm, {})[name] = cell.right
    return Grid(by, tuple(sorted({name for name, _ in named})), dict(sorted(rows.items())))


def _worst(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    known = [cell for cell in cells if cell.right.n >= WORST_ROWS and cell.right.value not in (None, 1.0)]
    return tuple(sorted(known, key=lambda cell: cell.right.value or 0.0)[:WORST])


def _columns(run: RunSummary) -> dict[str, tuple[Measure, ...]]:
    beside = {baseline.name: baseline.measures for baseline in run.baselines}
    return {"Before: target as given": run.before, f"After: {run.carried}": run.after, **beside}


def _alpha(facts: Mapping[str, str]) -> float | None:
    """The weight of safety in ``overall``, where the run tells it."""
    return float(facts["alpha"]) if "alpha" in facts else None


def _points(run: RunSummary, candidates: Sequence[Candidate]) -> tuple[list[plots.Point], list[str]]:
    """Everybody with a place on the plane, and the names of those without."""
    policies: list[Candidate | Baseline] = [*candidates, *run.baselines]
    points = {policy.name: _point(policy, run.carried) for policy in policies}
    return [p for p in points.values() if p], [name for name, p in points.items() if p is None]


def _point(policy: Candidate | Baseline, carried: str) -> plots.Point | None:
    err = plots.Span.of(found(policy.measures, "err"))
    safety = plots.Span.of(found(policy.measures, "safety_score"))
    if err is None or safety is None:
        return None
    if isinstance(policy, Candidate):
        return plots.Point(policy.name, "candidate", err, safety, policy.feasible, policy.name == carried)
    return plots.Point(policy.name, "constant" if policy.name in CONSTANTS else "beside", err, safety)


COMFORT_ROWS = {
    "comfort": ("comfort", "primary_comfort", "empathetic", "comforting", "reassuring", "facts_told", "facts_wrong",
                "false_reassurance", "under_triage", "over_triage", "openers", "words"),
    "soothing": ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "chrf", "rouge_l", "fact_recall", "fact_conflict"),
    "original": ("bleu_1", "bleu_4", "chrf", "rouge_l", "fact_recall", "fact_conflict"),
}  # fmt: skip


def write_comfort(told: ComfortSummary, to: Path) -> Path:
    """One HTML file: no script, no request, every text escaped."""
    write_text(to, render("comfort_page.html", comfort=comfort_section(told)))
    return to


def comfort_section(told: ComfortSummary) -> dict[str, object]:
    """What ``report_comfort.html`` shows."""
    return {"told": told, "rows": COMFORT_ROWS, "plane": _plane(told), "figure": comfort_figure}


def comfort_figure(measure: Measure) -> str:
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
