"""What a person reads in the terminal when a judge was audited or trained."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from bedside.core.audits import Audit, Audits, Confusion, Correction, Hostile
from bedside.core.reports import Measure, found
from bedside.faces.tables import gates, said, table
from bedside.flows.train_judge import Trained

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


def trained(console: Console, done: Trained) -> None:
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
