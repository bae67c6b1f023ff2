"""The HTML reports: the safety report of one or more runs, and the report of a comfort run.

    write([summary], "report.html")
    write_comfort(summary, "comfort.html")

A report is one file that opens on the verdict, prints, and makes no network request: a content policy in the file
forbids them. This module prepares what the templates show; ``config/templates/report*.html`` lay it out. The template
engine escapes every text. Every figure has its n; what was not measured is a dash, never a zero.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from bedside.core.attack_results import COMPARED, AttackReport
from bedside.core.audit_results import AuditReport
from bedside.core.errors import DataError
from bedside.core.gates import GateKind, GateState
from bedside.core.measures import Measure, find_measure
from bedside.core.results import Baseline, Candidate, ComfortSummary, RunSummary, SubgroupRate
from bedside.core.types import HARM_WORDS
from bedside.data.io import write_text
from bedside.report import plots, training_curves, trajectory
from bedside.report.failures import COLUMNS, RowEvidence
from bedside.report.page import render_page
from bedside.safety import selection

MEASURES = (
    "safety_score",
    "err",
    "overall",
    "unsafe_accept@1",
    "unsafe_accept@2",
    "unsafe_accept@3",
    "f1",
    "unreadable",
)
TILES = ("unsafe_accept@3", "err", "overall")
"""The three numbers that decide; all but overall are shares of rows."""
PARTS_OF_F1 = ("precision", "recall")
"""Not shown beside f1."""
WORDS = {
    "safety_score": "Safety score",
    "err": "Erroneous refusals",
    "overall": "Overall",
    "unsafe_accept@1": "Mild harm, answered",
    "unsafe_accept@2": "Moderate harm, answered",
    "unsafe_accept@3": "Severe harm, answered",
    "f1": "Detection of harm, F1",
    "unreadable": "Unreadable answers",
    "kl": "KL to target, nats per token",
    "degenerate": "Loops, nothing, another script",
    "improbable": "Shuffled words",
    "relevance": "Fits its own question, 0.5 is chance",
    "fact_recall": "Facts of the reference given",
    "fact_conflict": "Contradicts the reference or makes facts up",
    "complied@3": "Severe harm, complied with, by labels",
    "actionable@3": "Severe harm, answered with what can be used, by labels",
    "truncated": "Cut at the limit of tokens",
}
JUDGE_WORDS = {
    "kappa_stratified": "kappa within harm levels",
    "kappa": "kappa, pooled",
    "kappa_quadratic": "kappa, quadratic",
    "kappa_any_mass": "kappa with no least label mass; decides nothing",
    "ac1": "AC1",
    "agreement": "Equal labels",
    "chance": "Equal labels by chance",
    "accept_sensitivity@3": "Answers that accept a severe request: share recognised",
    "accept_specificity": "Answers that do not accept: share recognised",
    "decline_bias": "Declines more often than the reference (below 0: less often)",
    "decline_bias@0": "The same, harmless prompts",
    "decline_bias@1": "The same, mild harm",
    "decline_bias@2": "The same, moderate harm",
    "decline_bias@3": "The same, severe harm",
    "order_flips": "Label changes with the order of the labels",
    "repeat_flips": "Label changes when judged again",
    "overconfidence": "Probability minus correct",
    "unreadable": "Unreadable for the judge",
}
SCALE_WORDS = {
    "kappa_quadratic": "kappa, quadratic",
    "kappa": "kappa",
    "ac2": "AC2, quadratic",
    "agreement": "Equal levels",
    "bias": "Bias, levels",
    "unreadable": "Unreadable",
}
GATE_WORDS = {
    GateKind.UNREADABLE: "Answers that no judge could read. Above the limit the run stops, because every rate would "
    "describe only the rest.",
    GateKind.JUDGE_AGREEMENT: "Agreement beyond chance (kappa) of the training judge with the selecting judge on the "
    "same answers.",
    GateKind.ERRONEOUS_REFUSALS: "Refusals of harmless prompts. Above the limit the run stops.",
    GateKind.JUDGE_GAP: "Difference between the figures of the two judges. Above the limit: an alarm; the run goes on.",
    GateKind.DPO_SHARE: "Preference pairs for each KTO row. Below the limit DPO is skipped.",
    GateKind.DISPLACEMENT: "Whether DPO made the preferred answers less likely, too. If so: an alarm.",
    GateKind.PLATEAU: "Whether cycles still gain. If not, no further cycle follows.",
}
"""The meaning of the gates of a cycle."""
BIAS_ROWS = {"decline_bias": "all"} | {f"decline_bias@{h}": words for h, words in HARM_WORDS.items() if h is not None}
"""Rows of the table of the judge's signed bias."""
COMFORT_ROWS = {
    "comfort": ("comfort", "primary_comfort", "empathetic", "comforting", "reassuring", "facts_told", "facts_wrong",
                "false_reassurance", "under_triage", "over_triage", "openers", "words"),
    "soothing": ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "chrf", "rouge_l", "fact_recall", "fact_conflict"),
    "original": ("bleu_1", "bleu_4", "chrf", "rouge_l", "fact_recall", "fact_conflict"),
}  # fmt: skip
"""Field of ``Arm`` to the measures of its table."""
SECTIONS = {
    "release": "May it be released?",
    "stances": "Harm × stance",
    "failures": "Failures first",
    "plane": "Safety × refusals",
    "cycles": "Cycles",
    "alpha": "Weight of safety",
    "judge": "The judge",
    "axes": "Four axes",
    "weak": "Where it fails",
    "attacks": "Under attack",
    "data": "Data flow",
    "provenance": "Provenance",
}
"""Sections of the safety report in their order. Attacks are a part of "weak"; its number is not shown."""
CONSTANT_POLICIES = ("always-accept", "always-caution", "always-refuse")
WORST_SUBGROUPS, WORST_ROWS = 5, 5
"""How many of the worst subgroups are listed, and the fewest answers a listed subgroup has."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Share of correct answers: a row for each harm level, a column for each style or principle."""

    by: str
    columns: tuple[str, ...]
    rows: Mapping[int, Mapping[str, Measure]]


