"""A model behind an OpenAI-compatible endpoint, `/v1/chat/completions`: vLLM, a gateway, a vendor.

As a target it answers; it cannot be trained. As a judge it answers closed questions:

    request    {"response_format": {"type": "json_schema", ... "enum": ["accept", "caution", "refuse"]}}
    reply      {"label": "accept"}, with the probabilities of the labels if the endpoint shows them

Some servers accept a constraint and ignore it. So a probe comes before the first closed question: the request allows
one of two random words, and its text asks for another word. ``probe()`` gives the result; ``if_unenforced`` decides
what happens if the constraint is not enforced.

If a content filter cuts an answer, the answer is the text up to there, unfinished. A refusal is an answer with its own
text. A prompt that the endpoint cannot answer (too long, filtered, no readable reply after all retries although other
prompts get one) has an empty answer, which no judge can read and every constraint counts as a failure.
"""

import secrets
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field

from bedside.config import validation_messages
from bedside.config.plugins import Plugin, register
from bedside.core.errors import ModelError
from bedside.core.hashing import canonical, digest
from bedside.core.protocols import Choice, Endpoint, Launch, Probe
from bedside.core.types import Checkpoint, Completion, Conversation, Message, Sampling
from bedside.models import openai_parsing
from bedside.models.budget import Budget, Price
from bedside.models.openai_client import Address, DeclinedParametersError, EndpointClient, RequestFailed, RetryPolicy
from bedside.models.openai_parsing import Reply

RESERVED = (
    "messages", "model", "n", "stream", "temperature", "max_tokens", "max_completion_tokens",
    "response_format", "logprobs", "top_logprobs", "seed", "top_p",
)  # fmt: skip
"""Keys of a request that other config keys decide."""
ALIVE_TRIES = 10
"""Number of harmless questions without an answer after which an endpoint counts as gone."""
_PROBE_TEXT = "Reply with exactly this one word and nothing else: hello"


def _base_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("needs http:// or https:// and a host, such as http://localhost:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(
            "contains more than an address; a key goes into an environment variable that api_key_env names"
        )
    return url.rstrip("/").removesuffix("/chat/completions")


def _proxy_url(url: str | None) -> str | None:
    if url is not None and (urlsplit(url).username or urlsplit(url).password):
        raise ValueError("contains a password, which would be in every run's config.yaml; use a proxy that needs none")
    return url


def _variable_name(name: str | None) -> str | None:
    if name is not None and not validation_messages.VARIABLE.fullmatch(name):
        raise ValueError(validation_messages.NAME_OF_KEY)
    return name


def _refuse_reserved_keys(extra: dict[str, Any]) -> dict[str, Any]:
    reserved = sorted({*extra} & {*RESERVED})
    if reserved:
        raise ValueError(f"may not contain {', '.join(reserved)}: other keys set that")
    return extra


@register("model", "openai")
class OpenAICompatible(Plugin):
    """A model behind an OpenAI-compatible endpoint. It answers and judges; it cannot be trained."""

    model_config = ConfigDict(hide_input_in_errors=True)
    needs: ClassVar[tuple[str, ...]] = ("budget", "secret")
    kind: str = "openai"
    url: Annotated[str, AfterValidator(_base_url)] = Field(
        description="Base address, such as http://localhost:8000/v1."
    )
    model: str = Field(min_length=1, description="The model's name at the endpoint.")
    revision: str | None = Field(
        None, description="Recorded with every judgement: set another value when the model has changed."
    )
    api_key_env: Annotated[str | None, AfterValidator(_variable_name)] = Field(
        None, description="NAME of the environment variable that holds the key. Unset: no key is sent."
    )
    concurrency: int = Field(8, ge=1, le=256, description="The most calls in flight.")
    timeout_seconds: float = Field(60.0, gt=0, description="From sending a request to the last byte of its answer.")
    retries: int = Field(5, ge=0, le=20, description="After 408, 409, 429, 5xx, timeouts and unreadable bodies.")
    max_wait_seconds: float = Field(
        120.0, ge=0, description="The longest Retry-After to wait for; a longer one stops the run."
    )
    if_unenforced: Literal["parse", "stop"] = Field(
        "parse",
        description="If labels cannot be enforced: parse reads a reply that is exactly one label, and calls every "
        "other reply unreadable; stop ends the run.",
    )
    top_logprobs: int = Field(20, ge=0, le=20, description="Token probabilities to ask for; 0 asks for none.")
    label_tokens: int = Field(
        32, ge=1, description="The most tokens of a reply with a label. Use more for a model that thinks first."
    )
    length_key: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="The endpoint's name for the limit on an answer's length."
    )
    usd_per_million_in: float | None = Field(None, ge=0, description="Price of a million tokens in, US dollars.")
    usd_per_million_out: float | None = Field(None, ge=0, description="Price of a million tokens out, US dollars.")
    proxy: Annotated[str | None, AfterValidator(_proxy_url)] = Field(
        None, description="A proxy to use. Proxies of the environment are not used."
    )
    strip_thinking: bool = Field(
        True,
        description="Remove a leading <think> block from a reply. If the block does not end, the reply counts as cut.",
    )
    extra: Annotated[dict[str, Any], AfterValidator(_refuse_reserved_keys)] = Field(
        {}, description="Further keys of each request, such as chat_template_kwargs."
    )

    def open(self, launch: Launch, **opened: Any) -> "EndpointModel":
        key = _key(self.api_key_env, opened.get("secret"))
        address = Address(self.url, self.model, key, self.api_key_env, self.proxy)
        budget, price = opened.get("budget") or Budget(), Price(self.usd_per_million_in, self.usd_per_million_out)
        budget.require_price(address.where, price, own_machine=address.own_machine)
        retry_policy = RetryPolicy(self.timeout_seconds, self.retries, self.max_wait_seconds)
        return EndpointModel(self, EndpointClient(address, retry_policy, self.concurrency, price, budget))


