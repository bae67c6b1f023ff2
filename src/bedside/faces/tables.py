"""What a person reads in the terminal when a command is done."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Column, Table

from bedside.core.reports import Candidate, Gate, GateState, Measure, RunSummary, named
from bedside.faces.api import Run
from bedside.flows.figures import Evaluation, candidates_of, feasible_winners, paired
from bedside.flows.forget import Erased
from bedside.flows.label import Proposed
from bedside.flows.monitor import Monitored
from bedside.kernel.schema import Config
from bedside.stages import select
from bedside.stages.monitor import Watched

if TYPE_CHECKING:
    from bedside.flows.session import Taught

SHOWN = ("overall", "safety_score", "err", "unsafe_accept@3")
UNTOUCHED = "Not touched: your data files, reports and answers written elsewhere, and what `bedside train` made."
MARKS = {GateState.PASS: "✓", GateState.FAIL: "✗", GateState.INCONCLUSIVE: "?", GateState.NOT_CHECKED: "–"}


def run(console: Console, done: Run) -> None:
    """Before and after on the sealed test beside the policies nobody should lose to, the gates, the verdict."""
    told = done.summary
    console.print(_policies(told))
    console.print(f"overall = {told.definitions['overall']}")
    gates(console, told.gates)
    console.print(f"\n{told.verdict}")
    console.print(f"report: {done.folder / 'report.html'}")


def example(console: Console, told: RunSummary) -> None:
    """One answer before and after."""
    for shown in told.examples[:1]:
        console.print(f"\nharm {shown.harm}, asked:  {shown.prompt}")
        console.print(f"before ({shown.before_stance}): {shown.before}")
        console.print(f"after  ({shown.after_stance}): {shown.after}")


def evaluation(console: Console, told: Evaluation) -> None:
    rows = [(measure.name, said(measure), measure.counted, str(measure.unreadable)) for measure in told.measures]
    console.print(table("Measures", ("measure", "value [95 % interval]", "n", "unreadable"), rows))
    gates(console, told.gates)
    for line in told.unconfirmed:
        console.print(line)


def monitored(console: Console, told: Monitored) -> None:
    """Each limit in use, what speaks against it, and what was not watched."""
    headings = (Column("limit", overflow="fold"), "rate so far [95 %]", "n", "unread", "evidence", "")
    rows = [
        (w.name, said(w.measure), str(w.measure.n), str(w.unread), f"{w.evidence:.3g} of {w.needed:.0f}", _cry(w))
        for w in told.watched
    ]
    console.print(table(f"Answers in use: {told.answers}", headings, rows, box=None))
    for w in told.watched:
        if w.alarm is not None:
            console.print(f"✗ ALARM: {w.name}, at answer {w.alarm}; too high from about answer {w.since} on")
        if 0 < w.measure.n < 2 * w.unread:
            console.print(f"? {w.name}: {w.unread} of {w.measure.n} could not be read: look at the judge first")
        if w.again:
            console.print(f"{w.name}: not counted, since one of their group was: {w.again}")
    for line in told.unconfirmed:
        console.print(line)
    if told.unlabelled:
        console.print(f"without a harm level, so that only readability was watched: {told.unlabelled}")
    for limit in told.unwatched:
        console.print(f"not watched, being no limit below 1 on a share of answers that fail: {limit}")
    console.print(f"chance that this log ever raises an alarm while all are kept: {told.false_alarm:g} at most")


def _cry(one: Watched) -> str:
    if one.alarm is not None:
        return "ALARM"
    return "no alarm" if one.measure.n else "no answer yet"


def taught(console: Console, config: Config, told: "Taught") -> None:
    """What `bedside train` trained, on how much, and how the loss went."""
    size = config.align.batch_size
    last = told.rows % size or size
    console.print(f"target: {getattr(config.target, 'model', config.target.kind)}")
    console.print(f"rows: {told.rows}, epochs: {config.align.epochs}, steps: {len(told.losses)}")
    first, end = f"{told.losses[0]:.4f} at the first step (n = {min(size, told.rows)})", f"{told.losses[-1]:.4f}"
    console.print(f"loss: {first}, {end} at the last (n = {last})")


def findings(console: Console, found: Iterable[Gate]) -> None:
    """What `bedside check` found; the last line says what to do."""
    found = list(found)
    for gate in found:
        console.print(f"{MARKS[gate.state]} {gate.name}: {gate.reason}")
    failed = sum(gate.state is GateState.FAIL for gate in found)
    unsure = sum(gate.state is GateState.INCONCLUSIVE for gate in found)
    fail, look, unseen = (MARKS[s] for s in (GateState.FAIL, GateState.INCONCLUSIVE, GateState.NOT_CHECKED))
    what = f"{failed} marked {fail} to mend before a run" if failed else "nothing stands in the way of a run"
    console.print(f"\n{what}; {unsure} marked {look} to look at; what is marked {unseen} was not checked")


def proposed(console: Console, made: Proposed, out: Path) -> None:
    """How many were proposed, how far to trust them, and what comes next."""
    k = made.agreement
    trust = "not known" if k.value is None else f"kappa {k.value:.2f} [{k.low:.2f}, {k.high:.2f}], n = {k.n}"
    console.print(f"wrote {out}: {made.rows} proposals, learned from {made.labelled} labelled prompts")
    console.print(f"agreement with people on prompts held out, quadratic: {trust}")
    what_next = f"no level counts until confirmed: fill the column harm, or `bedside label {out} --confirm NAME`"
    console.print(what_next)


def erased(console: Console, found: Iterable[Erased], *, dry_run: bool) -> None:
    """What `bedside forget` did or would do, and what only a person can do."""
    found, would = list(found), "would be " if dry_run else ""
    for one in found:
        console.print(f"{one.run}: {would}erased: cached stages {one.stages}, rows {one.rows}")
        if one.adapters:
            done = f"{would}removed" if one.adapters_removed else f"{would}kept; --adapters removes them"
            console.print(f"  learned from it, and {done}: {', '.join(one.adapters)}")
    if not found:
        console.print("no run holds this text")
    if dry_run:
        console.print("Nothing was touched: run it without --dry-run to erase.")
    else:
        console.print(UNTOUCHED)


def selection(console: Console, told: RunSummary) -> None:
    """Candidates on valid, and where along alpha the winner changes."""
    candidates = candidates_of(told)
    headings = [Column("candidate"), *(Column(name, min_width=12, overflow="fold") for name in SHOWN)]
    rows = [(f"{c.name}\n{_met(c)}", *(stacked(c.measure(name)) for name in SHOWN)) for c in candidates]
    console.print(table("Candidates on valid", headings, rows, box=None))
    console.print("alpha is the weight of safety: overall = alpha × safety_score + (1 − alpha) × (1 − err)")
    _winners(console, "has the best overall", select.flip_points(select.lines(candidates)))
    if not all(c.feasible for c in candidates):
        _winners(console, "has the best overall of those that meet every constraint", feasible_winners(candidates))
    for c in candidates:
        states = ", ".join(f"{g.name} {g.limit} {g.state.value}" for g in select.constraints_of(told.gates, c.measures))
        console.print(f"{c.name}, by bounds on valid: {states}")
    gates(console, paired(told))
    for alpha, words in select.ADVICE.items():
        console.print(f"alpha {alpha} suits {words}")
    console.print("advice, not truth: decide with clinicians, and before you look at the table")
    console.print(f"carried: {told.carried}\n{told.verdict}")


def _winners(console: Console, says: str, segments: Iterable[select.Segment]) -> None:
    for segment in segments:
        told = f"alpha {segment.start:.3f} to {segment.end:.3f}: {segment.winner} {says}"
        console.print(told)


def said(measure: Measure) -> str:
    """``0.84 [0.81, 0.87]``; a dash where nothing was measured."""
    if measure.value is None:
        return "–"
    if measure.low is None or measure.high is None:
        return f"{measure.value:.2f}"
    return f"{measure.value:.2f} [{measure.low:.2f}, {measure.high:.2f}]"


def stacked(measure: Measure) -> str:
    """Value, interval and n one below the other: five columns stand side by side in 80."""
    return f"{said(measure)} n {measure.n}".replace(" [", "\n[").replace(" n ", "\nn ")


def _met(candidate: Candidate) -> str:
    if not candidate.feasible:
        return f"limits missed\nby {candidate.violation:.3f}"
    return f"not checked: {', '.join(candidate.unchecked)}" if candidate.unchecked else "limits met"


def _policies(told: RunSummary) -> Table:
    """A row a policy, a column a measure, on the same sealed prompts."""
    policies = {"before": told.before, "after": told.after}
    policies |= {baseline.name: baseline.measures for baseline in told.baselines}
    title = f"Sealed test, 95 % intervals. After: {told.carried}"
    headings = ("policy", *(f"{name}\nn = {_counted(named(told.after, name))}" for name in SHOWN))
    rows = [(policy, *(_tight(named(measures, name)) for name in SHOWN)) for policy, measures in policies.items()]
    return table(title, [Column(heading, no_wrap=True) for heading in headings], rows, box=None, padding=(0, 2, 0, 0))


def _counted(measure: Measure) -> str:
    """n, and below it the number of groups, where that is another."""
    return measure.counted.replace(" (", "\n(")


def _tight(measure: Measure) -> str:
    """``0.84 .81–.87``: so that a row is a line, eighty characters wide."""
    if measure.value is None or measure.low is None or measure.high is None:
        return said(measure)
    low, high = (f"{bound:.2f}".removeprefix("0") for bound in (measure.low, measure.high))
    return f"{measure.value:.2f} {low}–{high}"


def table(title: str, headings: Iterable[str | Column], rows: Iterable[Iterable[str]], **look: Any) -> Table:
    made = Table(*headings, title=title, title_justify="left", **look)
    for row in rows:
        made.add_row(*row)
    return made


def gates(console: Console, told: Iterable[Gate], of: str = "") -> None:
    """A line a gate; where its name says the limit, it is not said again."""
    for gate in told:
        limit = f" {gate.limit}" if gate.limit and ">" not in gate.name else ""
        console.print(f"{MARKS[gate.state]} {gate.state.value}: {of}{gate.name}{limit} ({gate.reason})")
