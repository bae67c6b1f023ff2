"""What a plug-in must be able to do, one protocol a kind, and the two values every floor may be handed.

A plug-in is registered as a frozen config class whose fields are its whole configuration. Its
``open(launch, **opened)`` does the work (weights, connections) and returns an object of the protocol below;
fields that are themselves plug-ins arrive opened, by field name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from bedside.core.results import Measure
from bedside.core.types import (
    Checkpoint,
    Completion,
    Conversation,
    Judged,
    Preference,
    Prompt,
    Response,
    Sampling,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class Launch:
    """Where this process runs: one of ``world`` ranks, on a device, in a dtype, from a seed."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"
    dtype: str = "float32"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Machine:
    """What is free here, bytes; None where it cannot be known."""

    disk: int | None
    memory: int | None


class Progress(Protocol):
    """Told what is going on; decides what a person sees of it."""

    def step(self, stage: str, done: int, total: int) -> None:
        """``done`` of ``total`` units of ``stage`` are on disk."""
        ...

    def say(self, line: str) -> None:
        """One sentence for a person."""
        ...


class Silent:
    """The progress of somebody who does not want to hear of it."""

    def step(self, stage: str, done: int, total: int) -> None:
        pass

    def say(self, line: str) -> None:
        pass


@dataclass(frozen=True, slots=True)
class LabelScore:
    """How a model weighs the labels it was offered for one conversation."""

    logprobs: tuple[float, ...]
    """One a label, nats, renormalised over the labels: their exponentials sum to 1."""
    mass: float
    """Raw probability of all labels together, 0 to 1. Low mass: the model wanted to say something else."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One label that a model answered a closed question with, or the reason why there is none."""

    label: str | None
    unreadable: str = ""
    """Why no label can be read. Empty exactly when there is one."""
    score: LabelScore | None = None
    """How it weighed all labels, where it shows that."""

    def __post_init__(self) -> None:
        if (self.label is None) != bool(self.unreadable):
            raise ValueError("a choice has a label or a reason for having none: never both, never neither")


@dataclass(frozen=True, slots=True)
class Probe:
    """What an endpoint did when it was asked for one of two words that nobody can guess."""

    where: str
    """Host and model: what a person calls this endpoint."""
    constraint: Literal["enforced", "ignored", "unsupported"]
    """enforced: it answered one of them. ignored: it answered something else. unsupported: it refused to be asked."""
    logprobs: bool
    """It shows the probabilities of its tokens."""
    note: str = ""
    """What a person should know beside: a key that travels unencrypted, a price that nobody gave."""


