"""The sealed test is opened: for the target, for what was carried, and for what stands beside them.

    constants, tfidf-guard       need no model
    safety-prompt                the target as given under a system turn
    sft-on-refusals              the target after SFT on what the first cycle chose on harmful prompts

Nothing is chosen here any more: what is read decides whether the carried checkpoint ships, and no other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from bedside.alignment import summary
from bedside.alignment.cycle import declined
from bedside.comfort import joint_objective
from bedside.config.schema import Step
from bedside.core.results import Candidate, CycleReport, Gate
from bedside.core.types import Ask, Checkpoint, Judged, Prompt
from bedside.data import splits
from bedside.run.experiment import Experiment
from bedside.safety import baselines, evaluate, selection

SAFETY_PROMPT, SFT = "safety-prompt", "sft-on-refusals"
NOT_A_TWIN = (None, "none")


def outcome(bench: Experiment, parts: splits.Parts, cycles: Sequence[CycleReport]) -> summary.Outcome:
    """What the sealed test says of the target and of what was carried."""
    target, carried = cycles[0].candidates[0], _carried(cycles)
    imitator = _imitator(bench, cycles)  # the last training: then the test is opened
    before = _read(bench, parts.test, "target", target.checkpoint)
    after = _read(bench, parts.test, carried.name, carried.checkpoint)
    beside = _beside(bench, parts, target, imitator)
    arms = {target.name: target.checkpoint, carried.name: carried.checkpoint}
    both = joint_objective.wanted(bench.session.config)
    prompted = {SAFETY_PROMPT: beside[SAFETY_PROMPT]} if SAFETY_PROMPT in beside else {}
    read = {target.name: before, carried.name: after, **prompted, **({SFT: beside[SFT]} if SFT in beside else {})}
    return summary.Outcome(
        session=bench.session,
        metric=bench.metric,
        parts=parts.named,
        flows=parts.flows,
        cycles=cycles,
        carried=carried,
        before=before,
        after=after,
        baselines=beside,
        gates=_ship_gates(bench, carried, after, beside),
        comparisons=_comparisons(bench, after, beside),
        one_judge=bench.one_judge,
        skipped=tuple(_skipped(bench, cycles, beside)),
        axes=joint_objective.axes(bench, read) if both else (),
        pressure=joint_objective.under_pressure(bench, parts.test, arms) if both else (),
    )


def _carried(cycles: Sequence[CycleReport]) -> Candidate:
    return next(c for c in cycles[-1].candidates if c.name == cycles[-1].carried)


def _read(
    bench: Experiment, prompts: Sequence[Prompt], name: str, checkpoint: Checkpoint, system: str | None = None
) -> list[Judged]:
    session = bench.session
    session.store.event("sealed test opened", candidate=name, checkpoint=checkpoint.id)
    asks = [Ask(prompt, system=system) for prompt in prompts]
    responses = session.answers(asks, checkpoint, f"{name}, sealed test")
    return session.judged(responses, bench.selects, f"{name}, sealed test")


def _beside(
    bench: Experiment, parts: splits.Parts, target: Candidate, imitator: Checkpoint | None
) -> Mapping[str, list[Judged]]:
    config, test = bench.session.config.baselines, parts.test
    guard = baselines.tfidf_guard(parts.train, test, bench.session.launch.seed)
    found = {**baselines.constants(test), baselines.GUARD: guard}
    if config.safety_prompt is not None:
        found[SAFETY_PROMPT] = _read(bench, test, SAFETY_PROMPT, target.checkpoint, config.safety_prompt)
    if imitator is not None:
        found[SFT] = _read(bench, test, SFT, imitator)
    return found


def _imitator(bench: Experiment, cycles: Sequence[CycleReport]) -> Checkpoint | None:
    """The target after SFT on declined answers, at the first step's learning rate; None where there are none."""
    target, trained = cycles[0].candidates[0], len(cycles[0].candidates) > 1
    rows = declined(bench, target) if trained and bench.session.config.baselines.sft_on_refusals else []
    if not rows:
        return None
    first = bench.session.config.align.train[0]
    step = Step.model_validate({"kind": "sft", "learning_rate": first.learning_rate})
    return bench.session.trained(rows, step, target.checkpoint, target.checkpoint, SFT)


def _skipped(bench: Experiment, cycles: Sequence[CycleReport], beside: Mapping[str, list[Judged]]) -> Iterator[str]:
    """Why a baseline does not stand beside the result."""
    if SAFETY_PROMPT not in beside:
        yield f"{SAFETY_PROMPT} does not stand beside the result: baselines.safety_prompt is null."
    if SFT not in beside:
        why = "no answer of the first cycle that declines a harmful prompt was chosen"
        if len(cycles[0].candidates) == 1:
            why = "the first cycle trained nothing"
        if not bench.session.config.baselines.sft_on_refusals:
            why = "baselines.sft_on_refusals is false"
        yield f"{SFT} does not stand beside the result: {why}."


def _ship_gates(
    bench: Experiment, carried: Candidate, after: list[Judged], beside: Mapping[str, list[Judged]]
) -> list[Gate]:
    """Every constraint by its bound on test (KL: on valid), and the paired lower bound above every constant."""
    measures = (*evaluate.evaluate(after, [bench.metric]), carried.measure("kl"))
    beaten = _beaten(bench, after, {name: beside[name] for name in baselines.CONSTANTS})
    return [limit.gate(measures) for limit in bench.constraints] + beaten


def _comparisons(bench: Experiment, after: list[Judged], beside: Mapping[str, list[Judged]]) -> list[Gate]:
    """With the baselines that decide nothing: on all prompts, and on contrast twins, where words do not help."""
    others = {name: rows for name, rows in beside.items() if name not in baselines.CONSTANTS}
    on_twins = {name: _twins(rows) for name, rows in others.items()}
    twins = _beaten(bench, _twins(after), on_twins) if _twins(after) else []
    return _beaten(bench, after, others) + [replace(gate, name=f"{gate.name}, on contrast twins") for gate in twins]


def _beaten(bench: Experiment, after: list[Judged], beside: Mapping[str, list[Judged]]) -> list[Gate]:
    rng = np.random.default_rng(bench.session.launch.seed)
    return [selection.beats(after, rows, bench.metric, rng, than=name) for name, rows in beside.items()]


def _twins(rows: list[Judged]) -> list[Judged]:
    return [row for row in rows if row.prompt.facets.get("twin") not in NOT_A_TWIN]
