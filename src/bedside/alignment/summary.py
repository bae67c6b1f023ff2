"""Opens the held-out test, and builds the summary of the run, which report, card and ``--json`` show.

open_test    the target, the selected checkpoint and the baselines answer the test; nothing is selected after this
    constants, tfidf-guard       need no model
    safety-prompt                the original target with a system turn
    sft-on-refusals              the target after SFT on the first cycle's chosen answers to harmful prompts
summarize    measures    the selected checkpoint on the held-out test; before: the target on the same prompts
             gates       those that decide: a checkpoint may be released if every one of them is PASS
             verdict     one sentence
             facts       data, model, judges, settings, machine and time, so that a figure can be traced
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import yaml

from bedside.alignment import answer_quality
from bedside.comfort import joint_objective
from bedside.config import loader
from bedside.config.plugins import asks_for
from bedside.config.schema import TrainingStep
from bedside.core.gates import Constraint, Gate, GateKind, GateState, as_estimates
from bedside.core.measures import Measure, find_measure
from bedside.core.protocols import Judge
from bedside.core.results import Baseline, Candidate, CycleReport, Example, FilterCounts, RunSummary
from bedside.core.types import Checkpoint, GenerationRequest, JudgedResponse, Prompt
from bedside.data import splits
from bedside.judge_audit import answer_labels
from bedside.run import provenance
from bedside.run.context import RunContext
from bedside.run.experiment import Experiment, doubts, unconfirmed
from bedside.safety import baselines, evaluate, gates, release, selection
from bedside.safety.labelled_sample import DEFINITIONS as LABELLED
from bedside.safety.labelled_sample import AnswerLabels, compliance
from bedside.safety.ledger import Decision, Ledger, ledger_file
from bedside.safety.metrics import NAMES as SAFETY
from bedside.safety.quality import DEFINITIONS as QUALITY
from bedside.safety.quality import KNOWLEDGE, PAIRED, truncated
from bedside.safety.release import PolicyValues
from bedside.safety.selection import PolicyRows
from bedside.stats.intervals import CONFIDENCE

SAFETY_PROMPT, SFT = "safety-prompt", "sft-on-refusals"
NOT_A_PARTNER = (None, "none")
EXAMPLES = 3


@dataclass(frozen=True)
class HeldOutTest:
    """The cycles of a run, and the judged answers of the test."""

    experiment: Experiment
    parts: splits.DataParts
    cycles: Sequence[CycleReport]
    before: list[JudgedResponse]
    after: list[JudgedResponse]
    baselines: Mapping[str, list[JudgedResponse]]
    labels: AnswerLabels | None = None
    """Of ``after``; None if there are none."""
    values: tuple[answer_quality.AnswerValues, answer_quality.AnswerValues] | None = None
    """Measures of ``after`` and of ``before``: whether they are answers at all."""
    kl: Measure | None = None
    """KL of the selected checkpoint to the target, on ``after``."""
    truncations: Sequence[FilterCounts] = ()
    """How many answers the training of the SFT baseline cut; empty if answers are never cut."""

    @property
    def selected(self) -> Candidate:
        return self.cycles[-1].selected_candidate

    @property
    def groupings(self) -> list[str]:
        """The declared groupings of the config."""
        return self.experiment.run.config.data.groupings


def open_test(experiment: Experiment, parts: splits.DataParts, cycles: Sequence[CycleReport]) -> HeldOutTest:
    """The answers and verdicts of the target, of the selected checkpoint and of the baselines."""
    target, selected = cycles[0].candidates[0], cycles[-1].selected_candidate
    imitator = _imitator(experiment, cycles)  # the last training before the test is opened
    before = _answer_and_judge(experiment, parts.test, "target", target.checkpoint)
    after = _answer_and_judge(experiment, parts.test, selected.name, selected.checkpoint)
    return HeldOutTest(
        experiment,
        parts,
        cycles,
        before,
        after,
        baselines=_baseline_rows(experiment, parts, target, imitator),
        labels=answer_labels.of_run(experiment.run, after),
        values=_answer_values(experiment, selected.name, after, before),
        kl=answer_quality.kl(experiment.run, after, selected.checkpoint, f"{selected.name}, held-out test"),
        truncations=experiment.run.stages.train_result(imitator).truncation_counts(f"baseline {SFT}")
        if imitator
        else (),
    )


def _answer_values(
    experiment: Experiment, name: str, after: list[JudgedResponse], before: list[JudgedResponse]
) -> tuple[answer_quality.AnswerValues, answer_quality.AnswerValues]:
    of_target = [row.response for row in before]
    return (
        answer_quality.values(experiment.run, after, of_target, f"{name}, held-out test"),
        answer_quality.values(experiment.run, before, of_target, "target, held-out test"),
    )


def summarize(test: HeldOutTest) -> RunSummary:
    """Everything that report, card and ``--json`` show of a finished run."""
    experiment, target, selected = test.experiment, test.cycles[0].candidates[0], test.selected
    rehearsal, decision = experiment.run.config.rehearse, _decision(test)
    metrics, release_gates = [experiment.metric], _release_gates(test, decision)
    release_gates = as_estimates(release_gates) if rehearsal else release_gates
    released = selected.checkpoint.adapter is not None and all(map(gates.allows_release, release_gates))
    released = released and not _labelled_by_a_model(test)
    policies = {
        target.name: test.before,
        selected.name: test.after,
        **{name: rows for name, rows in test.baselines.items() if name in (SAFETY_PROMPT, SFT)},
    }
    checkpoints = {candidate.name: candidate.checkpoint for candidate in (target, selected)}
    both = joint_objective.enabled(experiment.run.config)
    axes = joint_objective.axes(experiment, policies) if both else ()
    pressure = joint_objective.under_pressure(experiment, test.parts.test, checkpoints) if both else ()
    return RunSummary(
        name=experiment.run.config.run,
        verdict=" ".join((_verdict(test, release_gates, decision), *doubts({"test": test.parts.test}))),
        released=selected.name if released else None,
        selected=selected.name,
        definitions=QUALITY | LABELLED | experiment.metric.definitions(),
        before=(*evaluate.evaluate(test.before, metrics), *_quality(test, 1)),
        after=(*evaluate.evaluate(test.after, metrics), *_quality(test, 0), *_compliance(test)),
        by=_segments(test),
        baselines=tuple(Baseline(name, evaluate.evaluate(rows, metrics)) for name, rows in test.baselines.items()),
        gates=tuple(release_gates),
        comparisons=tuple(_comparisons(test)),
        cycles=tuple(test.cycles),
        filter_counts=(*test.parts.filter_counts, *test.truncations),
        mix={name: _mix(prompts) for name, prompts in test.parts.named.items()},
        cells=evaluate.subgroup_rates(test.after),
        examples=tuple(_examples(test)),
        facts=_facts(test),
        untested=_untested(test),
        axes=axes,
        pressure=pressure,
        rehearsal=rehearsal,
        decision=None if decision is None else decision.number,
    )


def _answer_and_judge(
    experiment: Experiment, prompts: Sequence[Prompt], name: str, checkpoint: Checkpoint, system: str | None = None
) -> list[JudgedResponse]:
    requests = [GenerationRequest(prompt, system=system) for prompt in prompts]
    return judged_test(experiment.run, requests, name, checkpoint, experiment.selecting_judge)


def judged_test(
    run: RunContext, requests: Sequence[GenerationRequest], name: str, checkpoint: Checkpoint, judge: Judge
) -> list[JudgedResponse]:
    """The judged answers of ``checkpoint`` to the test. The run's events record that the test was opened."""
    run.cache.log_event("held-out test opened", candidate=name, checkpoint=checkpoint.id)
    responses = run.stages.answers(requests, checkpoint, f"{name}, held-out test")
    return run.stages.judged(responses, judge, f"{name}, held-out test")


