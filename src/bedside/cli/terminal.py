"""What a person reads in the terminal when a command is done: one function per kind of result."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Column, Table

import bedside
from bedside.core.audit_results import AdversarialResult, Audit, AuditReport, Correction, ScaleAudit
from bedside.core.gates import Finding, Gate, GateState
from bedside.core.measures import Measure, find_measure, get_measure
from bedside.core.results import HEADLINES, LINES, Candidate, HumanComparison, RunSummary

if TYPE_CHECKING:  # its module loads numpy
    from bedside.alignment.targets import TargetResult

SHOWN_COMFORT = (
    *LINES,
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
UNTOUCHED = "Not touched: your data files, and reports, answers and adapters written elsewhere."
MARKS = {GateState.PASS: "✓", GateState.FAIL: "✗", GateState.INCONCLUSIVE: "?", GateState.NOT_CHECKED: "–"}
JUDGE_MEASURES = {
    "kappa_stratified": "kappa within harm levels: decides",
    "kappa": "kappa, pooled: rewards knowing the prompt",
    "kappa_quadratic": "kappa, quadratic: accept for refuse weighs most",
    "kappa_any_mass": "kappa within harm levels, any label mass",
    "ac1": "AC1: not lowered by a rare class",
    "agreement": "share of equal labels",
    "chance": "equal labels by chance",
    "accept_sensitivity@3": "severe prompts answered: share it detects",
    "accept_sensitivity": "answers that accept: share it detects",
    "accept_specificity": "answers that do not accept: share it detects",
    "unreadable": "answers it could not read",
    "decline_bias": "declines more often than the reference",
    "decline_bias@0": "the same, harmless prompts",
    "decline_bias@1": "the same, mild harm",
    "decline_bias@2": "the same, moderate harm",
    "decline_bias@3": "the same, severe harm",
    "overconfidence": "probability minus hit rate",
    "repeat_flips": "another label when asked again",
    "order_flips": "another label in another order of labels",
    "fleiss_kappa": "raters of the reference, Fleiss' kappa",
    "alpha_nominal": "raters of the reference, Krippendorff's alpha",
    "alpha_ordinal": "the same, accept - caution - refuse in order",
}
SCALE_MEASURES = {
    "kappa_quadratic": "kappa, quadratic",
    "kappa": "kappa",
    "ac2": "AC2, quadratic",
    "agreement": "equal",
    "bias": "bias",
    "alpha_ordinal": "all people, Krippendorff's alpha, ordinal",
    "alpha_nominal": "the same, nominal",
    "fleiss_kappa": "all people, Fleiss' kappa",
}
LETTERS = "A accept, C caution, R refuse, N not accept, U unreadable"
FIRST_MEASURES = ("kappa_stratified", "kappa", "kappa_quadratic", "ac1", "agreement", "chance")


def print_run(console: Console, run: "bedside.Run") -> None:
    """The selected checkpoint, the target and the baselines on the held-out test; the gates; the verdict."""
    console.print(_policies(run.summary))
    console.print(f"overall = {run.summary.definitions['overall']}")
    print_gates(console, run.summary.gates)
    console.print(f"\n{run.summary.verdict}\nreport: {run.folder / 'report.html'}")


def print_targets(console: Console, comparison: "bedside.TargetComparison") -> None:
    """One row per step of each target, with the judge's kappa first; the verdict of each target; the file."""
    headings = ("κ of judge", "target, step", *(name.replace("_", "_\n") for name in HEADLINES))
    rows = [
        (_kappa(target) if first else "", f"{target.target}\n{step}" if first else step, *_shown(measures))
        for target in comparison.targets
        for first, (step, measures) in _with_first(target.steps or {"failed": ()})
    ]
    title = "Targets, 95 % intervals: valid until the last cycle, then the held-out test"
    console.print(
        table(title, [Column(heading, overflow="fold") for heading in headings], rows, box=None, padding=(0, 1, 0, 0))
    )
    for target in comparison.targets:
        console.print(f"{target.target}: {target.summary.verdict if target.summary else f'failed: {target.error}'}")
    console.print(f"wrote {comparison.file}; each finished run has its report.html")


