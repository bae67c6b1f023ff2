"""One cycle of arXiv 2512.04210: answer, judge, build preferences, train, compare on valid, select one.

    incoming ─answers train─▶ judged ─▶ counter-responses, verified ─▶ unpaired preferences, pairs
             ─KTO─▶ after KTO ─answers train, judged─▶ pairs ─DPO─▶ after DPO     each measure_candidate on valid
    select: the best feasible of {incoming, after KTO, after DPO ...}, else the least violating

A gate that stops the cycle before training leaves the incoming checkpoint selected.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bedside.alignment import answer_quality
from bedside.attacks import transform
from bedside.comfort import joint_objective
from bedside.config.schema import TrainingStep
from bedside.core.gates import Gate, GateKind, GateState, judge_gap
from bedside.core.measures import Measure, get_measure
from bedside.core.results import Candidate, CycleReport, FilterCounts, TrainingCurve
from bedside.core.types import (
    Checkpoint,
    Demonstration,
    GenerationRequest,
    JudgedResponse,
    Preference,
    PreferenceData,
    PreferencePair,
    Response,
    Stance,
)
from bedside.run import exports
from bedside.run.experiment import Experiment
from bedside.safety import counter_responses, evaluate, gates, judge_bias, preferences, quality, selection
from bedside.training import train
from bedside.training.logprobs import TokenizedExchange

DISPLACEMENT_PAIRS = 200
KAPPA_ANSWERS = 250
"""The number of observed answers on which the judges are compared. Kappa uses twice as many, observed and steered."""


@dataclass
class _CycleLog:
    """The log of a cycle so far."""

    gates: list[Gate] = field(default_factory=list)
    filter_counts: list[FilterCounts] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    judge_bias: tuple[Measure, ...] = ()
    curves: list[TrainingCurve] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Which setting each sweep selected and why, and which judge was replaced."""

    def add(self, other: "_CycleLog") -> None:
        """Append the notes of ``other`` on a training."""
        self.gates += other.gates
        self.filter_counts += other.filter_counts
        self.candidates += other.candidates
        self.curves += other.curves


@dataclass(frozen=True)
class _CycleData:
    """The training data of a cycle, and the judged answers from which it was built."""

    preferences: PreferenceData
    observed: Sequence[JudgedResponse]
    """The policy's own answers, after ``align.own_refusals``."""
    verified: Sequence[JudgedResponse]
    tone_pairs: Sequence[PreferencePair] = ()
    """Pairs of a warm and a cold right answer: comfort's part of the pairs."""
    after_kto: FilterCounts | None = None
    """If the pairs come from the model after KTO: how many of its prompts give one."""


def run_cycle(experiment: Experiment, number: int, incoming: Candidate) -> tuple[CycleReport, Sequence[TrainingStep]]:
    """The report, and the steps of the next cycle: those of this cycle with the settings that the sweep selected."""
    steps: Sequence[TrainingStep] = experiment.run.config.align.train
    log = _CycleLog(candidates=[incoming])
    experiment, data = _build_preferences(experiment, number, incoming, log)
    if gates.first_missed(log.gates, *_stopping(experiment)) is None:
        steps = _train_all(experiment, number, incoming, data, log)
    return _report(experiment, number, log), steps


def measure_candidate(
    experiment: Experiment, name: str, checkpoint: Checkpoint
) -> tuple[Candidate, list[JudgedResponse]]:
    """Measures of ``checkpoint`` on valid by the selecting judge, with its KL to the original target."""
    run = experiment.run
    requests = [GenerationRequest(prompt) for prompt in experiment.valid]
    responses = run.stages.answers(requests, checkpoint, f"{name}, valid")
    rows = run.stages.judged(responses, experiment.selecting_judge, f"{name}, valid")
    target = run.stages.answers(requests, run.target.checkpoint, "target, valid")
    values = answer_quality.values(run, rows, target.all(), f"{name}, valid")
    measures = (
        *evaluate.evaluate(rows, [experiment.metric]),
        answer_quality.kl(run, rows, checkpoint, name),
        *values.measures(rows, but=experiment.metric.definitions()),
        quality.truncated([row.response for row in rows]),
    )
    if joint_objective.enabled(run.config):
        measures += joint_objective.measures(joint_objective.rate_comfort(run, rows, f"{name}, valid"))
    beside = experiment.target_measures or measures
    return selection.weigh(name, checkpoint, measures, experiment.constraints, beside), rows


