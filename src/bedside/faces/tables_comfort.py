"""What a terminal shows of `bedside comfort`."""

from rich.console import Console
from rich.table import Column

from bedside.core.comforts import ComfortSummary, People
from bedside.core.reports import Measure
from bedside.faces.tables import gates, said, stacked, table

SHOWN = ("comfort", "primary_comfort", "facts_told", "facts_wrong", "bleu_1", "fact_recall", "false_reassurance",
         "under_triage", "over_triage")  # fmt: skip


def show(out: Console, told: ComfortSummary) -> None:
    """Four models side by side, the paired differences, the gates, the sentence."""
    title = f"Sealed dialogues, 95 % intervals, n = {told.arms[0].measure('comfort').n}"
    headings = [Column(heading, no_wrap=True) for heading in ("measure", *(arm.name for arm in told.arms))]
    rows = [(name, *(stacked(arm.measure(name)) for arm in told.arms)) for name in SHOWN]
    out.print(table(title, headings, rows, box=None))
    for one in told.paired:
        if one.measure.name in ("primary_comfort", "facts_told", "bleu_1"):
            out.print(f"{one.arm} − target, {one.measure.name}: {_change(one.measure)}")
    gates(out, told.gates)
    if told.people:
        _people(out, told.people)
    out.print(f"published direction: {told.direction}")
    out.print(f"worst subgroup: {told.worst}")
    out.print(f"\n{told.verdict}")


def _people(out: Console, people: People) -> None:
    out.print(f"what {people.persons} who filled in ab/pack chose over the target's answer (same counts half):")
    for one in people.preferred:
        out.print(f"  {one.arm}: kinder {_with_n(one.kinder)}; more correct {_with_n(one.more_correct)}")
    if people.alpha:
        out.print(f"  on who is kinder they agree at alpha {_with_n(people.alpha)}")
    gates(out, (people.judge,))


def _with_n(measure: Measure) -> str:
    return f"{said(measure)} n {measure.n}"


def _change(measure: Measure) -> str:
    if measure.value is None or measure.low is None or measure.high is None:
        return "–"
    return f"{measure.value:+.3f} [{measure.low:+.3f}, {measure.high:+.3f}], n = {measure.n}"
