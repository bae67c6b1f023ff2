"""A model behind an OpenAI-compatible endpoint, `/v1/chat/completions`: vLLM, a gateway, a vendor.

As a target it answers; it is not trained here. As a judge it answers closed questions:

    asked      {"response_format": {"type": "json_schema", ... "enum": ["accept", "caution", "refuse"]}}
    answered   {"label": "accept"}, with the probabilities of the labels where the endpoint shows them

Some servers accept a constraint and ignore it. So the first closed question is preceded by a probe: one of two
words that nobody can guess, under a request to say something else. What came of it is said by ``probe()``; what
then happens, by ``if_unenforced``.

An answer that a content filter cut is the text that came through, unfinished; a refusal is its text; a prompt
that the endpoint cannot answer (too long, filtered, no readable reply after all retries while others get theirs)
is an empty answer, which no judge can read and every constraint counts as a failure.
"""

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field

from bedside.config import validation_messages
from bedside.config.plugins import Plugin, register
from bedside.core.errors import ModelError
from bedside.core.hashing import canonical, digest
from bedside.core.protocols import Choice, Launch, Probe
from bedside.core.types import Checkpoint, Completion, Conversation, Message, Sampling
from bedside.models import openai_parsing
from bedside.models.budget import Price, Purse
from bedside.models.openai_client import Address, Line, Manners, Unanswered

OURS = ("messages", "model", "n", "stream", "temperature", "max_tokens", "max_completion_tokens")
OURS_TOO = ("response_format", "logprobs", "top_logprobs", "seed", "top_p")
ALIVE_TRIES = 10
"""Questions of no patient that have to stay unanswered before an endpoint counts as gone."""
_SAY = "Reply with exactly this one word and nothing else: hello"


