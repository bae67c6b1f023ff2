"""The ``openai`` client on a transport that knows one host, and tells it what a call needs and no more.

No redirect is followed; no proxy, key, organisation or password file of the environment is used; headers that say
what machine this is are taken off; a body is read up to a limit, and never unpacked: a small one may hold a huge one.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, cast

from bedside.core.errors import ModelError

if TYPE_CHECKING:
    import httpx2
    import openai

LONGEST_BODY_BYTES = 4 << 20
_HEADERS = ("accept", "accept-encoding", "connection", "content-length", "content-type", "host")


class TooLong(Exception):
    """The cause of an error: a body that nobody wants to read to its end."""


def client(url: str, key: str | None, proxy: str | None, timeout_seconds: float) -> "openai.AsyncOpenAI":
    """A client for ``url`` alone. ModelError where the openai package is not there."""
    try:
        import httpx2
        import openai
    except ImportError:
        raise ModelError("endpoints need the openai client: pip install 'bedside[api]'") from None

    timeout = httpx2.Timeout(timeout_seconds)
    carries = _transport(url, key, proxy)
    http = httpx2.AsyncClient(transport=carries, timeout=timeout, follow_redirects=False, trust_env=False)
    return openai.AsyncOpenAI(api_key=key or "none", base_url=url, max_retries=0, timeout=timeout, http_client=http)


def _transport(url: str, key: str | None, proxy: str | None) -> "httpx2.AsyncBaseTransport":
    import httpx2

    inner = httpx2.AsyncHTTPTransport(trust_env=False, proxy=proxy)
    host = httpx2.URL(url).host
    names = _HEADERS if key is None else (*_HEADERS, "authorization")

    class OneHost(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: "httpx2.Request") -> "httpx2.Response":
            if request.url.host != host:
                raise httpx2.UnsupportedProtocol(f"{request.url.host} is not the host of the config")
            kept = {name: value for name, value in request.headers.items() if name.lower() in names}
            kept |= {"accept-encoding": "identity", "user-agent": "bedside"}
            more = dict(request.extensions)
            sent = httpx2.Request(request.method, request.url, headers=kept, stream=request.stream, extensions=more)
            response = await inner.handle_async_request(sent)
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                await response.aclose()
                raise httpx2.DecodingError("a packed body, which was not asked for")
            response.stream = Bounded(cast("httpx2.AsyncByteStream", response.stream))  # as of any async transport
            return response

        async def aclose(self) -> None:
            await inner.aclose()

    class Bounded(httpx2.AsyncByteStream):
        def __init__(self, stream: "httpx2.AsyncByteStream") -> None:
            self.stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            read = 0
            async for chunk in self.stream:
                read += len(chunk)
                if read > LONGEST_BODY_BYTES:
                    raise httpx2.ReadError(f"more than {LONGEST_BODY_BYTES >> 20} MiB") from TooLong()
                yield chunk

        async def aclose(self) -> None:
            await self.stream.aclose()

    return OneHost()
