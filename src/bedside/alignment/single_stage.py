"""Single stages of a run: generate, train, chat. Each goes through the run's cache, so an interrupted one continues."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bedside.alignment import summary
from bedside.config import loader
from bedside.config.plugins import names
from bedside.config.schema import TrainingStep
from bedside.core.errors import ConfigError
from bedside.core.protocols import Generator
from bedside.core.types import Checkpoint, GenerationRequest, Message, Response, Sampling
from bedside.data import io, trl_format
from bedside.run import experiment, exports
from bedside.run.context import RunContext


def generate(run: RunContext, part: str, adapter: Path | None) -> list[Response]:
    """The answers to the prompts of one part, in order."""
    parts = experiment.read_parts(run.config, run.launch)
    if part not in parts.named:
        raise ConfigError(f"--part is {part!r}; it is train, valid or test")
    checkpoint = _checkpoint(run, adapter)
    return run.stages.answers([GenerationRequest(prompt) for prompt in parts.named[part]], checkpoint, part).all()


@dataclass
class Chat:
    """A conversation with one checkpoint."""

    policy: Generator
    sampling: Sampling
    who: str
    """Which checkpoint speaks."""
    first: tuple[Message, ...]
    turns: list[Message] = field(default_factory=list)
    split: bool = False
    """The last answer would have gone on."""

    def answer(self, text: str) -> str:
        """The next answer to the whole conversation."""
        self.turns.append(Message("user", text))
        (completion,) = self.policy.generate([(*self.first, *self.turns)], self.sampling)
        self.turns.append(Message("assistant", completion.text))
        self.split = not completion.finished
        return completion.text

    def clear(self) -> None:
        """Begin anew."""
        self.turns.clear()


def chat(run: RunContext, adapter: Path | None, system: str | None) -> Chat:
    """A conversation with ``adapter``, else with the released adapter, else with the target as given."""
    root = run.folder
    folder = adapter or (root / "release" if (root / "release").is_dir() else None)
    checkpoint = _checkpoint(run, folder)
    nothing = f"the target as given, since {root} {'released nothing' if summary.finished(root) else 'is not finished'}"
    who = f"{folder or nothing} ({checkpoint.id})"
    first = (Message("system", system),) if system else ()
    return Chat(run.opener.policy(checkpoint), run.stages.sampling, who, first)


def _checkpoint(run: RunContext, adapter: Path | None) -> Checkpoint:
    target = run.target.checkpoint
    if adapter is None:
        return target
    from bedside.training import train as training

    return replace(training.checkpoint(adapter, target.base), path=str(adapter.resolve()))


def train(run: RunContext, keys: Mapping[str, Any], data: Path, out: Path) -> Checkpoint:
    """One training of the target on TRL-shaped rows into the PEFT folder ``out``.

    ``keys``: ``kind``, the name of an objective, and what differs from the config's step of that kind.
    """
    objective = keys["kind"]
    if objective not in names("objective"):
        raise ConfigError(f"{objective!r} is no objective; there is {', '.join(names('objective'))}")
    steps = [step for step in run.config.align.train if step.objective.kind == objective]
    step = TrainingStep.model_validate({**(loader.tables(steps[0]) if steps else {}), **keys})
    rows = trl_format.read(io.rows(data), run.opener.open(step.objective).reads)
    target = run.target.checkpoint
    checkpoint = run.stages.trained(rows, step, start=target, reference=target, label=objective)
    exports.adapter(run.target, run.folder, checkpoint, out)
    return checkpoint
