"""One cycle of arXiv 2512.04210: answer, judge, prefer, train, compare on valid, carry one.

    incoming ─answers train─▶ judged ─▶ steered other sides, verified ─▶ thumbs, pairs
             ─KTO─▶ after KTO ─DPO─▶ after DPO          each measured on valid
    carry: the best feasible of {incoming, after KTO, after DPO ...}, else the least violating

A gate that fails before training ends the cycle with the incoming checkpoint carried.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from bedside.comfort import joint_objective
from bedside.config.schema import Step
from bedside.core.results import Candidate, CycleReport, Flow, Gate, GateState, Measure, named
from bedside.core.types import Ask, Checkpoint, Dialogue, Judged, Lesson, Pair, Preference
from bedside.run import exports
from bedside.run.experiment import Experiment
from bedside.run.generation import conversation
from bedside.run.session import Session
from bedside.safety import evaluate, gates, preferences, selection
from bedside.stats.intervals import mean_interval
from bedside.stats.measures import mean
from bedside.training import train
from bedside.training.logprobs import Exchange

KL_ROWS = 200
"""Valid answers on which the KL to the target is computed."""
DISPLACEMENT_PAIRS = 200
KAPPA_ANSWERS = 250
"""Answers on which the judges are compared, and as many steered ones: together SCIENCE's size of an audit."""


@dataclass
class _Notes:
    """What a cycle has to tell so far."""

    gates: list[Gate] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)


def run_cycle(bench: Experiment, number: int, incoming: Candidate) -> CycleReport:
    notes = _Notes(candidates=[incoming])
    lesson = _lesson(bench, number, incoming, notes)
    stop = gates.failed(notes.gates, "unreadable", "kappa")
    if stop is None:
        _train_all(bench, number, incoming, lesson, notes)
    return _report(bench, number, notes)


def measured(bench: Experiment, name: str, checkpoint: Checkpoint) -> tuple[Candidate, list[Judged]]:
    """``checkpoint`` on valid, read by the selecting judge: with its KL to the target as given."""
    session = bench.session
    responses = session.answers([Ask(prompt) for prompt in bench.valid], checkpoint, f"{name}, valid")
    rows = session.judged(responses, bench.selects, f"{name}, valid")
    measures = (*evaluate.evaluate(rows, [bench.metric]), _kl(bench, rows, checkpoint, name))
    if joint_objective.wanted(session.config):
        measures += joint_objective.measures(joint_objective.rated(session, rows, f"{name}, valid"))
    return selection.weigh(name, checkpoint, measures, bench.constraints), rows


def declined(bench: Experiment, target: Candidate) -> list[Dialogue]:
    """What the first cycle chose on harmful prompts: what a baseline may imitate. Answered from the store."""
    return [row for row in _lesson(bench, 1, target, _Notes()).dialogues if row.prompt.harm]


def _lesson(bench: Experiment, number: int, incoming: Candidate, notes: _Notes) -> Lesson:
    """Answer, judge, ask for the other side, judge again, prefer."""
    session, label = bench.session, f"cycle {number}"
    responses = session.answers([Ask(p) for p in bench.train], incoming.checkpoint, f"{label}, train")
    observed = session.judged(responses, bench.trains, f"{label}, train")
    share = named(evaluate.evaluate(observed, [bench.metric]), "unreadable")
    notes.gates.append(gates.unreadable(share, session.config.gates.unreadable_max))
    asks = preferences.asks(observed, worse=_worse(session))
    others = session.answers(asks, incoming.checkpoint, f"{label}, other side")
    conditional = session.judged(others, bench.trains, f"{label}, other side")
    notes.gates.append(_kappa(bench, observed, conditional, label))
    return _preferences(bench, number, observed, conditional, notes)


def _worse(session: Session) -> int | None:
    """For how many right answers a worse one is asked for, all where None: who only imitates learns nothing from it,
    and needs no more than the judges are compared on."""
    imitates = all(session.open(step.objective).reads == "dialogues" for step in session.config.align.train)
    return KAPPA_ANSWERS if imitates else None


