"""The held-out test is opened: for the target, for the selected checkpoint, and for the baselines.

    constants, tfidf-guard       need no model
    safety-prompt                the target as given under a system turn
    sft-on-refusals              the target after SFT on what the first cycle chose on harmful prompts

Nothing is chosen here any more: the test decides whether the selected checkpoint may be released, and no other.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from bedside.alignment import summary
from bedside.alignment.cycle import declined_answers
from bedside.comfort import joint_objective
from bedside.config.schema import TrainingStep
from bedside.core.gates import Gate, GateKind
from bedside.core.results import Candidate, CycleReport
from bedside.core.types import Checkpoint, GenerationRequest, JudgedResponse, Prompt
from bedside.data import splits
from bedside.run.experiment import Experiment
from bedside.safety import baselines, evaluate, gates, selection
from bedside.safety.selection import PolicyRows

SAFETY_PROMPT, SFT = "safety-prompt", "sft-on-refusals"
NOT_A_PARTNER = (None, "none")


def open_test(experiment: Experiment, parts: splits.DataParts, cycles: Sequence[CycleReport]) -> summary.Outcome:
    """The answers, verdicts and gates of the target and of the selected checkpoint on the held-out test."""
    target, selected = cycles[0].candidates[0], _selected(cycles)
    imitator = _imitator(experiment, cycles)  # the last training: then the test is opened
    before = _answer_and_judge(experiment, parts.test, "target", target.checkpoint)
    after = _answer_and_judge(experiment, parts.test, selected.name, selected.checkpoint)
    baseline_rows = _baseline_rows(experiment, parts, target, imitator)
    arms = {target.name: target.checkpoint, selected.name: selected.checkpoint}
    both = joint_objective.enabled(experiment.run.config)
    prompted = {SAFETY_PROMPT: baseline_rows[SAFETY_PROMPT]} if SAFETY_PROMPT in baseline_rows else {}
    policies = {
        target.name: before,
        selected.name: after,
        **prompted,
        **({SFT: baseline_rows[SFT]} if SFT in baseline_rows else {}),
    }
    return summary.Outcome(
        run=experiment.run,
        metric=experiment.metric,
        parts=parts.named,
        filter_counts=parts.filter_counts,
        cycles=cycles,
        selected=selected,
        before=before,
        after=after,
        baselines=baseline_rows,
        gates=_release_gates(experiment, selected, after, baseline_rows),
        comparisons=_comparisons(experiment, PolicyRows(selected.name, after), baseline_rows),
        one_judge=experiment.one_judge,
        skipped=tuple(_skipped_baselines(experiment, cycles, baseline_rows)),
        axes=joint_objective.axes(experiment, policies) if both else (),
        pressure=joint_objective.under_pressure(experiment, parts.test, arms) if both else (),
    )


def _selected(cycles: Sequence[CycleReport]) -> Candidate:
    return next(c for c in cycles[-1].candidates if c.name == cycles[-1].selected)


def _answer_and_judge(
    experiment: Experiment, prompts: Sequence[Prompt], name: str, checkpoint: Checkpoint, system: str | None = None
) -> list[JudgedResponse]:
    run = experiment.run
    run.cache.log_event("sealed test opened", candidate=name, checkpoint=checkpoint.id)
    requests = [GenerationRequest(prompt, system=system) for prompt in prompts]
    responses = run.stages.answers(requests, checkpoint, f"{name}, sealed test")
    return run.stages.judged(responses, experiment.selecting_judge, f"{name}, sealed test")


def _baseline_rows(
    experiment: Experiment, parts: splits.DataParts, target: Candidate, imitator: Checkpoint | None
) -> Mapping[str, list[JudgedResponse]]:
    config, test = experiment.run.config.baselines, parts.test
    guard = baselines.tfidf_guard(parts.train, test, experiment.run.launch.seed)
    rows = {**baselines.constants(test), baselines.GUARD: guard}
    if config.safety_prompt is not None:
        rows[SAFETY_PROMPT] = _answer_and_judge(
            experiment, test, SAFETY_PROMPT, target.checkpoint, config.safety_prompt
        )
    if imitator is not None:
        rows[SFT] = _answer_and_judge(experiment, test, SFT, imitator)
    return rows


def _imitator(experiment: Experiment, cycles: Sequence[CycleReport]) -> Checkpoint | None:
    """The target after SFT on declined answers, at the first step's learning rate; None where there are none."""
    target, trained = cycles[0].candidates[0], len(cycles[0].candidates) > 1
    rows = declined_answers(experiment, target) if trained and experiment.run.config.baselines.sft_on_refusals else []
    if not rows:
        return None
    first = experiment.run.config.align.train[0]
    step = TrainingStep.model_validate({"kind": "sft", "learning_rate": first.learning_rate})
    return experiment.run.stages.trained(rows, step, start=target.checkpoint, reference=target.checkpoint, label=SFT)


def _skipped_baselines(
    experiment: Experiment, cycles: Sequence[CycleReport], baseline_rows: Mapping[str, list[JudgedResponse]]
) -> Iterator[str]:
    """Why a baseline does not stand beside the result."""
    if SAFETY_PROMPT not in baseline_rows:
        yield f"{SAFETY_PROMPT} does not stand beside the result: baselines.safety_prompt is null."
    if SFT not in baseline_rows:
        why = "no answer of the first cycle that declines a harmful prompt was chosen"
        if len(cycles[0].candidates) == 1:
            why = "the first cycle trained nothing"
        if not experiment.run.config.baselines.sft_on_refusals:
            why = "baselines.sft_on_refusals is false"
        yield f"{SFT} does not stand beside the result: {why}."


def _release_gates(
    experiment: Experiment,
    selected: Candidate,
    after: list[JudgedResponse],
    baseline_rows: Mapping[str, list[JudgedResponse]],
) -> list[Gate]:
    """Every constraint by its bound on test (KL: on valid), and the paired lower bound above every constant."""
    measures = (*evaluate.evaluate(after, [experiment.metric]), selected.measure("kl"))
    constants = {name: baseline_rows[name] for name in baselines.CONSTANTS}
    beaten = _beaten(experiment, PolicyRows(selected.name, after), constants)
    return [gates.decide(limit, measures, selected.name) for limit in experiment.constraints] + beaten


def _comparisons(
    experiment: Experiment, after: PolicyRows, baseline_rows: Mapping[str, list[JudgedResponse]]
) -> list[Gate]:
    """With the baselines that decide nothing: on all prompts, and on contrast partners, where words do not help."""
    others = {name: rows for name, rows in baseline_rows.items() if name not in baselines.CONSTANTS}
    compared = _beaten(experiment, after, others)
    partners = PolicyRows(after.name, _contrast_partners(after.rows))
    if not partners.rows:
        return compared
    others = {name: _contrast_partners(rows) for name, rows in others.items()}
    return compared + _beaten(experiment, partners, others, GateKind.PARTNER_COMPARISON)


def _beaten(
    experiment: Experiment,
    after: PolicyRows,
    baseline_rows: Mapping[str, list[JudgedResponse]],
    kind: GateKind = GateKind.PAIRED_COMPARISON,
) -> list[Gate]:
    rng = np.random.default_rng(experiment.run.launch.seed)
    return [
        selection.beats(after, PolicyRows(name, rows), experiment.metric, rng, kind)
        for name, rows in baseline_rows.items()
    ]


def _contrast_partners(rows: Sequence[JudgedResponse]) -> list[JudgedResponse]:
    return [row for row in rows if row.prompt.metadata.get("contrast_partner") not in NOT_A_PARTNER]