@runtime_checkable
class Generator(Protocol):
    """Answers conversations."""

    checkpoint: Checkpoint

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        """One completion a conversation, in the same order."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """Weighs the labels of a closed question."""

    checkpoint: Checkpoint
    context: int
    """Most tokens a rendered conversation and its completion may have together."""

    def lengths(self, conversations: Sequence[Conversation]) -> list[int]:
        """Tokens of each rendered conversation."""
        ...

    def score(self, conversations: Sequence[Conversation], labels: Sequence[str]) -> list[LabelScore]:
        """One score a conversation, in the same order. Labels must have distinct first tokens."""
        ...


@runtime_checkable
class Chooser(Protocol):
    """Answers closed questions with one of their labels; may show how it weighed them all."""

    checkpoint: Checkpoint
    context: int
    decoding: str
    """What decides the choice beside checkpoint, question and labels."""
    repeatable: bool
    """The same question gets the same choice, so that a choice may be kept."""

    def lengths(self, conversations: Sequence[Conversation]) -> list[int]:
        """At most this many tokens in each conversation."""
        ...

    def choose(self, conversations: Sequence[Conversation], labels: Sequence[str]) -> list[Choice]:
        """One choice a conversation, in the same order. What cannot be read is unreadable, never a guess."""
        ...


@runtime_checkable
class Endpoint(Protocol):
    """A model behind an address. Each row is a unit of work of its own, several at once."""

    concurrency: int
    """Calls in flight at most."""

    def probe(self) -> Probe:
        """What the endpoint can do. ModelError where it cannot be reached or used."""
        ...


@runtime_checkable
class Memory(Protocol):
    """Readings kept between runs. What ``asked`` and ``answered`` say decides who finds them again."""

    bits: str
    """What decides the float bits of a model that runs here: part of the name of a judge that does."""
    local: bool
    """Readings of such a model are kept, too."""

    def recall(self, judge: str, asked: Conversation, answered: str) -> Mapping[str, Any] | None:
        """The reading that ``judge`` gave this exchange before; None where there is none."""
        ...

    def keep(self, judge: str, asked: Conversation, answered: str, reading: Mapping[str, Any]) -> None:
        """Keep one. Only what is complete, readable and would come out the same again."""
        ...


@runtime_checkable
class Policy(Generator, Scorer, Protocol):
    """A local model that adapters can be put on and trained."""

    renderer: Any
    """``bedside.training.chat_template.Renderer``: turns to token ids."""

    def with_adapter(self, folder: Path | None, checkpoint: Checkpoint) -> "Policy":
        """The same base under another adapter; None is the target as given."""
        ...

    def module(self) -> Any:
        """The torch module with this policy's adapter in place, ready to compute log-probabilities."""
        ...

    def trainable(self, lora: Any, seed: int) -> Any:
        """The torch module with this policy's adapter (a fresh one where it has none) ready to be trained."""
        ...

    def save_adapter(self, folder: Path) -> str:
        """Write the adapter that was trained last as a PEFT folder; returns its digest."""
        ...

    def export(self, folder: Path, to: Path) -> None:
        """Copy the adapter in ``folder`` to ``to``, so that PEFT loads it on what the user has."""
        ...

    def kl_to_target(self, exchanges: Sequence[Any]) -> list[float]:
        """KL(this policy || target as given) of each exchange, nats per completion token, exact over the vocabulary."""
        ...


@runtime_checkable
class Judge(Protocol):
    """Reads responses."""

    name: str

    def judge(self, responses: Sequence[Response]) -> list[Verdict]:
        """One verdict a response, in the same order. What cannot be read is unreadable, never a guess."""
        ...


@runtime_checkable
class ByOrder(Protocol):
    """A judge that is offered its labels in several orders, and can say what each order alone would give."""

    def by_order(self, responses: Sequence[Response]) -> list[list[Verdict]]:
        """For each response a verdict an order, the same orders every time; no order is averaged with another."""
        ...


@runtime_checkable
class TwoClasses(Protocol):
    """A judge, or experts, who tell accept from everything else and no more: refuse stands for not accept."""

    two_classes: bool


@runtime_checkable
class Dataset(Protocol):
    """Reads prompts."""

    def read(self) -> Iterable[Prompt]:
        """All prompts in the order of the source. Raises DataError with file and row."""
        ...


@runtime_checkable
class Metric(Protocol):
    """Turns judged responses into measures."""

    def measure(self, rows: Sequence[Judged]) -> list[Measure]:
        """Measures with n, unreadable count and interval, always the same names in the same order."""
        ...

    def definitions(self) -> Mapping[str, str]:
        """Name of each measure to one sentence that defines it, with the constants filled in."""
        ...


Reads = Literal["thumbs", "pairs", "dialogues"]


@runtime_checkable
class Objective(Protocol):
    """A loss. Works on ``Scores`` of the engine, torch tensors; see ``bedside.training.scores``."""

    reads: Reads
    needs_reference: bool
    needs_mismatch: bool

    def fitted(self, rows: Sequence[Preference]) -> "Objective":
        """The objective with what depends on the whole data settled, such as class weights."""
        ...

    def loss(self, scores: Any) -> Any:
        """Loss of every row, shape (B,), nats."""
        ...
