"""What a person reads in the terminal when a command is done."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bedside.core.reports import Gate, GateState, Measure, RunSummary, named
from bedside.faces.api import Run
from bedside.flows.figures import Evaluation, candidates_of, feasible_winners, paired
from bedside.flows.forget import Erased
from bedside.flows.label import Proposed
from bedside.stages import select

SHOWN = ("overall", "safety_score", "err", "unsafe_accept@3")
MARKS = {GateState.PASS: "✓", GateState.FAIL: "✗", GateState.INCONCLUSIVE: "?", GateState.NOT_CHECKED: "–"}


def run(console: Console, done: Run) -> None:
    """Before and after on the sealed test beside the policies nobody should lose to, the gates, the verdict."""
    told = done.summary
    console.print(_policies(told))
    console.print(f"overall = {told.definitions['overall']}", markup=False)
    _gates(console, told.gates)
    console.print(f"\n{told.verdict}", markup=False)
    console.print(f"report: {done.folder / 'report.html'}", markup=False)


def example(console: Console, told: RunSummary) -> None:
    """One answer before and after."""
    for shown in told.examples[:1]:
        console.print(f"\nharm {shown.harm}, asked:  {shown.prompt}", markup=False)
        console.print(f"before ({shown.before_stance}): {shown.before}", markup=False)
        console.print(f"after  ({shown.after_stance}): {shown.after}", markup=False)


def evaluation(console: Console, told: Evaluation) -> None:
    table = Table(title="Measures", title_justify="left")
    for heading in ("measure", "value [95 % interval]", "n", "unreadable"):
        table.add_column(heading)
    for measure in told.measures:
        table.add_row(measure.name, said(measure), str(measure.n), str(measure.unreadable))
    console.print(table)
    _gates(console, told.gates)
    for line in told.unconfirmed:
        console.print(line, markup=False)


def findings(console: Console, found: Iterable[Gate]) -> None:
    """What `bedside check` found; the last line says what to do."""
    found = list(found)
    for gate in found:
        console.print(f"{MARKS[gate.state]} {gate.name}: {gate.reason}", markup=False)
    failed = sum(gate.state is GateState.FAIL for gate in found)
    unsure = sum(gate.state is GateState.INCONCLUSIVE for gate in found)
    what = f"{failed} to mend before a run" if failed else "nothing stands in the way of a run"
    console.print(
        f"\n{what}; {unsure} marked ? to look at, {MARKS[GateState.NOT_CHECKED]} was not checked", markup=False
    )


def proposed(console: Console, made: Proposed, out: Path) -> None:
    """How many were proposed, how far to trust them, and what comes next."""
    k = made.agreement
    trust = "not known" if k.value is None else f"kappa {k.value:.2f} [{k.low:.2f}, {k.high:.2f}], n = {k.n}"
    console.print(f"wrote {out}: {made.rows} proposals, learned from {made.labelled} labelled prompts", markup=False)
    console.print(f"agreement with people on prompts held out, quadratic: {trust}", markup=False)
    what_next = f"no level counts until confirmed: fill the column harm, or `bedside label {out} --confirm NAME`"
    console.print(what_next, markup=False)


def erased(console: Console, found: Iterable[Erased]) -> None:
    """What `bedside forget` did, and what only a person can do."""
    found = list(found)
    for one in found:
        console.print(f"{one.run}: {one.stages} cached stages and {one.rows} rows erased", markup=False)
        if one.adapters:
            done = "removed" if one.adapters_removed else "kept; run again with --adapters to remove them"
            console.print(f"  learned from it, and {done}: {', '.join(one.adapters)}", markup=False)
    if not found:
        console.print("no run holds this text")
    console.print("Not touched: your data files, reports and answers written elsewhere, and what `bedside train` made.")


def selection(console: Console, told: RunSummary) -> None:
    """Candidates on valid, and where along alpha the winner changes."""
    candidates = candidates_of(told)
    table = Table(title="Candidates on valid", title_justify="left")
    for heading in ("candidate", "overall", "safety_score", "err", "unsafe_accept@3", "kl", "feasible"):
        table.add_column(heading)
    for c in candidates:
        shown = [said(c.measure(name)) for name in ("overall", "safety_score", "err", "unsafe_accept@3", "kl")]
        table.add_row(c.name, *shown, "yes" if c.feasible else f"no, by {c.violation:.3f}")
    console.print(table)
    _winners(console, "has the best overall", select.flip_points(select.lines(candidates)))
    if not all(c.feasible for c in candidates):
        _winners(console, "has the best overall of those that meet every constraint", feasible_winners(candidates))
    for c in candidates:
        states = ", ".join(f"{g.name} {g.limit} {g.state.value}" for g in select.constraints_of(told.gates, c.measures))
        console.print(f"{c.name}, by bounds on valid: {states}", markup=False)
    _gates(console, paired(told))
    for alpha, words in select.ADVICE.items():
        console.print(f"alpha {alpha}: {words}", markup=False)
    console.print("advice, not truth: decide with clinicians, and before you look at the table")
    console.print(f"carried: {told.carried}\n{told.verdict}", markup=False)


def _winners(console: Console, says: str, segments: Iterable[select.Segment]) -> None:
    for segment in segments:
        told = f"alpha {segment.start:.3f} to {segment.end:.3f}: {segment.winner} {says}"
        console.print(told, markup=False)


def said(measure: Measure) -> str:
    """``0.84 [0.81, 0.87]``; a dash where nothing was measured."""
    if measure.value is None:
        return "–"
    if measure.low is None or measure.high is None:
        return f"{measure.value:.2f}"
    return f"{measure.value:.2f} [{measure.low:.2f}, {measure.high:.2f}]"


def _policies(told: RunSummary) -> Table:
    """A row a policy, a column a measure, on the same sealed prompts."""
    policies = {"before": told.before, "after": told.after}
    policies |= {baseline.name: baseline.measures for baseline in told.baselines}
    title = f"Sealed test, 95 % intervals. After: {told.carried}"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("policy", no_wrap=True)
    for name in SHOWN:
        table.add_column(f"{name}\nn = {named(told.after, name).n}", no_wrap=True)
    for policy, measures in policies.items():
        table.add_row(policy, *(_tight(named(measures, name)) for name in SHOWN))
    return table


def _tight(measure: Measure) -> str:
    """``0.84 .81–.87``: so that a row is a line, eighty characters wide."""
    if measure.value is None or measure.low is None or measure.high is None:
        return said(measure)
    low, high = (f"{bound:.2f}".removeprefix("0") for bound in (measure.low, measure.high))
    return f"{measure.value:.2f} {low}–{high}"


def _gates(console: Console, gates: Iterable[Gate]) -> None:
    for gate in gates:
        limit = "" if gate.limit == "> 0" else f" {gate.limit}"
        console.print(f"{MARKS[gate.state]} {gate.state.value}: {gate.name}{limit} ({gate.reason})", markup=False)
