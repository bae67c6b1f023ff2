"""The rows of Bedside. Each stage reads rows of one type and writes rows of the next.

    Prompt              what a patient asks, and how harmful it is to answer
      ▼ generate        GenerationRequest in, Completion out
    Response            one answer, and which model gave it
      ▼ judge
    Verdict             a judge's stance on one answer, or why there is none
    JudgedResponse      a response with its verdict: what metrics read
      ▼ build preferences
    Demonstration, PreferencePair, UnpairedPreference      training rows of SFT, DPO and KTO
      ▼ train
    Checkpoint          a base model, with or without a trained adapter

Every type is a frozen dataclass, checks its values when it is created (DataError), and can be written as one line
of JSON and read back equal. An ``id`` is a digest of the content, so equal rows of two machines have equal ids.
What is measured on rows (``Measure``, ``Gate``, reports) is in ``core/results.py``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Literal, TypeVar, cast

from bedside.core.errors import DataError
from bedside.core.hashing import digest
from bedside.core.text import is_blank

Role = Literal["system", "user", "assistant"]
ROLES = ("system", "user", "assistant")
HARM_LEVELS = (0, 1, 2, 3)
"""0 harmless, 1, 2, 3 severe: how much harm an answer could do that gives what is asked."""
HARM_WORDS = {None: "not labelled", 0: "harmless", 1: "mild", 2: "moderate", 3: "severe"}
"""Harm level to what a reader is shown."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: who speaks, and the text."""

    role: Role
    text: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise DataError(f"role is {self.role!r}; it must be one of {', '.join(ROLES)}")
        if not self.text.isascii() and any("\ud800" <= character <= "\udfff" for character in self.text):
            raise DataError("the text contains a lone surrogate, which no tokenizer reads; save it as UTF-8")


Conversation = tuple[Message, ...]


@dataclass(frozen=True)  # without slots, so that the id is computed once: every stage asks for it
class Prompt:
    """What a patient asks: a conversation that ends with the patient's turn, and what is known about it."""

    messages: Conversation
    harm: int | None = None
    """Harm level, 0 (harmless) to 3 (severe). None: not labelled."""
    principle: str | None = None
    """The ethical principle that the request would break."""
    style: str | None = None
    """How the request is put: direct, role play, ..."""
    group: str | None = None
    """The scenario: what was asked for, with its paraphrases, partners and follow-ups. Errors within a group are
    dependent, so intervals count groups, and a group is in only one of train, valid and test."""
    source: str | None = None
    """The collection that the prompt comes from."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Further attributes that divide prompts into subgroups: specialty, age band, emotion, ..."""
    reference: str | None = None
    """A good answer, if one is known."""

    def __post_init__(self) -> None:
        if not self.messages or self.messages[-1].role != "user":
            raise DataError("a prompt ends with a user turn")
        if is_blank(self.messages[-1].text):
            raise DataError("the prompt is empty; remove the row or give it a text")
        if self.harm is not None and self.harm not in HARM_LEVELS:
            raise DataError(f"harm is {self.harm}; it is 0 (harmless), 1, 2 or 3 (severe)")

    @cached_property
    def id(self) -> str:
        """Digest of the messages alone: labels do not change it."""
        return digest(self.messages)

    @property
    def level(self) -> int:
        """``harm`` as a number. DataError if the prompt is not labelled."""
        if self.harm is None:
            raise DataError(
                f"prompt {self.id} has no harm level, so no stance is right or wrong for it; label it 0 to 3"
            )
        return self.harm

    @property
    def cluster(self) -> str:
        """The sampling cluster for intervals: the group, or the prompt's own id if it has none."""
        return self.group or self.id

    def attribute(self, name: str) -> str | None:
        """The principle, style or source, or the metadata value of ``name``; None if there is none."""
        own = {"principle": self.principle, "style": self.style, "source": self.source}
        return own[name] if name in own else self.metadata.get(name)

    @property
    def text(self) -> str:
        """The last turn: the current question."""
        return self.messages[-1].text


class Stance(StrEnum):
    """What an answer does with the request. Tone does not matter: warnings and empathy do not change the stance."""

    ACCEPT = "accept"
    """Gives what was asked, with or without warnings, urgent advice or empathy."""
    CAUTION = "caution"
    """Withholds or redirects part of what was asked."""
    REFUSE = "refuse"
    """Gives none of it."""


STANCES = tuple(stance.value for stance in Stance)
BINARY_STANCES = (Stance.ACCEPT.value, "not_accept")
"""The labels of raters who only decided between accept and everything else."""
UNREADABLE = "unreadable"
"""The label of a verdict without a stance, in tables of labels."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Decoding settings. Temperature 0 is greedy decoding."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1:
            raise DataError("sampling needs max_new_tokens >= 1, temperature >= 0 and 0 < top_p <= 1")


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A prompt to answer, with the instructions that are added to it."""

    prompt: Prompt
    stance: Stance | None = None
    """The stance that a steering instruction asks for. None: no steering."""
    system: str | None = None
    """Text of a system turn that is put first."""
    prefill: str = ""
    """The first words of the answer, which the model continues. No steering instruction is added."""


@dataclass(frozen=True, slots=True)
class Completion:
    """The text that a model generated, and the token ids it consists of."""

    text: str
    ids: tuple[int, ...] = ()
    """Token ids as sampled, including the end-of-turn token. Empty if the model does not show them."""
    finished: bool = True
    """False if the length limit cut the text off."""


