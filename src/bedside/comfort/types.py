"""What a comfort run works on, and the policies it compares."""

from dataclasses import dataclass

from bedside.comfort.rewriting import Rewritten
from bedside.core.protocols import Judge
from bedside.core.results import Flow
from bedside.core.types import Checkpoint
from bedside.run.session import Session


@dataclass(frozen=True)
class Desk:
    """What a comfort run works on."""

    session: Session
    train: list[Rewritten]
    valid: list[Rewritten]
    test: list[Rewritten]
    flows: tuple[Flow, ...]
    judge: Judge


@dataclass(frozen=True)
class TrainedArm:
    """A policy of the comparison."""

    name: str
    checkpoint: Checkpoint
    learning_rate: float | None = None
    tokens: int = 0
