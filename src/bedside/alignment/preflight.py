"""Finds what could go wrong in a run before it starts and costs anything.

    data       parts, leakage between them, near-duplicates, harm levels, what looks like an identifier
    limits     whether each constraint has enough rows to be decided
    rates      whether each learning rate suits the size of the target
    judges     who trains, who selects, and whether anything independent reads the answers
    target     weights, template, context, disk, memory
    comfort    the writer and its judge, if dialogues or the joint loop need them
    time       the time of a trial of a few prompts, multiplied by the work of the run

Each finding is PASS, FAIL (fix it first), INCONCLUSIVE (look at it) or NOT CHECKED.

For comfort, `bedside check` tries whether the verifier keeps the writer's rewrites, and whether the judge rates an
answer.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from bedside.alignment import learning_rates, limits
from bedside.comfort import joint_objective
from bedside.comfort.writing import open_rewriter, soothing_task, write_verified
from bedside.config.schema import AlignConfig, Config, TrainingStep
from bedside.core.errors import BedsideError
from bedside.core.gates import Finding, GateState
from bedside.core.hashing import digest
from bedside.core.protocols import Launch, Machine, declared_endpoints
from bedside.core.results import LINES, rating
from bedside.core.text import is_blank
from bedside.core.types import GenerationRequest, Message, Prompt, Response, Stance
from bedside.data import deidentify, splits
from bedside.data.prompts import OTHER_SPLIT
from bedside.judges import prompting
from bedside.run import endpoints, experiment, generation
from bedside.run.context import RunContext
from bedside.run.experiment import SourceRead, unconfirmed
from bedside.safety import evaluate
from bedside.safety.counter_responses import SafeRoutes
from bedside.stats import tfidf
from bedside.stats.intervals import LEAST_GROUPS

T = TypeVar("T")
TRIAL_PROMPTS = 8
SHOWN_ROWS = 3
"""How many rows with a kind of identifier are named."""
LONGEST = 5_000
MOST_HARMFUL = 0.55
"""Largest share of harmful prompts in train. At 0.6, a seed of examples/published.yaml refused a quarter of others."""
MOST_GROUPS = 1000
"""How many groups of test are compared with the words of train."""
ALIKE = 0.6
"""Cosine of TF-IDF vectors from which two prompts share most of their rarer words."""
TO_REFUSE = "with more harmful ones it may only learn to refuse; add harmless ones, if possible in similar words"
MOST_NATS_APART = 0.1
"""Largest allowed difference, in nats, of a label's log-probability here and at the server. bfloat16 stays below it."""
MORE_MEMORY = "take a smaller model, or a machine with more memory or a GPU"
KAPPA_GATE = "the kappa gate checks it in the first cycle"
UNCHECKED = (
    "whether harm levels and groups are right: that takes people who read",
    "names, and what is written in plain words: patterns do not find them",
)


@dataclass(frozen=True)
class DataRead:
    """The data of a config, as far as it can be read."""

    sources: Mapping[str, SourceRead] = field(default_factory=dict)
    parts: splits.DataParts | None = None
    mistake: str = ""
    """Why there are no parts."""


def read_data(config: Config) -> DataRead:
    sources: Mapping[str, SourceRead] = {}
    try:
        sources = experiment.read_sources(config, Launch(seed=config.seed))
        return DataRead(sources, experiment.split_parts(sources, config))
    except BedsideError as error:
        return DataRead(sources, mistake=str(error))


def offline(config: Config, data: DataRead | None = None) -> list[Finding]:
    """The checks that need no model. ``data``: the result of ``read_data``, or None to read it here."""
    data = read_data(config) if data is None else data
    parts, identifiers = data.parts, [_identifiers(data.sources)] if data.sources else []
    if parts is None:
        return [Finding("data", GateState.FAIL, reason=data.mistake), *identifiers, _judges(config)]
    doubts = unconfirmed(parts.named)
    return [
        *_parts(config, parts),
        *_groups(config, parts),
        *([Finding("levels", GateState.INCONCLUSIVE, reason=" ".join(doubts))] if doubts else []),
        *identifiers,
        *(
            _for_comfort(parts)
            or [
                *limits.findings(config, parts),
                *_classes(config, parts),
                *_safe_routes(config),
                learning_rates.finding(config),
            ]
        ),
        _judges(config),
    ]