@dataclass(frozen=True)  # without slots, like Prompt
class Response:
    """One answer to a prompt, with the checkpoint and the sampling that produced it."""

    prompt: Prompt
    text: str
    checkpoint: str
    """``Checkpoint.id``."""
    sampling: Sampling = Sampling()
    sample: int = 0
    """Number of this answer, from 0, among several answers to the same prompt."""
    ids: tuple[int, ...] = ()
    finished: bool = True
    steered: Stance | None = None
    """The stance that a counter-response was asked for. The instruction itself is not part of ``prompt``."""
    made_by: str = ""
    """How a counter-response was made: a way of ``align.counter``. Empty for the model's own answer."""

    @cached_property
    def id(self) -> str:
        return digest(self.prompt.id, self.checkpoint, self.sampling, self.sample, self.steered, self.text)

    @property
    def is_empty(self) -> bool:
        """True if the answer shows nothing, so no judge can read it."""
        return is_blank(self.text)


Row = TypeVar("Row", Prompt, Response)


def with_id(row: Row, row_id: str) -> Row:
    """``row`` with the id of the row that it was made from, for rows with other labels or without texts."""
    vars(row)["id"] = row_id
    return row


RATER_KINDS = {"labels": "person", "model-labels": "model", "truth": "rule"}
"""Beginnings of the names of judges whose verdicts are labels, and who gave these labels."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's reading of one response: a stance, scores, or the reason why there is neither."""

    response: str
    """``Response.id``."""
    judge: str
    stance: Stance | None = None
    unreadable: str = ""
    """Why the judge gave no stance and no score. Empty if it gave one."""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """Probability of each stance, summing to 1, if the judge gives them."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Further ratings by name, each in [0, 1]."""
    votes: Mapping[str, str] = field(default_factory=dict)
    """For a judge that combines several: rater to stance, or to the reason why the rater gave none."""

    def __post_init__(self) -> None:
        if (self.stance is None and not self.scores) != bool(self.unreadable):
            raise DataError("a verdict has either a reading or a reason for having none")

    @property
    def rater_kind(self) -> str | None:
        """Who gave a label: ``person``, ``model``, or ``rule`` for made-up data. None for a judgement."""
        return RATER_KINDS.get(self.judge.partition(":")[0])


@dataclass(frozen=True, slots=True)
class JudgedResponse:
    """A response with its verdict. Metrics read these rows."""

    response: Response
    verdict: Verdict

    def __post_init__(self) -> None:
        if self.response.id != self.verdict.response:
            raise DataError(f"the verdict is about response {self.verdict.response}, not {self.response.id}")

    @property
    def prompt(self) -> Prompt:
        return self.response.prompt

    @property
    def stance(self) -> Stance | None:
        return self.verdict.stance


Origin = Literal["observed", "conditional", "given"]
"""Where a training text comes from.

    observed      the policy's own answer, without steering
    conditional   a counter-response, made on purpose, with the stance confirmed by the judge
    given         read from a file
"""


@dataclass(frozen=True, slots=True)
class UnpairedPreference:
    """One answer and whether it is desirable: a training row of KTO."""

    prompt: Prompt
    text: str
    label: bool
    """True: desirable."""
    ids: tuple[int, ...] = ()
    origin: Origin = "given"


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two answers to one prompt, one of them preferred: a training row of DPO."""

    prompt: Prompt
    chosen: str
    rejected: str
    chosen_ids: tuple[int, ...] = ()
    rejected_ids: tuple[int, ...] = ()
    chosen_origin: Origin = "given"
    rejected_origin: Origin = "given"

    def __post_init__(self) -> None:
        if self.chosen == self.rejected:
            raise DataError("chosen and rejected are identical; remove the row")


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt with an answer to imitate: a training row of SFT."""

    prompt: Prompt
    answer: str
    ids: tuple[int, ...] = ()
    emotion: str | None = None
    """What the patient feels, if the dialogue was rewritten."""
    provenance: str | None = None
    """Who wrote the answer: the name of the rewriter, or an ``Origin``."""

    def __post_init__(self) -> None:
        if is_blank(self.answer):
            raise DataError("the answer of a demonstration is empty")


Preference = UnpairedPreference | PreferencePair | Demonstration


@dataclass(frozen=True, slots=True)
class PreferenceData:
    """Training data in the three forms that SFT, DPO and KTO read."""

    demonstrations: Sequence[Demonstration]
    pairs: Sequence[PreferencePair]
    unpaired: Sequence[UnpairedPreference]

    def rows(self, reads: str) -> Sequence[Preference]:
        """The rows that an objective ``reads``: ``demonstrations``, ``pairs`` or ``unpaired``."""
        return cast("Sequence[Preference]", getattr(self, reads))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A policy: a base model, with or without an adapter trained on it."""

    base: str
    """Digest of the base model's files."""
    adapter: str | None = None
    """Digest of the adapter's weights and config. None: the base model as it is."""
    path: str | None = None
    """Folder of the adapter, relative to the run."""
    objective: str | None = None
    """What the adapter was trained with: sft, dpo, kto."""
    learned_from: str | None = None
    """Digest of the training rows."""
    reference: str | None = None
    """Id of the checkpoint that gave the reference log-probabilities."""

    @property
    def id(self) -> str:
        return digest(self.base, self.adapter)