@dataclass(frozen=True, slots=True)
class ReportPage:
    """One run of the safety report: its summary, and what is computed from the summary."""

    key: str
    """Prefix of every anchor, so that several runs can share a file."""
    numbers: Mapping[str, int]
    """Number of each section that is shown."""
    left_out: Mapping[str, str]
    """Why a section is not shown."""
    run: RunSummary
    audit: AuditReport | None
    """The result of `bedside audit`; None where it did not run."""
    attacks: AttackReport | None
    """The result of `bedside attack`; None where it did not run."""
    rows: RowEvidence | None
    """What stands in the rows of the held-out test; None where they are not at hand."""
    columns: Mapping[str, tuple[Measure, ...]]
    """Heading to measures on the held-out test: before, after, and the baselines."""
    measures: tuple[str, ...]
    """Rows of that table: the safety measures, then those of other metrics."""
    gate_counts: Mapping[GateState, int]
    levels: tuple[str, ...]
    """Harm levels that occur in any part."""
    alpha: float | None
    planes: Mapping[str, plots.Plane]
    """Heading to picture: candidates on valid, policies on the held-out test."""
    not_drawn: tuple[str, ...]
    """Policies that are not on the plane, because one of its axes was not measured for them."""
    strip: plots.Strip
    winners: Mapping[float, str]
    steps: tuple[trajectory.CycleStep, ...]
    panels: tuple[trajectory.CyclePanel, ...]
    curves: tuple[training_curves.CurveFigure, ...]
    grids: tuple[Grid, ...]
    missing_grids: tuple[str, ...]
    """Style or principle, where no test prompt has one."""
    worst_subgroups: tuple[SubgroupRate, ...]


def write(
    summaries: Sequence[RunSummary],
    path: Path,
    audits: Sequence[AuditReport | None] = (),
    attacks: Sequence[AttackReport | None] = (),
    rows: Sequence[RowEvidence | None] = (),
) -> Path:
    """Write the safety report of these runs; the file is whole or absent. DataError where there is no run.

    ``audits``, ``attacks``: for each run the result of `bedside audit` and of `bedside attack`, None where it did not
    run. ``rows``: what its rows hold, None where they are not at hand.
    """
    if not summaries:
        raise DataError(f"{path}: there is no run to report; run `bedside align` first")
    write_text(path, html(summaries, audits, attacks, rows))
    return path


def write_comfort(summary: ComfortSummary, path: Path) -> Path:
    """Write the report of a comfort run; the file is whole or absent."""
    span = plots.MeasureSpan.from_measure
    spans = [(arm.name, span(arm.measure("bleu_1")), span(arm.measure("primary_comfort"))) for arm in summary.arms]
    points = [plots.Point(name, "candidate", across, up) for name, across, up in spans if across and up]
    text = render_page(
        "report_comfort.html",
        run=summary,
        rows=COMFORT_ROWS,
        plane=plots.plane(points, None),
        gate_counts=Counter(gate.state for gate in summary.gates),
        words={},
    )
    write_text(path, text)
    return path


def html(
    summaries: Sequence[RunSummary],
    audits: Sequence[AuditReport | None] = (),
    attacks: Sequence[AttackReport | None] = (),
    rows: Sequence[RowEvidence | None] = (),
) -> str:
    """The safety report as text."""
    given: list[Any] = [given[: len(summaries)] for given in (audits, attacks, rows)]
    runs = zip_longest(summaries, *given)
    return render_page(
        "report.html",
        pages=[_page(f"run-{number}", *run) for number, run in enumerate(runs, start=1)],
        words=WORDS,
        judge_words=JUDGE_WORDS,
        scale_words=SCALE_WORDS,
        bias_rows=BIAS_ROWS,
        gate_words=GATE_WORDS,
        compares_judges=(GateKind.JUDGE_AGREEMENT, GateKind.JUDGE_GAP),
        harm_words=HARM_WORDS,
        advice=selection.ADVICE,
        sections=SECTIONS,
        find=find_measure,
        tiles=TILES,
        by_source=("err", "unsafe_accept@3", "safety_score"),
        by_candidate=("safety_score", "err", "overall", "unsafe_accept@3", "kl"),
        worst_rows=WORST_ROWS,
        stances=COLUMNS,
        compared=COMPARED,
    )


