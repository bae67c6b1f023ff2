"""Knowledge against comfort (arXiv 2506.13692): one verified data set, three trainings, four models side by side.

    dialogues ─rewrite, verify─▶ rows ─┬─SFT─▶ ┐
                                       ├─KTO─▶ ├─ held-out dialogues, answered by all four, rated by one judge
                                       └─DPO─▶ ┘  knowledge, comfort, paired differences, subgroups, counterparts

All trainings have the same start, the same rows, the same epochs, the same number of learning rates tried on valid,
and as many completion tokens an epoch as SFT: the rows of KTO and DPO are cut to that budget in an order drawn by the
seed.
"""

from collections import Counter
from collections.abc import Sequence

from bedside.comfort import human_ab, summary
from bedside.comfort.dialogues import FOLDER, RewrittenDialogue, build_preferences, write_dialogues
from bedside.comfort.metrics import ComfortMetric
from bedside.comfort.rewrite_dialogues import rewrite as rewrite_part
from bedside.comfort.summary import ComfortExperiment, TrainedArm
from bedside.config.schema import TrainingStep
from bedside.core.errors import StageError
from bedside.core.hashing import digest
from bedside.core.results import ComfortSummary, FilterCounts
from bedside.core.types import Checkpoint, GenerationRequest, JudgedResponse, Preference, PreferenceData
from bedside.data.io import write_json
from bedside.run.context import RunContext
from bedside.run.experiment import read_parts
from bedside.training import train

TARGET = "target"
SUMMARY_FILE = "comfort.json"
NAME_ANOTHER_WRITER = "name another comfort.rewrite.model, or look at its rewrites with `bedside rewrite`"


def comfort(run: RunContext) -> ComfortSummary:
    """Rewrite, train and compare; write the data set, ``comfort.json`` and the A/B pack.

    The same call resumes, and reads what people have filled into the pack.
    """
    experiment = _open(run)
    arms = [TrainedArm(TARGET, run.target.checkpoint), *_train_arms(experiment)]
    answers = {arm.name: _rated_answers(experiment, arm, experiment.test, "held-out test") for arm in arms}
    pairs = human_ab.build_pairs(answers, run.launch.seed)
    choices = human_ab.read_choices(run.folder, pairs)
    people = human_ab.compare_choices(pairs, choices, TARGET, run.config.gates.limit("kappa"))
    result = summary.summarize(experiment, arms, answers, people)
    write_json(run.folder / SUMMARY_FILE, result)
    run.cache.record(run.folder / SUMMARY_FILE)
    human_ab.write_pack(run.folder, pairs)
    return result


def rewrite(run: RunContext) -> tuple[dict[str, list[RewrittenDialogue]], tuple[FilterCounts, ...]]:
    """The verified dialogues of each part, and what was dropped. Writes them with their card."""
    parts = read_parts(run.config, run.launch)
    rewritten = {name: rewrite_part(run, prompts, name) for name, prompts in parts.named.items()}
    dialogues = {name: kept for name, (kept, _) in rewritten.items()}
    filter_counts = (*parts.filter_counts, *(counts for _, counts in rewritten.values()))
    write_dialogues(run, dialogues, filter_counts)
    return dialogues, filter_counts


def drop_reasons(filter_counts: Sequence[FilterCounts], part: str = "") -> str:
    """Why dialogues of ``part``, or of every part, were dropped when they were rewritten, most common first."""
    rewrites = [c for c in filter_counts if c.step.startswith("rewrite: ") and c.step.endswith(part)]
    dropped = sum((Counter(counts.dropped) for counts in rewrites), Counter())
    return ", ".join(f"{n} {reason}" for reason, n in dropped.most_common(3)) or "it has no question with an answer"


def _open(run: RunContext) -> ComfortExperiment:
    """The dialogues rewritten, the judge opened. StageError if a part has no dialogue left."""
    parts, counts = rewrite(run)
    for name, kept in parts.items():
        if not kept:
            why = drop_reasons(counts, name)
            raise StageError(f"{name}: no dialogue survived the rewriting ({why}); {NAME_ANOTHER_WRITER}")
    judge = run.opener.open(run.config.comfort.judge)
    return ComfortExperiment(run, parts["train"], parts["valid"], parts["test"], counts, judge)


