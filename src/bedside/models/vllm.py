"""Answers and labels by a vLLM server with the target's base. It gets token ids and returns token ids.

    GET  /version                   {"version": "0.32.0"}: a part of every key of the run
    GET  /v1/models                 the base, and the adapters that it has
    POST /v1/load_lora_adapter      an adapter of the run's folder, which the server must be able to read, under its
                                    digest: a name that was used twice could answer from the earlier one's cache
    POST /v1/completions            one prompt per request, several in flight; the server makes batches of them
        answer    {"prompt": [5, 6], "max_tokens": 64, "stop_token_ids": [1], "return_token_ids": true}
                  -> choices[0].token_ids, the stop token among them
        labels    {"prompt": [5, 6], "max_tokens": 1, "logprob_token_ids": [7, 8]}
                  -> choices[0].logprobs.top_logprobs[0]["token_id:7"], nats

Training, references and KL stay here. Requests go through the endpoint client: it retries, and counts in the budget.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedside.core.errors import ModelError
from bedside.models.budget import Budget, Price
from bedside.models.openai_client import Address, Body, EndpointClient, RetryPolicy, Wire
from bedside.models.openai_parsing import MalformedResponse, Reply, parse_object

if TYPE_CHECKING:
    import openai

    from bedside.training.decoding import TokenSampler

CONCURRENCY = 64
RETRY_POLICY = RetryPolicy(timeout_seconds=600.0)
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM accepts for --max-lora-rank."""
_PLAIN = {"repetition_penalty": 1.0, "top_k": 0, "min_p": 0.0}
"""Without these, the server uses the model's own defaults."""


@dataclass(frozen=True, slots=True)
class VllmReply(Reply):
    """A reply of the server: the token ids of a completion, or log-probabilities by token."""

    content: Mapping[str, Any] = field(default_factory=dict)
    ids: tuple[int, ...] = ()
    nats: Mapping[int, float] = field(default_factory=dict)


@dataclass
class VllmServer:
    """The server at one address. ``start``: the command that it is started with."""

    client: EndpointClient
    start: str
    _names: dict[Path | None, str] = field(default_factory=dict)

    @classmethod
    def at(cls, url: str, start: str, budget: Budget | None = None) -> "VllmServer":
        """The server at ``url``, with or without /v1. Its tokens cost nothing."""
        address = Address(url.rstrip("/").removesuffix("/v1"), "vLLM")
        wire = Wire(_send, _parse, _maximum)
        return cls(
            EndpointClient(address, RETRY_POLICY, CONCURRENCY, Price(0, 0), budget or Budget(), wire=wire), start
        )

    @cached_property
    def engine(self) -> str:
        """Name and version, such as ``vLLM 0.32.0``. ModelError if it does not answer."""
        version = self._call([{"path": "/version"}])[0].content.get("version")
        if not isinstance(version, str):
            raise ModelError(f"{self.client.address.where}: is not a vLLM server, /version names none; {self._advice}")
        return f"vLLM {version}"

    def decode(
        self,
        adapter: Path | None,
        prompts: Sequence[Sequence[int]],
        limits: Sequence[int],
        stop_ids: frozenset[int],
        sampler: "TokenSampler",
    ) -> list[list[int]]:
        """Token ids of the answer to each prompt: at most ``limits`` of them, the stop token included."""
        drawn = {"temperature": sampler.temperature, "top_p": sampler.top_p, "stop_token_ids": sorted(stop_ids)}
        asked = [
            {
                "prompt": list(p),
                "max_tokens": most,
                "seed": (sampler.seed + n) % 2**31,
                "return_token_ids": True,
                **drawn,
            }
            for n, (p, most) in enumerate(zip(prompts, limits, strict=True))
        ]
        return [list(reply.ids) for reply in self._complete(adapter, asked)]

    def next_token_logprobs(
        self, adapter: Path | None, prompts: Sequence[Sequence[int]], tokens: Sequence[int]
    ) -> list[list[float]]:
        """log p(token | prompt) of each of ``tokens`` after each prompt, nats. ModelError if one is missing."""
        options: dict[str, Any] = {"temperature": 0, "max_tokens": 1, "logprobs": 0}
        options |= {"logprob_token_ids": list(tokens), "return_tokens_as_token_ids": True}
        replies = self._complete(adapter, [{"prompt": list(prompt), **options} for prompt in prompts])
        if any(token not in reply.nats for reply in replies for token in tokens):
            raise ModelError(
                f"{self.client.address.where}: {self.engine} does not give logprob_token_ids, and labels need them; "
                "take a newer vLLM"
            )
        return [[reply.nats[token] for token in tokens] for reply in replies]

    def _complete(self, adapter: Path | None, asked: Sequence[Mapping[str, Any]]) -> list[VllmReply]:
        model = self._name(adapter)
        return self._call([{"path": "/v1/completions", "json": {"model": model, **_PLAIN, **one}} for one in asked])

    def _name(self, adapter: Path | None) -> str:
        """The server's name of the base, or of ``adapter``, which is loaded there if it is not yet."""
        from bedside.training.adapters import digest_adapter

        if adapter not in self._names:
            held = self._call([{"path": "/v1/models"}])[0].content.get("data")
            models = [model for model in held if isinstance(model, dict)] if isinstance(held, list) else []
            names = [str(model.get("id")) for model in models if adapter is not None or not model.get("parent")]
            if not names:
                raise ModelError(f"{self.client.address.where}: it holds no model; {self._advice}")
            name = names[0] if adapter is None else digest_adapter(adapter)
            if adapter is not None and name not in names:
                table = {"lora_name": name, "lora_path": str(adapter.resolve())}
                self._call([{"path": "/v1/load_lora_adapter", "json": table}])
            self._names[adapter] = name
        return self._names[adapter]

    def _call(self, bodies: Sequence[Body]) -> list[VllmReply]:
        """One reply per body. ModelError, with the command that starts the server, if there is no server."""
        try:
            results = self.client.ask(bodies)
        except ModelError as error:
            raise ModelError(f"{error}; {self._advice}") from None
        replies = [result for result in results if isinstance(result, VllmReply)]
        if len(replies) < len(results):
            failed = next(result for result in results if not isinstance(result, VllmReply))
            raise ModelError(f"{self.client.address.where}: no answer ({failed}); {self._advice}")
        return replies

    @property
    def _advice(self) -> str:
        return f"start it with `{self.start}`; the same command continues"