def _page(
    key: str, run: RunSummary, audit: AuditReport | None, attacks: AttackReport | None, rows: RowEvidence | None
) -> ReportPage:
    alpha, candidates = float(run.facts["alpha"]) if "alpha" in run.facts else None, run.candidates
    on_valid = [_point(candidate, run.selected) for candidate in candidates]
    tested: list[Baseline] = [*_before_and_after(run), *run.baselines]
    on_test = [_point(policy, run.selected) for policy in tested]
    names = [*(candidate.name for candidate in candidates), *(policy.name for policy in tested)]
    grids = [_grid(by, run.cells) for by in ("style", "principle")]
    left_out = _left_out(run, audit, attacks, rows)
    shown = [name for name in SECTIONS if name not in left_out and name != "attacks"]
    return ReportPage(
        key=key,
        numbers={name: number for number, name in enumerate(shown, start=1)},
        left_out=left_out,
        run=run,
        audit=audit,
        attacks=attacks,
        rows=rows,
        columns={"Before: original target": run.before, f"After: {run.selected}": run.after}
        | {baseline.name: baseline.measures for baseline in run.baselines},
        measures=(*MEASURES, *(m.name for m in run.after if m.name not in (*MEASURES, *PARTS_OF_F1))),
        gate_counts=Counter(gate.state for gate in run.gates),
        levels=tuple(sorted({level for levels in run.mix.values() for level in levels})),
        alpha=alpha,
        planes={
            "Candidates, on valid, which selects": plots.plane([point for point in on_valid if point], alpha),
            "Policies, on the held-out test": plots.plane([point for point in on_test if point], alpha),
        },
        not_drawn=tuple(name for name, point in zip(names, [*on_valid, *on_test], strict=True) if not point),
        strip=plots.strip(selection.flip_points(selection.lines(candidates)), alpha),
        winners=selection.sweep(candidates),
        steps=tuple(trajectory.steps(run.cycles)),
        panels=trajectory.panels(run.cycles),
        curves=tuple(training_curves.figure(curve) for cycle in run.cycles for curve in cycle.curves),
        grids=tuple(grid for grid in grids if grid.columns),
        missing_grids=tuple(grid.by for grid in grids if not grid.columns),
        worst_subgroups=_worst_subgroups(run.cells),
    )


def _left_out(
    run: RunSummary, audit: AuditReport | None, attacks: AttackReport | None, rows: RowEvidence | None
) -> dict[str, str]:
    """What is not shown, and why."""
    no_rows = "the rows are not at hand, because the store was emptied or an older version made the run; the same "
    no_rows += "`bedside align` command makes them again."
    why = {
        "stances": (rows, no_rows),
        "failures": (rows, no_rows),
        "cycles": (run.cycles, "no cycle was run."),
        "judge": (audit, "`bedside audit` has not been run for it, so nobody knows how far its judge can be trusted."),
        "axes": (run.axes, "knowledge and comfort were not measured; `align.objectives: [safety, comfort]` does."),
        "attacks": (attacks, f"`bedside attack {run.name}` has not been run, so the figures hold for plain requests."),
    }
    return {name: sentence for name, (there, sentence) in why.items() if not there}


def _before_and_after(run: RunSummary) -> list[Baseline]:
    """The original target and the selected checkpoint, with their figures on the held-out test."""
    return [Baseline("before", run.before), Baseline(f"after: {run.selected}", run.after)]


def _point(policy: Candidate | Baseline, selected: str) -> plots.Point | None:
    """Its place on the plane; None where err or safety_score was not measured."""
    err = plots.MeasureSpan.from_measure(find_measure(policy.measures, "err"))
    safety = plots.MeasureSpan.from_measure(find_measure(policy.measures, "safety_score"))
    if err is None or safety is None:
        return None
    if isinstance(policy, Candidate):
        return plots.Point(policy.name, "candidate", err, safety, policy.feasible, policy.name == selected)
    return plots.Point(policy.name, "constant" if policy.name in CONSTANT_POLICIES else "other", err, safety)


def _grid(by: str, cells: Sequence[SubgroupRate]) -> Grid:
    named = [(str(name), cell) for cell in cells if (name := getattr(cell, by)) is not None]
    rows: dict[int, dict[str, Measure]] = {}
    for name, cell in named:
        rows.setdefault(cell.harm, {})[name] = cell.right
    return Grid(by, tuple(sorted({name for name, _ in named})), dict(sorted(rows.items())))


def _worst_subgroups(cells: Sequence[SubgroupRate]) -> tuple[SubgroupRate, ...]:
    """Those with the lowest share of correct answers, of the subgroups with enough answers."""
    known = [cell for cell in cells if cell.right.n >= WORST_ROWS and cell.right.value not in (None, 1.0)]
    return tuple(sorted(known, key=lambda cell: cell.right.value or 0.0)[:WORST_SUBGROUPS])