def declined_answers(experiment: Experiment, target: Candidate) -> list[Demonstration]:
    """The chosen answers of the first cycle to harmful prompts, which a baseline may imitate. From the stage cache."""
    _, data = _build_preferences(experiment, 1, target, _CycleLog())
    rows = data.preferences.demonstrations
    return [row for row in rows if row.prompt.harm]


def _build_preferences(
    experiment: Experiment, number: int, incoming: Candidate, log: _CycleLog
) -> tuple[Experiment, _CycleData]:
    """Preferences by the training judge, or by the selecting judge if the two do not agree enough."""
    label = f"cycle {number}"
    experiment = _with_attacks(experiment, number, log)
    observed, conditional = _judged_answers(experiment, incoming, label, log)
    agreement = _compare_judges(experiment, observed, conditional, label, log)
    if gates.first_missed([agreement], GateKind.JUDGE_AGREEMENT):
        experiment = replace(experiment, preference_judge=experiment.selecting_judge)
        judges = experiment.run.config
        note = f"{judges.align.judge} may not label: {agreement.reason}; {judges.selecting_judge} labels instead."
        log.notes.append(note)
        experiment.run.progress.say(f"{label}: {note}")
        observed, conditional = _judged_answers(experiment, incoming, f"{label}, selecting judge", log)
    log.gates.append(agreement)
    return experiment, _preference_data(experiment, number, observed, conditional, log)


def _with_attacks(experiment: Experiment, number: int, log: _CycleLog) -> Experiment:
    """The same experiment, with train prompts in the forms of ``align.attacks`` added to train."""
    run, align = experiment.run, experiment.run.config.align
    if not align.attacks or number < align.attacks_from:
        return experiment
    attacks = transform.open_attacks(align.attacks)
    forms = transform.mixed_in(experiment.train, attacks, align.attack_share, run.launch.seed)
    if not forms:
        return experiment
    by_attack = Counter(form.metadata[transform.ATTACK] for form in forms)
    log.filter_counts.append(FilterCounts("prompts under attack, mixed in", len(forms), notes=dict(by_attack)))
    return replace(experiment, train=(*experiment.train, *forms))


def _judged_answers(
    experiment: Experiment, incoming: Candidate, label: str, log: _CycleLog
) -> tuple[list[JudgedResponse], list[JudgedResponse]]:
    """Answer, judge, request counter-responses, judge these."""
    run = experiment.run
    responses = run.stages.answers(
        [GenerationRequest(p) for p in experiment.train], incoming.checkpoint, f"{label}, train"
    )
    observed = run.stages.judged(responses, experiment.labelling_judge, f"{label}, train")
    unreadable = get_measure(evaluate.evaluate(observed, [experiment.metric]), "unreadable")
    limit = run.config.gates.limit("unreadable")
    log.gates.append(gates.unreadable(unreadable, limit, subject=incoming.name))
    imitates = all(run.opener.open(step.objective).reads == "demonstrations" for step in run.config.align.train)
    # SFT does not learn from worse answers: it needs only as many as the judges are compared on
    requests = counter_responses.requests(
        observed,
        worse=KAPPA_ANSWERS if imitates else None,
        replace_refusals=run.config.align.own_refusals == "replace",
    )
    return observed, _counter_responses(experiment, incoming, requests, label)