def _with_first(steps: Mapping[str, Sequence[Measure]]) -> Iterable[tuple[bool, tuple[str, Sequence[Measure]]]]:
    return ((number == 0, step) for number, step in enumerate(steps.items()))


def _shown(measures: Sequence[Measure]) -> list[str]:
    known = (find_measure(measures, name) for name in HEADLINES)
    return ["–" if measure is None else tight_counted(measure) for measure in known]


def tight_counted(measure: Measure) -> str:
    unreadable = f"\n{measure.unreadable} unreadable" if measure.unreadable else ""
    return f"{_tight(measure)}\nn {measure.counted}{unreadable}"


def _kappa(target: "TargetResult") -> str:
    return "–" if target.kappa is None else f"{tight_counted(target.kappa)}\n{target.trusted.value}"


def print_evaluation(console: Console, result: "bedside.Evaluation") -> None:
    """The measures, the gates, and the rates corrected by labels if there are any."""
    rows = [(measure.name, interval(measure), measure.counted, str(measure.unreadable)) for measure in result.measures]
    console.print(table("Measures", ("measure", "value [95 % interval]", "n", "unreadable"), rows))
    print_gates(console, result.gates)
    print_lines(console, *result.unconfirmed)
    print_corrections(console, result.corrections)


def print_training(console: Console, config: "bedside.Config", result: "bedside.TrainingResult") -> None:
    """The target, the number of rows and steps, how many answers were cut, and the first and the last loss."""
    size, losses = config.align.batch_size, result.losses
    epochs = len(losses) // -(-result.rows // size)
    first = f"{losses[0]:.4f} at the first step (n = {min(size, result.rows)})"
    most = config.align.max_length
    print_lines(
        console,
        f"target: {getattr(config.target, 'model', config.target.kind)}",
        f"rows: {result.rows}, epochs: {epochs}, steps: {len(losses)}",
        *([] if most is None else [f"answers cut at align.max_length {most}: {result.truncated} of {result.answers}"]),
        f"loss: {first}, {losses[-1]:.4f} at the last (n = {result.rows % size or size})",
    )


def print_checks(console: Console, findings: Sequence[Finding]) -> None:
    """One line per check; the last line says what to do."""
    failed = sum(finding.state is GateState.FAIL for finding in findings)
    unsure = sum(finding.state is GateState.INCONCLUSIVE for finding in findings)
    fail, look, unseen = (MARKS[s] for s in (GateState.FAIL, GateState.INCONCLUSIVE, GateState.NOT_CHECKED))
    what = f"{failed} marked {fail} to fix before a run" if failed else "nothing prevents a run"
    print_lines(
        console,
        *(f"{MARKS[finding.state]} {finding.name}: {finding.reason}" for finding in findings),
        f"\n{what}; {unsure} marked {look} to look at; {unseen} marks what was not checked",
    )


def print_proposals(console: Console, result: "bedside.LabellingResult", out: Path) -> None:
    """How many levels are proposed, how far they agree with people, and the next step."""
    k = result.agreement
    kappa = "not known" if k.value is None else f"kappa {k.value:.2f} [{k.low:.2f}, {k.high:.2f}], n = {k.n}"
    print_lines(
        console,
        f"wrote {out}: {result.rows} proposals, learned from {result.labelled} labelled prompts",
        f"agreement with people on held-out prompts, quadratic: {kappa}",
        f"a level counts once a person confirms it: fill in the column harm, or `bedside label {out} --confirm NAME`",
    )


def print_erasure(console: Console, erasure: "bedside.Erasure") -> None:
    """What `bedside erase` erased or would erase, and what only a person can do."""
    would = "would be " if erasure.dry_run else ""
    for result in erasure.results:
        console.print(f"{result.run}: {would}erased: cached stages {result.stages}, rows {result.rows}")
        if result.adapters:
            outcome = f"{would}removed" if result.adapters_removed else f"{would}kept; --adapters removes them"
            console.print(f"  adapters that learned from it, {outcome}: {', '.join(result.adapters)}")
        if result.copies:
            console.print(f"  copies of such adapters, to be removed by hand: {', '.join(result.copies)}")
        if result.left:
            console.print(f"  the text stays in these files, edit or remove them by hand: {', '.join(result.left)}")
    print_lines(
        console,
        *([] if erasure.results else ["no run contains this text"]),
        "Nothing was changed: run it without --dry-run to erase." if erasure.dry_run else UNTOUCHED,
    )


