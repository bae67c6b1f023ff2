"""The nouns. Stages read and write rows of these; what is said about rows stands in ``reports``.

    Prompt --generate--> Response --judge--> Verdict --prefer--> Thumb | Pair --train--> Checkpoint

A value is frozen, checks its own promise when it is made, and survives a round trip through one line
of JSON. An ``id`` is a digest of what the value says, so rows made on two machines merge by id alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from bedside.core.errors import DataError
from bedside.core.hashing import digest

Role = Literal["system", "user", "assistant"]
ROLES = ("system", "user", "assistant")
HARM_LEVELS = (0, 1, 2, 3)


class Stance(StrEnum):
    """What an answer does with the request. Tone is not stance: warnings and empathy do not change it."""

    ACCEPT = "accept"
    """Gives what was asked, also when it adds warnings, urgency advice or empathy."""
    CAUTION = "caution"
    """Withholds or redirects part of what was asked."""
    REFUSE = "refuse"
    """Gives none of it."""


STANCES = tuple(stance.value for stance in Stance)
TWO = (Stance.ACCEPT.value, "not_accept")
"""Labels of a set that tells accept from everything else and no more."""
UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn."""

    role: Role
    text: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise DataError(f"role is {self.role!r}; a turn is by one of {', '.join(ROLES)}")
        if not self.text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in self.text):
            raise DataError("the text holds half a surrogate pair, which no tokenizer reads; save it as UTF-8")


Conversation = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a patient asks. ``harm`` is 0 harmless to 3 severe, or None where nobody has labelled it."""

    messages: Conversation
    harm: int | None = None
    principle: str | None = None
    style: str | None = None
    group: str | None = None
    """Rows of one group never stand in two of train, valid and test; intervals count groups."""
    source: str | None = None
    """The collection this prompt came from."""
    facets: Mapping[str, str] = field(default_factory=dict)
    """Whatever else splits patients: specialty, age band, emotion."""
    reference: str | None = None
    """A good answer, where one is known."""

    def __post_init__(self) -> None:
        if not self.messages or self.messages[-1].role != "user":
            raise DataError("a prompt ends with a user turn")
        if not self.messages[-1].text.strip():
            raise DataError("the prompt is empty; remove the row or give it a text")
        if self.harm is not None and self.harm not in HARM_LEVELS:
            raise DataError(f"harm is {self.harm}; it is 0 (harmless), 1, 2 or 3 (severe)")

    @property
    def id(self) -> str:
        return digest(self.messages)

    @property
    def level(self) -> int:
        """Its harm. DataError where nobody has labelled it."""
        if self.harm is None:
            raise DataError(
                f"prompt {self.id} has no harm level, so no stance is right or wrong for it; label it 0 to 3"
            )
        return self.harm

    @property
    def cluster(self) -> str:
        """What intervals count it by: its group, or itself where it has none."""
        return self.group or self.id

    @property
    def text(self) -> str:
        """The last turn: what is being asked now."""
        return self.messages[-1].text


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn. Temperature 0 is greedy."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1:
            raise DataError("sampling needs max_new_tokens >= 1, temperature >= 0 and 0 < top_p <= 1")


@dataclass(frozen=True, slots=True)
class Ask:
    """A prompt to answer, and what is put around it: nothing leaves the model to itself."""

    prompt: Prompt
    stance: Stance | None = None
    """The stance to steer to."""
    system: str | None = None
    """A system turn to put first."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote: the text a person reads, and the very token ids it was made of."""

    text: str
    ids: tuple[int, ...] = ()
    """Token ids as sampled, end of turn included; empty where the model has none to show."""
    finished: bool = True
    """False when the length limit cut it."""


@dataclass(frozen=True, slots=True)
class Response:
    """One answer, and exactly which checkpoint and sampling gave it."""

    prompt: Prompt
    text: str
    checkpoint: str
    sampling: Sampling = Sampling()
    sample: int = 0
    ids: tuple[int, ...] = ()
    finished: bool = True
    steered: Stance | None = None
    """The stance a steering instruction asked for. The instruction itself is not part of ``prompt``."""

    @property
    def id(self) -> str:
        return digest(self.prompt.id, self.checkpoint, self.sampling, self.sample, self.steered, self.text)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What ONE judge made of one response: a stance, or the reason why there is none."""

    response: str
    """``Response.id``."""
    judge: str
    stance: Stance | None = None
    unreadable: str = ""
    """Why there is no reading. Empty exactly when there is one."""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """Stance to probability, summing to 1, where the judge has them."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Ratings in [0, 1] beside the stance."""
    votes: Mapping[str, str] = field(default_factory=dict)
    """Who said what, where the judge is several: a stance, or the reason why there was none."""

    def __post_init__(self) -> None:
        if (self.stance is None and not self.scores) != bool(self.unreadable):
            raise DataError("a verdict has a reading or a reason for having none: never both, never neither")


@dataclass(frozen=True, slots=True)
class Judged:
    """A response and its verdict: what a metric reads."""

    response: Response
    verdict: Verdict

    def __post_init__(self) -> None:
        if self.response.id != self.verdict.response:
            raise DataError(f"verdict of {self.verdict.response} stands beside response {self.response.id}")

    @property
    def prompt(self) -> Prompt:
        return self.response.prompt

    @property
    def stance(self) -> Stance | None:
        return self.verdict.stance


Origin = Literal["observed", "conditional", "given"]
"""observed: the policy's own answer. conditional: asked for by steering, verified by the judge. given: a file's."""


@dataclass(frozen=True, slots=True)
class Thumb:
    """One answer, wanted or not: what KTO learns from."""

    prompt: Prompt
    text: str
    wanted: bool
    ids: tuple[int, ...] = ()
    origin: Origin = "given"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, the better one named: what DPO learns from."""

    prompt: Prompt
    chosen: str
    rejected: str
    chosen_ids: tuple[int, ...] = ()
    rejected_ids: tuple[int, ...] = ()
    chosen_origin: Origin = "given"
    rejected_origin: Origin = "given"

    def __post_init__(self) -> None:
        if self.chosen == self.rejected:
            raise DataError("a pair of equal answers teaches nothing")


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A patient's question and the answer to imitate: what SFT learns from."""

    prompt: Prompt
    answer: str
    ids: tuple[int, ...] = ()
    emotion: str | None = None
    provenance: str | None = None

    def __post_init__(self) -> None:
        if not self.answer.strip():
            raise DataError("the answer of a dialogue is empty")


Preference = Thumb | Pair | Dialogue


@dataclass(frozen=True, slots=True)
class Lesson:
    """The same rows as SFT, DPO and KTO read them."""

    dialogues: Sequence[Dialogue]
    pairs: Sequence[Pair]
    thumbs: Sequence[Thumb]

    def rows(self, reads: str) -> Sequence[Preference]:
        """Rows of the kind an objective reads: dialogues, pairs or thumbs."""
        found: Sequence[Preference] = getattr(self, reads)
        return found


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A policy: a base, and perhaps an adapter that was trained on it."""

    base: str
    """Digest of the base model's files."""
    adapter: str | None = None
    """Digest of the adapter's weights and config; None is the target as given."""
    path: str | None = None
    """Folder of the adapter, relative to the run."""
    objective: str | None = None
    learned_from: str | None = None
    """Digest of the training rows."""
    reference: str | None = None
    """Id of the checkpoint whose log-probabilities were the reference."""

    @property
    def id(self) -> str:
        return digest(self.base, self.adapter)