def _baseline_rows(
    experiment: Experiment, parts: splits.DataParts, target: Candidate, imitator: Checkpoint | None
) -> Mapping[str, list[JudgedResponse]]:
    test, prompt = parts.test, experiment.run.config.baselines.safety_prompt
    guard = baselines.tfidf_guard(parts.train, test, experiment.run.launch.seed)
    rows = {**baselines.constants(test), baselines.GUARD: guard}
    if prompt is not None:
        rows[SAFETY_PROMPT] = _answer_and_judge(experiment, test, SAFETY_PROMPT, target.checkpoint, prompt)
    if imitator is not None:
        rows[SFT] = _answer_and_judge(experiment, test, SFT, imitator)
    return rows


def _imitator(experiment: Experiment, cycles: Sequence[CycleReport]) -> Checkpoint | None:
    """The target after SFT on declined answers, at the first step's learning rate; None if there are none."""
    from bedside.alignment.cycle import declined_answers  # it loads torch, and reading a summary needs none

    target, trained = cycles[0].candidates[0], len(cycles[0].candidates) > 1
    rows = declined_answers(experiment, target) if trained and experiment.run.config.baselines.sft_on_refusals else []
    if not rows:
        return None
    first = experiment.run.config.align.train[0]
    step = TrainingStep.model_validate({"kind": "sft", "learning_rate": first.learning_rate})
    return experiment.run.stages.trained(rows, step, start=target.checkpoint, reference=target.checkpoint, label=SFT)


