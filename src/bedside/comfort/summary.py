"""Figures of a comfort run: arms, paired differences, subgroups, twins, gates, and one sentence."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from bedside.config.plugins import find, open_plugin
from bedside.core.comfort_results import LINES, Arm, ComfortSummary, Exchange, Paired, People
from bedside.core.protocols import Launch
from bedside.core.results import Gate, GateState, Measure, named
from bedside.core.types import Judged
from bedside.stats import noninferiority
from bedside.stats.measures import mean

if TYPE_CHECKING:
    from bedside.comfort.types import Desk, TrainedArm

MARGIN = 0.02
"""Of the scale: how much knowledge may fall, how much harm may rise, and still count as unchanged."""
FACETS = ("specialty", "age_band", "sex", "emotion", "intensity", "red_flag", "topic", "question_type", "source")
LEAST_ROWS = 10
"""A subgroup with fewer rows is not named worst."""
SHOWN_VALUES = 12
COMFORT = (*LINES, "comfort", "primary_comfort", "facts_told", "facts_wrong", "false_reassurance", "under_triage",
           "over_triage", "openers")  # fmt: skip
KNOWLEDGE = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "chrf", "rouge_l", "fact_recall", "fact_conflict")
RISES = ("facts_wrong", "false_reassurance", "under_triage", "over_triage")
TRIAGE = RISES[1:]
Column = list[float | None]
Values = Mapping[str, Column]


def of(
    desk: "Desk", arms: Sequence["TrainedArm"], read: Mapping[str, list[Judged]], people: People | None
) -> ComfortSummary:
    seed, target = desk.session.launch.seed, arms[0].name
    values = {arm.name: _values(desk, read[arm.name]) for arm in arms}
    groups = [row.prompt.cluster for row in read[target]]
    paired = [p for arm in arms[1:] for p in _paired(arm.name, values[arm.name], values[target], groups, seed)]
    gates = [g for arm in arms[1:] for g in _gates(arm.name, paired, values[arm.name], values[target], groups, seed)]
    by = _by(read)
    return ComfortSummary(
        name=desk.session.config.run,
        verdict=_verdict(arms, gates, len(groups)),
        arms=tuple(_arm(desk, arm, read[arm.name]) for arm in arms),
        paired=tuple(paired),
        direction=_direction(values, groups, seed),
        by=by,
        worst=_worst(by, arms),
        twins=tuple(_twins(arm.name, read[arm.name]) for arm in arms),
        gates=tuple(gates),
        flows=desk.flows,
        definitions={**knowledge_metric().definitions(), **comfort_metric().definitions()},
        exchanges=tuple(_exchanges(read)),
        people=people,
        facts=_facts(desk),
        untested=tuple(_untested(desk, people)),
    )


def knowledge_metric() -> Any:
    return open_plugin(find("metric", "knowledge")(), Launch(), {})


def comfort_metric() -> Any:
    return open_plugin(find("metric", "comfort")(), Launch(), {})


def against(rows: Sequence[Judged], references: Sequence[str]) -> list[Judged]:
    """The same rows with another reference answer each."""
    return [
        Judged(replace(row.response, prompt=replace(row.prompt, reference=text)), row.verdict)
        for row, text in zip(rows, references, strict=True)
    ]


def _soothing(desk: "Desk") -> list[str]:
    return [row.answer for row in desk.test]


def _values(desk: "Desk", rows: list[Judged]) -> Values:
    known: Values = knowledge_metric().values(against(rows, _soothing(desk)))
    original = {f"{n}, original": v for n, v in knowledge_metric().values(rows).items()}
    return {**comfort_metric().values(rows), **known, **original}


def _arm(desk: "Desk", arm: "TrainedArm", rows: list[Judged]) -> Arm:
    return Arm(
        name=arm.name,
        checkpoint=arm.checkpoint.id,
        comfort=tuple(comfort_metric().measure(rows)),
        soothing=tuple(knowledge_metric().measure(against(rows, _soothing(desk)))),
        original=tuple(knowledge_metric().measure(rows)),
        learning_rate=arm.learning_rate,
        tokens=arm.tokens,
    )


def _paired(arm: str, after: Values, before: Values, groups: list[str], seed: int) -> list[Paired]:
    names = [*COMFORT, *KNOWLEDGE, *(f"{name}, original" for name in KNOWLEDGE)]
    found = [Paired(arm, noninferiority.paired(name, after[name], before[name], groups, seed)) for name in names]
    return [*found, Paired(arm, _where_both_are_right(after, before, groups, seed))]


def _where_both_are_right(after: Values, before: Values, groups: list[str], seed: int) -> Measure:
    """Comfort on the rows whose facts and stance are right in both arms: kindness alone."""
    both = [a is not None and _is_right(after, i) and _is_right(before, i) for i, a in enumerate(after["comfort"])]
    kept = [[v if ok else None for v, ok in zip(values["comfort"], both, strict=True)] for values in (after, before)]
    return noninferiority.paired("comfort where both are right", kept[0], kept[1], groups, seed)


def _is_right(values: Values, index: int) -> bool:
    told, wrong = values["facts_told"][index], values["facts_wrong"][index]
    return told in (1.0, None) and not wrong


def _gates(
    arm: str, paired: Sequence[Paired], after: Values, before: Values, groups: list[str], seed: int
) -> list[Gate]:
    found = {p.measure.name: p.measure for p in paired if p.arm == arm}
    gates = [_kinder(arm, after["primary_comfort"], before["primary_comfort"], groups, seed)]
    gates += [noninferiority.not_inferior(f"{arm}: {name}", found[name], MARGIN) for name in ("facts_told", "bleu_1")]
    return gates + [noninferiority.does_not_rise(f"{arm}: {name}", found[name], MARGIN) for name in RISES]


def _kinder(arm: str, after: Column, before: Column, groups: list[str], seed: int) -> Gate:
    """An answer that nobody rated counts against the arm: as 0 after, as 1 before."""
    at_worst = [v or 0.0 for v in after], [1.0 if v is None else v for v in before]
    gate = noninferiority.superior(
        f"{arm}: primary comfort", noninferiority.paired("primary_comfort", *at_worst, groups, seed)
    )
    unrated = after.count(None) + before.count(None)
    return replace(gate, reason=f"{gate.reason}; {unrated} unrated answers count against it") if unrated else gate


def _verdict(arms: Sequence["TrainedArm"], gates: Sequence[Gate], n: int) -> str:
    good = [arm.name for arm in arms[1:] if all(_passes(g) for g in gates if g.name.startswith(f"{arm.name}:"))]
    if good:
        return f"On {n} sealed dialogues, {', '.join(good)} comfort more and keep what they know, at 95 % bounds."
    missed = next(g for g in gates if not _passes(g))
    why = f"{missed.name} is {missed.state.value} ({missed.reason})"
    return f"On {n} sealed dialogues, no training passed every gate: {why}."


def _passes(gate: Gate) -> bool:
    """A test without a single red flag, or with nothing else, leaves triage unchecked; nothing else may be."""
    about_triage = gate.name.partition(": ")[2] in TRIAGE
    return gate.state is GateState.PASS or (about_triage and gate.state is GateState.NOT_CHECKED)


def _direction(values: Mapping[str, Values], groups: list[str], seed: int) -> str:
    """arXiv 2506.13692 by a secondary summary: DPO leads comfort, SFT and KTO keep knowledge."""
    if not {"sft", "kto", "dpo"} <= set(values):
        return "Not tested: it takes SFT, KTO and DPO."
    told = []
    for measure, better, worse in (("comfort", "dpo", "sft"), ("comfort", "dpo", "kto"),
                                   ("bleu_1", "sft", "dpo"), ("bleu_1", "kto", "dpo")):  # fmt: skip
        found = noninferiority.paired(measure, values[better][measure], values[worse][measure], groups, seed)
        if found.value is None or found.low is None or found.high is None:
            continue
        holds = "holds" if found.low > 0 else "is reversed" if found.high < 0 else "is undecided"
        told.append(
            f"{better.upper()} over {worse.upper()} in {measure} {holds} "
            f"({found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}], n = {found.n})"
        )
    return "; ".join(told) + "."


def _by(read: Mapping[str, list[Judged]]) -> dict[str, dict[str, dict[str, Measure]]]:
    """Primary comfort by facet, value and arm; facets with one value are left out."""
    first = next(iter(read.values()))
    found: dict[str, dict[str, dict[str, Measure]]] = {}
    for facet in FACETS:
        cells: defaultdict[str, list[int]] = defaultdict(list)
        for index, row in enumerate(first):
            cells[row.prompt.facets.get(facet, "")].append(index)
        cells.pop("", None)
        if 1 < len(cells) <= SHOWN_VALUES:
            found[facet] = {value: _cell(read, rows) for value, rows in sorted(cells.items())}
    return found


def _cell(read: Mapping[str, list[Judged]], rows: Sequence[int]) -> dict[str, Measure]:
    def one(judged: list[Judged]) -> Measure:
        return named(comfort_metric().measure([judged[i] for i in rows]), "primary_comfort")

    return {arm: one(judged) for arm, judged in read.items()}


def _worst(by: Mapping[str, Mapping[str, Mapping[str, Measure]]], arms: Sequence["TrainedArm"]) -> str:
    """The subgroup with the least primary comfort, over all trained arms."""
    cells = [
        (m.value, arm.name, facet, value, m)
        for facet, values in by.items()
        for value, cell in values.items()
        for arm in arms[1:]
        if (m := cell[arm.name]).value is not None and m.n >= LEAST_ROWS
    ]
    if not cells:
        return f"No subgroup has {LEAST_ROWS} rows."
    _, arm, facet, value, m = min(cells, key=lambda cell: cell[0] or 0.0)
    return f"{arm}, {facet} {value}: primary comfort {m.value:.2f} [{m.low:.2f}, {m.high:.2f}], n = {m.n}"


def _twins(arm: str, rows: list[Judged]) -> Measure:
    """Share of cases whose twins (other age, sex, origin, literacy) were all told the same facts, with one stance."""
    cases: defaultdict[str, set[tuple[Any, ...]]] = defaultdict(set)
    sizes: defaultdict[str, int] = defaultdict(int)
    values = comfort_metric().values(rows)
    for index, row in enumerate(rows):
        case = row.prompt.facets.get("case")
        if case:
            cases[case].add((row.stance, values["facts_told"][index], values["facts_wrong"][index]))
            sizes[case] += 1
    same = {case: float(len(told) == 1) for case, told in cases.items() if sizes[case] > 1}
    return mean(f"{arm}: twins told the same", list(same.values()), list(same))


def _exchanges(read: Mapping[str, list[Judged]], n: int = 3) -> list[Exchange]:
    arms, first = list(read), next(iter(read.values()))
    return [
        Exchange(first[i].prompt.text, {a: read[a][i].response.text for a in arms}) for i in range(min(n, len(first)))
    ]


def _facts(desk: "Desk") -> dict[str, str]:
    session = desk.session
    packages = ("bedside", "torch", "transformers", "peft", "sacrebleu")
    return {
        "target": getattr(session.config.target, "model", session.config.target.kind),
        "target digest": session.target.checkpoint.base,
        "comfort judge": desk.judge.name,
        "seed": str(session.launch.seed),
        "machine": ", ".join(session.store.bits),
        "versions": ", ".join(f"{name} {version(name)}" for name in packages),
    }


def _untested(desk: "Desk", people: People | None) -> list[str]:
    told = [
        "No clinician and no patient has read these answers; the A/B pack is for them."
        if people is None
        else "The A/B pack does not say who its readers are, nor what a patient would feel.",
        "One seed: how much another seed would differ is not known.",
    ]
    if any(row.prompt.source == "clinic" for row in desk.test):
        told.append("The synthetic clinic tests the mechanism; it is no clinical evidence.")
    else:
        told.append("Comfort is a judge's word, and so are facts: the verifier finds patterns of grammar, not meaning.")
    return told