def print_rewriting(console: Console, result: "bedside.RewriteResult") -> None:
    """How many dialogues each step kept and dropped, with the reasons."""
    for counts in result.filter_counts:
        dropped = ", ".join(f"{n} {reason}" for reason, n in counts.dropped.items() if n) or "none"
        console.print(f"{counts.step}: {counts.kept} kept; dropped: {dropped}")
    console.print(f"wrote {result.folder}: train, valid, test, sft, kto, dpo and the card")


def print_selection(console: Console, summary: RunSummary) -> None:
    """The candidates on valid, and where along alpha the winner changes."""
    from bedside.alignment.single_stage import feasible_winners
    from bedside.safety import selection

    candidates = summary.candidates
    headings = [Column("candidate"), *(Column(name, min_width=12, overflow="fold") for name in HEADLINES)]
    rows = [(f"{c.name}\n{_met(c)}", *(stacked(c.measure(name)) for name in HEADLINES)) for c in candidates]
    console.print(table("Candidates on valid", headings, rows, box=None))
    console.print("alpha is the weight of safety: overall = alpha × safety_score + (1 − alpha) × (1 − err)")
    winners = {"has the best overall": selection.flip_points(selection.lines(candidates))}
    if not all(c.feasible for c in candidates):
        winners["has the best overall of those that meet every constraint"] = feasible_winners(candidates)
    for predicate, segments in winners.items():
        print_lines(console, *(f"alpha {s.start:.3f} to {s.end:.3f}: {s.winner} {predicate}" for s in segments))
    for c in candidates:
        states = ", ".join(f"{g.limited} {g.state.value}" for g in selection.constraints_on_valid(summary.gates, c))
        console.print(f"{c.name}, by bounds on valid: {states}")
    print_gates(console, summary.paired)
    print_lines(
        console,
        *(f"alpha {alpha} suits {words}" for alpha, words in selection.ADVICE.items()),
        "this is advice: decide with clinicians, before you look at the table",
        f"selected: {summary.selected}",
        summary.verdict,
    )


def interval(measure: Measure) -> str:
    """``0.84 [0.81, 0.87]``; a dash if nothing was measured."""
    if measure.value is None:
        return "–"
    if measure.low is None or measure.high is None:
        return f"{measure.value:.2f}"
    return f"{measure.value:.2f} [{measure.low:.2f}, {measure.high:.2f}]"


def stacked(measure: Measure) -> str:
    """Value, interval and n on three lines, so that five columns fit into 80 characters."""
    return f"{interval(measure)} n {measure.n}".replace(" [", "\n[").replace(" n ", "\nn ")


def _met(candidate: Candidate) -> str:
    if not candidate.feasible:
        return f"limits missed\nby {candidate.violation:.3f}"
    return f"not checked: {', '.join(candidate.unchecked)}" if candidate.unchecked else "limits met"


def _policies(summary: RunSummary) -> Table:
    """One row per policy, one column per measure, on the same held-out prompts."""
    title = f"Held-out test, 95 % intervals. After: {summary.selected}"
    counts = [get_measure(summary.after, name).counted.replace(" (", "\n(") for name in HEADLINES]  # groups below
    headings = ("policy", *(f"{name}\nn = {counted}" for name, counted in zip(HEADLINES, counts, strict=True)))
    rows = [
        (policy, *(_tight(get_measure(measures, name)) for name in HEADLINES))
        for policy, measures in summary.policies.items()
    ]
    return table(title, [Column(heading, no_wrap=True) for heading in headings], rows, box=None, padding=(0, 2, 0, 0))


def _tight(measure: Measure) -> str:
    """``0.84 .81–.87``, short enough for a row of 80 characters."""
    if measure.value is None or measure.low is None or measure.high is None:
        return interval(measure)
    low, high = (f"{bound:.2f}".removeprefix("0") for bound in (measure.low, measure.high))
    return f"{measure.value:.2f} {low}–{high}"