def start_command(folder: Path, *, dtype: str, rank: int, context: int) -> str:
    """The command that starts a server for the model in ``folder`` and adapters of this ``rank``."""
    most = next((allowed for allowed in RANKS if allowed >= rank), RANKS[-1])
    options = f"--dtype {dtype} --enable-lora --max-lora-rank {most} --max-model-len {context}"
    return (
        f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 vllm serve {shlex.quote(str(folder))} --served-model-name base {options} "
        "--generation-config vllm"
    )


async def _send(client: "openai.AsyncOpenAI", body: Body) -> bytes:
    import httpx2

    if "json" in body:
        response = await client.post(body["path"], body=body["json"], cast_to=httpx2.Response)
    else:
        response = await client.get(body["path"], cast_to=httpx2.Response)
    return response.content


def _maximum(body: Body) -> tuple[int, int]:
    """The most tokens in and out; none for a request that is not a completion."""
    table = body.get("json", {})
    return (len(table["prompt"]), int(table["max_tokens"])) if "prompt" in table else (0, 0)


def _parse(body: bytes) -> VllmReply:
    """Raises MalformedResponse. The reply to loading an adapter is a sentence, not JSON."""
    if not body.lstrip().startswith(b"{"):
        return VllmReply("", "stop")
    content = parse_object(body)
    if "choices" not in content:
        return VllmReply("", "stop", content=content)
    try:
        (choice,), usage = content["choices"], content["usage"]
        shown = (choice.get("logprobs") or {}).get("top_logprobs") or [{}]
        return VllmReply(
            "",
            str(choice["finish_reason"]),
            usage=(int(usage["prompt_tokens"]), int(usage.get("completion_tokens") or 0)),
            ids=tuple(int(token) for token in choice.get("token_ids") or ()),
            nats={int(name.removeprefix("token_id:")): float(value) for name, value in shown[0].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise MalformedResponse(f"the reply is no completion of token ids ({type(error).__name__})") from None