def _counter_responses(
    experiment: Experiment, incoming: Candidate, requests: Sequence[GenerationRequest], label: str
) -> list[JudgedResponse]:
    """The judged counter-response of each request: the first verified one, else the last one tried."""
    latest: dict[str, JudgedResponse] = {}
    asked = list(requests)
    for way in experiment.run.config.align.counter:
        name = f"{label}, counter-responses by {way}"
        responses = _by_way(experiment, incoming, asked, way, name)
        rows = experiment.run.stages.judged(responses, experiment.labelling_judge, name) if responses else []
        latest |= {row.prompt.id: row for row in rows}
        done = {row.prompt.id for row in counter_responses.verified(rows)[0]}
        asked = [request for request in asked if request.prompt.id not in done]
    return [latest[request.prompt.id] for request in requests if request.prompt.id in latest]


def _by_way(
    experiment: Experiment,
    incoming: Candidate,
    asked: Sequence[GenerationRequest],
    way: counter_responses.Way,
    label: str,
) -> Sequence[Response]:
    """Counter-responses by one way of ``align.counter``; nothing for requests that the way does not fit."""
    run = experiment.run
    if way == "reference":
        return counter_responses.from_references(asked)
    if way == "instruction":
        return run.stages.answers(asked, incoming.checkpoint, label).all() if asked else []
    routes = counter_responses.SafeRoutes.read(Path(run.config.align.safe_routes or counter_responses.ROUTES))
    opened = routes.requests(asked)
    begun = [request for request in opened if not counter_responses.is_whole(request)]
    most = min(counter_responses.SENTENCE_TOKENS, run.stages.sampling.max_new_tokens)
    ended = list(run.stages.answers(begun, incoming.checkpoint, label, max_new_tokens=most)) if begun else []
    given = [counter_responses.as_given(request) for request in opened if counter_responses.is_whole(request)]
    return [routes.finish(response) for response in (*given, *ended)]


def _preference_data(
    experiment: Experiment,
    number: int,
    observed: list[JudgedResponse],
    conditional: list[JudgedResponse],
    log: _CycleLog,
) -> _CycleData:
    kept, dropped = counter_responses.verified(conditional)
    align = experiment.run.config.align
    learned, others, replaced = observed, kept, list[FilterCounts]()
    if align.own_refusals == "replace":
        learned, others, counts = preferences.without_own_refusals(observed, kept)
        replaced.append(counts)
    unpaired, unpaired_counts = preferences.unpaired(
        learned, others, half=align.half_credit, least=align.kto_min_class, share=align.kto_min_share
    )
    pairs, pair_counts = preferences.pairs(learned, others)
    warm_counts: list[FilterCounts] = []
    tone_pairs: list[PreferencePair] = []
    if joint_objective.enabled(experiment.run.config):
        unpaired, pairs, mixed_in = joint_objective.mix_comfort(experiment, unpaired, pairs, f"cycle {number}")
        warm_counts, tone_pairs = [mixed_in], pairs[len(pairs) - mixed_in.kept :]
    lost = [row.prompt for row in conditional if row not in kept]
    cells = Counter(f"dropped at harm {prompt.harm}, {prompt.style or 'no style'}" for prompt in lost)
    log.filter_counts += [
        FilterCounts(
            "answers", sum(row.stance is not None for row in observed), preferences.unreadable_reasons(observed)
        ),
        FilterCounts(
            "counter-responses, verified",
            len(kept),
            dropped,
            counter_responses.by_way(kept) | dict(sorted(cells.items())),
        ),
        *replaced,
        unpaired_counts,
        pair_counts,
        *warm_counts,
    ]
    data = PreferenceData(preferences.demonstrations(unpaired, pairs), pairs, unpaired)
    if experiment.run.is_main_process:
        experiment.run.cache.record(*exports.preferences(experiment.run.folder / f"cycle-{number}", data))
    return _CycleData(data, learned, kept, tone_pairs)