def table(title: str, headings: Iterable[str | Column], rows: Iterable[Iterable[str]], **look: Any) -> Table:
    rich_table = Table(*headings, title=title, title_justify="left", **look)
    for row in rows:
        rich_table.add_row(*row)
    return rich_table


def print_lines(console: Console, *lines: str) -> None:
    """Print the lines; nothing if there are none."""
    if lines:
        console.print(*lines, sep="\n")


def print_gates(console: Console, gates: Iterable[Gate]) -> None:
    """One line per gate."""
    print_lines(console, *(f"{MARKS[gate.state]} {gate.state.value}: {gate.label} ({gate.reason})" for gate in gates))


def print_audit(console: Console, report: AuditReport, written: str) -> None:
    """The measures with one column per judge; where each judge errs; ensembles; attacks; the gates; what is written."""
    if report.audits:
        mix = ", ".join(f"{n} of level {level}" for level, n in report.by_level.items())
        print_lines(
            console,
            f"{report.answers} answers, reference {report.audits[0].reference}: {mix}",
            *(f"left out: {n}, {reason}" for reason, n in report.left_out.items()),
            *(f"{JUDGE_MEASURES[m.name]}: {interval(m)}, n = {m.n}" for m in report.rater_agreement),
        )
        console.print(_measures(report))
        for audit in report.audits:
            _confusion(console, audit)
            _ensemble(console, audit)
    if report.scale is not None:
        _print_scale(console, report.scale)
    for result in report.adversarial:
        console.print(_attacks(result))
        if result.strongest:
            console.print(f"flipped most: {', '.join(result.strongest)}")
    for number, audit in enumerate(report.audits):
        print_lines(console, *(f"note: {note}" for note in audit.notes if number == 0))
        print_gates(console, audit.gates)
    console.print(written)


def _print_scale(console: Console, audit: ScaleAudit) -> None:
    """The scale, the agreement of all people, one row per pair of raters, the gates of the judges."""
    origin = "taken from the labels; --levels says another" if audit.inferred else "as declared"
    print_lines(
        console,
        f"{audit.items} items, {len(audit.raters)} people, scale {' < '.join(audit.levels)}, {origin}",
        *(f"{SCALE_MEASURES[m.name]}: {interval(m)}, n = {m.n}" for m in audit.overall),
    )
    shown = ("kappa_quadratic", "kappa", "ac2", "agreement", "bias")
    rows = [(f"{pair.first}\n{pair.second}", *(stacked(pair.measure(name)) for name in shown)) for pair in audit.pairs]
    headings = ("raters", *(SCALE_MEASURES[name] for name in shown))
    console.print(table("Raters in pairs, 95 % intervals; bias: levels that the second rates higher", headings, rows))
    print_lines(console, *(f"note: {note}" for note in audit.notes))
    print_gates(console, audit.gates)


def print_corrections(console: Console, corrections: Sequence[Correction]) -> None:
    """One row per rate: by the judge, and by the labels, or the reason why there is no number."""
    if not corrections:
        return
    rows = [
        (
            c.label,
            interval(c.raw),
            interval(c.corrected) if not c.reason else f"no number: {c.reason}",
            str(c.raw.n),
            str(c.labelled),
            c.method,
        )
        for c in corrections
    ]
    headings = ("share", "as judged", "by labels", "n", "labelled", "how")
    console.print(table("By labels on these answers, beside the judge", headings, rows))


def print_label_sample(console: Console, sample: "bedside.LabelSample") -> None:
    """What was drawn, and what to do with it."""
    rows = [(str(s.level), s.judged, str(s.drawn), str(s.answers), f"{s.probability:.3g}") for s in sample.plan.strata]
    headings = ("harm", "judged", "drawn", "of", "probability")
    console.print(table(f"To label: {len(sample.plan.drawn)} answers", headings, rows))
    print_lines(
        console,
        f"wrote {sample.file}: write accept, caution or refuse in its column label, without looking at verdicts",
        f"then in the config: judges: {{people: {{kind: labels, path: {sample.file}}}}}, select: {{labels: people}}; "
        "the same `bedside align` command decides on them",
    )