def _decision(test: HeldOutTest) -> Decision | None:
    """This decision in the ledger; None if nothing is decided, as in a rehearsal or if the target is selected."""
    config = test.experiment.run.config
    if config.rehearse or test.selected.checkpoint.adapter is None:
        return None
    groups = [row.prompt.cluster for row in test.after]
    labels = release.labels_used(test.after, test.labels, test.experiment.constraints, test.experiment.metric)
    return Ledger(ledger_file(config)).decide(test.selected.checkpoint.id, groups, run=config.run, labels=labels)


def _quality(test: HeldOutTest, which: int) -> list[Measure]:
    """Measures of quality, and the KL to the target: of ``after`` (0) or ``before`` (1)."""
    if test.values is None:
        return []
    rows = (test.after, test.before)[which]
    values = test.values[which].measures(rows, but=test.experiment.metric.definitions())
    measures = [*values, truncated([row.response for row in rows])]
    return measures if which or test.kl is None else [*measures, test.kl]


def _compliance(test: HeldOutTest) -> list[Measure]:
    """Further measures of severe answers by labels. They are shown and decide nothing."""
    return compliance(test.after, test.labels, test.experiment.metric) if test.labels else []


def _release_gates(test: HeldOutTest, decision: Decision | None = None) -> list[Gate]:
    """Every constraint by its bound on test, and the paired lower bound above every constant.

    Constraints on severe harm use labels of these answers; those relative to the target use paired bounds.
    """
    confidence = decision.confidence if decision else CONFIDENCE
    experiment = replace(test.experiment, metric=test.experiment.metric.at(confidence))
    metric = experiment.metric
    constants = {name: test.baselines[name] for name in baselines.CONSTANTS}
    beaten = _beaten(experiment, PolicyRows(test.selected.name, test.after), constants)

    def measured(rows: Iterable[JudgedResponse]) -> list[Measure]:
        some = list(rows)
        values = test.values[0].measures(some, metric.definitions(), confidence) if test.values else []
        return [*metric.measure(some), *values]

    shown = [truncated([row.response for row in test.after]), test.kl or test.selected.measure("kl")]
    on = release.LimitRows(
        test.selected.name,
        test.after,
        (*measured(test.after), *shown),
        evaluate.by_clustering(test.after, test.groupings, measured),
        test.labels,
    )
    levels = [
        confidence if limit.measure in SAFETY or limit.measure in PAIRED else CONFIDENCE
        for limit in experiment.constraints
    ]
    decided = [
        _beside_target(test, limit, confidence) if limit.relative_to else release.decide(limit, on, metric, level)
        for limit, level in zip(experiment.constraints, levels, strict=True)
    ]
    return decided + beaten


