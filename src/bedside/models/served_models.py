"""The names of the models at an OpenAI-compatible endpoint: GET /v1/models, for `bedside init --judge URL`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bedside.core.errors import ModelError
from bedside.models.budget import Budget, Price
from bedside.models.openai_client import Address, Body, EndpointClient, RequestFailed, RetryPolicy, Wire
from bedside.models.openai_parsing import MalformedResponse, Reply, parse_object

if TYPE_CHECKING:
    import openai

RETRY_POLICY = RetryPolicy(timeout_seconds=10.0, retries=1)


@dataclass(frozen=True, slots=True)
class ModelList(Reply):
    """The models of an endpoint."""

    names: tuple[str, ...] = ()


def base_url(url: str) -> str:
    """``url`` with the path that most servers have, where none is given: http://localhost:8000/v1."""
    return f"{url.rstrip('/')}/v1" if not urlsplit(url).path.strip("/") else url.rstrip("/")


def served_models(url: str, key: str | None = None, key_name: str | None = None) -> tuple[str, ...]:
    """The names at ``url``, in its order. ModelError where it does not answer."""
    wire = Wire(_send, _parse, lambda body: (0, 0))
    client = EndpointClient(Address(url, "", key, key_name), RETRY_POLICY, 1, Price(0, 0), Budget(), wire=wire)
    (reply,) = client.ask([{}])
    if isinstance(reply, RequestFailed):
        raise ModelError(f"{urlsplit(url).netloc}: {reply}")
    return reply.names if isinstance(reply, ModelList) else ()


async def _send(client: "openai.AsyncOpenAI", body: Body) -> bytes:
    import httpx2

    return (await client.get("/models", cast_to=httpx2.Response)).content


def _parse(body: bytes) -> ModelList:
    """Raises MalformedResponse."""
    rows = parse_object(body).get("data")
    if not isinstance(rows, list):
        raise MalformedResponse("the reply lists no models")
    return ModelList("", "stop", names=tuple(str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row))