def _preferences(
    bench: Experiment, number: int, observed: list[Judged], conditional: list[Judged], notes: _Notes
) -> Lesson:
    kept, dropped = preferences.verified(conditional)
    align = bench.session.config.align
    thumbs, thumb_flow = preferences.thumbs(
        observed, kept, half=align.half, least=align.kto_min_class, share=align.kto_min_share
    )
    pairs, pair_flow = preferences.pairs(observed, kept)
    warm_flow: list[Flow] = []
    if joint_objective.wanted(bench.session.config):
        thumbs, pairs, mixed_in = joint_objective.mixed(bench, thumbs, pairs, f"cycle {number}")
        warm_flow = [mixed_in]
    lost = preferences.by_cell([row for row in conditional if row not in kept])
    notes.flows += [
        Flow("answers", sum(row.stance is not None for row in observed), preferences.unreadable_reasons(observed)),
        Flow("other side, verified", len(kept), dropped, {f"dropped at {cell}": n for cell, n in lost.items()}),
        thumb_flow,
        pair_flow,
        *warm_flow,
    ]
    lesson = Lesson(preferences.dialogues(thumbs, pairs), pairs, thumbs)
    if bench.session.first:
        exports.preferences(bench.session.store.root / f"cycle-{number}", lesson)
    return lesson


def _kappa(bench: Experiment, observed: list[Judged], conditional: list[Judged], label: str) -> Gate:
    """The two judges on the same answers, observed and steered: only together have they all stances."""
    least = bench.session.config.gates.kappa_min
    if bench.one_judge:
        return gates.no_kappa("one judge trains and selects; nothing independent has read these answers")
    halves = (sorted(rows, key=lambda row: row.response.id)[:KAPPA_ANSWERS] for rows in (observed, conditional))
    some = list(chain(*halves))
    others = bench.session.judged([row.response for row in some], bench.selects, f"{label}, kappa")
    return gates.kappa(some, others, least)


def _train_all(bench: Experiment, number: int, incoming: Candidate, lesson: Lesson, notes: _Notes) -> None:
    """Each step from where the last one ended; with ``candidates: all`` the later ones from the cycle's start too."""
    align = bench.session.config.align
    done: list[str] = []
    at = incoming.checkpoint
    for step in align.train:
        name = f"cycle-{number}/{'-'.join([*done, step.objective.kind])}"
        made = _train_one(bench, step, at, lesson, name, notes)
        if made is not None:
            done, at = [*done, step.objective.kind], made.checkpoint
    if align.candidates == "all" and done:
        for step in align.train[1:]:
            _train_one(bench, step, incoming.checkpoint, lesson, f"cycle-{number}/{step.objective.kind}", notes)


def _train_one(
    bench: Experiment, step: Step, start: Checkpoint, lesson: Lesson, name: str, notes: _Notes
) -> Candidate | None:
    """The candidate after ``step``, or None where a rule of SCIENCE skips it; either way the notes say so."""
    session = bench.session
    rows = lesson.rows(session.open(step.objective).reads)
    skip = _skipped(bench, step, lesson, rows, notes)
    if skip:
        session.progress.say(f"{name} is skipped: {skip}")
        notes.flows.append(Flow(name, 0, {skip: len(rows)}))
        return None
    anchor = start if session.config.align.reference == "stage-start" else session.target.checkpoint
    checkpoint = session.trained(rows, step, start, anchor, name)
    if session.first:
        exports.adapter(session.target, session.store.root, checkpoint, session.store.root / name)
    candidate, read = measured(bench, name, checkpoint)
    candidate = replace(candidate, training=_by_training_judge(bench, name, read))
    notes.candidates.append(candidate)
    limits = session.config.gates
    notes.gates += [
        _about(name, gate)
        for gate in (
            gates.err(candidate.measure("err"), limits.err_max),
            gates.unreadable(candidate.measure("unreadable"), limits.unreadable_max),
            *_gaps(bench, candidate),
        )
    ]
    if step.objective.kind == "dpo":
        notes.gates.append(_displacement(bench, lesson.pairs, start, checkpoint, name))
    return candidate