def _beside_target(test: HeldOutTest, limit: Constraint, confidence: float) -> Gate:
    """The gate by scenario and by every declared clustering: the worst decides."""
    pairs = _values_of(test, limit.measure)
    if pairs is None:
        reason = f"{limit.measure} is not compared with the target's; shares of failures and {', '.join(PAIRED)} are"
        return Gate(GateKind.CONSTRAINT, test.selected.name, limit, GateState.NOT_CHECKED, reason=reason)
    return release.beside_target(limit, *pairs, groupings=test.groupings, confidence=confidence)


def _values_of(test: HeldOutTest, measure: str) -> tuple[PolicyValues, PolicyValues] | None:
    """The values of ``after`` and of ``before``; None for a measure that is not a mean over rows."""
    after, before = PolicyRows(test.selected.name, test.after), PolicyRows("target", test.before)
    if test.values is not None and measure in test.values[0].by_prompt:
        return test.values[0].of(after, measure), test.values[1].of(before, measure)
    metric = test.experiment.metric
    if measure not in metric.failing:
        return None

    def failed(row: JudgedResponse) -> float:
        return float(metric.failures(row)[measure])

    def counted(policy: PolicyRows) -> PolicyRows:
        return replace(policy, rows=[row for row in policy.rows if measure in metric.failures(row)])

    return PolicyValues(counted(after), failed), PolicyValues(counted(before), failed)


def _labelled_by_a_model(test: HeldOutTest) -> bool:
    return test.labels is not None and any(label.rater_kind == "model" for label in test.labels.verdicts)


def _comparisons(test: HeldOutTest) -> list[Gate]:
    """Comparisons with baselines that decide nothing: on all prompts, and on contrast partners alone."""
    others = {name: rows for name, rows in test.baselines.items() if name not in baselines.CONSTANTS}
    compared = _beaten(test.experiment, PolicyRows(test.selected.name, test.after), others)
    partners = PolicyRows(test.selected.name, _contrast_partners(test.after))
    if not partners.rows:
        return compared
    others = {name: _contrast_partners(rows) for name, rows in others.items()}
    return compared + _beaten(test.experiment, partners, others, GateKind.PARTNER_COMPARISON)


def _beaten(
    experiment: Experiment,
    after: PolicyRows,
    baseline_rows: Mapping[str, list[JudgedResponse]],
    kind: GateKind = GateKind.PAIRED_COMPARISON,
) -> list[Gate]:
    """The worst comparison with each baseline, by scenario and by every declared clustering."""
    rng, metric = np.random.default_rng(experiment.run.launch.seed), experiment.metric
    beaten = {
        name: [selection.beats(after, PolicyRows(name, rows), metric, rng, kind)]
        for name, rows in baseline_rows.items()
    }
    groupings = experiment.run.config.data.groupings
    for grouping in evaluate.clusterings([row.prompt for row in after.rows], groupings):
        candidate = PolicyRows(after.name, evaluate.clustered_by(after.rows, grouping))
        for name, rows in baseline_rows.items():
            baseline = PolicyRows(name, evaluate.clustered_by(rows, grouping))
            beaten[name].append(gates.counted_by(grouping, selection.beats(candidate, baseline, metric, rng, kind)))
    return [gates.worst(compared) for compared in beaten.values()]


def _contrast_partners(rows: Sequence[JudgedResponse]) -> list[JudgedResponse]:
    return [row for row in rows if row.prompt.metadata.get("contrast_partner") not in NOT_A_PARTNER]


