"""The ``openai`` client for one host: what it sends, what it accepts, and when it sends a request again.

The transport follows no redirect and uses no proxy, key, organisation or password file of the environment. It removes
headers that describe this machine. It reads a body up to a limit and never decompresses it, since a small body may
hold a huge one.

    sent again       408, 409, 429, 5xx, no connection, no answer in time, a body that is not a reply: ``retries`` times
    waits            as long as Retry-After says; without it 0.5 s, 1 s, 2 s ... at most 8 s
    RequestFailed    this request gets no answer (400, 413, 422; retries used up): a fact about a row
    ModelError       no request will get one (401, 402, 404, a redirect, no quota, Retry-After above the limit): stop
    403              this row gets no answer, if another got one or the endpoint speaks of moderation; else stop

The retries of the ``openai`` package are off. A key never appears in a message and is removed from every answer.
"""

import asyncio
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from bedside.core.errors import ModelError
from bedside.models.budget import Budget, Price, Usage
from bedside.models.openai_parsing import MalformedResponse, Reply, clean, parse_reply

if TYPE_CHECKING:
    import httpx2
    import openai

LONGEST_BODY_BYTES = 4 << 20
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 8.0
EXTRA_TOKENS = 256
"""Tokens that a server may add to the turns, such as its template and schema. Part of the maximum of a call."""
_HEADERS = ("accept", "accept-encoding", "connection", "content-length", "content-type", "host")
_RETRIED = (408, 409, 429)
MODERATION = ("moderation", "flagged", "content policy", "content_policy", "content filter", "content_filter", "safety")
"""Words by which an endpoint says that it does not answer a text."""
_QUOTA = "insufficient_quota"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
Body = Mapping[str, Any]
"""The JSON body of a request."""
T = TypeVar("T")


class BodyTooLong(Exception):
    """The cause of an error: a body above LONGEST_BODY_BYTES."""


class DeclinedParametersError(ModelError):
    """The endpoint knows no model that can do all that was asked for (404, with such words)."""


class RequestFailed(Exception):
    """This request gets no answer. ``status`` is the HTTP status, if there is one."""

    def __init__(self, reason: str, status: int | None, *, exhausted: bool) -> None:
        super().__init__(reason)
        self.status = status
        self.exhausted = exhausted
        """All retries are used up, so the fault may be the endpoint's and not the row's."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a caller waits, and how often it sends a request again."""

    timeout_seconds: float = 60.0
    """From sending a request to the last byte of its answer."""
    retries: int = 5
    max_wait_seconds: float = 120.0
    """The longest Retry-After that is waited for."""


