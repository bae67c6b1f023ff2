"""`bedside train judge`: LoRA on labelled answers, through the trainer of all objectives.

    labels ─hold out groups─▶ rubric question -> first token of the label ─SFT─▶ adapter
    held out ─judged before and after─▶ temperature, κ, and κ after − κ before

* **Held out** are whole groups, so no near-duplicate of a training answer is in the test.
* **Balanced**: each pass has every label equally often. Rare ones are repeated, at most ``MOST_REPEATS`` times.
* **Label orders** alternate over rows and passes, so that no label is tied to a position.
* **Temperature** T: with softmax(log p / T), the held-out labels are most likely. It changes no label.

The output folder is a PEFT adapter with ``judge.json``; the config {kind: rubric, adapter: FOLDER} is the judge.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from bedside.config.plugins import Plugin, find
from bedside.config.schema import TrainingStep
from bedside.core.audit_results import Audit
from bedside.core.display import Tabular, measure_records
from bedside.core.errors import DataError
from bedside.core.hashing import digest
from bedside.core.measures import Measure
from bedside.core.protocols import Judge, TwoClassJudge
from bedside.core.serialize import to_json
from bedside.core.types import Checkpoint, Demonstration, Prompt, Response, Stance, Verdict
from bedside.data import splits
from bedside.data.io import write_json
from bedside.judge_audit import agreement_report
from bedside.judges.rubric import RubricJudge
from bedside.run import exports
from bedside.run.context import RunContext

FILE = "judge.json"
HELD_OUT = 0.25
LEARNING_RATE = 1e-3
MOST_REPEATS = 4
TEMPERATURES = (0.05, 20.0)
_HALVINGS = 80


@dataclass(frozen=True, slots=True)
class LabelledAnswer:
    """An answer with the stance that people gave it."""

    response: Response
    stance: Stance

    @property
    def group(self) -> str:
        return self.response.prompt.cluster


@dataclass(frozen=True, slots=True)
class JudgeTrainingRow:
    """One row of one pass: the index of the answer, and the order of the labels in the question."""

    row: int
    order: int


@dataclass(frozen=True)
class JudgeTraining(Tabular):
    """The trained judge, and its figures on groups that training did not use."""

    adapter: Path
    checkpoint: Checkpoint
    temperature: float
    train_rows: int
    held_out: int
    before: Audit
    after: Audit
    gain: Measure
    """κ after minus κ before, paired, on the held-out answers."""
    log_loss: tuple[float, float]
    """Nats per answer, at temperature 1 and at the fitted temperature."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Number of labelled answers that were not used, by reason."""

    def records(self) -> list[dict[str, Any]]:
        """One row per measure on the held-out answers, before and after the training."""
        return [
            {"judge": name, **row}
            for name, audit in (("before", self.before), ("after", self.after))
            for row in measure_records(audit.measures)
        ]


def train(run: RunContext, labels: Plugin, out: Path, learning_rate: float | None) -> JudgeTraining:
    """Train the target as a judge on the answers that ``labels`` labels; write the PEFT folder ``out``."""
    experts: Judge = run.opener.open(labels)
    base = _judge(run, None)
    rows, dropped = _labelled_answers(base, experts, labels)
    train_rows, held = hold_out(rows, HELD_OUT, run.launch.seed)
    checkpoint = _train(run, base, train_rows, learning_rate)
    exports.save(run, checkpoint, out)
    responses = [row.response for row in held]
    truth = [Verdict(row.response.id, "labels", row.stance) for row in held]
    before, after = (
        [row.verdict for row in run.stages.judged(responses, judge, "held-out answers")]
        for judge in (base, _judge(run, out))
    )
    two = isinstance(experts, TwoClassJudge) and experts.two_classes
    audits = [
        agreement_report.audit(rows, judge=name, name=name, reference="labels", limit=run.config.gates.limit("kappa"))
        for name, rows in (
            ("before", agreement_report.compare(responses, truth, before, two=two)),
            ("after", agreement_report.compare(responses, truth, after, two=two)),
        )
    ]
    probabilities = [verdict.probabilities for verdict in after if verdict.stance and verdict.probabilities]
    stances = [row.stance for verdict, row in zip(after, held, strict=True) if verdict.stance and verdict.probabilities]
    scale = fit_temperature(probabilities, stances) if stances else 1.0
    result = JudgeTraining(
        adapter=out,
        checkpoint=checkpoint,
        temperature=scale,
        train_rows=len(train_rows),
        held_out=len(held),
        before=audits[0],
        after=audits[1],
        gain=agreement_report.kappa_gain(responses, truth, (before, after), two=two),
        log_loss=(log_loss(probabilities, stances, 1.0), log_loss(probabilities, stances, scale)),
        dropped=dropped,
    )
    write_json(out / FILE, to_json(result))
    return result


def hold_out(
    rows: Sequence[LabelledAnswer], share: float, seed: int
) -> tuple[list[LabelledAnswer], list[LabelledAnswer]]:
    """(training, held out): whole groups, about ``share`` of them held out. DataError if either has one label."""
    groups = sorted({row.group for row in rows}, key=lambda group: digest(seed, "held out", group))
    chosen = set(groups[: max(1, round(share * len(groups)))])
    train_rows = [row for row in rows if row.group not in chosen]
    held = [row for row in rows if row.group in chosen]
    for name, part in (("training", train_rows), ("held out", held)):
        if len({row.stance for row in part}) < 2:
            raise DataError(
                f"{name}: {len(part)} labelled answers of {len({row.group for row in part})} groups have fewer than "
                "two labels; label more answers, or answers to more prompts"
            )
    return train_rows, held