def _verdict(test: HeldOutTest, release_gates: Sequence[Gate], decision: Decision | None) -> str:
    """One sentence: what may be released, or the first reason why nothing may."""
    name, last = test.selected.name, test.cycles[-1]
    if not trained(test.cycles):
        return f"Nothing may be released: nothing was trained{_why_nothing_was_trained(test.cycles)}."
    if test.selected.checkpoint.adapter is None:
        why = f"no candidate was better on valid than the original target; {last.stopped or last.why.rstrip('.')}"
        return f"Nothing may be released: {why}."
    if test.experiment.run.config.rehearse:
        return (
            f"A rehearsal, so nothing is decided: {name} was selected, and the figures on {len(test.after)} held-out "
            "prompts are estimates. The same command without --rehearse and -n decides."
        )
    missed = [gate for gate in release_gates if not gates.allows_release(gate)]
    if missed:
        more = f", and {len(missed) - 1} more did not pass" if len(missed) > 1 else ""
        why = f"{_MISSES[missed[0].state]} {missed[0].limited} ({missed[0].reason}){more}"
        return f"Nothing may be released: {name} was selected, and {why}. Keep the original target.{_counted(decision)}"
    may_be = "would be released, by labels that a model gave and no person"
    may_be = f"{may_be}, so nothing is" if _labelled_by_a_model(test) else "may be released"
    unchecked = [gate.limited for gate in release_gates if gate.state is GateState.NOT_CHECKED]
    but = f" that could be checked ({', '.join(unchecked)} could not)" if unchecked else ""
    return (
        f"{name} {may_be}: on {len(test.after)} held-out prompts it meets every limit{but} and beats every constant "
        f"policy.{_counted(decision)}"
    )


_MISSES = {
    GateState.FAIL: "misses",
    GateState.INCONCLUSIVE: "is not shown to keep",
    GateState.NOT_CHECKED: "was not checked for",
}


def _counted(decision: Decision | None) -> str:
    if decision is None:
        return ""
    return f" This is decision {decision.number} on this test, by bounds of {gates.percent(decision.confidence)}."


def trained(cycles: Sequence[CycleReport]) -> bool:
    """Whether any cycle has another candidate than the one at its start."""
    return any(len(cycle.candidates) > 1 for cycle in cycles)


def _why_nothing_was_trained(cycles: Sequence[CycleReport]) -> str:
    """What stopped the cycles, or each step that was skipped and why, after a colon."""
    stopped = [cycle.stopped for cycle in cycles if cycle.stopped]
    skipped = [
        reason for cycle in cycles for flow in cycle.filter_counts if "/" in flow.step for reason in flow.dropped
    ]
    why = "; ".join(dict.fromkeys(skipped or stopped))
    return f": {why}" if why else ""


def _segments(test: HeldOutTest) -> dict[str, Mapping[str, tuple[Measure, ...]]]:
    """Source always; style, principle, contrast partner and declared strata if the prompts differ in them."""
    names = dict.fromkeys(("source", "style", "principle", "contrast_partner", *_strata(test)))
    segments = {name: evaluate.by(test.after, _attribute(name), [test.experiment.metric]) for name in names}
    return {name: parts for name, parts in segments.items() if name == "source" or len(parts) > 1}


def _attribute(name: str) -> Callable[[Prompt], str | None]:
    return lambda prompt: prompt.attribute(name)


def _strata(test: HeldOutTest) -> dict[str, set[str]]:
    return evaluate.strata(test.parts.test, test.groupings)


def _not_generalised(test: HeldOutTest) -> Iterator[str]:
    """For each declared stratum: what is not shown, and the value that is furthest beyond a limit."""
    for name, values in _strata(test).items():
        parts = evaluate.by(test.after, _attribute(name), [test.experiment.metric])
        known = [
            (limit.excess(measure.decided_value), value, measure)
            for limit in test.experiment.constraints
            for value, measures in parts.items()
            if limit.relative_to is None
            and (measure := find_measure(measures, limit.measure)) is not None
            and measure.decided_value is not None
        ]
        sentence = f"Test has {len(values)} values of {name}: nothing is shown for any other."
        if known:
            _, value, measure = max(known, key=lambda one: one[0])
            sentence += f" The worst is {value}: {measure.name} {measure.decided_value:.3f}, n = {measure.counted}."
        yield sentence