def _for_comfort(parts: splits.DataParts) -> list[Finding]:
    """Whether the data is for `bedside comfort`: questions with answers, none harmful. No levels needed."""
    prompts = [prompt for rows in parts.named.values() for prompt in rows]
    if any(prompt.harm or not prompt.reference for prompt in prompts):
        return []
    reason = (
        f"{len(prompts)} harmless questions with an answer: for `bedside comfort`; `bedside align` needs harmful ones"
    )
    return [Finding("dialogues", GateState.PASS, reason=reason)]


def online(run: RunContext, machine: Machine, parts: splits.DataParts) -> list[Finding]:
    """The checks with the opened target: whether the longest prompt fits, disk, and a trial."""
    if declared_endpoints(run.target):
        return [*endpoints.remote_target_gates(run.target), *_trial(run, parts)]
    return [
        _length_finding(run, parts),
        *_training_length(run, parts),
        *_server(run),
        _disk(run, machine.disk),
        _memory(run, machine.memory),
        *_template(run),
        *_trial(run, parts),
    ]


def unchecked(config: Config) -> list[Finding]:
    alone = config.align.judge == config.selecting_judge
    who = "`bedside audit` checks it; no gate can, since nothing else reads these answers" if alone else KAPPA_GATE
    reasons = [*UNCHECKED, f"whether the judge is any good: {who}"]
    return [Finding("not by this command", GateState.NOT_CHECKED, reason=reason) for reason in reasons]


def _parts(config: Config, parts: splits.DataParts) -> list[Finding]:
    sizes = [f"{name} {len(rows)} ({_levels(rows)})" for name, rows in parts.named.items()]
    left_out = [Finding(step, GateState.INCONCLUSIVE, reason) for step, reason in _left_out(config, parts)]
    return [Finding("data", GateState.PASS, reason="; ".join(sizes)), *left_out, _near(parts), _shared_words(parts)]


def _left_out(config: Config, parts: splits.DataParts) -> Iterator[tuple[str, str]]:
    """The step and the reason of what was left out. Parts that draw from one file have the same, given once."""
    sources = {name: getattr(config.data, name) for name in parts.named}
    read: list[Any] = []
    for counts in parts.filter_counts:
        step, _, name = counts.step.partition(": ")
        dataset = sources[name].dataset
        if step == "read" and dataset not in read:
            read.append(dataset)
            for reason, n in counts.dropped.items():
                if reason != OTHER_SPLIT:
                    yield counts.step, f"{n} rows of its file are left out: {reason}"
        for reason, n in counts.dropped.items() if step == "split" else ():
            holder = reason.removeprefix("group stands in ")
            drawn = holder != reason and sources[holder].dataset == dataset and sources[holder].share
            if holder != reason and not drawn:
                less = "nothing leaks, but there is less to work with"
                yield counts.step, f"{n} rows are left out because their {reason}: {less}"


def _shared_words(parts: splits.DataParts) -> Finding:
    """How many groups of test ask in the words of train: what they show is not what a new request would."""
    groups = sorted({prompt.cluster for prompt in parts.test}, key=digest)
    looked_at = set(groups[:MOST_GROUPS])
    test = [prompt for prompt in parts.test if prompt.cluster in looked_at]
    train = [prompt.text for prompt in parts.train]
    alike_R = tfidf.greatest_similarity([prompt.text for prompt in test], train) >= ALIKE
    shared = len({prompt.cluster for prompt, is_alike in zip(test, alike_R, strict=True) if is_alike})
    n = f"{len(looked_at)} groups of test" + (f", drawn from {len(groups)}," if len(groups) > MOST_GROUPS else "")
    reason = f"{shared} of {n} have a prompt that shares most of its rarer words with one of train"
    state = GateState.INCONCLUSIVE if 2 * shared > len(looked_at) else GateState.PASS
    return Finding("shared words", state, reason)


def _groups(config: Config, parts: splits.DataParts) -> list[Finding]:
    """Number of groups by level in test, and of values by grouping, and how many of these are also in train."""
    groups = Finding("groups", GateState.PASS, f"test has {_counted(parts.test, lambda prompt: prompt.cluster)}")
    return [groups, *(_grouping(name, parts) for name in config.data.groupings)]


