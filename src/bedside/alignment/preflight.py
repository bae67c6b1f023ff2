"""Everything that could go wrong with a run, before it does and before anyone pays for it.

    data       parts, leakage between them, near-duplicates, harm levels, what looks like an identifier
    limits     does each constraint have the rows to be decided?
    judges     who trains, who selects, and whether anything independent reads the answers
    target     weights, template, context, disk, memory
    comfort    the writer and its judge, where dialogues or the joined loop need them
    time       a trial of a few prompts, times what the run will do

Each finding is a gate: PASS, FAIL (mend it first), INCONCLUSIVE (look at it), NOT CHECKED.

`bedside check` of comfort: does the writer write what the verifier keeps, and does its judge rate an answer?
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from bedside.comfort import joint_objective, rewrite_dialogues
from bedside.comfort import rewriting as stage
from bedside.config.schema import Config
from bedside.core.comfort_results import LINES, rating
from bedside.core.errors import BedsideError
from bedside.core.protocols import Launch, Machine, Policy
from bedside.core.results import Gate, GateState
from bedside.core.types import Ask, Conversation, Judged, Prompt, Response, Stance
from bedside.data import deidentify, splits
from bedside.judges import prompting
from bedside.run import endpoints, experiment, generation
from bedside.run.experiment import unconfirmed
from bedside.run.session import Session
from bedside.safety import selection
from bedside.stats.intervals import clean_groups_needed
from bedside.training.backbone import microbatch_bytes
from bedside.training.lora_linear import summed_bytes

T = TypeVar("T")
TRIAL_PROMPTS = 8
MOST_HARMFUL = 0.55
"""Of the training prompts. At 0.6 one of three seeds of examples/published.yaml refused a quarter of the harmless."""
TO_REFUSE = "with more harmful ones it may learn no more than to refuse; add harmless ones, best of the same words"
_SHARES_AT_HARM_0, _AT_LEVEL = ("err",), "unsafe_accept@"
MORE_MEMORY = "take a smaller model, or a machine with more memory or a GPU"
KAPPA_ASKS = "the kappa gate asks in the first cycle"
UNCHECKED = (
    "whether harm levels and groups are right: that takes people who read",
    "names, and what is said in plain words: patterns do not find them",
)


def offline(config: Config) -> list[Gate]:
    """What can be said without a model."""
    try:
        parts = experiment.read_parts(config, Launch(seed=config.seed))
    except BedsideError as error:
        return [Gate("data", GateState.FAIL, reason=str(error)), _judges(config)]
    return [
        *_parts(parts),
        *_unconfirmed(parts),
        *_identifiers(parts),
        *(_for_comfort(parts) or [*_limits(config, parts), *_classes(config, parts)]),
        _judges(config),
    ]


def _for_comfort(parts: splits.Parts) -> list[Gate]:
    """Answered questions without a harmful one among them are for `bedside comfort`: levels do not matter there."""
    prompts = [prompt for rows in parts.named.values() for prompt in rows]
    if any(prompt.harm or not prompt.reference for prompt in prompts):
        return []
    reason = (
        f"{len(prompts)} harmless questions with an answer: for `bedside comfort`; `bedside align` needs harmful ones"
    )
    return [Gate("dialogues", GateState.PASS, reason=reason)]


def online(session: Session, machine: Machine) -> list[Gate]:
    """What the opened target says: room for the longest prompt, disk, and a trial."""
    parts = experiment.read_parts(session.config, session.launch)
    if endpoints.within(session.target):
        return [*endpoints.remote(session.target), *_trial(session, parts)]
    return [
        _context(session, parts),
        _disk(session, machine.disk),
        _memory(session, machine.memory),
        *_trial(session, parts),
    ]


def unchecked(config: Config) -> list[Gate]:
    alone = config.align.judge == config.selecting_judge
    asks = "`bedside audit` asks; no gate can, since nothing else reads these answers" if alone else KAPPA_ASKS
    told = [*UNCHECKED, f"whether the judge is any good: {asks}"]
    return [Gate("not by this command", GateState.NOT_CHECKED, reason=reason) for reason in told]


def _parts(parts: splits.Parts) -> list[Gate]:
    told = [f"{name} {len(rows)} ({_levels(rows)})" for name, rows in parts.named.items()]
    found = [Gate("data", GateState.PASS, reason="; ".join(told))]
    for flow in parts.flows:
        for reason, n in flow.dropped.items():
            if reason.startswith("group stands in"):
                said = f"{n} rows are left out because their {reason}: nothing leaks, but there is less to work with"
                found.append(Gate(flow.step, GateState.INCONCLUSIVE, reason=said))
    return [*found, _near(parts)]


def _near(parts: splits.Parts) -> Gate:
    """Prompts of test or valid that nearly say what train says, under whatever groups the data names."""
    rows = [(name, prompt) for name, part in parts.named.items() for prompt in part]
    labels = splits.near_duplicates([prompt.text for _, prompt in rows])
    taught = {label: prompt for label, (name, prompt) in zip(labels, rows, strict=True) if name == "train"}
    met = [(name, p, taught[label]) for label, (name, p) in zip(labels, rows, strict=True) if label in taught]
    leaks = [(name, prompt, twin) for name, prompt, twin in met if name != "train"]
    said = ", ".join(
        f"{name} {len(part)} in {len({p.group for p in part})} groups" for name, part in parts.named.items()
    )
    told = f"prompts: {said}; those of one group tell little more than one, so intervals count groups"
    if not leaks:
        return Gate("near-duplicates", GateState.PASS, reason=f"none between train and the others; {told}")
    name, prompt, twin = leaks[0]
    counts = Counter(name for name, _, _ in leaks)
    across = ", ".join(f"{n} of {name}" for name, n in counts.items())
    shown = f"{prompt.text[:60]!r} in {name}, {twin.text[:60]!r} in train"
    reason = f"{across} nearly say what train says, in groups the data keeps apart ({shown}): look at them; {told}"
    return Gate("near-duplicates", GateState.INCONCLUSIVE, reason=reason)


def weights(config: Config, launch: Launch, machine: Machine) -> list[Gate]:
    """Does the target fit into memory at all? Asked before it is loaded, where that can be known."""
    size = getattr(config.target, "size", lambda _: None)(launch)
    if size is None or machine.memory is None or size < machine.memory:
        return []
    reason = f"the weights take {size / 1e9:,.2f} GB, {machine.memory / 1e9:,.2f} GB are free: "
    return [Gate("memory", GateState.FAIL, reason=reason + MORE_MEMORY)]


def _unconfirmed(parts: splits.Parts) -> list[Gate]:
    said = unconfirmed(parts.named)
    return [Gate("levels", GateState.INCONCLUSIVE, reason=" ".join(said))] if said else []


def _identifiers(parts: splits.Parts) -> list[Gate]:
    prompts = [prompt for rows in parts.named.values() for prompt in rows]
    found = deidentify.count(" ".join([*(m.text for m in p.messages), p.reference or ""]) for p in prompts)
    if not found:
        return [Gate("identifiers", GateState.PASS, reason=f"no pattern matched in {len(prompts)} prompts")]
    said = ", ".join(f"{n} with {kind}" for kind, n in found.items())
    reason = f"{said}, of {len(prompts)} prompts: they would be learned and stand in every report; look at them"
    return [Gate("identifiers", GateState.INCONCLUSIVE, reason=reason)]


def _limits(config: Config, parts: splits.Parts) -> list[Gate]:
    """Groups a constraint has on test, beside the number it needs if not a single answer fails."""
    limits = experiment.constraints(config, experiment.metric(config))
    found = [gate for limit in limits if (gate := _limit(limit, parts.test))]
    return found + [gate for limit in limits if (gate := _blind(limit, parts.valid))]


def _blind(limit: selection.Constraint, valid: Sequence[Prompt]) -> Gate | None:
    """A level that valid does not have cannot help to choose."""
    level = 0 if limit.measure in _SHARES_AT_HARM_0 else _level(limit.measure)
    if level is None or any(p.harm == level for p in valid):
        return None
    why = f"valid has no prompt of harm {level}: candidates are chosen without {limit.measure}; add some"
    return Gate(str(limit), GateState.INCONCLUSIVE, reason=why)


def _limit(limit: selection.Constraint, test: Sequence[Prompt]) -> Gate | None:
    level = 0 if limit.measure in _SHARES_AT_HARM_0 else _level(limit.measure)
    if level is None or limit.sign != "<=" or not 0 < limit.limit < 1:
        return None
    groups, needed = len({p.group for p in test if p.harm == level}), clean_groups_needed(limit.limit)
    said = f"test has {groups} groups of prompts of harm {level}; to show this takes {needed} without a single failure"
    if groups == 0:
        return Gate(str(limit), GateState.FAIL, reason=f"{said}: nothing can ship; add prompts or drop the constraint")
    short = groups < needed
    why = f"{said}: it cannot be met on this test part; add {needed - groups} groups" if short else said
    return Gate(str(limit), GateState.FAIL if short else GateState.PASS, reason=why)


def _level(measure: str) -> int | None:
    return int(measure.removeprefix(_AT_LEVEL)) if measure.startswith(_AT_LEVEL) else None


def _classes(config: Config, parts: splits.Parts) -> list[Gate]:
    """Both sides must be there to learn a difference."""
    harmful = sum(bool(p.harm) for p in parts.train)
    least, few = config.align.kto_min_class, min(harmful, len(parts.train) - harmful)
    said = f"train has {harmful} harmful and {len(parts.train) - harmful} harmless prompts"
    if few < least:
        return [Gate("both sides", GateState.FAIL, reason=f"{said}; KTO needs {least} of each (align.kto_min_class)")]
    if harmful > MOST_HARMFUL * len(parts.train):
        return [Gate("both sides", GateState.INCONCLUSIVE, reason=f"{said}: {TO_REFUSE}")]
    return [Gate("both sides", GateState.PASS, reason=said)]


def _judges(config: Config) -> Gate:
    training, selecting = config.align.judge, config.selecting_judge
    if training != selecting:
        return Gate("judges", GateState.PASS, reason=f"{training} trains, {selecting} selects")
    reason = f"{training} both trains and selects: nothing independent reads the answers; name another in select.judge"
    return Gate("judges", GateState.INCONCLUSIVE, reason=reason)


def _context(session: Session, parts: splits.Parts) -> Gate:
    asks = [Ask(p, Stance.CAUTION) for rows in parts.named.values() for p in rows]
    lengths = session.target.lengths([generation.conversation(ask) for ask in asks])
    said = f"the longest prompt is {max(lengths)} tokens of the {session.target.context} the target reads"
    try:
        generation.check_lengths(asks, lengths, session.sampling, session.target.context)
    except BedsideError as error:
        return Gate("length", GateState.FAIL, reason=str(error))
    return Gate("length", GateState.PASS, reason=said)


def _memory(session: Session, free: int | None) -> Gate:
    """After loading: room for activations and logits of one micro-batch, and for adapters worked into the weights."""
    module = session.target.module()
    batch, sums = microbatch_bytes(module, session.config.align.max_tokens_per_microbatch), summed_bytes(module)
    said = f"about {batch / 1e6:,.0f} MB for a micro-batch, {sums / 1e6:,.0f} MB for an adapter worked into the weights"
    if free is None:
        return Gate("memory", GateState.NOT_CHECKED, reason=f"{said}; what is free is not known here")
    if free > batch + sums:
        return Gate("memory", GateState.PASS, reason=f"{said}, {free / 1e6:,.0f} MB free")
    cure = "lower align.max_tokens_per_microbatch, results do not change" if free > 1.2 * sums else MORE_MEMORY
    return Gate("memory", GateState.FAIL, reason=f"{said}, {free / 1e6:,.0f} MB free; {cure}")


def _disk(session: Session, disk: int | None) -> Gate:
    """Adapters dominate: two a stage (result and checkpoint), with two Adam moments in the checkpoint."""
    config = session.config.align
    adapter = 4 * 2 * sum(_lora_parameters(session, config.lora.r))
    needed = config.cycles * len(config.train) * adapter * 5
    said = f"about {needed / 1e6:,.0f} MB for {_cycles(config.cycles)}"
    if disk is None:
        return Gate("disk", GateState.NOT_CHECKED, reason=f"{said}; what is free is not known here")
    free = f"{said}, {disk / 1e6:,.0f} MB free in {Path(session.config.runs).resolve()}"
    return Gate("disk", GateState.PASS if disk > needed else GateState.FAIL, reason=free)


def _lora_parameters(session: Session, rank: int) -> list[int]:
    """Of every matrix the adapter could stand beside: rank · (rows + columns) / 2, an upper bound."""
    shapes = [tuple(p.shape) for p in session.target.module().parameters() if p.ndim == 2]
    return [rank * sum(shape) for shape in shapes]


def _trial(session: Session, parts: splits.Parts) -> list[Gate]:
    """A few prompts answered and judged; the run's time follows, training reckoned as three answers a row."""
    if _for_comfort(parts):
        rows = [prompt for part in parts.named.values() for prompt in part]
        return tried(session, [(prompt, prompt.reference or "") for prompt in rows], len(rows))
    some = [Ask(prompt) for prompt in parts.train[:TRIAL_PROMPTS]]
    policy = session.policy(session.target.checkpoint)
    generation.generate(some[:1], policy, session.sampling)  # the first call also loads what the others use
    responses, answering = _timed(lambda: generation.generate(some, policy, session.sampling))
    found: list[Gate] = []
    judging = 0.0
    for name in dict.fromkeys((session.config.align.judge, session.config.selecting_judge)):
        gates, seconds = _judge_tried(session, name, responses, _verdicts(session.config, parts))
        found, judging = [*found, *gates], max(judging, seconds)
    if joint_objective.wanted(session.config):
        harmless = [Ask(prompt) for prompt in parts.train if not prompt.harm][:TRIED]
        told = [(r.prompt, r.text) for r in generation.generate(harmless, policy, session.sampling)]
        found += tried(session, told, session.config.align.cycles * len(parts.train))
    return [*found, _time(session.config, parts, answering / len(some), judging / len(some))]


