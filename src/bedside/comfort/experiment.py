"""Knowledge against comfort (arXiv 2506.13692): one verified data set, three trainings, four models side by side.

    dialogues ─rewrite, verify─▶ rows ─┬─SFT─▶ ┐
                                       ├─KTO─▶ ├─ the sealed dialogues, answered by all four, read by one judge
                                       └─DPO─▶ ┘  knowledge, comfort, paired differences, subgroups, twins

Same start, same rows, same epochs, the same number of learning rates tried on valid, and as many completion tokens
an epoch as SFT has: the rows of KTO and DPO are cut to that budget in an order drawn by the seed.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial

from bedside.comfort import human_ab, outputs, summary
from bedside.comfort import rewrite_dialogues as rewriting
from bedside.comfort import rewriting as stage
from bedside.comfort.rewriting import Rewritten
from bedside.comfort.types import Desk, TrainedArm
from bedside.config.schema import Step
from bedside.core.comfort_results import ComfortSummary
from bedside.core.errors import StageError
from bedside.core.hashing import digest
from bedside.core.results import Flow
from bedside.core.types import Ask, Checkpoint, Judged, Lesson, Preference
from bedside.judge_audit import agreement_report
from bedside.run import experiment
from bedside.run.session import Session
from bedside.training import train

TARGET = "target"
ANOTHER_WRITER = "name another comfort.rewrite.model, or look at its rewrites with `bedside rewrite`"


def comfort(session: Session) -> ComfortSummary:
    """Rewrite, train, compare; writes the data set, ``comfort.json`` and the A/B pack. The same call resumes, and
    reads what people have filled into the pack.
    """
    desk = _desk(session)
    arms = [TrainedArm(TARGET, session.target.checkpoint), *_trainings(desk)]
    read = {arm.name: _read(desk, arm, desk.test, "sealed test") for arm in arms}
    pairs = human_ab.pairs(read, session.launch.seed)
    decide = partial(agreement_report.gate, least=session.config.gates.kappa_min)
    said = human_ab.said(pairs, outputs.choices(session.store.root, pairs), TARGET, decide)
    told = summary.of(desk, arms, read, said)
    outputs.write(told, session.store.root, pairs)
    return told


def rewrite(session: Session) -> tuple[dict[str, list[Rewritten]], tuple[Flow, ...]]:
    """The verified dialogues of every part, written beside their card."""
    parts = experiment.read_parts(session.config, session.launch)
    made = {name: rewriting.rewrite(session, rows, name) for name, rows in parts.named.items()}
    rows = {name: kept for name, (kept, _) in made.items()}
    flows = (*parts.flows, *(flow for _, flow in made.values()))
    outputs.dialogues(session, rows, flows)
    return rows, flows


def _desk(session: Session) -> Desk:
    rows, flows = rewrite(session)
    for name, kept in rows.items():
        if not kept:
            raise StageError(f"{name}: no dialogue survived the rewriting ({why(flows, name)}); {ANOTHER_WRITER}")
    return Desk(session, rows["train"], rows["valid"], rows["test"], flows, session.open(session.config.comfort.judge))


def why(flows: Sequence[Flow], part: str = "") -> str:
    """What was dropped when ``part``, or every part, was rewritten, most often first."""
    rewritten = [flow for flow in flows if flow.step.startswith("rewrite: ") and flow.step.endswith(part)]
    dropped = sum((Counter(flow.dropped) for flow in rewritten), Counter())
    return ", ".join(f"{n} {reason}" for reason, n in dropped.most_common(3)) or "it has no question with an answer"


def _trainings(desk: Desk) -> list[TrainedArm]:
    """One of each step, at the learning rate that was best on valid."""
    session, lesson = desk.session, _lesson(desk)
    budget, start = _tokens(session, lesson.dialogues), _start(desk, lesson)
    steps = session.config.comfort.train
    rows = [_within(session, lesson.rows(session.open(step.objective).reads), budget) for step in steps]
    return [_best(desk, step, start, some) for step, some in zip(steps, rows, strict=True)]


def _start(desk: Desk, lesson: Lesson) -> Checkpoint:
    """Where every training begins: at the target as given, or after one SFT that all of them share."""
    session = desk.session
    target, told = session.target.checkpoint, session.config.comfort
    if told.start == "base":
        return target
    step = next((s for s in told.train if s.objective.kind == "sft"), Step.model_validate({"kind": "sft"}))
    step = _at(step, told.start_learning_rate or step.learning_rate)
    for number in range(1, told.start_rounds + 1):
        target = session.trained(lesson.dialogues, step, target, target, f"sft before all three, round {number}")
    return target


def _at(step: Step, learning_rate: float) -> Step:
    return step.model_copy(update={"learning_rate": learning_rate})


def _lesson(desk: Desk) -> Lesson:
    told = desk.session.config.comfort.rewrite
    return stage.lesson(desk.train, wrong=told.wrong, cold=told.cold)


def _best(desk: Desk, step: Step, start: Checkpoint, rows: Sequence[Preference]) -> TrainedArm:
    """The training with the best primary comfort on valid; with one rate there is nothing to choose."""
    tried: list[tuple[float, TrainedArm]] = []
    for times in desk.session.config.comfort.rates:
        rate = step.learning_rate * times
        label = f"{step.objective.kind} at {rate:g}"
        trained = desk.session.trained(rows, _at(step, rate), start, start, label)
        checkpoint = desk.session.scaled(trained, desk.session.config.comfort.scale)
        arm = TrainedArm(step.objective.kind, checkpoint, rate, _tokens(desk.session, rows))
        score = 0.0 if len(desk.session.config.comfort.rates) == 1 else _score(desk, arm)
        tried.append((score, arm))
    return max(tried, key=lambda pair: pair[0])[1]


def _score(desk: Desk, arm: TrainedArm) -> float:
    rows = _read(desk, arm, desk.valid, "valid")
    values = [v or 0.0 for v in summary.comfort_metric().values(rows)["primary_comfort"]]
    return sum(values) / len(values)


def _read(desk: Desk, arm: TrainedArm, rows: Sequence[Rewritten], part: str) -> list[Judged]:
    """The arm's answers to the distressed questions, rated."""
    session, label = desk.session, f"{arm.name}, {part}"
    if part == "sealed test":
        session.store.event("sealed test opened", candidate=arm.name, checkpoint=arm.checkpoint.id)
    responses = session.answers([Ask(row.prompt) for row in rows], arm.checkpoint, label)
    return session.judged(responses, desk.judge, label)


def _within(session: Session, rows: Sequence[Preference], budget: int) -> list[Preference]:
    """Rows in an order drawn by the seed, as many as have ``budget`` completion tokens together."""
    order = sorted(range(len(rows)), key=lambda i: digest(session.launch.seed, i, len(rows)))
    kept: list[Preference] = []
    used = 0
    for index in order:
        tokens = _tokens(session, [rows[index]])
        if used + tokens > budget and kept:
            break
        kept.append(rows[index])
        used += tokens
    return kept


def _tokens(session: Session, rows: Sequence[Preference]) -> int:
    """Completion tokens, both sides of a pair counted."""
    encoded = train.encode(rows, session.target)
    return sum(len(completion) for row in encoded for completion in row.completions)