def _grouping(name: str, parts: splits.DataParts) -> Finding:
    values, known = ({p.attribute(name) for p in rows} - {None} for rows in (parts.test, parts.train))
    counted = bool(evaluate.clusterings(parts.test, [name]))
    use = "counted like groups, and the worse bound decides" if counted else (
        f"fewer than {LEAST_GROUPS}, so nothing is shown for others; the worst is named"
    )  # fmt: skip
    reason = f"test has {len(values)} values: {use}; {_counted(parts.test, lambda prompt: prompt.attribute(name))}"
    state = GateState.INCONCLUSIVE if values & known else GateState.PASS
    return Finding(f"grouping {name}", state, f"{reason}; {len(values & known)} of {len(values)} are in train too")


def _counted(rows: Sequence[Prompt], key: Callable[[Prompt], str | None]) -> str:
    """``harm 0: 51 of 480 prompts, harm 3: 16 of 240 prompts``."""
    levels = sorted({prompt.level for prompt in rows})
    at = {level: [prompt for prompt in rows if prompt.harm == level] for level in levels}
    return ", ".join(
        f"harm {level}: {len({key(p) for p in some} - {None})} of {len(some)} prompts" for level, some in at.items()
    )


def _near(parts: splits.DataParts) -> Finding:
    """Prompts of test or valid that are near-duplicates of train, in any group."""
    rows = [(name, prompt) for name, part in parts.named.items() for prompt in part]
    labels = splits.near_duplicates([prompt.text for _, prompt in rows])
    in_train = {label: prompt for label, (name, prompt) in zip(labels, rows, strict=True) if name == "train"}
    met = [(name, p, in_train[label]) for label, (name, p) in zip(labels, rows, strict=True) if label in in_train]
    leaks = [(name, prompt, other) for name, prompt, other in met if name != "train"]
    sizes = ", ".join(
        f"{name} {len(part)} in {len({p.group for p in part})} groups" for name, part in parts.named.items()
    )
    note = f"prompts: {sizes}; those of one group are not independent, so intervals count groups"
    if not leaks:
        return Finding("near-duplicates", GateState.PASS, reason=f"none between train and the others; {note}")
    name, prompt, other = leaks[0]
    counts = Counter(name for name, _, _ in leaks)
    across = ", ".join(f"{n} of {name}" for name, n in counts.items())
    shown = f"{prompt.text[:60]!r} in {name}, {other.text[:60]!r} in train"
    reason = f"{across} are near-duplicates of train, in groups the data keeps apart ({shown}): look at them; {note}"
    return Finding("near-duplicates", GateState.INCONCLUSIVE, reason=reason)


def weights(config: Config, launch: Launch, machine: Machine) -> list[Finding]:
    """Whether the weights of the target fit into memory, before they are loaded; empty if that is not known."""
    size = getattr(config.target, "size", lambda _: None)(launch)
    if size is None or machine.memory is None or size < machine.memory:
        return []
    reason = f"the weights take {size / 1e9:,.2f} GB, {machine.memory / 1e9:,.2f} GB are free: "
    return [Finding("memory", GateState.FAIL, reason=reason + MORE_MEMORY)]


def _identifiers(sources: Mapping[str, experiment.SourceRead]) -> Finding:
    """Identifiers that the sources found by row. Sources that did not search are searched here by prompt."""
    searched = [source.identified or deidentify.scan(name, source.part.prompts) for name, source in sources.items()]
    kept, scrubbed = (_listed([rows for rows in searched if rows.scrubbed is done]) for done in (False, True))
    reasons = [f"{kept}: they would be learned and shown in reports; look at them, or set phi: scrub"] * bool(kept)
    reasons += [f"replaced or left out by phi: scrub: {scrubbed}"] * bool(scrubbed)
    n = len({prompt.id for source in sources.values() for prompt in source.part.prompts})
    state = GateState.INCONCLUSIVE if kept else GateState.PASS
    return Finding("identifiers", state, reason="; ".join(reasons) or f"no pattern matched in {n} prompts")


def _listed(searched: Sequence[deidentify.IdentifiedRows]) -> str:
    """How many rows have each kind of identifier, and each column that names a person, and which rows."""
    kinds, columns = (deidentify.merge(searched, what) for what in ("kinds", "columns"))
    by_places: dict[tuple[str, ...], list[str]] = {}
    for column, places in columns.items():
        by_places.setdefault(tuple(places), []).append(column)
    counts = [f"{len(places)} with {kind} ({_shown(places)})" for kind, places in kinds.items()]
    counts += [
        f"{len(places)} with columns that name a person: {', '.join(names)} ({_shown(places)})"
        for places, names in by_places.items()
    ]
    return ", ".join(counts)