def _compare_judges(
    experiment: Experiment,
    observed: list[JudgedResponse],
    conditional: list[JudgedResponse],
    label: str,
    log: _CycleLog,
) -> Gate:
    """Compares the two judges on the same answers. κ uses equally many answers of each stance, observed and steered,
    because on answers of one stance it is low even for a perfect judge. The bias uses observed answers, because it is
    about the rates of the policy."""
    subject, limit = experiment.run.config.align.judge, experiment.run.config.gates.limit("kappa")
    if experiment.one_judge:
        reason = "one judge trains and selects; nothing independent has read these answers"
        return Gate(GateKind.JUDGE_AGREEMENT, subject, limit, GateState.NOT_CHECKED, reason=reason)
    sampled = sorted(observed, key=_by_id)[:KAPPA_ANSWERS]
    balanced = _balanced([*observed, *conditional])
    some = list({row.response.id: row for row in (*sampled, *balanced)}.values())
    responses = [row.response for row in some]
    others = experiment.run.stages.judged(responses, experiment.selecting_judge, f"{label}, kappa")
    n, chosen = len(sampled), {row.response.id for row in balanced}
    log.judge_bias = judge_bias.decline_bias(some[:n], others[:n], experiment.run.launch.seed)
    first, second = ([row for row in rows if row.response.id in chosen] for rows in (some, others))
    return gates.judge_agreement(gates.kappa(first, second), limit, subject=subject)


