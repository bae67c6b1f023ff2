"""One stage on files: what `bedside generate`, `judge`, `evaluate`, `train` and `select` do.

Each goes through the run's store, so an interrupted one continues, and writes one file a person named.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from bedside.alignment import summary
from bedside.config.plugins import names
from bedside.config.schema import Step
from bedside.core.errors import ConfigError
from bedside.core.hashing import plain
from bedside.core.protocols import Generator
from bedside.core.types import Ask, Checkpoint, Message, Response, Sampling, Verdict
from bedside.data import io, trl_format
from bedside.data import typed_io as typed
from bedside.data.responses import Answers
from bedside.judge_audit import audit
from bedside.run import experiment, exports
from bedside.run.session import Session
from bedside.training import train as training


def generate(session: Session, part: str, adapter: Path | None, out: Path) -> int:
    """Answer one part's prompts; returns how many."""
    parts = experiment.read_parts(session.config, session.launch)
    if part not in parts.named:
        raise ConfigError(f"--part is {part!r}; it is train, valid or test")
    typed.check_replaceable(out, Response)
    checkpoint = _checkpoint(session, adapter)
    rows = session.answers([Ask(prompt) for prompt in parts.named[part]], checkpoint, part)
    io.write_jsonl(out, [plain(row) for row in rows])
    return len(rows)


@dataclass
class Chat:
    """A conversation with one checkpoint."""

    policy: Generator
    sampling: Sampling
    who: str
    """Which checkpoint speaks."""
    first: tuple[Message, ...]
    turns: list[Message] = field(default_factory=list)
    cut: bool = False
    """The last answer would have gone on."""

    def answer(self, text: str) -> str:
        """The next answer, to all that was said so far."""
        self.turns.append(Message("user", text))
        (said,) = self.policy.generate([(*self.first, *self.turns)], self.sampling)
        self.turns.append(Message("assistant", said.text))
        self.cut = not said.finished
        return said.text

    def forget(self) -> None:
        """Begin anew."""
        self.turns.clear()


def chat(session: Session, adapter: Path | None, system: str | None) -> Chat:
    """A conversation with ``adapter``, else with what the run ships, else with the target as given."""
    root = session.store.root
    folder = adapter or (root / "ship" if (root / "ship").is_dir() else None)
    checkpoint = _checkpoint(session, folder)
    nothing = f"the target as given, since {root} {'ships nothing' if summary.finished(root) else 'is not finished'}"
    who = f"{folder or nothing} ({checkpoint.id})"
    first = (Message("system", system),) if system else ()
    return Chat(session.policy(checkpoint), session.sampling, who, first)


def _checkpoint(session: Session, adapter: Path | None) -> Checkpoint:
    target = session.target.checkpoint
    if adapter is None:
        return target
    return replace(training.checkpoint(adapter, target.base), path=str(adapter.resolve()))


@dataclass(frozen=True, slots=True)
class Read:
    """What a judge made of a file."""

    verdicts: int
    unreadable: int
    why: str
    """What was said oftenest of the unreadable ones; empty where there is none."""


def judge(session: Session, answers: Answers, name: str | None, out: Path) -> Read:
    """Judge a file of answers, ours or anybody's."""
    name = name or session.config.selecting_judge
    if name not in session.config.judges:
        raise audit.unknown(name, list(session.config.judges))
    typed.check_replaceable(out, Verdict)
    rows = session.judged(answers.read(), session.open(session.config.judges[name]), Path(answers.path).name)
    io.write_jsonl(out, [plain(row.verdict) for row in rows])
    why = Counter(row.verdict.unreadable for row in rows if row.stance is None)
    return Read(len(rows) - why.total(), why.total(), max(why, key=why.__getitem__, default=""))


def train(session: Session, objective: str, data: Path, out: Path, learning_rate: float | None = None) -> Checkpoint:
    """One training of the target on TRL-shaped rows into the PEFT folder ``out``, at the config's rate if unset."""
    if objective not in names("objective"):
        raise ConfigError(f"{objective!r} is no objective; there is {', '.join(names('objective'))}")
    told = [step for step in session.config.align.train if step.objective.kind == objective]
    step = told[0] if told else Step.model_validate({"kind": objective})
    step = step if learning_rate is None else step.model_copy(update={"learning_rate": learning_rate})
    rows = trl_format.read(io.rows(data), session.open(step.objective).reads)
    target = session.target.checkpoint
    checkpoint = session.trained(rows, step, target, target, objective)
    exports.adapter(session.target, session.store.root, checkpoint, out)
    return checkpoint
