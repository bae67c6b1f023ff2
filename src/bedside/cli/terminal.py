"""What a person reads in the terminal when a command is done.

What a person reads in the terminal when a judge was audited or trained.

What a terminal shows of `bedside comfort`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Column, Table

from bedside.alignment.offline import Evaluation, candidates_of, feasible_winners, paired
from bedside.api import Run
from bedside.config.schema import Config
from bedside.core.audit_results import Audit, Audits, Confusion, Correction, Hostile
from bedside.core.comfort_results import ComfortSummary, People
from bedside.core.results import Candidate, Gate, GateState, Measure, RunSummary, found, named
from bedside.data.labelling import Proposed
from bedside.deployment.monitor import Monitored, Watched
from bedside.judge_audit.finetune import JudgeTraining
from bedside.run.erasure import Erased
from bedside.safety import selection

if TYPE_CHECKING:
    from bedside.run.session import Taught


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


def selection_tables(console: Console, told: RunSummary) -> None:
    """Candidates on valid, and where along alpha the winner changes."""
    candidates = candidates_of(told)
    headings = [Column("candidate"), *(Column(name, min_width=12, overflow="fold") for name in SHOWN)]
    rows = [(f"{c.name}\n{_met(c)}", *(stacked(c.measure(name)) for name in SHOWN)) for c in candidates]
    console.print(table("Candidates on valid", headings, rows, box=None))
    console.print("alpha is the weight of safety: overall = alpha × safety_score + (1 − alpha) × (1 − err)")
    _winners(console, "has the best overall", selection.flip_points(selection.lines(candidates)))
    if not all(c.feasible for c in candidates):
        _winners(console, "has the best overall of those that meet every constraint", feasible_winners(candidates))
    for c in candidates:
        states = ", ".join(
            f"{g.name} {g.limit} {g.state.value}" for g in selection.constraints_of(told.gates, c.measures)
        )
        console.print(f"{c.name}, by bounds on valid: {states}")
    gates(console, paired(told))
    for alpha, words in selection.ADVICE.items():
        console.print(f"alpha {alpha} suits {words}")
    console.print("advice, not truth: decide with clinicians, and before you look at the table")
    console.print(f"carried: {told.carried}\n{told.verdict}")


def _winners(console: Console, says: str, segments: Iterable[selection.Segment]) -> None:
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


WORDS = {
    "kappa_stratified": "kappa within harm levels: decides",
    "kappa": "kappa, pooled: rewards knowing the prompt",
    "kappa_quadratic": "kappa, quadratic: accept for refuse weighs most",
    "ac1": "AC1: does not fall on a rare class",
    "agreement": "share of equal labels",
    "chance": "equal labels by chance",
    "accept_sensitivity@3": "severe prompts answered: share it saw",
    "accept_sensitivity": "answers that accept: share it saw",
    "accept_specificity": "answers that do not accept: share it saw",
    "unreadable": "answers it could not read",
    "overconfidence": "probability minus right",
    "repeat_flips": "another label when asked again",
    "order_flips": "another label in another order of labels",
    "fleiss_kappa": "raters of the reference, Fleiss' kappa",
    "alpha_nominal": "raters of the reference, Krippendorff's alpha",
    "alpha_ordinal": "the same, accept - caution - refuse in order",
}
SIGNS = "A accept, C caution, R refuse, N not accept, U unreadable"
FIRST = ("kappa_stratified", "kappa", "kappa_quadratic", "ac1", "agreement", "chance")


def audits(console: Console, told: Audits) -> None:
    """Measures a column a judge, where each errs, panels, attacks; the gates last."""
    if told.audits:
        _answers(console, told)
        console.print(_measures(told))
        for audit in told.audits:
            _where(console, audit)
            _panel(console, audit)
    for one in told.hostile:
        console.print(_attacks(one))
        if one.worst:
            console.print(f"flipped most: {', '.join(one.worst)}")
    for audit in told.audits:
        for note in audit.notes if audit is told.audits[0] else ():
            console.print(f"note: {note}")
        gates(console, audit.gates, f"{audit.judge}: ")


def corrections(console: Console, told: Sequence[Correction]) -> None:
    """As judged and corrected, a row a share; no number where the judge or the labels tell too little."""
    if not told:
        return
    rows = []
    for one in told:
        corrected = said(one.corrected) if not one.why_not else f"no number: {one.why_not}"
        row = (f"{one.label}@{one.level}", said(one.raw), corrected, str(one.raw.n), str(one.labelled))
        rows.append((*row, one.method))
    headings = ("share", "as judged", "corrected", "n", "labelled", "how")
    console.print(table("Without the judge's errors, from labels on these answers", headings, rows))


def trained(console: Console, done: JudgeTraining) -> None:
    """Held-out agreement before and after, and the lines that make it a judge."""
    console.print(f"taught {done.taught} labelled answers, held out {done.held_out} of other groups")
    for reason, n in done.dropped.items():
        console.print(f"left out: {n}, {reason}")
    for name, audit in (("before", done.before), ("after", done.after)):
        measure = audit.gates[0].measure or audit.measure("kappa")
        told = f"{measure.name} {said(measure)}, n = {measure.n}, {measure.unreadable} unreadable"
        console.print(f"held out, {name}: {told}")
    console.print(f"gained, paired: {said(done.gain)}, n = {done.gain.n}")
    plain, scaled = done.log_loss
    cooled = f"log loss {plain:.3f} nats an answer without it, {scaled:.3f} with it, on the answers it was fitted on"
    console.print(f"temperature {done.temperature:.2f}: {cooled}")
    console.print(f"wrote {done.folder}; in the config: judges: {{tuned: {{kind: rubric, adapter: {done.folder}}}}}")


def _answers(console: Console, told: Audits) -> None:
    mix = ", ".join(f"{n} of level {level}" for level, n in told.mix.items())
    console.print(f"{told.answers} answers against {told.audits[0].reference}: {mix}")
    for reason, n in told.left_out.items():
        console.print(f"left out: {n}, {reason}")
    for measure in told.raters:
        console.print(f"{WORDS[measure.name]}: {said(measure)}, n = {measure.n}")


def _measures(told: Audits) -> Table:
    names = dict.fromkeys(m.name for audit in told.audits for m in audit.measures)
    rows = [
        (f"{name}\n  {WORDS[name]}", *(_cell(found(audit.measures, name)) for audit in told.audits))
        for name in sorted(names, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    ]
    return table("Judges, 95 % intervals", ("measure", *(audit.judge for audit in told.audits)), rows)


def _cell(measure: Measure | None) -> str:
    if measure is None:
        return "–"
    unread = f", {measure.unreadable} unreadable" if measure.unreadable else ""
    return f"{said(measure)}\nn = {measure.n}{unread}"


def _where(console: Console, audit: Audit) -> None:
    """Confusion by level and style, a row a cell: reference › candidate."""
    pairs = [(one, other) for one in audit.labels for other in (*audit.labels, "unreadable")]
    shown = [pair for pair in pairs if any(cell.counts[pair[0]][pair[1]] for cell in audit.confusion)]
    headings = ("level, style", "kappa", *(f"{one[0].upper()}›{other[0].upper()}" for one, other in shown))
    rows = [
        (_name(cell, audit), said(cell.kappa), *(str(cell.counts[one][other]) for one, other in shown))
        for cell in audit.confusion
    ]
    console.print(table(f"{audit.judge}: reference › judge ({SIGNS})", headings, rows))
    if audit.curve:
        curve = [
            (f"{b.low:.1f} to {b.high:.1f}", f"{b.confidence:.2f}", said(b.right), str(b.right.n)) for b in audit.curve
        ]
        title = f"{audit.judge}: are its probabilities right that often?"
        console.print(table(title, ("probability", "mean", "right", "n"), curve))


def _name(cell: Confusion, audit: Audit) -> str:
    if cell is audit.confusion[0]:
        return "all"
    return f"{'–' if cell.level is None else cell.level}, {cell.style or '–'}"


def _panel(console: Console, audit: Audit) -> None:
    for member in audit.members:
        console.print(f"member {member.name}: kappa {said(member.kappa)}, n = {member.kappa.n}")
    for pair in audit.together:
        alike = f"votes {said(pair.votes)}, errors {said(pair.errors)}, n = {pair.errors.n}"
        console.print(f"kappa of {pair.one} with {pair.other}: {alike}")
    if audit.beats is not None:
        console.print(f"{audit.judge}, {audit.beats.name}: {said(audit.beats)}, n = {audit.beats.n}")


def _attacks(one: Hostile) -> Table:
    rows = []
    for attack in one.attacks:  # kind words ask for no label
        towards = "–" if attack.kind.endswith(("added", "removed")) else said(attack.towards)
        rows.append((attack.kind, said(attack.flips), towards, str(attack.flips.n), str(attack.flips.unreadable)))
    headings = ("change around a fixed answer", "flips", "to the label asked for", "n", "unreadable")
    return table(f"{one.judge} under attack: share of labels that changed", headings, rows)


SHOWN_COMFORT = (
    "comfort",
    "primary_comfort",
    "facts_told",
    "facts_wrong",
    "bleu_1",
    "fact_recall",
    "false_reassurance",
    "under_triage",
    "over_triage",
)


def comfort(out: Console, told: ComfortSummary) -> None:
    """Four models side by side, the paired differences, the gates, the sentence."""
    title = f"Sealed dialogues, 95 % intervals, n = {told.arms[0].measure('comfort').n}"
    headings = [Column(heading, no_wrap=True) for heading in ("measure", *(arm.name for arm in told.arms))]
    rows = [(name, *(stacked(arm.measure(name)) for arm in told.arms)) for name in SHOWN_COMFORT]
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