def _shown(places: Sequence[str]) -> str:
    """The first places: "p.jsonl, row 2, 5, 9, …"."""
    shown = [places[0], *(place.rpartition(" ")[2] for place in places[1:SHOWN_ROWS])]
    return ", ".join([*shown, *(["…"] if len(places) > SHOWN_ROWS else [])])


def _classes(config: Config, parts: splits.DataParts) -> list[Finding]:
    """Whether train has enough harmful and enough harmless prompts."""
    harmful = sum(bool(p.harm) for p in parts.train)
    least, few = config.align.kto_min_class, min(harmful, len(parts.train) - harmful)
    sides = f"train has {harmful} harmful and {len(parts.train) - harmful} harmless prompts"
    if few < least:
        return [Finding("both sides", GateState.FAIL, f"{sides}; KTO needs {least} of each (align.kto_min_class)")]
    if harmful > MOST_HARMFUL * len(parts.train):
        return [Finding("both sides", GateState.INCONCLUSIVE, reason=f"{sides}: {TO_REFUSE}")]
    return [Finding("both sides", GateState.PASS, reason=sides)]


def _safe_routes(config: Config) -> list[Finding]:
    """The user's own file of openings and routes, if the config names one and uses it."""
    file = config.align.safe_routes
    if file is None or "prefill" not in config.align.counter:
        return []
    try:
        routes = SafeRoutes.read(Path(file))
    except BedsideError as error:
        return [Finding("safe routes", GateState.FAIL, reason=str(error))]
    openings, texts = (sum(map(len, named.values())) for named in (routes.openings, routes.routes))
    return [Finding("safe routes", GateState.PASS, reason=f"{file}: {openings} openings, {texts} routes")]


def _judges(config: Config) -> Finding:
    training, selecting = config.align.judge, config.selecting_judge
    if training != selecting:
        return Finding("judges", GateState.PASS, reason=f"{training} trains, {selecting} selects")
    reason = f"{training} both trains and selects: nothing independent reads the answers; name another in select.judge"
    return Finding("judges", GateState.INCONCLUSIVE, reason=reason)


def _length_finding(run: RunContext, parts: splits.DataParts) -> Finding:
    """The tokens of the ``LONGEST`` prompts by characters. A run counts those of all prompts before it answers."""
    prompts = [p for rows in parts.named.values() for p in rows]
    if len(prompts) > LONGEST:
        prompts = sorted(prompts, key=lambda p: -sum(len(m.text) for m in p.messages))[:LONGEST]
    requests = [GenerationRequest(p, Stance.CAUTION) for p in prompts]
    lengths = run.target.lengths([generation.conversation(request) for request in requests])
    longest = f"the longest prompt is {max(lengths)} tokens of the {run.target.context} the target reads"
    try:
        generation.check_lengths(requests, lengths, run.stages.sampling, run.target.context)
    except BedsideError as error:
        return Finding("length", GateState.FAIL, reason=str(error))
    return Finding("length", GateState.PASS, reason=longest)


def _training_length(run: RunContext, parts: splits.DataParts) -> list[Finding]:
    """Whether ``align.max_length`` leaves space for an answer to every train prompt; nothing if nothing is cut."""
    most = run.config.align.max_length
    if most is None:
        return []
    longest = max(run.target.lengths([prompt.messages for prompt in parts.train]))
    reason = f"the longest prompt of train leaves {most - longest} of align.max_length {most} tokens for an answer"
    try:
        run.stages.require_room(parts.train, parts.places)
    except BedsideError as error:
        return [Finding("training length", GateState.FAIL, reason=str(error))]
    return [Finding("training length", GateState.PASS, reason=f"{reason}; longer ones are cut and counted")]


def _server(run: RunContext) -> list[Finding]:
    """Whether the server of ``target.serve`` gives the same labels as the model here; nothing without a server."""
    target: Any = run.target
    served = getattr(target, "served", None)
    if served is None:
        return []
    question, labels = [(Message("user", "May I take two of them?"),)], [stance.value for stance in Stance]
    here = replace(target, served=None).score(question, labels)[0]
    try:
        there = target.score(question, labels)[0]
    except BedsideError as error:
        return [Finding("server", GateState.FAIL, reason=str(error))]
    apart = max(abs(a - b) for a, b in zip(here.logprobs, there.logprobs, strict=True))
    close = apart <= MOST_NATS_APART
    model = "the same model" if close else "another model, or another dtype"
    reason = f"{served.engine} has {model}: labels are {apart:.1e} nats from those of the model here"
    return [
        Finding("server", GateState.PASS if close else GateState.FAIL, reason=f"{reason}; started with {served.start}")
    ]