def _key(name: str | None, secret: Callable[[str], str | None] | None) -> str | None:
    """The key. Raises ModelError, without any part of the key, if it is missing or cannot be sent."""
    if name is None:
        return None
    key = ((secret(name) if secret else None) or "").strip()
    if not key:
        raise ModelError(f"the environment variable {name} is not set; export it, or leave api_key_env out")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ModelError(f"the environment variable {name} has characters that no key has; set it again")
    return key


@dataclass
class EndpointModel:
    """Answers conversations and closed questions through one client."""

    config: OpenAICompatible
    client: EndpointClient
    _probe_result: Probe | ModelError | None = None
    unanswered: Counter[str] = field(default_factory=Counter)
    """Why conversations got no answer."""
    other_models: dict[str, bool] = field(default_factory=dict)
    """Models that replies came from instead of the one asked for, and whether that was reported."""
    _probes: int = 0
    _top_logprobs: int = 0
    """As many as the endpoint has shown."""
    _adapted: "Adaptations" = field(default_factory=lambda: Adaptations())
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    context: int = 1 << 30
    """No limit is known here; the endpoint rejects what is too long."""

    @property
    def checkpoint(self) -> Checkpoint:
        """Identified by address, model, revision and extra keys, since the weights cannot be read."""
        c = self.config
        return Checkpoint(base=digest("openai", c.url, c.model, c.revision, c.extra))

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return (self,)

    @property
    def where(self) -> str:
        return self.client.address.where

    @property
    def concurrency(self) -> int:
        return self.config.concurrency

    @property
    def repeatable(self) -> bool:
        """False once the endpoint has declined a temperature of 0."""
        return self._adapted.temperature

    @property
    def decoding(self) -> str:
        return canonical({"temperature": 0, "tokens": self.config.label_tokens, "top": self.config.top_logprobs})

    def new_notes(self) -> list[str]:
        """Unusual behaviour of the endpoint, for people, each sentence once."""
        new = [name for name, reported in self.other_models.items() if not reported]
        self.other_models.update(dict.fromkeys(new, True))
        return [f"{self.where}: replies name the model {name!r}; check `model` and set `revision`" for name in new]

    def lengths(self, conversations: Sequence[Conversation]) -> list[int]:
        """Bytes, an upper bound: no tokenizer makes more tokens than there are bytes."""
        return [sum(len(turn.text.encode()) for turn in turns) for turns in conversations]

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        """One completion per conversation. The docstring of this module describes those without a plain answer."""
        options: dict[str, Any] = {"temperature": sampling.temperature}
        if sampling.temperature > 0:
            options |= {"top_p": sampling.top_p, "seed": sampling.seed}
        bodies = [self._body(turns, sampling.max_new_tokens, options) for turns in conversations]
        results = self._ask(bodies)
        self.unanswered.update(str(result)[:200] for result in results if isinstance(result, RequestFailed))
        return [
            Completion("", finished=False)
            if isinstance(result, RequestFailed)
            else Completion(result.text or result.refusal, finished=result.ended)
            for result in results
        ]

    def choose(self, conversations: Sequence[Conversation], labels: Sequence[str]) -> list[Choice]:
        """One label per conversation, or why there is none. Raises ModelError if labels must be enforced and are
        not."""
        if not conversations:
            return []
        probe = self.probe()
        if probe.constraint != "enforced" and self.config.if_unenforced == "stop":
            raise ModelError(
                f"{probe.where}: the endpoint was asked for one of two words and the constraint was "
                f"{probe.constraint}; if_unenforced: parse reads its replies strictly instead"
            )
        constrained, top = probe.constraint == "enforced", self._top_logprobs if probe.logprobs else 0
        bodies = [self._closed_question(turns, labels, constrained, top) for turns in conversations]
        return [
            Choice(None, f"no answer: {result}")
            if isinstance(result, RequestFailed)
            else openai_parsing.choice(result, labels)
            for result in self._ask(bodies)
        ]

    def probe(self) -> Probe:
        """What the endpoint can do, tested once. Raises ModelError if it cannot be reached or used."""
        probes = self._probes
        with self._lock:
            if not isinstance(self._probe_result, Probe) and self._probes == probes:  # no other thread has probed since
                try:
                    self._probe_result = self._run_probe()
                except ModelError as error:
                    self._probe_result = error
                self._probes += 1
            if isinstance(self._probe_result, Probe):
                return self._probe_result
            raise self._probe_result or ModelError(f"{self.where}: cannot be used")

    def _run_probe(self) -> Probe:
        """Sends requests with fewer and fewer options, until the endpoint accepts one."""
        top = self.config.top_logprobs
        result: Reply | RequestFailed | None = None
        for constrained, shown in dict.fromkeys(
            [(True, top), (True, min(top, 5)), (True, 0), (False, top), (False, 0)]
        ):
            try:
                result, obeyed = self._ask_for_a_nonce(constrained, shown)
            except DeclinedParametersError:
                if not constrained and not shown:
                    raise
                continue  # there may be a model that can do less
            if isinstance(result, Reply):
                self._top_logprobs = shown
                return Probe(
                    self.where,
                    "unsupported" if not constrained else "enforced" if obeyed else "ignored",
                    logprobs=bool(result.tokens),
                    note="; ".join(
                        filter(None, (self._warning(), *self.new_notes(), self._adapted.note, _ending(result)))
                    ),
                )
            if result.status is None:
                break
        raise ModelError(f"{self.where}: cannot be used: {result}; check url and model, and that it runs")

    def _ask_for_a_nonce(self, constrained: bool, top: int) -> tuple[Reply | RequestFailed, bool]:
        """The reply, and whether it obeys the constraint. If the first reply does not, it asks a second time."""
        for _ in range(2):
            nonces = [f"k{secrets.token_hex(4)}" for _ in range(2)]
            (result,) = self._ask_adapted([self._closed_question(_probe_turns(), nonces, constrained, top)])
            obeyed = isinstance(result, Reply) and openai_parsing.choice(result, nonces).label is not None
            if obeyed or not constrained or isinstance(result, RequestFailed):
                break
        return result, obeyed

    def _warning(self) -> str:
        address = self.client.address
        exposed = address.key is not None and address.url.startswith("http:") and not address.own_machine
        return "the key travels unencrypted: use https" if exposed else ""

    def _ask(self, bodies: Sequence[Mapping[str, Any]]) -> list[Reply | RequestFailed]:
        """One reply per body, or why there is none. Raises ModelError if retries are used up and the endpoint is
        gone."""
        results = self._ask_adapted(bodies) if bodies else []
        self._require_access(results)
        exhausted = next((result for result in results if isinstance(result, RequestFailed) and result.exhausted), None)
        if exhausted is not None and not self._is_alive():
            raise ModelError(
                f"{self.where}: does not answer any more ({exhausted}); finished rows are kept: continue with the same "
                "command when it does"
            )
        return results

    def _ask_adapted(self, bodies: Sequence[Mapping[str, Any]]) -> list[Reply | RequestFailed]:
        """One reply per body. An option that the endpoint declines is left out or renamed from then on, and asked
        again."""
        results = self.client.ask([self._adapted.apply(body) for body in bodies])
        while declined := [i for i, result in enumerate(results) if isinstance(result, RequestFailed)]:
            if not any(self._adapted.learn(str(results[i]), self._adapted.apply(bodies[i])) for i in declined):
                break
            again = self.client.ask([self._adapted.apply(bodies[i]) for i in declined])
            results = [again[declined.index(i)] if i in declined else result for i, result in enumerate(results)]
        named = [result.model for result in results if isinstance(result, Reply)]
        for name in {name for name in named if not openai_parsing.is_same_model(self.config.model, name)}:
            self.other_models.setdefault(name, False)
        if not self.config.strip_thinking:
            return results
        return [openai_parsing.without_thinking(r) if isinstance(r, Reply) else r for r in results]

    def _require_access(self, results: Sequence[Reply | RequestFailed]) -> None:
        """After other calls got a reply, a 403 may mean a forbidden text or a revoked key. A harmless text shows which.

        Raises ModelError if that is forbidden too.
        """
        if any(isinstance(result, RequestFailed) and result.status == 403 for result in results):
            body = self._body(_probe_turns(secrets.token_hex(4)), 1, {"temperature": 0})
            (harmless,) = self.client.ask([self._adapted.apply(body)])
            if isinstance(harmless, RequestFailed) and harmless.status == 403:
                raise ModelError(
                    f"{self.where}: forbids every text now ({harmless}); finished rows are kept: check the key and "
                    "continue with the same command"
                )

    def _is_alive(self) -> bool:
        """Whether the endpoint answers a harmless question."""
        for tries in range(ALIVE_TRIES):
            body = self._body(_probe_turns(secrets.token_hex(4)), 1, {"temperature": 0})
            if isinstance(self.client.ask([self._adapted.apply(body)], retries=0)[0], Reply):
                return True
            self.client.pause(tries)
        return False

    def _closed_question(
        self, turns: Conversation, labels: Sequence[str], constrained: bool, top: int
    ) -> dict[str, Any]:
        options: dict[str, Any] = {"temperature": 0}
        if constrained:
            options["response_format"] = openai_parsing.label_schema(labels)
        if top:
            options |= {"logprobs": True, "top_logprobs": top}
        return self._body(turns, self.config.label_tokens, options)

    def _body(self, turns: Conversation, tokens: int, options: Mapping[str, Any]) -> dict[str, Any]:
        body = {
            "model": self.config.model,
            "messages": [{"role": turn.role, "content": turn.text} for turn in turns],
            self.config.length_key: tokens,
            **options,
        }
        goes_on = CONTINUE if turns[-1].role == "assistant" else {}
        extra = {**goes_on, **self.config.extra}
        return {**body, "extra_body": extra} if extra else body


CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}
"""Keys that let vLLM, SGLang and TGI continue a last assistant turn. Others ignore or decline them."""


@dataclass
class Adaptations:
    """What an endpoint has declined, and how requests to it are written after that."""

    temperature: bool = True
    length_key: str | None = None
    system: bool = True
    continues: bool = True
    """Requests ask it to continue the answer's first words. An endpoint that declines this may start a new answer."""

    @property
    def note(self) -> str:
        """What `bedside check` says about it; empty if nothing was declined."""
        facts = {
            "declines a temperature, so answers and verdicts are not repeatable": not self.temperature,
            f"takes {self.length_key} for the length": self.length_key is not None,
            "takes no system turn, so its text is put before the first question": not self.system,
            "cannot continue an answer's first words": not self.continues,
        }
        return "; ".join(fact for fact, holds in facts.items() if holds)

    def learn(self, reason: str, body: Mapping[str, Any]) -> bool:
        """Whether ``reason``, an endpoint's words about ``body``, names something that can be left out or renamed."""
        words = reason.lower()
        if not words.startswith(("status 400", "status 422")):
            return False
        if "temperature" in words and "temperature" in body:
            self.temperature = False
        elif "max_completion_tokens" in words and "max_tokens" in body:
            self.length_key = "max_completion_tokens"
        elif "system" in words and any(turn["role"] == "system" for turn in body["messages"]):
            self.system = False
        elif any(key in words for key in CONTINUE) and self.continues:
            self.continues = False
        else:
            return False
        return True

    def apply(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """``body`` without what was declined."""
        adapted = dict(body)
        if not self.temperature:
            adapted = {key: value for key, value in adapted.items() if key not in ("temperature", "top_p")}
        if self.length_key and "max_tokens" in adapted:
            adapted[self.length_key] = adapted.pop("max_tokens")
        if not self.system:
            adapted["messages"] = _folded(adapted["messages"])
        if not self.continues and "extra_body" in adapted:
            adapted["extra_body"] = {k: v for k, v in adapted["extra_body"].items() if k not in CONTINUE}
        return adapted


def _folded(turns: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Turns with the system text before the first question, as local models without a system turn get it."""
    system = "\n\n".join(turn["content"] for turn in turns if turn["role"] == "system")
    others = [dict(turn) for turn in turns if turn["role"] != "system"]
    if system and others:
        others[0]["content"] = f"{system}\n\n{others[0]['content']}"
    return others


def _ending(reply: Reply) -> str:
    return "" if reply.ended else f"its replies end with finish_reason {reply.finish[:40]!r}, so none counts as whole"


def _probe_turns(suffix: str = "") -> Conversation:
    return (Message("user", f"{_PROBE_TEXT} {suffix}".strip()),)