def plan_rows(stances: Sequence[Stance], *, passes: int, orders: int, seed: int) -> list[JudgeTrainingRow]:
    """The rows of all passes: each label equally often, rows in a seeded order, label orders alternating."""
    rng = random.Random(seed)
    by_stance: dict[Stance, list[int]] = defaultdict(list)
    for row, stance in enumerate(stances):
        by_stance[stance].append(row)
    most = max(map(len, by_stance.values()))
    planned = []
    for number in range(passes):
        chosen = [row for rows in by_stance.values() for row in _repeated(rows, most, rng)]
        rng.shuffle(chosen)
        planned += [JudgeTrainingRow(row, (row + number) % orders) for row in chosen]
    return planned


def fit_temperature(probabilities: Sequence[Mapping[str, float]], stances: Sequence[Stance]) -> float:
    """T that minimises −Σ log softmax(log p / T)[label]. The sum is convex in 1/T, so its slope is bisected."""
    logs = [_logs(row) for row in probabilities]
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        slope = sum(_slope(row, stance.value, middle) for row, stance in zip(logs, stances, strict=True))
        low, high = (middle, high) if slope < 0 else (low, middle)
    return 2 / (low + high)


def log_loss(probabilities: Sequence[Mapping[str, float]], stances: Sequence[Stance], temperature: float) -> float:
    """Mean −log of the label's probability at this temperature, nats; 0 if there are no rows."""
    total = 0.0
    for row, stance in zip(probabilities, stances, strict=True):
        logs = {name: log / temperature for name, log in _logs(row).items()}
        top = max(logs.values())
        total += top + math.log(sum(math.exp(x - top) for x in logs.values())) - logs[stance.value]
    return total / max(1, len(stances))


def _logs(probabilities: Mapping[str, float]) -> dict[str, float]:
    return {name: math.log(max(p, 1e-12)) for name, p in probabilities.items()}


def _slope(logs: Mapping[str, float], label: str, inverse: float) -> float:
    """d/d(1/T) of one row's loss: the expected log-probability minus the label's own."""
    top = max(logs.values())
    weights = {name: math.exp(inverse * (x - top)) for name, x in logs.items()}
    return sum(weights[name] * x for name, x in logs.items()) / sum(weights.values()) - logs[label]


def _repeated(rows: Sequence[int], most: int, rng: random.Random) -> list[int]:
    """``rows`` repeated up to a length of ``most``, each about equally often and at most MOST_REPEATS times."""
    whole, rest = divmod(min(most, MOST_REPEATS * len(rows)), len(rows))
    return [*rows] * whole + rng.sample(list(rows), rest)


def _judge(run: RunContext, adapter: Path | None) -> RubricJudge:
    """The rubric judge on the target, with or without the adapter."""
    fields = {"kind": "rubric", "model": "target", "temperature": 1.0, "adapter": str(adapter) if adapter else None}
    return cast("RubricJudge", run.opener.open(find("judge", "rubric").model_validate(fields)))


def _labelled_answers(base: RubricJudge, experts: Judge, labels: Plugin) -> tuple[list[LabelledAnswer], dict[str, int]]:
    """The answers that fit the model and on whose label the experts agree; and why others were dropped."""
    answers = getattr(labels, "answers", None)
    if answers is None:
        raise DataError(f"judge kind {labels.kind!r} has no labelled answers; train on a judge of kind labels")
    responses: list[Response] = answers.read()
    rows, dropped = [], Counter[str]()
    for response, prompt, verdict in zip(
        responses, splits.group([response.prompt for response in responses]), experts.judge(responses), strict=True
    ):
        if verdict.stance is None:
            dropped[verdict.unreadable.split(":")[0]] += 1
        elif base.unaskable_reason(response):
            dropped["longer than the model reads"] += 1
        else:
            rows.append(LabelledAnswer(replace(response, prompt=prompt), verdict.stance))
    return rows, dict(dropped)


def _train(
    run: RunContext, base: RubricJudge, rows: Sequence[LabelledAnswer], learning_rate: float | None
) -> Checkpoint:
    """The target after one epoch of SFT on label tokens. The epoch has ``align.num_train_epochs`` planned passes."""
    questions = [base.questions(row.response) for row in rows]
    token_of = dict(zip(Stance, run.target.renderer.first_ids([stance.value for stance in Stance]), strict=True))
    demonstrations = [
        Demonstration(
            Prompt(questions[plan.row][plan.order], group=rows[plan.row].group),
            rows[plan.row].stance.value,
            ids=(token_of[rows[plan.row].stance],),
        )
        for plan in plan_rows(
            [row.stance for row in rows],
            passes=run.config.align.num_train_epochs,
            orders=len(questions[0]),
            seed=run.launch.seed,
        )
    ]
    one_epoch = run.config.align.model_copy(update={"num_train_epochs": 1, "max_length": None})  # nothing is cut
    stages = replace(run.stages, config=run.config.model_copy(update={"align": one_epoch}))
    return stages.trained(
        demonstrations,
        TrainingStep.model_validate({"kind": "sft", "learning_rate": learning_rate or LEARNING_RATE}),
        start=run.target.checkpoint,
        reference=run.target.checkpoint,
        label="judge",
    )