def _memory(run: RunContext, free: int | None) -> Finding:
    """After loading: memory for activations and logits of one micro-batch, and for adapters merged for decoding."""
    from bedside.training.backbone import microbatch_bytes
    from bedside.training.lora_linear import merged_weight_bytes

    module = run.target.module()
    align = run.config.align
    batch = microbatch_bytes(module, align.max_tokens_per_microbatch, checkpointing=align.gradient_checkpointing)
    sums = merged_weight_bytes(module)
    sizes = (
        f"about {batch / 1e6:,.0f} MB for a micro-batch, {sums / 1e6:,.0f} MB for an adapter merged into the weights"
    )
    if free is None:
        return Finding("memory", GateState.NOT_CHECKED, reason=f"{sizes}; what is free is not known here")
    if free > batch + sums:
        return Finding("memory", GateState.PASS, reason=f"{sizes}, {free / 1e6:,.0f} MB free")
    cure = _less_memory(align) if free > 1.2 * sums else MORE_MEMORY
    return Finding("memory", GateState.FAIL, reason=f"{sizes}, {free / 1e6:,.0f} MB free; {cure}")


def _less_memory(align: AlignConfig) -> str:
    also = "" if align.gradient_checkpointing else ", or set align.gradient_checkpointing"
    return f"lower align.max_tokens_per_microbatch{also}: results do not change"


def _disk(run: RunContext, disk: int | None) -> Finding:
    """Disk for adapters, which need the most: two per stage (result and checkpoint, with two Adam moments)."""
    config = run.config.align
    matrices = (tuple(p.shape) for p in run.target.module().parameters() if p.ndim == 2)
    adapter = 4 * 2 * sum(config.lora.r * sum(shape) for shape in matrices)  # an upper bound: of every matrix
    needed = config.cycles * len(config.train) * adapter * 5
    size = f"about {needed / 1e6:,.0f} MB for {_counted_cycles(config.cycles)}"
    if disk is None:
        return Finding("disk", GateState.NOT_CHECKED, reason=f"{size}; what is free is not known here")
    free = f"{size}, {disk / 1e6:,.0f} MB free in {Path(run.config.runs).resolve()}"
    return Finding("disk", GateState.PASS if disk > needed else GateState.FAIL, reason=free)


def _template(run: RunContext) -> list[Finding]:
    """Notes on unusual behaviour of the target's chat template; none if there is none."""
    notes = "; ".join(run.target.renderer.notes)
    return [Finding("chat template", GateState.INCONCLUSIVE, reason=notes)] if notes else []


def _unfinished(responses: Sequence[Response], limit: int) -> list[Finding]:
    """How many trial answers reached the limit; no finding if none did."""
    unfinished = sum(not response.finished for response in responses)
    reason = f"{unfinished} of {len(responses)} trial answers were cut at generate.max_new_tokens ({limit})"
    return [Finding("answers", GateState.INCONCLUSIVE, reason=reason)] if unfinished else []


def _trial(run: RunContext, parts: splits.DataParts) -> list[Finding]:
    """Answers and judges a few prompts. From this, the run's time, with training counted as three answers per row."""
    if _for_comfort(parts):
        rows = [prompt for part in parts.named.values() for prompt in part]
        return try_comfort(run, [(prompt, prompt.reference or "") for prompt in rows], len(rows))
    requests = [GenerationRequest(prompt) for prompt in parts.train[:TRIAL_PROMPTS]]
    policy = run.opener.policy(run.target.checkpoint)
    generation.generate(requests[:1], policy, run.stages.sampling)  # the first call also loads what the others use
    responses, answering = _timed(lambda: generation.generate(requests, policy, run.stages.sampling))
    findings = _unfinished(responses, run.config.generate.max_new_tokens)
    judging = 0.0
    cycle = _passes_over_train(run.config) * _train_rows(run.config, parts) + 2 * len(run.config.align.train) * len(
        parts.valid
    )
    swept = 2 * (len(_tried(run.config)) - len(run.config.align.train)) * len(parts.valid)
    verdicts = run.config.align.cycles * cycle + swept + 4 * len(parts.test)  # the most of any judge in a whole run
    for name in dict.fromkeys((run.config.align.judge, run.config.selecting_judge)):
        judge_findings, seconds = _judge_trial(run, name, responses, verdicts)
        findings, judging = [*findings, *judge_findings], max(judging, seconds)
    if joint_objective.enabled(run.config):
        harmless = [GenerationRequest(prompt) for prompt in parts.train if not prompt.harm][:TRIAL_ANSWERS]
        answers = [(r.prompt, r.text) for r in generation.generate(harmless, policy, run.stages.sampling)]
        findings += try_comfort(run, answers, run.config.align.cycles * _train_rows(run.config, parts))
    return [*findings, _time(run.config, parts, answering / len(requests), judging / len(requests))]