def _skipped(bench: Experiment, step: Step, lesson: Lesson, rows: Sequence[Preference], notes: _Notes) -> str:
    """Why this step is not run; empty where it is."""
    config = bench.session.config
    if not rows:
        return "no rows to learn from"
    if step.objective.kind == "kto":
        wanted = sum(thumb.wanted for thumb in lesson.thumbs)
        unwanted, least = len(lesson.thumbs) - wanted, config.align.kto_min_class
        if min(wanted, unwanted) < least:
            return f"{wanted} wanted and {unwanted} unwanted rows; each class needs {least}"
    if step.objective.kind == "dpo":
        gate = gates.dpo_share(len(lesson.pairs), len(lesson.thumbs), config.gates.dpo_share_min)
        notes.gates.append(gate)
        if gate.state is GateState.FAIL:
            return f"too few pairs: {gate.reason}"
    return ""


def _about(name: str, gate: Gate) -> Gate:
    """Several candidates have a gate of this name: its reason says whose it is."""
    return replace(gate, reason=f"{name}: {gate.reason}")


def _by_training_judge(bench: Experiment, name: str, read: list[Judged]) -> tuple[Measure, ...]:
    """The valid answers once more, as the training judge reads them; nothing where there is nothing to compare."""
    if bench.one_judge or bench.session.config.gates.judge_gap_max is None:
        return ()
    rows = bench.session.judged([row.response for row in read], bench.trains, f"{name}, valid, training judge")
    return evaluate.evaluate(rows, [bench.metric])


def _gaps(bench: Experiment, candidate: Candidate) -> list[Gate]:
    limits = bench.session.config.gates.judge_gap_max
    if not candidate.training or limits is None:
        return []
    wanted = {"safety_score": limits.safety_score, "err": limits.err}
    return [gates.judge_gap(named(candidate.training, n), candidate.measure(n), most) for n, most in wanted.items()]


def _displacement(bench: Experiment, pairs: Sequence[Pair], start: Checkpoint, end: Checkpoint, name: str) -> Gate:
    """How the chosen answers' log-probability changed in this training, per token."""
    some = pairs[:DISPLACEMENT_PAIRS]
    encoded = train.encode(some, bench.session.policy(end))
    texts = [Exchange(row.prompt, row.completions[0]) for row in encoded]
    before = bench.session.logprobs(texts, start, f"{name}, chosen before")
    after = bench.session.logprobs(texts, end, f"{name}, chosen after")
    change = [(a.nats - b.nats) / len(t.completion) for a, b, t in zip(after, before, texts, strict=True)]
    return gates.displacement(change, [row.group for row in encoded])


def _kl(bench: Experiment, rows: Sequence[Judged], checkpoint: Checkpoint, name: str) -> Measure:
    answered = [row.response for row in rows if row.response.ids][:KL_ROWS]
    if checkpoint.adapter is None:
        return Measure("kl", 0.0 if answered else None, len(answered), 0, *((0.0, 0.0) if answered else ()))
    policy = bench.session.policy(checkpoint)
    texts = [Exchange(tuple(policy.renderer.prompt_ids(conversation(Ask(r.prompt)))), r.ids) for r in answered]
    values = bench.session.kl(texts, checkpoint, name)
    return mean("kl", values, [r.prompt.cluster for r in answered], mean_interval)


def _report(bench: Experiment, number: int, notes: _Notes) -> CycleReport:
    carried, why = _chosen(bench, notes.candidates)
    bench.session.progress.say(f"cycle {number}: {why}")
    return CycleReport(
        cycle=number,
        candidates=tuple(notes.candidates),
        carried=carried.name,
        why=why,
        gates=tuple(notes.gates),
        flows=tuple(notes.flows),
        stopped=_stopped(notes, carried),
    )


def _chosen(bench: Experiment, candidates: Sequence[Candidate]) -> tuple[Candidate, str]:
    if not joint_objective.wanted(bench.session.config):
        return selection.choose(candidates)
    return joint_objective.choose(
        bench, candidates, {c.name: measured(bench, c.name, c.checkpoint)[1] for c in candidates}
    )


def _stopped(notes: _Notes, carried: Candidate) -> str:
    """Why no cycle follows; empty where one may."""
    stop = gates.failed(notes.gates, "unreadable", "kappa", "err after training")
    if stop is not None:
        return f"gate {stop.name} failed: {stop.reason}"
    if carried is notes.candidates[0]:
        return "nothing new was carried, so another cycle would repeat this one"
    return ""