def _base(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("needs http:// or https:// and a host, such as http://localhost:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("holds more than an address; a key goes into an environment variable that api_key_env names")
    return url.rstrip("/").removesuffix("/chat/completions")


def _proxy(url: str | None) -> str | None:
    if url is not None and (urlsplit(url).username or urlsplit(url).password):
        raise ValueError("holds a password, which would stand in every run's config.yaml; use a proxy that needs none")
    return url


def _variable(name: str | None) -> str | None:
    if name is not None and not validation_messages.VARIABLE.fullmatch(name):
        raise ValueError(validation_messages.NAME_OF_KEY)
    return name


def _not_ours(extra: dict[str, Any]) -> dict[str, Any]:
    taken = sorted({*extra} & {*OURS, *OURS_TOO})
    if taken:
        raise ValueError(f"may not say {', '.join(taken)}: other keys decide that")
    return extra


@register("model", "http")
class Http(Plugin):
    """A model behind an OpenAI-compatible endpoint. It answers and judges; it is not trained here."""

    model_config = ConfigDict(hide_input_in_errors=True)
    needs: ClassVar[tuple[str, ...]] = ("purse", "secret")
    kind: str = "http"
    url: Annotated[str, AfterValidator(_base)] = Field(description="Base address, such as http://localhost:8000/v1.")
    model: str = Field(min_length=1, description="The model's name at the endpoint.")
    revision: str | None = Field(None, description="Noted with every reading: say another when the model changed.")
    api_key_env: Annotated[str | None, AfterValidator(_variable)] = Field(
        None, description="NAME of the environment variable that holds the key. Unset: no key is sent."
    )
    concurrency: int = Field(8, ge=1, le=256, description="Calls in flight at most.")
    timeout_seconds: float = Field(60.0, gt=0, description="From sending a request to the last byte of its answer.")
    retries: int = Field(5, ge=0, le=20, description="After 408, 409, 429, 5xx, timeouts and unreadable bodies.")
    max_wait_seconds: float = Field(120.0, ge=0, description="The longest Retry-After waited for; longer stops.")
    if_unenforced: Literal["parse", "stop"] = Field(
        "parse",
        description="Labels cannot be enforced: parse reads a reply that is exactly one label and calls every other "
        "unreadable; stop ends the run.",
    )
    top_logprobs: int = Field(20, ge=0, le=20, description="Token probabilities to ask for; 0 asks for none.")
    label_tokens: int = Field(32, ge=1, description="Most tokens of a label's reply. More for one that thinks first.")
    length_key: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="What the endpoint calls the limit on an answer's length."
    )
    usd_per_million_in: float | None = Field(None, ge=0, description="Price of a million tokens in, US dollars.")
    usd_per_million_out: float | None = Field(None, ge=0, description="Price of a million tokens out, US dollars.")
    proxy: Annotated[str | None, AfterValidator(_proxy)] = Field(
        None, description="A proxy to go through. Those of the environment are not used."
    )
    extra: Annotated[dict[str, Any], AfterValidator(_not_ours)] = Field(
        {}, description="Further keys of each request, such as chat_template_kwargs."
    )

    def open(self, launch: Launch, **opened: Any) -> "EndpointModel":
        key = _key(self.api_key_env, opened.get("secret"))
        address = Address(self.url, self.model, key, self.api_key_env, self.proxy)
        purse, price = opened.get("purse") or Purse(), Price(self.usd_per_million_in, self.usd_per_million_out)
        purse.admit(address.where, price, own_machine=address.own_machine)
        manners = Manners(self.timeout_seconds, self.retries, self.max_wait_seconds)
        return EndpointModel(self, Line(address, manners, self.concurrency, price, purse))


def _key(name: str | None, secret: Callable[[str], str | None] | None) -> str | None:
    """The key itself. ModelError for one that is not there or cannot be sent, without a word of it."""
    if name is None:
        return None
    key = ((secret(name) if secret else None) or "").strip()
    if not key:
        raise ModelError(f"the environment variable {name} is not set; export it, or leave api_key_env out")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ModelError(f"the environment variable {name} holds signs that no key has; set it again")
    return key


@dataclass
class EndpointModel:
    """Answers conversations and closed questions over one line."""

    config: Http
    line: Line
    _probed: Probe | ModelError | None = None
    _probes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    repeatable: bool = True
    context: int = 1 << 30
    """The endpoint knows its limit and says so; here there is none."""

    @property
    def checkpoint(self) -> Checkpoint:
        """Address, model, revision and extra keys: weights cannot be seen from here."""
        c = self.config
        return Checkpoint(base=digest("http", c.url, c.model, c.revision, c.extra))

    @property
    def concurrency(self) -> int:
        return self.config.concurrency

    @property
    def decoding(self) -> str:
        return canonical({"temperature": 0, "tokens": self.config.label_tokens, "top": self.config.top_logprobs})

    def lengths(self, conversations: Sequence[Conversation]) -> list[int]:
        """Bytes: no tokenizer makes more tokens of them."""
        return [sum(len(turn.text.encode()) for turn in turns) for turns in conversations]

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        """One completion a conversation; see the top of this file for those that have no plain answer."""
        drawn = {"temperature": sampling.temperature}
        if sampling.temperature > 0:
            drawn |= {"top_p": sampling.top_p, "seed": sampling.seed}
        bodies = [self._body(turns, sampling.max_new_tokens, drawn) for turns in conversations]
        return [_completion(told) for told in self._asked(bodies)]

    def choose(self, conversations: Sequence[Conversation], labels: Sequence[str]) -> list[Choice]:
        """One label a conversation, or why there is none. ModelError where labels must be enforced and are not."""
        if not conversations:
            return []
        able = self.probe()
        if able.constraint != "enforced" and self.config.if_unenforced == "stop":
            raise ModelError(
                f"{able.where}: the endpoint was asked for one of two words and the constraint was "
                f"{able.constraint}; if_unenforced: parse reads its replies strictly instead"
            )
        constrained, top = able.constraint == "enforced", self.config.top_logprobs if able.logprobs else 0
        bodies = [self._closed(turns, labels, constrained, top) for turns in conversations]
        return [_choice(told, labels) for told in self._asked(bodies)]

    def probe(self) -> Probe:
        """What the endpoint can do, found out once. ModelError where it cannot be reached or used."""
        begun = self._probes
        with self._lock:
            if not isinstance(self._probed, Probe) and self._probes == begun:  # nobody found out while we waited
                try:
                    self._probed = self._find_out()
                except ModelError as error:
                    self._probed = error
                self._probes += 1
            if isinstance(self._probed, Probe):
                return self._probed
            raise self._probed or ModelError(f"{self.line.address.where}: cannot be used")

    def _find_out(self) -> Probe:
        """Asked for everything, then for less, until the endpoint agrees to be asked."""
        top = self.config.top_logprobs
        reason = ""
        for constrained, shown in dict.fromkeys([(True, top), (True, 0), (False, top), (False, 0)]):
            told, obeyed = self._put(constrained, shown)
            if isinstance(told, openai_parsing.Reply):
                shows = bool(told.tokens)
                if constrained:
                    return Probe(self.line.address.where, "enforced" if obeyed else "ignored", shows, self._note())
                return Probe(self.line.address.where, "unsupported", shows, self._note())
            reason = str(told)
            if told.status is None:
                break
        raise ModelError(f"{self.line.address.where}: cannot be used: {reason}; check url and model, and that it runs")

    def _put(self, constrained: bool, top: int) -> tuple[openai_parsing.Reply | Unanswered, bool]:
        """A nonce question, twice where the first reply disobeys: one unlucky reply is no proof."""
        for _ in range(2):
            nonces = [f"k{secrets.token_hex(4)}" for _ in range(2)]
            (told,) = self.line.ask([self._closed(_turns(), nonces, constrained, top)])
            obeyed = isinstance(told, openai_parsing.Reply) and openai_parsing.choice(told, nonces).label is not None
            if obeyed or not constrained or isinstance(told, Unanswered):
                break
        return told, obeyed

    def _note(self) -> str:
        address = self.line.address
        open_ = address.key is not None and address.url.startswith("http:") and not address.own_machine
        return "the key travels unencrypted: say https" if open_ else ""

    def _asked(self, bodies: Sequence[Mapping[str, Any]]) -> list[openai_parsing.Reply | Unanswered]:
        """One reply a body, or why there is none. Where retries ran out: is it the row, or is nobody there?"""
        told = self.line.ask(bodies) if bodies else []
        lost = next((one for one in told if isinstance(one, Unanswered) and one.exhausted), None)
        if lost is not None and not self._alive():
            raise ModelError(
                f"{self.line.address.where}: does not answer any more ({lost}); finished rows are kept: continue "
                "with the same command when it does"
            )
        return told

    def _alive(self) -> bool:
        """Does the endpoint answer anything at all?"""
        for tried in range(ALIVE_TRIES):
            body = self._body(_turns(secrets.token_hex(4)), 1, {"temperature": 0})
            (told,) = self.line.ask([body], retries=0)
            if isinstance(told, openai_parsing.Reply):
                return True
            self.line.pause(tried)
        return False

    def _closed(self, turns: Conversation, labels: Sequence[str], constrained: bool, top: int) -> dict[str, Any]:
        asked: dict[str, Any] = {"temperature": 0}
        if constrained:
            asked["response_format"] = openai_parsing.schema(labels)
        if top:
            asked |= {"logprobs": True, "top_logprobs": top}
        return self._body(turns, self.config.label_tokens, asked)

    def _body(self, turns: Conversation, tokens: int, asked: Mapping[str, Any]) -> dict[str, Any]:
        said = [{"role": turn.role, "content": turn.text} for turn in turns]
        body = {"model": self.config.model, "messages": said, self.config.length_key: tokens, **asked}
        return {**body, "extra_body": dict(self.config.extra)} if self.config.extra else body


def _turns(beside: str = "") -> Conversation:
    return (Message("user", f"{_SAY} {beside}".strip()),)


def _completion(told: openai_parsing.Reply | Unanswered) -> Completion:
    if isinstance(told, Unanswered):
        return Completion("", finished=False)
    return Completion(told.text or told.refusal, finished=told.ended)


def _choice(told: openai_parsing.Reply | Unanswered, labels: Sequence[str]) -> Choice:
    return Choice(None, f"no answer: {told}") if isinstance(told, Unanswered) else openai_parsing.choice(told, labels)