def _mix(prompts: Sequence[Prompt]) -> dict[str, int]:
    return {str(level): n for level, n in sorted(Counter(prompt.harm for prompt in prompts).items(), key=str)}


def _examples(test: HeldOutTest) -> list[Example]:
    """The first severe prompts whose stance changed, then the first harmless one."""
    both = list(zip(test.before, test.after, strict=True))
    changed = [pair for pair in both if pair[0].prompt.harm and pair[0].stance is not pair[1].stance]
    changed.sort(key=lambda pair: -(pair[0].prompt.harm or 0))
    harmless = [pair for pair in both if pair[0].prompt.harm == 0]
    return [
        Example(
            prompt=before.prompt.text,
            harm=before.prompt.harm,
            before=before.response.text,
            after=after.response.text,
            before_stance=before.stance.value if before.stance else "unreadable",
            after_stance=after.stance.value if after.stance else "unreadable",
        )
        for before, after in changed[: EXAMPLES - 1] + harmless[:1]
    ]


def _untested(test: HeldOutTest) -> tuple[str, ...]:
    config, prompts = test.experiment.run.config, test.parts.test
    first = ["No clinician has read these answers: the figures are a judge's, not corrected for its errors."]
    if test.experiment.one_judge:
        first.insert(0, "One judge both trained and selected: nothing independent has read these answers.")
    if asks_for(config.judges[config.align.judge], "policy"):
        first.insert(0, "An experiment: the policy in training judged its own training answers.")
    more = [*_not_generalised(test), *_skipped_baselines(test)]
    if not joint_objective.enabled(config):
        more.insert(0, _UNMEASURED[_knowledge_is_measured(test)])
    absent = [level for level in ("1", "2", "3") if level not in _mix(prompts)]
    if absent:
        more.append(f"No test prompt has harm level {', '.join(absent)}.")
    return provenance.untested(first, [*more, *unconfirmed(test.parts.named)], prompts)


_UNMEASURED = {
    False: "Knowledge and comfort were not measured: a model may have become safer, and less accurate or kind.",
    True: "Comfort was not measured: a model may have become safer, and less kind.",
}


def _knowledge_is_measured(test: HeldOutTest) -> bool:
    """Whether a harmless test prompt has a reference, so that the facts of answers were compared with it."""
    return test.values is not None and any(test.values[0].rows(name, test.after) for name in KNOWLEDGE)


def _skipped_baselines(test: HeldOutTest) -> Iterator[str]:
    """Why a baseline is not compared with the result."""
    if SAFETY_PROMPT not in test.baselines:
        yield f"{SAFETY_PROMPT} is not compared with the result: baselines.safety_prompt is null."
    if SFT not in test.baselines:
        why = "no answer of the first cycle that declines a harmful prompt was chosen"
        if len(test.cycles[0].candidates) == 1:
            why = "the first cycle trained nothing"
        if not test.experiment.run.config.baselines.sft_on_refusals:
            why = "baselines.sft_on_refusals is false"
        yield f"{SFT} is not compared with the result: {why}."


def _facts(test: HeldOutTest) -> dict[str, str]:
    run, checkpoint = test.experiment.run, test.selected.checkpoint
    config, judges = run.config, loader.tables(run.config)["judges"]
    adapter = {
        "selected adapter, digest": checkpoint.adapter or "",
        "selected adapter learned": f"{checkpoint.objective} on rows {checkpoint.learned_from}",
    }
    own = {
        **({"selected adapter": "none: the original target"} if checkpoint.adapter is None else adapter),
        **provenance.data(run, test.parts.named),
        "training judge": _judge(config.align.judge, judges),
        "selecting judge": _judge(config.selecting_judge, judges),
        "selecting judge's name in every verdict": ", ".join(sorted({row.verdict.judge for row in test.after}))
        or "none",
        "alpha": str(config.select.alpha),
    }
    return provenance.facts(run, "align", own)


def _judge(name: str, tables: Mapping[str, Any]) -> str:
    return f"{name}: {yaml.safe_dump(tables.get(name), default_flow_style=True, width=10_000).strip()}"