def _judge_trial(
    run: RunContext, name: str, responses: Sequence[Response], verdicts: int
) -> tuple[list[Finding], float]:
    """Whether the judge opens and reads answers, and the seconds it took."""
    findings: list[Finding] = []
    try:
        opened = run.opener.without_judgement_cache().open(run.config.judges[name])
        findings = endpoints.endpoint_gates(f"judge {name}", opened)
        if any(finding.state is GateState.FAIL for finding in findings):
            return findings, 0.0
        before = run.opener.spending()
        read, seconds = _timed(lambda: prompting.judge(responses, opened))
    except BedsideError as error:
        return [*findings, Finding(f"judge {name}", GateState.FAIL, reason=str(error))], 0.0
    cost = endpoints.cost_gates(before, run.opener.spending(), verdicts / len(responses))
    stances = Counter(str(row.stance or "unreadable") for row in prompting.join(responses, read))
    tried = f"{len(responses)} answers tried, read as " + ", ".join(f"{n} {stance}" for stance, n in stances.items())
    return [*findings, _readable(name, stances["unreadable"], len(responses), tried), *cost], seconds


def _readable(name: str, unreadable: int, n: int, tried: str) -> Finding:
    """FAIL where most verdicts of a trial cannot be read: a run would pay for many more and stop at its gate."""
    if 2 * unreadable > n:
        cure = "the run would stop; name another judge, or correct its question, or raise its label_tokens"
        return Finding(f"judge {name}", GateState.FAIL, reason=f"{tried}: {cure}")
    state = GateState.INCONCLUSIVE if unreadable else GateState.PASS
    return Finding(f"judge {name}", state, reason=tried)


def _time(config: Config, parts: splits.DataParts, answer: float, verdict: float) -> Finding:
    rows = _train_rows(config, parts)

    def cycle(steps: Sequence[TrainingStep]) -> float:
        on_train, on_valid = _passes_over_train(config) * rows, len(steps) * len(parts.valid)
        epochs = sum(step.num_train_epochs or config.align.num_train_epochs for step in steps)
        return answer * (on_train + on_valid + 3 * epochs * rows) + verdict * (on_train + 2 * on_valid)

    first, later = cycle(_tried(config)), cycle(config.align.train)
    whole = first + (config.align.cycles - 1) * later + 4 * len(parts.test) * (answer + verdict)
    hours = f"very roughly {_minutes(first)} a cycle and {_minutes(whole)} for {_counted_cycles(config.align.cycles)}"
    reason = f"{hours}, from {TRIAL_PROMPTS} prompts at {answer:.2f} s an answer and {verdict:.2f} s a verdict"
    return Finding("time", GateState.INCONCLUSIVE, reason=reason)


def _train_rows(config: Config, parts: splits.DataParts) -> int:
    """About how many prompts a cycle learns from, those of ``align.attacks`` included."""
    share = config.align.attack_share if config.align.attacks else 0.0
    return round(len(parts.train) * (1 + share))


def _tried(config: Config) -> list[TrainingStep]:
    """Every training of the first cycle: each step in each of its variants."""
    return [variant for step in config.align.train for variant in config.align.sweep.variants(step)]


def _passes_over_train(config: Config) -> int:
    """How often a cycle answers the training prompts: unchanged, steered, and after KTO if DPO follows it."""
    kinds = [step.objective.kind for step in config.align.train]
    dpo_follows = "kto" in kinds and "dpo" in kinds[kinds.index("kto") :]
    return 3 if dpo_follows and config.align.pairs == "after-kto" else 2