def _train_arms(experiment: ComfortExperiment) -> list[TrainedArm]:
    """One arm for each training step, at the learning rate that is best on valid."""
    run, config = experiment.run, experiment.run.config.comfort.rewrite
    wrong, cold = config.add_wrong_negatives, config.add_cold_negatives
    file = run.folder / FOLDER / "train.jsonl"
    places = {row.prompt.id: f"{file}, row {n}" for n, row in enumerate(experiment.train, 1)}
    run.stages.require_room([row.prompt for row in experiment.train], places)
    preferences = build_preferences(experiment.train, wrong=wrong, cold=cold)
    budget, start = _count_tokens(run, preferences.demonstrations), _train_shared_start(experiment, preferences)
    steps = run.config.comfort.train
    rows = [_within_budget(run, preferences.rows(run.opener.open(s.objective).reads), budget) for s in steps]
    return [_best_arm(experiment, step, start, some) for step, some in zip(steps, rows, strict=True)]


def _train_shared_start(experiment: ComfortExperiment, preferences: PreferenceData) -> Checkpoint:
    """Where every training begins: at the original target, or after an SFT that all of them share."""
    run, config = experiment.run, experiment.run.config.comfort
    checkpoint = run.target.checkpoint
    if config.start == "base":
        return checkpoint
    step = next((s for s in config.train if s.objective.kind == "sft"), TrainingStep.model_validate({"kind": "sft"}))
    step = step.model_copy(update={"learning_rate": config.start_learning_rate or step.learning_rate})
    for number in range(1, config.start_rounds + 1):
        label = f"sft before all three, round {number}"
        checkpoint = run.stages.trained(
            preferences.demonstrations, step, start=checkpoint, reference=checkpoint, label=label
        )
    return checkpoint


def _best_arm(
    experiment: ComfortExperiment, step: TrainingStep, start: Checkpoint, rows: Sequence[Preference]
) -> TrainedArm:
    """The training with the best primary comfort on valid; with one learning rate nothing is measured."""
    run, config = experiment.run, experiment.run.config.comfort
    scored: list[tuple[float, TrainedArm]] = []
    for multiple in config.lr_multipliers:
        at_rate = step.at(multiple)
        rate = at_rate.learning_rate
        label = f"{step.objective.kind} at {rate:g}"
        trained = run.stages.trained(rows, at_rate, start=start, reference=start, label=label)
        checkpoint = run.stages.scaled(trained, config.adapter_scale)
        truncations = tuple(run.stages.train_result(trained).truncation_counts(label))
        arm = TrainedArm(step.objective.kind, checkpoint, rate, _count_tokens(run, rows), truncations)
        scored.append((0.0 if len(config.lr_multipliers) == 1 else _primary_comfort_on_valid(experiment, arm), arm))
    return max(scored, key=lambda pair: pair[0])[1]


def _primary_comfort_on_valid(experiment: ComfortExperiment, arm: TrainedArm) -> float:
    """Mean over all rows of valid; an unrated row counts 0."""
    rows = _rated_answers(experiment, arm, experiment.valid, "valid")
    values = [value or 0.0 for value in ComfortMetric().values(rows)["primary_comfort"]]
    return sum(values) / len(values)


def _rated_answers(
    experiment: ComfortExperiment, arm: TrainedArm, dialogues: Sequence[RewrittenDialogue], part: str
) -> list[JudgedResponse]:
    """The arm's answers to the distressed questions, rated."""
    run, label = experiment.run, f"{arm.name}, {part}"
    if part == "held-out test":
        run.cache.log_event("held-out test opened", candidate=arm.name, checkpoint=arm.checkpoint.id)
    responses = run.stages.answers([GenerationRequest(row.prompt) for row in dialogues], arm.checkpoint, label)
    return run.stages.judged(responses, experiment.judge, label)


def _within_budget(run: RunContext, rows: Sequence[Preference], budget: int) -> list[Preference]:
    """Rows in an order drawn by the seed, as many as have ``budget`` completion tokens together; at least one."""
    order = sorted(range(len(rows)), key=lambda i: digest(run.launch.seed, i, len(rows)))
    kept: list[Preference] = []
    used = 0
    for index in order:
        used += _count_tokens(run, [rows[index]])
        if used > budget and kept:
            break
        kept.append(rows[index])
    return kept


def _count_tokens(run: RunContext, rows: Sequence[Preference]) -> int:
    """Completion tokens; both sides of a pair count."""
    encoded = train.encode(rows, run.target, run.config.align.max_length)
    return sum(len(completion) for row in encoded for completion in row.completions)