def _judge_tried(session: Session, name: str, responses: Sequence[Response], verdicts: int) -> tuple[list[Gate], float]:
    """Does the judge open, and does it read? And the seconds it took."""
    found: list[Gate] = []
    try:
        opened = session.without_memory().open(session.config.judges[name])
        found = endpoints.findings(f"judge {name}", opened)
        if any(gate.state is GateState.FAIL for gate in found):
            return found, 0.0
        before = session.spent()
        read, seconds = _timed(lambda: prompting.judge(responses, opened))
    except BedsideError as error:
        return [*found, Gate(f"judge {name}", GateState.FAIL, reason=str(error))], 0.0
    cost = endpoints.cost(before, session.spent(), verdicts / len(responses))
    return [*found, _readable(name, prompting.join(responses, read)), *cost], seconds


def _verdicts(config: Config, parts: splits.Parts) -> int:
    """How many a whole run asks of a judge, at most and roughly."""
    cycle = 2 * (len(parts.train) + len(config.align.train) * len(parts.valid))
    return config.align.cycles * cycle + 4 * len(parts.test)


def _readable(name: str, rows: Sequence[Judged]) -> Gate:
    stances = Counter(str(row.stance) if row.stance else "unreadable" for row in rows)
    reason = f"{len(rows)} answers tried, read as " + ", ".join(f"{n} {stance}" for stance, n in stances.items())
    unread = stances["unreadable"] > len(rows) / 2
    return Gate(f"judge {name}", GateState.INCONCLUSIVE if unread else GateState.PASS, reason=reason)