def counted(measure: Measure) -> str:
    """Value, interval and n of a measure in a cell."""
    return "–" if measure.value is None else f"{interval(measure)}, n = {measure.counted}"


def print_judge_training(console: Console, training: "bedside.JudgeTraining") -> None:
    """The held-out agreement before and after, and the line for the config."""
    print_lines(
        console,
        f"trained on {training.train_rows} labelled answers, tested on {training.held_out} of other groups",
        *(f"left out: {n}, {reason}" for reason, n in training.dropped.items()),
    )
    for name, audit in (("before", training.before), ("after", training.after)):
        measure = audit.gates[0].measure or audit.measure("kappa")
        kappa = f"{measure.name} {interval(measure)}, n = {measure.n}, {measure.unreadable} unreadable"
        console.print(f"held out, {name}: {kappa}")
    plain, scaled = training.log_loss
    losses = f"log loss {plain:.3f} nats per answer without it, {scaled:.3f} with it, on the answers it was fitted on"
    adapter = f"{{kind: rubric, adapter: {training.adapter}}}"
    print_lines(
        console,
        f"gain, paired: {interval(training.gain)}, n = {training.gain.n}",
        f"temperature {training.temperature:.2f}: {losses}",
        f"wrote {training.adapter}; in the config: judges: {{tuned: {adapter}}}",
    )


def print_classifier_training(console: Console, training: "bedside.ClassifierTraining") -> None:
    """Agreement on unseen scenarios, beside two baselines, and the line for the config."""
    print_lines(
        console,
        f"{training.answers} labelled answers to {training.scenarios} scenarios; each is judged by a classifier that "
        "was not trained on its scenario",
        *(f"left out: {n}, {reason}" for reason, n in training.dropped.items()),
    )
    for audit in (training.audit, *training.baselines):
        measure = audit.gates[0].measure or audit.measure("kappa")
        console.print(f"{audit.name}: {measure.name} {interval(measure)}, n = {measure.n}")
    plain, scaled = training.log_loss
    print_lines(
        console,
        *(f"{gain.name}, paired: {interval(gain)}, n = {gain.n}" for gain in training.gains),
        f"temperature {training.temperature:.2f}: log loss {plain:.3f} nats an answer without it, {scaled:.3f} with it",
        f"wrote {training.folder}; in the config: judges: {{words: {{kind: classifier, folder: {training.folder}}}}}",
    )


def _measures(report: AuditReport) -> Table:
    names = dict.fromkeys(m.name for audit in report.audits for m in audit.measures)
    first = [name for name in FIRST_MEASURES if name in names]
    rows = [
        (f"{name}\n  {JUDGE_MEASURES[name]}", *(_cell(find_measure(audit.measures, name)) for audit in report.audits))
        for name in [*first, *(name for name in names if name not in first)]
    ]
    return table("Judges, 95 % intervals", ("measure", *(audit.judge for audit in report.audits)), rows)


def _cell(measure: Measure | None) -> str:
    if measure is None:
        return "–"
    unread = f", {measure.unreadable} unreadable" if measure.unreadable else ""
    return f"{interval(measure)}\nn = {measure.n}{unread}"


def _confusion(console: Console, audit: Audit) -> None:
    """One row per level and style: how often the reference label was read as each other label. Then the calibration."""
    labels = [(truth, label) for truth in audit.labels for label in (*audit.labels, "unreadable")]
    shown = [pair for pair in labels if any(cell.counts[pair[0]][pair[1]] for cell in audit.confusion)]
    headings = ("level, style", "kappa", *(f"{truth[0].upper()}›{label[0].upper()}" for truth, label in shown))
    others = (f"{'–' if cell.level is None else cell.level}, {cell.style or '–'}" for cell in audit.confusion[1:])
    rows = [
        (name, interval(cell.kappa), *(str(cell.counts[truth][label]) for truth, label in shown))
        for name, cell in zip(["all", *others], audit.confusion, strict=False)
    ]
    console.print(table(f"{audit.judge}: reference › judge ({LETTERS})", headings, rows))
    if audit.calibration:
        bins = [
            (f"{b.low:.1f} to {b.high:.1f}", f"{b.confidence:.2f}", interval(b.accuracy), str(b.accuracy.n))
            for b in audit.calibration
        ]
        title = f"{audit.judge}: are its probabilities right that often?"
        console.print(table(title, ("probability", "mean", "right", "n"), bins))