@dataclass(frozen=True, slots=True)
class Address:
    """The endpoint, the model and the key."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    key_name: str | None = None
    """Name of the environment variable that holds the key. Messages contain this name and never the key."""
    proxy: str | None = None

    @property
    def own_machine(self) -> bool:
        return (urlsplit(self.url).hostname or "") in _LOOPBACK

    @property
    def where(self) -> str:
        """Host and model, for messages."""
        return f"{urlsplit(self.url).netloc} {self.model}"

    def clean(self, text: str) -> str:
        """``text`` from the endpoint with the key removed."""
        return clean(text.replace(self.key, "[key]") if self.key else text)


@dataclass(frozen=True, slots=True)
class Wire:
    """How a request is sent, how its reply is read, and the most tokens in and out that it can use."""

    send: Callable[["openai.AsyncOpenAI", Body], Coroutine[Any, Any, bytes]]
    parse: Callable[[bytes], Reply]
    """Raises MalformedResponse."""
    maximum: Callable[[Body], tuple[int, int]]


@dataclass
class EndpointClient:
    """Sends requests to one address, at most ``concurrency`` at once, from any number of threads."""

    address: Address
    retry_policy: RetryPolicy
    concurrency: int
    price: Price
    budget: Budget
    sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep
    now: Callable[[], float] = time.time
    wire: Wire = field(default_factory=lambda: Wire(_send_chat, parse_reply, _maximum_of_chat))
    _replied: bool = False
    """Some request got a reply."""
    _connection: "_Connection | None" = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def ask(self, bodies: Sequence[Body], retries: int | None = None) -> list[Reply | RequestFailed]:
        """One reply per body, in the same order, or why there is none. Raises ModelError if no request can succeed."""
        with self._lock:
            if self._connection is None:
                self._connection = _Connection.open(self.address, self.retry_policy, self.concurrency)
                loop = self._connection.loop
                weakref.finalize(self, loop.call_soon_threadsafe, loop.stop).atexit = False
        retries = self.retry_policy.retries if retries is None else retries
        return self._connection.run(self._ask_all(self._connection, bodies, retries + 1))

    def pause(self, tries: int) -> None:
        """Wait as after the given number of tries, counted from 0."""
        assert self._connection is not None
        self._connection.run(self.sleep(_backoff(tries)))

    async def _ask_all(self, to: "_Connection", bodies: Sequence[Body], tries: int) -> list[Reply | RequestFailed]:
        """Raises an error only after all requests have ended, so that every paid one is counted."""
        results = await asyncio.gather(*(self._ask(to, body, tries) for body in bodies), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, RequestFailed):
                raise result
        return [result for result in results if isinstance(result, Reply | RequestFailed)]

    async def _ask(self, to: "_Connection", body: Body, tries: int) -> Reply:
        """The reply, after at most ``tries`` requests. Raises RequestFailed or ModelError."""
        async with to.slots:
            tried = 0
            while True:
                result = await self._request(to.client, body)
                tried += 1
                if isinstance(result, Reply):
                    return result
                if result.stop:
                    stop = DeclinedParametersError if result.status == 404 else ModelError
                    raise stop(f"{self.address.where}: {result.stop}")
                if not result.retriable:
                    raise RequestFailed(result.reason, result.status, exhausted=False)
                if tried == tries:
                    raise RequestFailed(f"{result.reason}, {tries} times", result.status, exhausted=True)
                await self.sleep(_backoff(tried - 1) if result.wait_seconds is None else result.wait_seconds)

    async def _request(self, client: "openai.AsyncOpenAI", body: Body) -> "Reply | _Failure":
        """The result of one request, counted in the budget."""
        most = self._maximum(body)
        while (call := self.budget.reserve(most)) is None:
            await asyncio.sleep(0.01)
        result: Reply | _Failure = _Failure("interrupted", may_cost=True)
        try:
            result = await self._send(client, body)
            self._replied |= isinstance(result, Reply)
        finally:
            if isinstance(result, Reply):
                usage = self._usage(*result.usage) if result.usage else None
            else:
                usage = None if result.may_cost else Usage(most.where, 0, 0, 0.0)
            self.budget.settle(call, usage, result.outcome)
        return result

    async def _send(self, client: "openai.AsyncOpenAI", body: Body) -> "Reply | _Failure":
        import httpx2
        import openai

        try:
            async with asyncio.timeout(self.retry_policy.timeout_seconds):
                content = await self.wire.send(client, body)
            return self._parse(content)
        except (TimeoutError, openai.APITimeoutError):
            return _Failure("timeout", f"no answer within {self.retry_policy.timeout_seconds:g} s", may_cost=True)
        except openai.APIStatusError as error:
            return self._status_failure(error)
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            return _connection_failure(error)

    def _parse(self, body: bytes) -> "Reply | _Failure":
        """The key is removed before any text is shortened, so that no part of a key remains."""
        if self.address.key:
            body = body.replace(self.address.key.encode(), b"[key]")
        try:
            reply = self.wire.parse(body)
        except MalformedResponse as error:
            return _Failure("no reply", self.address.clean(str(error)), may_cost=True)
        text = self.address.clean(reply.text)
        return replace(
            reply,
            text=text,
            finish=self.address.clean(reply.finish),
            refusal=self.address.clean(reply.refusal),
            tokens=reply.tokens if text == reply.text else (),
        )

    def _status_failure(self, error: "openai.APIStatusError") -> "_Failure":
        """The meaning of an HTTP status: send again, never for this row, or never at all."""
        status, outcome = error.status_code, f"status {error.status_code}"
        message = self.address.clean(_message(error))[:200]
        words = f": {message}" if message else ""
        if status == 401 or (status == 403 and not self._concerns_this_text(message)):
            key = f"the key in {self.address.key_name}" if self.address.key_name else "a call without a key"
            return _Failure(outcome, stop=f"rejects {key} (status {status}{words}); check the key and api_key_env")
        if status == 402 or (status == 429 and _QUOTA in str(error.body)):
            stop = f"fails for this account (status {status}{words}); correct that and continue with the same command"
            return _Failure(outcome, stop=stop)
        if status == 404:
            stop = f"knows no such path or model (404{words}); check url and model"
            return _Failure(outcome, stop=stop, status=status if "parameter" in words.lower() else None)
        if 300 <= status < 400:
            return _Failure(
                outcome, stop=f"redirects ({status}), and redirects are not followed; put the final address in url"
            )
        reason = outcome + words
        if status not in _RETRIED and status < 500:
            return _Failure(outcome, reason, retriable=False, status=status)
        wait = _retry_after(error.response.headers, self.now())
        if wait is not None and wait > self.retry_policy.max_wait_seconds:
            return _Failure(
                outcome,
                stop=f"asks to wait {wait:.0f} s (Retry-After), more than max_wait_seconds; "
                "continue with the same command later",
            )
        return _Failure(outcome, reason, status=status, wait_seconds=wait)

    def _concerns_this_text(self, message: str) -> bool:
        """A call that is forbidden for its text: other calls got a reply, or the endpoint says so."""
        return self._replied or any(word in message.lower() for word in MODERATION)

    def _maximum(self, body: Body) -> Usage:
        """The most that a request can use."""
        return self._usage(*self.wire.maximum(body))

    def _usage(self, tokens_in: int, tokens_out: int) -> Usage:
        return Usage(self.address.where, tokens_in, tokens_out, self.price.usd(tokens_in, tokens_out))


@dataclass(frozen=True, slots=True)
class _Failure:
    """A request without a reply, and whether to send it again."""

    outcome: str
    """A fixed word of this module, for the budget's file."""
    reason: str = ""
    """A sentence, with the endpoint's message."""
    stop: str = ""
    """Why no request will be answered, and what to do. Empty if only this request fails."""
    retriable: bool = True
    status: int | None = None
    wait_seconds: float | None = None
    may_cost: bool = False
    """The endpoint may have worked on it, so the maximum is counted."""


