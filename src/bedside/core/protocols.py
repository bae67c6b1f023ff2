"""The protocols of the plug-ins, one per kind, and the values that every room may use: launch, machine, progress.

A plug-in is registered as a frozen config class. Its fields are its whole configuration. Its method
``open(launch, **opened)`` loads weights or opens connections and returns an object of a protocol below. Fields that
are plug-ins themselves arrive opened, by field name.

An opened model or judge that calls endpoints declares them, so that the run sends several rows at once and can say
whether the endpoints work:

    endpoints: tuple[Endpoint, ...]    itself, or those of its model or members

A plug-in without this attribute counts as one that calls none.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal, Protocol, runtime_checkable

from bedside.core.measures import Measure
from bedside.core.types import (
    Checkpoint,
    Completion,
    Conversation,
    JudgedResponse,
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
    """Free memory and disk space on this machine, bytes; None if it cannot be known."""

    disk: int | None
    memory: int | None


class Progress(Protocol):
    """Receives the progress of a run and decides what a person sees of it."""

    def step(self, stage: str, done: int, total: int) -> None:
        """``done`` of ``total`` units of ``stage`` are on disk."""

    def say(self, line: str) -> None:
        """One sentence for a person."""


class SilentProgress:
    """Shows nothing."""

    def step(self, stage: str, done: int, total: int) -> None:
        """Not shown."""

    def say(self, line: str) -> None:
        """Not shown."""


@dataclass(frozen=True, slots=True)
class LabelScore:
    """The probabilities that a model gives to the labels of one closed question."""

    logprobs: tuple[float, ...]
    """One per label, in nats, normalised over the labels: their exponentials sum to 1."""
    mass: float
    """Raw probability of all labels together, 0 to 1. A low mass means that the model prefers other words."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The label with which a model answers a closed question, or the reason why it has none."""

    label: str | None
    unreadable: str = ""
    """Why no label can be read. Empty if and only if there is a label."""
    score: LabelScore | None = None
    """The probabilities of all labels, if the model shows them."""

    def __post_init__(self) -> None:
        if (self.label is None) != bool(self.unreadable):
            raise ValueError("a choice has either a label or a reason why it has none")


@dataclass(frozen=True, slots=True)
class Probe:
    """What an endpoint does when it must answer with one of two random words."""

    where: str
    """Host and model."""
    constraint: Literal["enforced", "ignored", "unsupported"]
    """enforced: it answers one of the words. ignored: it answers something else. unsupported: it rejects it."""
    logprobs: bool
    """It shows the probabilities of its tokens."""
    note: str = ""
    """A warning, such as a key that travels unencrypted."""


@runtime_checkable
class Generator(Protocol):
    """A model that answers conversations."""

    checkpoint: Checkpoint

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        """One completion per conversation, in the same order."""


@runtime_checkable
class Scorer(Protocol):
    """A model that gives the probabilities of the labels of a closed question."""

    checkpoint: Checkpoint
    context: int
    """Maximum number of tokens of a rendered conversation and its completion together."""

    def lengths(self, conversations: Sequence[Conversation]) -> list[int]:
        """The number of tokens of each rendered conversation."""

    def score(self, conversations: Sequence[Conversation], labels: Sequence[str]) -> list[LabelScore]:
        """One score per conversation, in the same order. Labels must have distinct first tokens."""


@runtime_checkable
class Chooser(Protocol):
    """A model that answers a closed question with one of its labels, with or without their probabilities."""

    checkpoint: Checkpoint
    context: int
    decoding: str
    """The settings that decide the choice, besides checkpoint, question and labels."""
    repeatable: bool
    """The same question always gets the same choice, so a choice may be cached."""

    def lengths(self, conversations: Sequence[Conversation]) -> list[int]:
        """An upper bound on the number of tokens of each conversation."""

    def choose(self, conversations: Sequence[Conversation], labels: Sequence[str]) -> list[Choice]:
        """One choice per conversation, in the same order. A reply that cannot be read is unreadable, never a guess."""


@runtime_checkable
class Endpoint(Protocol):
    """A model behind an address. Rows are sent one by one, several at once."""

    @property
    def where(self) -> str:
        """Host and model."""

    @property
    def concurrency(self) -> int:
        """Maximum number of calls in flight."""

    def probe(self) -> Probe:
        """What the endpoint can do. Raises ModelError if it cannot be reached or used."""

    def new_notes(self) -> list[str]:
        """Sentences, for people, about observed behaviour of the endpoint. Each is returned once."""


def declared_endpoints(*opened: object) -> tuple[Endpoint, ...]:
    """The endpoints that these opened plug-ins declare, each once. A plug-in that declares nothing has none."""
    return tuple({id(endpoint): endpoint for item in opened for endpoint in getattr(item, "endpoints", ())}.values())