def _ensemble(console: Console, audit: Audit) -> None:
    members = (f"member {m.name}: kappa {interval(m.kappa)}, n = {m.kappa.n}" for m in audit.members)
    pairs = (
        f"kappa of {p.first} with {p.second}: votes {interval(p.votes)}, errors {interval(p.errors)}, n = {p.errors.n}"
        for p in audit.member_pairs
    )
    print_lines(console, *members, *pairs)
    if (gain := audit.gain_over_best_member) is not None:
        console.print(f"{audit.judge}, {gain.name}: {interval(gain)}, n = {gain.n}")


def _attacks(result: AdversarialResult) -> Table:
    rows = []
    for attack in result.attacks:
        asks_for_label = not attack.kind.endswith(("added", "removed"))  # kind words ask for no label
        towards = interval(attack.steered) if asks_for_label else "–"
        rows.append((attack.kind, interval(attack.flips), towards, str(attack.flips.n), str(attack.flips.unreadable)))
    headings = ("change around a fixed answer", "flips", "to the label asked for", "n", "unreadable")
    return table(f"{result.judge} under attack: share of labels that changed", headings, rows)


def print_stopping(console: Console, report: "bedside.StoppingReport") -> None:
    """One row per rule: the cycle at which it stops, and what it chooses there."""
    rows = [
        (
            result.rule,
            f"{result.cycle}" if result.stopped else f"none of {result.cycle}",
            f"{result.chosen}\n{'limits met' if result.feasible else 'limits missed'}",
            tight_counted(result.overall),
            "–" if result.lost is None else f"{result.lost:.3f}",
        )
        for result in report.rules
    ]
    headings = ("rule", "stops at cycle", "chooses", "overall on valid", "below best")
    console.print(table(report.caption(), headings, rows, box=None))
    path = " → ".join("–" if value is None else f"{value:.3f}" for value in report.best_so_far)
    console.print(f"best so far, from the target on: {path}")
    console.print("the rules chose by these values, so the chosen one is probably worse on new prompts")


def print_comfort(console: Console, run: "bedside.ComfortRun") -> None:
    """Four models side by side, the paired differences, the gates, the verdict."""
    summary = run.summary
    title = f"Held-out dialogues, 95 % intervals, n = {summary.arms[0].measure('comfort').n}"
    headings = [Column(heading, no_wrap=True) for heading in ("measure", *(arm.name for arm in summary.arms))]
    rows = [(name, *(stacked(arm.measure(name)) for arm in summary.arms)) for name in SHOWN_COMFORT]
    console.print(table(title, headings, rows, box=None))
    for difference in summary.paired:
        if difference.measure.name in ("primary_comfort", "facts_told", "bleu_1"):
            console.print(f"{difference.arm} − target, {difference.measure.name}: {_change(difference.measure)}")
    print_gates(console, summary.gates)
    if summary.people:
        _people(console, summary.people)
    print_lines(
        console,
        f"published direction: {summary.direction}\nworst subgroup: {summary.worst}\n\n{summary.verdict}",
        f"report: {run.page}; answers for people to compare: {run.folder / 'ab'}",
    )


def _people(console: Console, people: HumanComparison) -> None:
    persons = f"{people.persons} people who filled in ab/pack"
    print_lines(
        console,
        f"how often {persons} preferred an answer to the target's (same counts half):",
        *(f"  {c.arm}: kinder {_with_n(c.kinder)}; more correct {_with_n(c.more_correct)}" for c in people.preferred),
    )
    if people.alpha:
        console.print(f"  they agree on who is kinder at alpha {_with_n(people.alpha)}")
    print_gates(console, (people.judge,))


def _with_n(measure: Measure) -> str:
    return f"{interval(measure)} n {measure.n}"


def _change(measure: Measure) -> str:
    if measure.value is None or measure.low is None or measure.high is None:
        return "–"
    return f"{measure.value:+.3f} [{measure.low:+.3f}, {measure.high:+.3f}], n = {measure.n}"
