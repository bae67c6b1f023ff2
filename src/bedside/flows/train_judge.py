"""`bedside train judge`: LoRA on labelled verdicts, through the one training loop.

    labels ─hold out groups─▶ lessons: rubric question -> first token of the label ─SFT─▶ adapter
    held out ─judged before and after─▶ temperature, κ, and κ after − κ before

The folder it writes is a PEFT adapter and ``judge.json``: {kind: rubric, adapter: FOLDER} is the judge.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from bedside.core.audits import Audit
from bedside.core.errors import DataError
from bedside.core.identity import plain
from bedside.core.protocols import Judge, TwoClasses
from bedside.core.reports import Measure
from bedside.core.types import Checkpoint, Conversation, Dialogue, Prompt, Response, Stance, Verdict
from bedside.flows import exports
from bedside.flows.session import Session
from bedside.kernel.registry import Plugin, find
from bedside.kernel.tables import write_json
from bedside.kernel.training import Step
from bedside.stages import audit, split, teach

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
class Trained:
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


def train(session: Session, labels: Plugin, out: Path, learning_rate: float | None) -> Trained:
    """One judge, trained on what ``labels`` say, into the PEFT folder ``out``."""
    experts: Judge = session.open(labels)
    base = _judge(session, None)
    rows, dropped = _labelled(base, experts, labels)
    taught, held = teach.hold_out(rows, HELD_OUT, session.launch.seed)
    checkpoint = _trained(session, base, taught, learning_rate)
    exports.adapter(session.target, session.store.root, checkpoint, out)
    tuned = _judge(session, out)
    two = isinstance(experts, TwoClasses) and experts.two_classes
    told = {name: _read(session, judge, held) for name, judge in (("before", base), ("after", tuned))}
    audits = {name: _audit(session, name, verdicts, held, two=two) for name, verdicts in told.items()}
    known = [(v.probabilities, row.stance) for v, row in zip(told["after"], held, strict=True) if v.probabilities]
    scale = teach.temperature([p for p, _ in known], [s for _, s in known]) if known else 1.0
    losses = [teach.log_loss([p for p, _ in known], [s for _, s in known], t) for t in (1.0, scale)] if known else []
    done = Trained(
        folder=out,
        checkpoint=checkpoint,
        temperature=scale,
        taught=len(taught),
        held_out=len(held),
        before=audits["before"],
        after=audits["after"],
        gain=audit.gain([row.response for row in held], _told(held), (told["before"], told["after"]), two=two),
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


def _labelled(base: Asking, experts: Judge, labels: Plugin) -> tuple[list[teach.Labelled], dict[str, int]]:
    """Answers with a label on which the experts agree and that the model can read; and why others were dropped."""
    answers = getattr(labels, "answers", None)
    if answers is None:
        raise DataError(f"judge kind {labels.kind!r} holds no labelled answers; train on a judge of kind labels")
    responses: list[Response] = answers.read()
    grouped = split.group([response.prompt for response in responses])
    rows, dropped = [], Counter[str]()
    for response, prompt, verdict in zip(responses, grouped, experts.judge(responses), strict=True):
        why = "" if verdict.stance else verdict.unreadable.split(":")[0]
        why = why or ("longer than the model reads" if base.why_not(response) else "")
        if why or verdict.stance is None:
            dropped[why] += 1
        else:
            rows.append(teach.Labelled(replace(response, prompt=prompt), verdict.stance))
    return rows, dict(dropped)


def _trained(
    session: Session, base: Asking, taught: Sequence[teach.Labelled], learning_rate: float | None
) -> Checkpoint:
    """The target after SFT on label tokens. A pass is an epoch of ``align.epochs``, planned here."""
    firsts = _first_tokens(session)
    questions = [base.questions(row.response) for row in taught]
    turns = teach.lessons(
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


def _read(session: Session, judge: Asking, held: Sequence[teach.Labelled]) -> list[Verdict]:
    rows = session.judged([row.response for row in held], judge, "held-out answers")
    return [row.verdict for row in rows]


def _told(held: Sequence[teach.Labelled]) -> list[Verdict]:
    return [Verdict(row.response.id, "labels", row.stance) for row in held]


def _audit(
    session: Session, name: str, verdicts: Sequence[Verdict], held: Sequence[teach.Labelled], *, two: bool
) -> Audit:
    rows, _ = audit.compare([row.response for row in held], _told(held), verdicts, two=two)
    return audit.audit(rows, judge=name, name=name, reference="labels", least=session.config.gates.kappa_min)
