"""What a terminal shows of `bedside comfort`."""

from rich.console import Console
from rich.table import Table

from bedside.core.comforts import Arm, ComfortSummary
from bedside.core.reports import Measure
from bedside.faces.tables import MARKS, said

SHOWN = ("comfort", "primary_comfort", "facts_told", "facts_wrong", "bleu_1", "fact_recall", "false_reassurance")


def show(out: Console, told: ComfortSummary) -> None:
    """Four models side by side, the paired differences, the gates, the sentence."""
    table = Table(title=f"Sealed dialogues, 95 % intervals, n = {_rows(told)}", title_justify="left", box=None)
    table.add_column("measure", no_wrap=True)
    for arm in told.arms:
        table.add_column(arm.name, no_wrap=True)
    for name in SHOWN:
        table.add_row(name, *(said(arm.measure(name)) for arm in told.arms))
    out.print(table)
    for one in told.paired:
        if one.measure.name in ("primary_comfort", "facts_told", "bleu_1"):
            out.print(f"{one.arm} − target, {one.measure.name}: {_change(one.measure)}", markup=False)
    for gate in told.gates:
        out.print(f"{MARKS[gate.state]} {gate.state.value}: {gate.name} {gate.limit} ({gate.reason})", markup=False)
    out.print(f"published direction: {told.direction}", markup=False)
    out.print(f"worst subgroup: {told.worst}", markup=False)
    out.print(f"\n{told.verdict}", markup=False)


def _rows(told: ComfortSummary) -> int:
    first: Arm = told.arms[0]
    return first.measure("comfort").n


def _change(measure: Measure) -> str:
    if measure.value is None or measure.low is None or measure.high is None:
        return "–"
    return f"{measure.value:+.3f} [{measure.low:+.3f}, {measure.high:+.3f}], n = {measure.n}"