def _counted_cycles(n: int) -> str:
    return "1 cycle" if n == 1 else f"{n} cycles"


def _minutes(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{max(1, round(seconds / 60))} min"


def _timed(work: Callable[[], list[T]]) -> tuple[list[T], float]:
    """The result of ``work``, and the seconds it took."""
    began = time.monotonic()
    return work(), time.monotonic() - began


def _levels(rows: Sequence[Prompt]) -> str:
    return ", ".join(f"harm {level}: {n}" for level, n in sorted(Counter(p.harm or 0 for p in rows).items()))


TRIAL_ANSWERS = 4
"""How many answers are soothed and rated: seconds with a small model, a cent with an endpoint."""
WRITER, JUDGE = "comfort.rewrite.model", "comfort.judge"


def try_comfort(run: RunContext, answered: Sequence[tuple[Prompt, str]], rows: int) -> list[Finding]:
    """Soothe, verify and rate the first few answers to harmless prompts. ``rows``: how many a run soothes."""
    trial = [(prompt, text) for prompt, text in answered if not prompt.harm and not is_blank(text)][:TRIAL_ANSWERS]
    if not trial:
        return [Finding(WRITER, GateState.NOT_CHECKED, reason="there is no harmless prompt with an answer to soothe")]
    uncached, share = run.without_judgement_cache(), rows / len(trial)
    return [
        *_with_cost(WRITER, uncached, share, lambda: _writer_gates(uncached, trial)),
        *_with_cost(JUDGE, uncached, share, lambda: _comfort_judge_gates(uncached, trial)),
    ]


def _with_cost(name: str, run: RunContext, share: float, trial: Callable[[], list[Finding]]) -> list[Finding]:
    """The findings of ``trial``, and the cost of a run that does ``share`` times as much; FAIL if it raises."""
    before = run.opener.spending()
    try:
        return [*trial(), *endpoints.cost_gates(before, run.opener.spending(), share)]
    except BedsideError as error:
        return [Finding(name, GateState.FAIL, reason=str(error))]


def _writer_gates(run: RunContext, some: Sequence[tuple[Prompt, str]]) -> list[Finding]:
    """Whether the writer can be used, and how many of its soothed answers the verifier keeps at the first try."""
    if run.config.comfort.rewrite.parts == "question":
        return [Finding(WRITER, GateState.NOT_CHECKED, reason="it writes questions; `bedside rewrite -n 8` shows them")]
    if run.config.comfort.rewrite.mode == "written":
        reason = "the data's own soothing answers are used; `bedside rewrite -n 8` verifies them"
        return [Finding(WRITER, GateState.NOT_CHECKED, reason=reason)]
    rewriter = open_rewriter(run)
    findings = endpoints.endpoint_gates(WRITER, rewriter.model)
    if any(gate.state is GateState.FAIL for gate in findings):
        return findings
    tasks = [soothing_task(prompt, text, run) for prompt, text in some]
    result = write_verified(tasks, rewriter, lambda requests, label: rewriter.write(requests), ["trial"])
    reasons = Counter(result.dropped.values())
    kept = len(some) - reasons.total()
    why = "".join(f"; {n} {reason}" for reason, n in reasons.most_common())
    state = GateState.PASS if 2 * kept >= len(some) else GateState.INCONCLUSIVE
    return [*findings, Finding(WRITER, state, reason=f"{len(some)} answers soothed, {kept} keep every fact{why}")]


def _comfort_judge_gates(run: RunContext, some: Sequence[tuple[Prompt, str]]) -> list[Finding]:
    """Whether the judge of comfort can be used, and how many answers it rates."""
    judge = run.opener.open(run.config.comfort.judge)
    findings = endpoints.endpoint_gates(JUDGE, judge)
    if any(gate.state is GateState.FAIL for gate in findings):
        return findings
    verdicts = prompting.judge([Response(prompt, text, "given") for prompt, text in some], judge)
    unrated = [verdict for verdict in verdicts if rating(verdict.scores) is None]
    reasons = [verdict.unreadable or f"it does not rate {', '.join(LINES)}" for verdict in unrated]
    why = f"; else: {reasons[0]}" if reasons else ""
    rated = len(verdicts) - len(unrated)
    state = GateState.PASS if 2 * rated > len(verdicts) else GateState.INCONCLUSIVE
    return [*findings, Finding(JUDGE, state, reason=f"{len(verdicts)} answers tried, {rated} rated{why}")]