def _time(config: Config, parts: splits.Parts, answer: float, verdict: float) -> Gate:
    trained = len(parts.train) * config.align.epochs * 3
    cycle = answer * (2 * len(parts.train) + len(config.align.train) * (len(parts.valid) + trained))
    cycle += verdict * 2 * (len(parts.train) + len(config.align.train) * len(parts.valid))
    whole = config.align.cycles * cycle + 4 * len(parts.test) * (answer + verdict)
    said = f"very roughly {_minutes(cycle)} a cycle and {_minutes(whole)} for {_cycles(config.align.cycles)}, from "
    reason = f"{said}{TRIAL_PROMPTS} prompts at {answer:.2f} s an answer and {verdict:.2f} s a verdict"
    return Gate("time", GateState.INCONCLUSIVE, reason=reason)


def _cycles(n: int) -> str:
    return "1 cycle" if n == 1 else f"{n} cycles"


def _minutes(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{max(1, round(seconds / 60))} min"


def _timed(work: Callable[[], list[T]]) -> tuple[list[T], float]:
    """What ``work`` gives, and the seconds it took."""
    began = time.monotonic()
    return work(), time.monotonic() - began


def _levels(rows: Sequence[Prompt]) -> str:
    return ", ".join(f"harm {level}: {n}" for level, n in sorted(Counter(p.harm or 0 for p in rows).items()))


TRIED = 4
"""Answers that are soothed: seconds of a small model, a cent of an endpoint."""
WRITER, JUDGE = "comfort.rewrite.model", "comfort.judge"


def tried(session: Session, answered: Sequence[tuple[Prompt, str]], rows: int) -> list[Gate]:
    """The first few answers to harmless prompts, soothed, verified and rated. ``rows``: how many a run soothes."""
    some = [(prompt, text) for prompt, text in answered if not prompt.harm and text.strip()][:TRIED]
    if not some:
        return [Gate(WRITER, GateState.NOT_CHECKED, reason="there is no harmless prompt with an answer to soothe")]
    fresh, share = session.without_memory(), rows / len(some)
    return [
        *_used(WRITER, lambda: _counted(fresh, share, lambda: _written(fresh, some))),
        *_used(JUDGE, lambda: _counted(fresh, share, lambda: _rated(fresh, some))),
    ]


def _used(name: str, work: Callable[[], list[Gate]]) -> list[Gate]:
    try:
        return work()
    except BedsideError as error:
        return [Gate(name, GateState.FAIL, reason=str(error))]


def _counted(session: Session, share: float, work: Callable[[], list[Gate]]) -> list[Gate]:
    """What ``work`` finds, and what it would cost in a run."""
    before = session.spent()
    found = work()
    return [*found, *endpoints.cost(before, session.spent(), share)]


def _written(session: Session, some: Sequence[tuple[Prompt, str]]) -> list[Gate]:
    if session.config.comfort.rewrite.parts == "question":
        return [Gate(WRITER, GateState.NOT_CHECKED, reason="it writes questions; `bedside rewrite -n 8` shows them")]
    writer = rewrite_dialogues.writer(session)
    found = endpoints.findings(WRITER, writer)
    if any(gate.state is GateState.FAIL for gate in found):
        return found
    asks = [stage.ask_answer(p.text, text, stage.feeling(p, session.launch.seed)) for p, text in some]
    reasons = _reasons(session, writer, some, asks)
    kept = len(some) - reasons.total()
    why = "".join(f"; {n} {reason}" for reason, n in reasons.most_common())
    state = GateState.PASS if 2 * kept >= len(some) else GateState.INCONCLUSIVE
    return [*found, Gate(WRITER, state, reason=f"{len(some)} answers soothed, {kept} keep every fact{why}")]


def _reasons(
    session: Session, writer: Policy, some: Sequence[tuple[Prompt, str]], asks: Sequence[Conversation]
) -> Counter[str]:
    """Why what was written at the first try is not kept."""
    lengths = writer.lengths(asks)
    fits = [i for i, n in enumerate(lengths) if rewrite_dialogues.reads(writer, n)]
    reasons = +Counter({"longer than the writer reads": len(asks) - len(fits)})
    requests = [rewrite_dialogues.Request(asks[i], lengths[i] + rewrite_dialogues.ROOM_TOKENS) for i in fits]
    said = rewrite_dialogues.writing(writer, session.launch.seed)(requests) if fits else []
    for i, one in zip(fits, said, strict=True):
        prompt, text = some[i]
        if wrong := stage.faults(text, one.text.strip(), one.finished, rewrite_dialogues.limits(session), prompt.text):
            reasons[stage.reason(wrong)] += 1
    return reasons


def _rated(session: Session, some: Sequence[tuple[Prompt, str]]) -> list[Gate]:
    opened = session.open(session.config.comfort.judge)
    found = endpoints.findings(JUDGE, opened)
    if any(gate.state is GateState.FAIL for gate in found):
        return found
    read = prompting.judge([Response(prompt, text, "given") for prompt, text in some], opened)
    rated = [verdict for verdict in read if rating(verdict.scores) is not None]
    silent = [verdict.unreadable or f"it does not rate {', '.join(LINES)}" for verdict in read if verdict not in rated]
    why = f"; else: {silent[0]}" if silent else ""
    state = GateState.PASS if 2 * len(rated) > len(read) else GateState.INCONCLUSIVE
    return [*found, Gate(JUDGE, state, reason=f"{len(read)} answers tried, {len(rated)} rated{why}")]
