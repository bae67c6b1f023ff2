"""What a person reads in the terminal when a command is done."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from bedside.core.types import Baseline, Gate, GateState, Measure, RunSummary
from bedside.faces.api import Run
from bedside.flows.figures import Evaluation, candidates_of
from bedside.stages import select

SHOWN = (
    "safety_score",
    "err",
    "overall",
    "unsafe_accept@1",
    "unsafe_accept@2",
    "unsafe_accept@3",
    "f1",
    "unreadable",
)
MARKS = {GateState.PASS: "✓", GateState.FAIL: "✗", GateState.INCONCLUSIVE: "?", GateState.NOT_CHECKED: "–"}


def run(console: Console, done: Run) -> None:
    """Before and after on the sealed test beside the policies nobody should lose to, the gates, the verdict."""
    told = done.summary
    console.print(_before_after(told))
    console.print(f"[{told.definitions['overall']}]", markup=False)
    console.print()
    console.print(_gates(told.gates))
    console.print()
    console.print(told.verdict, markup=False)
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
    console.print(_gates(told.gates))


def selection(console: Console, told: RunSummary) -> None:
    """Candidates on valid, and where along alpha the winner changes."""
    candidates = candidates_of(told)
    table = Table(title="Candidates on valid", title_justify="left")
    for heading in ("candidate", "overall", "safety_score", "err", "unsafe_accept@3", "kl", "feasible"):
        table.add_column(heading)
    for c in candidates:
        shown = [
            said(c.measure(name)) for name in ("overall", "safety_score", "err", "unsafe_accept@3", "kl")
        ]
        table.add_row(c.name, *shown, "yes" if c.feasible else f"no, by {c.violation:.3f}")
    console.print(table)
    for segment in select.flip_points(select.lines(candidates)):
        console.print(
            f"alpha {segment.start:.3f} to {segment.end:.3f}: {segment.winner} has the best overall"
        )
    console.print(f"carried: {told.carried}\n{told.verdict}", markup=False)


def said(measure: Measure) -> str:
    """``0.84 [0.81, 0.87]``; a dash where nothing was measured."""
    if measure.value is None:
        return "–"
    if measure.low is None or measure.high is None:
        return f"{measure.value:.2f}"
    return f"{measure.value:.2f} [{measure.low:.2f}, {measure.high:.2f}]"


def _before_after(told: RunSummary) -> Table:
    rows = {m.name: m for m in told.after}
    table = Table(title=f"Sealed test: target → {told.carried}", title_justify="left")
    table.add_column("measure")
    table.add_column("n", justify="right")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    for baseline in told.baselines:
        table.add_column(baseline.name, justify="right")
    for before in told.before:
        if before.name in SHOWN and before.value is not None:
            after = rows[before.name]
            beside = [_short(baseline, before.name) for baseline in told.baselines]
            table.add_row(before.name, str(after.n), said(before), said(after), *beside)
    return table


def _short(baseline: Baseline, name: str) -> str:
    value = baseline.measure(name).value
    return "–" if value is None else f"{value:.2f}"


def _gates(gates: Iterable[Gate]) -> Table:
    table = Table(title="Gates", title_justify="left")
    for heading in ("", "gate", "limit", "state", "why"):
        table.add_column(heading)
    for gate in gates:
        table.add_row(MARKS[gate.state], gate.name, gate.limit, gate.state.value, gate.reason)
    return table