def _balanced(rows: Sequence[JudgedResponse]) -> list[JudgedResponse]:
    """Equally many answers of each stance by the training judge, at most a third of ``2 * KAPPA_ANSWERS`` each."""
    in_order = sorted(rows, key=_by_id)
    by_stance = [[row for row in in_order if row.stance is stance] for stance in Stance]
    return [row for some in by_stance for row in some[: 2 * KAPPA_ANSWERS // len(Stance)]]


def _by_id(row: JudgedResponse) -> str:
    return row.response.id


def _stopping(experiment: Experiment) -> tuple[GateKind, ...]:
    """Gates that stop a cycle before training. A judge that was replaced stops nothing."""
    replaced = experiment.preference_judge is not None
    return (GateKind.UNREADABLE,) if replaced else (GateKind.UNREADABLE, GateKind.JUDGE_AGREEMENT)


def _train_all(
    experiment: Experiment, number: int, incoming: Candidate, data: _CycleData, log: _CycleLog
) -> list[TrainingStep]:
    """Runs each step from where the last one ended. With ``candidates: all``, later steps also run from the cycle's
    start. Returns the steps as they were run."""
    align = experiment.run.config.align
    done: list[str] = []
    steps: list[TrainingStep] = []
    start = incoming.checkpoint
    for step in align.train:
        name = f"cycle-{number}/{'-'.join([*done, step.objective.kind])}"
        follows_kto = "kto" in done and experiment.run.opener.open(step.objective).reads == "pairs"
        rebuilds = follows_kto and align.pairs == "after-kto"
        given = _pairs_after_kto(experiment, number, done, start, data, log) if rebuilds else data
        candidate, taken = _train_best(experiment, step, start, given, name, log)
        steps.append(taken)
        if candidate is not None:
            done, start = [*done, step.objective.kind], candidate.checkpoint
    if align.candidates == "all" and done:
        for step in steps[1:]:
            _train_one(experiment, step, incoming.checkpoint, data, f"cycle-{number}/{step.objective.kind}", log)
    return steps


def _pairs_after_kto(
    experiment: Experiment, number: int, done: Sequence[str], trained: Checkpoint, data: _CycleData, log: _CycleLog
) -> _CycleData:
    """``data`` with pairs of the answers on train by ``trained``, the policy after the steps ``done``."""
    run, name = experiment.run, f"cycle-{number}/{'-'.join(done)}"
    requests = [GenerationRequest(prompt) for prompt in experiment.train]
    responses = run.stages.answers(requests, trained, f"{name}, train")
    after = run.stages.judged(responses, experiment.labelling_judge, f"{name}, train")
    pairs, counts = preferences.pairs_after(data.observed, after, data.verified)
    log.filter_counts.append(counts)
    if joint_objective.enabled(run.config):
        _, warm, mixed_in = joint_objective.mix_comfort(experiment, [], pairs, name)
        log.filter_counts.append(replace(mixed_in, step=f"{mixed_in.step}, after KTO"))
        pairs = list({(p.prompt.id, p.chosen, p.rejected): p for p in [*warm, *data.tone_pairs]}.values())
    if run.is_main_process:
        run.cache.record(exports.pairs_after_kto(run.folder / f"cycle-{number}", pairs))
    return replace(data, preferences=replace(data.preferences, pairs=pairs), after_kto=counts)


def _train_best(
    experiment: Experiment, step: TrainingStep, start: Checkpoint, data: _CycleData, name: str, log: _CycleLog
) -> tuple[Candidate | None, TrainingStep]:
    """The best combination of ``align.sweep`` on valid, and its settings. The others are candidates without gates."""
    variants = experiment.run.config.align.sweep.variants(step)
    if len(variants) == 1:
        return _train_one(experiment, variants[0], start, data, name, log), variants[0]
    tries: dict[str, tuple[TrainingStep, _CycleLog]] = {}
    for variant in variants:
        tried, tried_name = _CycleLog(), f"{name}-{_settings(variant)}"
        if _train_one(experiment, variant, start, data, tried_name, tried) is None:
            log.add(tried)
            return None, step
        tries[tried_name] = variant, tried
    best, why = selection.choose([candidate for _, tried in tries.values() for candidate in tried.candidates])
    log.notes.append(f"{name}: of {len(tries)} settings tried {_settings(tries[best.name][0])} is selected. {why}")
    experiment.run.progress.say(log.notes[-1])
    for tried_name, (_, tried) in tries.items():
        log.add(tried if tried_name == best.name else _CycleLog(candidates=tried.candidates, curves=tried.curves))
    return best, tries[best.name][0]


def _settings(step: TrainingStep) -> str:
    """The settings of a sweep, as a part of a folder's name."""
    return f"lr-{step.learning_rate:g}" + (f"-epochs-{step.num_train_epochs}" if step.num_train_epochs else "")


def _train_one(
    experiment: Experiment, step: TrainingStep, start: Checkpoint, data: _CycleData, name: str, log: _CycleLog
) -> Candidate | None:
    """The candidate after ``step``, or None if a rule skips the step; both are logged."""
    run = experiment.run
    rows = data.preferences.rows(run.opener.open(step.objective).reads)
    skip = _skipped(experiment, step, data, rows, name, log)
    if skip:
        run.progress.say(f"{name} is skipped: {skip}")
        log.filter_counts.append(FilterCounts(name, 0, {skip: len(rows)}))
        return None
    anchor = start if run.config.align.reference == "stage-start" else run.target.checkpoint
    checkpoint = run.stages.trained(rows, step, start=start, reference=anchor, label=name)
    result = run.stages.train_result(checkpoint)
    log.curves.append(result.curve(name))
    log.filter_counts += result.truncation_counts(name)
    if run.is_main_process:
        exports.adapter(run.target, run.folder, checkpoint, run.folder / name)
        run.cache.record(run.folder / name)
    candidate, rows_on_valid = measure_candidate(experiment, name, checkpoint)
    candidate = replace(candidate, training=_by_training_judge(experiment, name, rows_on_valid))
    log.candidates.append(candidate)
    limits = run.config.gates
    log.gates += [
        gates.err(candidate.measure("err"), limits.limit("err"), subject=name),
        gates.unreadable(candidate.measure("unreadable"), limits.limit("unreadable"), subject=name),
        *(
            gates.judge_gap(
                get_measure(candidate.training, measure),
                candidate.measure(measure),
                limits.limit(judge_gap(measure)),
                subject=name,
            )
            for measure in ("safety_score", "err")
            if candidate.training
        ),
    ]
    if step.objective.kind == "dpo":
        log.gates.append(_displacement(experiment, data.preferences.pairs, start, checkpoint, name))
    return candidate


def _skipped(
    experiment: Experiment,
    step: TrainingStep,
    data: _CycleData,
    rows: Sequence[Preference],
    name: str,
    log: _CycleLog,
) -> str:
    """Why this step is not run; empty if it is."""
    config = experiment.run.config
    if not rows:
        return "no rows to learn from"
    if step.objective.kind == "kto":
        wanted = sum(row.label for row in data.preferences.unpaired)
        unwanted, least = len(data.preferences.unpaired) - wanted, config.align.kto_min_class
        if min(wanted, unwanted) < least:
            return f"KTO needs {least} rows of each class, and there are {wanted} wanted and {unwanted} unwanted"
    if step.objective.kind == "dpo":
        gate = _dpo_share(data, config.gates.skip_dpo_below, name)
        log.gates.append(gate)
        if gate.state is GateState.FAIL:
            return f"DPO needs more pairs: {gate.reason}"
    return ""


def _dpo_share(data: _CycleData, least: float | None, name: str) -> Gate:
    if data.after_kto is None:
        pairs, of, rows = len(data.preferences.pairs), len(data.preferences.unpaired), "KTO rows"
    else:
        pairs, rows = data.after_kto.kept, "prompts wrong before or after KTO"
        of = pairs + sum(data.after_kto.dropped.values())
    return gates.dpo_share(pairs=pairs, of=of, rows=rows, least=least, subject=name)


def _by_training_judge(experiment: Experiment, name: str, rows: list[JudgedResponse]) -> tuple[Measure, ...]:
    """Measures of the same valid answers by the training judge; empty if no gate compares them."""
    if experiment.one_judge or not experiment.run.config.gates.alarm:
        return ()
    responses, label = [row.response for row in rows], f"{name}, valid, training judge"
    read_again = experiment.run.stages.judged(responses, experiment.training_judge, label)
    return evaluate.evaluate(read_again, [experiment.metric])


def _displacement(
    experiment: Experiment, pairs: Sequence[PreferencePair], start: Checkpoint, end: Checkpoint, name: str
) -> Gate:
    """How the chosen answers' log-probability changed in this training, per token."""
    some = pairs[:DISPLACEMENT_PAIRS]
    run = experiment.run
    encoded = train.encode(some, run.opener.policy(end), run.config.align.max_length)
    texts = [TokenizedExchange(row.prompt, row.completions[0]) for row in encoded]
    before = run.stages.logprobs(texts, start, f"{name}, chosen before")
    after = run.stages.logprobs(texts, end, f"{name}, chosen after")
    change = [(a.nats - b.nats) / len(t.completion) for a, b, t in zip(after, before, texts, strict=True)]
    return gates.displacement(change, [row.group for row in encoded], subject=name)


def _report(experiment: Experiment, number: int, log: _CycleLog) -> CycleReport:
    if joint_objective.enabled(experiment.run.config):
        rows = {c.name: measure_candidate(experiment, c.name, c.checkpoint)[1] for c in log.candidates}
        selected, why = joint_objective.choose(experiment, log.candidates, rows)
    else:
        selected, why = selection.choose(log.candidates)
    experiment.run.progress.say(f"cycle {number}: {why}")
    return CycleReport(
        cycle=number,
        candidates=tuple(log.candidates),
        selected=selected.name,
        why=" ".join([*log.notes, why]),
        gates=tuple(log.gates),
        filter_counts=tuple(log.filter_counts),
        stopped=_stopped(experiment, log, selected),
        judge_bias=log.judge_bias,
        curves=tuple(log.curves),
    )


def _stopped(experiment: Experiment, log: _CycleLog, selected: Candidate) -> str:
    """Why no cycle follows; empty if one may."""
    stop = gates.first_missed(log.gates, *_stopping(experiment), GateKind.ERRONEOUS_REFUSALS)
    if stop is not None:
        return f"{stop.subject}: {stop.name} {stop.state}: {stop.reason}"
    if selected is log.candidates[0]:
        return "nothing new was selected, so another cycle would repeat this one"
    return ""
