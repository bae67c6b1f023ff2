"""Labelled answers in, what a judge is trained on out; and how sure it may be afterwards.

    question (one of the label orders) -> first token of the label        loss: −log p(label | question)

* **Held out** are whole groups, so nobody is tested on a twin of what was taught.
* **Balanced**: in each pass every label comes equally often; rare ones are repeated, at most ``MOST_REPEATS`` times.
* Orders take turns over rows and passes, so no label is tied to a place.
* **Temperature** T: probabilities softmax(log p / T) that make the held-out labels likeliest. No label changes.

`bedside train judge`: LoRA on labelled verdicts, through the one training loop.

    labels ─hold out groups─▶ lessons: rubric question -> first token of the label ─SFT─▶ adapter
    held out ─judged before and after─▶ temperature, κ, and κ after − κ before

The folder it writes is a PEFT adapter and ``judge.json``: {kind: rubric, adapter: FOLDER} is the judge.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from bedside.config.plugins import Plugin, find
from bedside.config.schema import Step
from bedside.core.audit_results import Audit
from bedside.core.errors import DataError
from bedside.core.hashing import digest, plain
from bedside.core.protocols import Judge, TwoClasses
from bedside.core.results import Measure
from bedside.core.types import Checkpoint, Conversation, Dialogue, Prompt, Response, Stance, Verdict
from bedside.data import splits
from bedside.data.io import write_json
from bedside.judge_audit import agreement_report
from bedside.run import exports
from bedside.run.session import Session

MOST_REPEATS = 4
TEMPERATURES = (0.05, 20.0)
_HALVINGS = 80


@dataclass(frozen=True, slots=True)
class Labelled:
    """An answer and what it does, as people say."""

    response: Response
    stance: Stance

    @property
    def group(self) -> str:
        return self.response.prompt.cluster


@dataclass(frozen=True, slots=True)
class Turn:
    """One row of one pass: which answer is asked about, in which order of the labels."""

    row: int
    order: int


def hold_out(rows: Sequence[Labelled], share: float, seed: int) -> tuple[list[Labelled], list[Labelled]]:
    """(taught, held out): whole groups, about ``share`` of them held out. DataError where either lacks a class."""
    groups = sorted({row.group for row in rows}, key=lambda group: digest(seed, "held out", group))
    chosen = set(groups[: max(1, round(share * len(groups)))])
    taught = [row for row in rows if row.group not in chosen]
    held = [row for row in rows if row.group in chosen]
    for name, part in (("taught", taught), ("held out", held)):
        if len({row.stance for row in part}) < 2:
            raise DataError(
                f"{name}: {len(part)} labelled answers of {len({row.group for row in part})} groups know one label "
                "only; label more answers, or answers of more prompts"
            )
    return taught, held


def lessons(stances: Sequence[Stance], *, passes: int, orders: int, seed: int) -> list[Turn]:
    """Every pass: each label equally often, the rows in a seeded order, the orders taking turns."""
    rng = random.Random(seed)
    by: dict[Stance, list[int]] = defaultdict(list)
    for row, stance in enumerate(stances):
        by[stance].append(row)
    most = max(map(len, by.values()))
    turns = []
    for number in range(passes):
        chosen = [row for rows in by.values() for row in _repeated(rows, most, rng)]
        rng.shuffle(chosen)
        turns += [Turn(row, (row + number) % orders) for row in chosen]
    return turns


def temperature(probabilities: Sequence[Mapping[str, float]], stances: Sequence[Stance]) -> float:
    """T that minimises −Σ log softmax(log p / T)[label]: convex in 1/T, found by halving on its slope."""
    logs = [{name: math.log(max(p, 1e-12)) for name, p in told.items()} for told in probabilities]
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        slope = sum(_slope(told, stance.value, middle) for told, stance in zip(logs, stances, strict=True))
        low, high = (middle, high) if slope < 0 else (low, middle)
    return 2 / (low + high)


def log_loss(probabilities: Sequence[Mapping[str, float]], stances: Sequence[Stance], temperature: float) -> float:
    """Mean −log of the label's probability at this temperature, nats."""
    total = 0.0
    for told, stance in zip(probabilities, stances, strict=True):
        logs = {name: math.log(max(p, 1e-12)) / temperature for name, p in told.items()}
        top = max(logs.values())
        total += top + math.log(sum(math.exp(x - top) for x in logs.values())) - logs[stance.value]
    return total / len(stances)


def _slope(logs: Mapping[str, float], label: str, inverse: float) -> float:
    """d/d(1/T) of the loss of one row: the mean log-probability expected minus the label's own."""
    top = max(logs.values())
    weights = {name: math.exp(inverse * (x - top)) for name, x in logs.items()}
    expected = sum(weights[name] * x for name, x in logs.items()) / sum(weights.values())
    return expected - logs[label]


def _repeated(rows: Sequence[int], most: int, rng: random.Random) -> list[int]:
    """``most`` of ``rows``, all of them as often as each other; never more than MOST_REPEATS times each."""
    wanted = min(most, MOST_REPEATS * len(rows))
    whole, rest = divmod(wanted, len(rows))
    return [*rows] * whole + rng.sample(list(rows), rest)


FILE = "judge.json"
HELD_OUT = 0.25
LEARNING_RATE = 1e-3


@runtime_checkable
class Asking(Protocol):
    """A judge that puts questions to a model: what can be trained."""

    name: str

    def judge(self, responses: Sequence[Response]) -> list[Verdict]:
        """One verdict a response."""
        ...

    def questions(self, response: Response) -> list[Conversation]:
        """What the model is asked about it, in each order of the labels."""
        ...

    def why_not(self, response: Response) -> str:
        """Why it is not asked; empty where it is."""
        ...