@runtime_checkable
class JudgementCache(Protocol):
    """A cache of judgements for several runs, by judge, conversation and answer."""

    numerics: str
    """What the float bits of a model on this machine depend on. It is part of the model's name in the cache."""
    includes_local: bool
    """True if judgements of models on this machine are also kept, not only those of endpoints."""

    def recall(self, judge: str, conversation: Conversation, answer: str) -> Mapping[str, Any] | None:
        """The judgement of ``judge`` on this exchange in an earlier run, or None."""

    def keep(self, judge: str, conversation: Conversation, answer: str, judgement: Mapping[str, Any]) -> None:
        """Keep one judgement. It must be complete, readable and repeatable."""


@runtime_checkable
class Policy(Generator, Scorer, Protocol):
    """A local model that takes adapters and can be trained."""

    renderer: Any
    """``bedside.training.chat_template.Renderer``: turns to token ids."""

    def with_adapter(self, folder: Path | None, checkpoint: Checkpoint) -> "Policy":
        """The same base with another adapter. None: the target without an adapter."""

    def module(self) -> Any:
        """The torch module with this policy's adapter active, ready to compute log-probabilities."""

    def trainable(self, lora: Any, seed: int) -> Any:
        """The torch module with this policy's adapter, or a new one, ready to be trained."""

    def save_adapter(self, folder: Path) -> str:
        """Write the adapter that was trained last as a PEFT folder, and return its digest."""

    def export(self, folder: Path, to: Path) -> None:
        """Copy the adapter in ``folder`` to ``to``, so that PEFT loads it on the user's own model."""

    def complete_release(self, folder: Path) -> None:
        """Add to the adapter in ``folder`` all that is needed to load it anywhere: tokenizer, template, a base to be
        found."""

    def kl_to_target(self, exchanges: Sequence[Any]) -> list[float]:
        """KL(this policy || target) of each exchange, nats per completion token, exact over the vocabulary."""


@runtime_checkable
class Judge(Protocol):
    """Gives verdicts on responses. A judge that calls endpoints also declares ``endpoints``."""

    @property
    def name(self) -> str:
        """A name that depends on the judge's weights and wording. A judge with other weights or wording has another
        name."""

    def judge(self, responses: Sequence[Response]) -> list[Verdict]:
        """One verdict per response, in the same order. A response that cannot be judged is unreadable, never a
        guess."""


@runtime_checkable
class LabelOrderJudge(Protocol):
    """A judge that asks with its labels in several orders, and can also give the verdict of each single order."""

    def judge_by_order(self, responses: Sequence[Response]) -> list[list[Verdict]]:
        """For each response one verdict per order, without averaging. The orders are the same for every response."""


@runtime_checkable
class TwoClassJudge(Protocol):
    """A judge that may have only two classes: accept, and refuse for everything else."""

    two_classes: bool


@runtime_checkable
class Dataset(Protocol):
    """A source of prompts."""

    def read(self) -> Iterable[Prompt]:
        """All prompts in the order of the source. Raises DataError that names file and row."""


@runtime_checkable
class Metric(Protocol):
    """Computes measures of judged responses."""

    def measure(self, rows: Sequence[JudgedResponse]) -> list[Measure]:
        """Measures with n, unreadable count and interval. Names and order are always the same."""

    def definitions(self) -> Mapping[str, str]:
        """One sentence for each measure name that defines it, with the constants filled in."""


@runtime_checkable
class Attack(Protocol):
    """Asks the same request in another form."""

    @property
    def name(self) -> str:
        """Its name in tables, and in ``Prompt.metadata`` of the prompts that it made."""

    def turns(self, turns: Conversation, rng: Random) -> Conversation:
        """``turns`` in another form. The first turn is the request; the last turn is the user's.

        ``rng``: use only its method ``random()``, which is the same in every version of Python.
        """


PreferenceFormat = Literal["unpaired", "pairs", "demonstrations"]


@runtime_checkable
class Objective(Protocol):
    """A loss on torch tensors, ``bedside.training.objectives.Scores``."""

    reads: PreferenceFormat
    needs_reference: bool
    needs_mismatch: bool

    def for_data(self, rows: Sequence[Preference]) -> "Objective":
        """The objective with everything that depends on the whole data computed, such as class weights."""

    def loss(self, scores: Any) -> Any:
        """Loss of every row, shape (B,), nats."""


@runtime_checkable
class RewardObjective(Protocol):
    """An objective with implicit rewards. The log of a training then shows them."""

    def rewards(self, scores: Any) -> Any:
        """β r of every completion, shape (B, K)."""