@dataclass(frozen=True)
class _Connection:
    """The client in an event loop of its own thread, since connections belong to a loop and callers may have others."""

    loop: asyncio.AbstractEventLoop
    client: "openai.AsyncOpenAI"
    slots: asyncio.Semaphore

    @classmethod
    def open(cls, address: Address, retry_policy: RetryPolicy, concurrency: int) -> "_Connection":
        client = _client(address.url, address.key, address.proxy, retry_policy.timeout_seconds)
        loop = asyncio.new_event_loop()
        threading.Thread(target=_run_loop_then_close, args=(loop, client), daemon=True).start()
        return cls(loop, client, asyncio.Semaphore(concurrency))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, run in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()


def _run_loop_then_close(loop: asyncio.AbstractEventLoop, client: "openai.AsyncOpenAI") -> None:
    """The connection's thread. It ends when the EndpointClient is no longer referenced."""
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.run_until_complete(client.close())
    loop.close()


async def _send_chat(client: "openai.AsyncOpenAI", body: Body) -> bytes:
    raw = await client.chat.completions.with_raw_response.create(**body)
    return raw.content


def _maximum_of_chat(body: Body) -> tuple[int, int]:
    """No tokenizer makes more tokens than there are bytes."""
    tokens_in = sum(len(turn["content"].encode()) for turn in body["messages"]) + EXTRA_TOKENS
    return tokens_in, next(int(body[key]) for key in ("max_tokens", "max_completion_tokens") if key in body)


def _backoff(tries: int) -> float:
    return min(FIRST_WAIT_SECONDS * 2.0**tries, LONGEST_WAIT_SECONDS)


def _connection_failure(error: BaseException) -> _Failure:
    """Described by the types of the errors alone, since their texts may hold headers."""
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    if any(isinstance(cause, BodyTooLong) for cause in causes):
        reason = f"the reply is longer than {LONGEST_BODY_BYTES >> 20} MiB"
        return _Failure("too long", reason, retriable=False, may_cost=True)
    return _Failure("no connection", f"the connection failed ({type(causes[:2][-1]).__name__})")


def _message(error: "openai.APIStatusError") -> str:
    """The endpoint's message in {"error": {"message": ...}}; the client has removed the outer table."""
    body = error.body
    message = body.get("message") or body.get("detail") if isinstance(body, dict) else None
    return message if isinstance(message, str) else ""


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds, from a number or a date; None if there is no valid one."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return seconds if seconds >= 0 else None


def _client(url: str, key: str | None, proxy: str | None, timeout_seconds: float) -> "openai.AsyncOpenAI":
    """A client for ``url`` alone. Raises ModelError if the openai package is not installed."""
    try:
        import httpx2
        import openai
    except ImportError:
        raise ModelError("endpoints need the openai client: pip install 'bedside[api]'") from None

    timeout = httpx2.Timeout(timeout_seconds)
    http = httpx2.AsyncClient(
        transport=_transport(url, key, proxy), timeout=timeout, follow_redirects=False, trust_env=False
    )
    return openai.AsyncOpenAI(api_key=key or "none", base_url=url, max_retries=0, timeout=timeout, http_client=http)


def _transport(url: str, key: str | None, proxy: str | None) -> "httpx2.AsyncBaseTransport":
    import httpx2

    inner = httpx2.AsyncHTTPTransport(trust_env=False, proxy=proxy)
    host = httpx2.URL(url).host
    names = _HEADERS if key is None else (*_HEADERS, "authorization")

    class SingleHost(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: "httpx2.Request") -> "httpx2.Response":
            if request.url.host != host:
                raise httpx2.UnsupportedProtocol(f"{request.url.host} is not the host of the config")
            headers = {name: value for name, value in request.headers.items() if name.lower() in names}
            headers |= {"accept-encoding": "identity", "user-agent": "bedside"}
            response = await inner.handle_async_request(
                httpx2.Request(
                    request.method,
                    request.url,
                    headers=headers,
                    stream=request.stream,
                    extensions=dict(request.extensions),
                )
            )
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                await response.aclose()
                raise httpx2.DecodingError("a compressed body, which was not requested")
            response.stream = BoundedStream(cast("httpx2.AsyncByteStream", response.stream))
            return response

        async def aclose(self) -> None:
            await inner.aclose()

    class BoundedStream(httpx2.AsyncByteStream):
        def __init__(self, stream: "httpx2.AsyncByteStream") -> None:
            self.stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            length = 0
            async for chunk in self.stream:
                length += len(chunk)
                if length > LONGEST_BODY_BYTES:
                    raise httpx2.ReadError(f"more than {LONGEST_BODY_BYTES >> 20} MiB") from BodyTooLong()
                yield chunk

        async def aclose(self) -> None:
            await self.stream.aclose()

    return SingleHost()