@dataclass(frozen=True, slots=True)
class JudgeTraining:
    """What came out, on groups it never saw."""

    folder: Path
    checkpoint: Checkpoint
    temperature: float
    taught: int
    held_out: int
    before: Audit
    after: Audit
    gain: Measure
    """κ after minus κ before, paired, on the held-out answers."""
    log_loss: tuple[float, float]
    """Nats an answer, at temperature 1 and at the fitted one."""
    dropped: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "adapter": str(self.folder),
            "temperature": self.temperature,
            "taught": self.taught,
            "held_out": self.held_out,
            "before": {m.name: plain(m) for m in self.before.measures},
            "after": {m.name: plain(m) for m in self.after.measures},
            "gain": plain(self.gain),
            "log_loss": list(self.log_loss),
            "dropped": dict(self.dropped),
        }


def train(session: Session, labels: Plugin, out: Path, learning_rate: float | None) -> JudgeTraining:
    """One judge, trained on what ``labels`` say, into the PEFT folder ``out``."""
    experts: Judge = session.open(labels)
    base = _judge(session, None)
    rows, dropped = _labelled(base, experts, labels)
    taught, held = hold_out(rows, HELD_OUT, session.launch.seed)
    checkpoint = _trained(session, base, taught, learning_rate)
    exports.adapter(session.target, session.store.root, checkpoint, out)
    tuned = _judge(session, out)
    two = isinstance(experts, TwoClasses) and experts.two_classes
    told = {name: _read(session, judge, held) for name, judge in (("before", base), ("after", tuned))}
    audits = {name: _audit(session, name, verdicts, held, two=two) for name, verdicts in told.items()}
    known = [(v.probabilities, row.stance) for v, row in zip(told["after"], held, strict=True) if v.probabilities]
    scale = temperature([p for p, _ in known], [s for _, s in known]) if known else 1.0
    losses = [log_loss([p for p, _ in known], [s for _, s in known], t) for t in (1.0, scale)] if known else []
    done = JudgeTraining(
        folder=out,
        checkpoint=checkpoint,
        temperature=scale,
        taught=len(taught),
        held_out=len(held),
        before=audits["before"],
        after=audits["after"],
        gain=agreement_report.gain(
            [row.response for row in held], _told(held), (told["before"], told["after"]), two=two
        ),
        log_loss=(losses[0], losses[1]) if losses else (0.0, 0.0),
        dropped=dropped,
    )
    write_json(out / FILE, done.as_json())
    return done


def _judge(session: Session, adapter: Path | None) -> Asking:
    """The rubric put to the target, as given or under the adapter."""
    told = {"kind": "rubric", "model": "target", "temperature": 1.0}
    opened = session.open(find("judge", "rubric").model_validate(told | ({"adapter": str(adapter)} if adapter else {})))
    assert isinstance(opened, Asking), "a rubric judge puts questions"
    return opened


def _labelled(base: Asking, experts: Judge, labels: Plugin) -> tuple[list[Labelled], dict[str, int]]:
    """Answers with a label on which the experts agree and that the model can read; and why others were dropped."""
    answers = getattr(labels, "answers", None)
    if answers is None:
        raise DataError(f"judge kind {labels.kind!r} holds no labelled answers; train on a judge of kind labels")
    responses: list[Response] = answers.read()
    grouped = splits.group([response.prompt for response in responses])
    rows, dropped = [], Counter[str]()
    for response, prompt, verdict in zip(responses, grouped, experts.judge(responses), strict=True):
        why = "" if verdict.stance else verdict.unreadable.split(":")[0]
        why = why or ("longer than the model reads" if base.why_not(response) else "")
        if why or verdict.stance is None:
            dropped[why] += 1
        else:
            rows.append(Labelled(replace(response, prompt=prompt), verdict.stance))
    return rows, dict(dropped)


def _trained(session: Session, base: Asking, taught: Sequence[Labelled], learning_rate: float | None) -> Checkpoint:
    """The target after SFT on label tokens. A pass is an epoch of ``align.epochs``, planned here."""
    firsts = _first_tokens(session)
    questions = [base.questions(row.response) for row in taught]
    turns = lessons(
        [row.stance for row in taught],
        passes=session.config.align.epochs,
        orders=len(questions[0]),
        seed=session.launch.seed,
    )
    rows = [
        Dialogue(
            Prompt(questions[turn.row][turn.order], group=taught[turn.row].group),
            taught[turn.row].stance.value,
            ids=(firsts[taught[turn.row].stance],),
        )
        for turn in turns
    ]
    align = session.config.align.model_copy(update={"epochs": 1})
    once = replace(session, config=session.config.model_copy(update={"align": align}))
    step = Step.model_validate({"kind": "sft", "learning_rate": learning_rate or LEARNING_RATE})
    target = session.target.checkpoint
    return once.trained(rows, step, target, target, "judge")


def _first_tokens(session: Session) -> dict[Stance, int]:
    """The token whose probability the judge reads for each label."""
    ids: list[int] = session.target.renderer.first_ids([stance.value for stance in Stance])
    return dict(zip(Stance, ids, strict=True))


def _read(session: Session, judge: Asking, held: Sequence[Labelled]) -> list[Verdict]:
    rows = session.judged([row.response for row in held], judge, "held-out answers")
    return [row.verdict for row in rows]


def _told(held: Sequence[Labelled]) -> list[Verdict]:
    return [Verdict(row.response.id, "labels", row.stance) for row in held]


def _audit(session: Session, name: str, verdicts: Sequence[Verdict], held: Sequence[Labelled], *, two: bool) -> Audit:
    rows, _ = agreement_report.compare([row.response for row in held], _told(held), verdicts, two=two)
    return agreement_report.audit(rows, judge=name, name=name, reference="labels", least=session.config.gates.kappa_min)
