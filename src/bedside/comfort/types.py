"""The nouns of comfort: a rewritten dialogue, the experiment made of such dialogues, and the policies it compares."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bedside.comfort.feelings import Feeling
from bedside.core.protocols import Judge
from bedside.core.results import FilterCounts
from bedside.core.types import Checkpoint, Prompt
from bedside.run.context import RunContext


@dataclass(frozen=True, slots=True)
class RewrittenDialogue:
    """One verified dialogue, and what it was made from."""

    prompt: Prompt
    """The distressed question. Metadata hold emotion and intensity, ``reference`` is the original answer."""
    answer: str
    """The soothing answer."""
    original: Prompt
    feeling: Feeling
    rewriter: str
    """Id of the checkpoint that wrote it."""
    revised: tuple[str, ...] = ()
    """Which sides took a second try: question, answer."""
    cold: str = ""
    """The original answer in a voice that does not care."""
    wrong: str = ""
    """The soothing answer with one fact changed; empty if no change is possible that the verifier sees."""
    change: Mapping[str, str] = field(default_factory=dict)
    """Kind, before and after of that change."""


@dataclass(frozen=True)
class ComfortExperiment:
    """What a comfort experiment works on."""

    run: RunContext
    train: list[RewrittenDialogue]
    valid: list[RewrittenDialogue]
    test: list[RewrittenDialogue]
    filter_counts: tuple[FilterCounts, ...]
    judge: Judge


@dataclass(frozen=True)
class TrainedArm:
    """A policy of the comparison."""

    name: str
    checkpoint: Checkpoint
    learning_rate: float | None = None
    tokens: int = 0
    """Completion tokens of one epoch of its training rows."""
