"""The ``openai`` client on a transport that knows one host, and tells it what a call needs and no more.

No redirect is followed; no proxy, key, organisation or password file of the environment is used; headers that say
what machine this is are taken off; a body is read up to a limit, and never unpacked: a small one may hold a huge one.

One call to an OpenAI-compatible endpoint, asked until it is answered or known not to be.

    retried       408, 409, 429, 5xx, no connection, no answer in time, a body that is no reply: ``retries`` times
    waits         as long as Retry-After says; without it 0.5 s, 1 s, 2 s ... at most 8 s
    Unanswered    this call will not be answered (400, 413, 422; retries used up): a fact about a row
    ModelError    nothing here will be (401, 403, 404, a redirect, Retry-After above the limit): stop

The client is the ``openai`` package's, its own retries off, on the transport of ``onehost``. A key is never part of
what is said, and is cut out of what is heard.
"""

import asyncio
import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from bedside.core.errors import ModelError
from bedside.models import openai_parsing
from bedside.models.budget import Bill, Price, Purse

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


FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 8.0
EXTRA_TOKENS = 256
"""What a server may put around the turns: its template, its schema. Part of the most that a call may take."""
_RETRIED = (408, 409, 429)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
Body = Mapping[str, Any]
"""Of one request, as the endpoint gets it."""


class Unanswered(Exception):
    """This call gets no answer. ``status`` is the HTTP status, where there was one."""

    def __init__(self, reason: str, status: int | None, *, exhausted: bool) -> None:
        super().__init__(reason)
        self.status = status
        self.exhausted = exhausted
        """It was asked again and again: perhaps it is not the row that is at fault, but the endpoint."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How patient a caller is."""

    timeout_seconds: float = 60.0
    """From sending a request to the last byte of its answer."""
    retries: int = 5
    max_wait_seconds: float = 120.0
    """The longest Retry-After that is waited for."""


@dataclass(frozen=True, slots=True)
class Address:
    """Whom to call, and with what key."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    key_name: str | None = None
    """Name of the environment variable that holds the key: all that is ever said of it."""
    proxy: str | None = None

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def own_machine(self) -> bool:
        return self.host in _LOOPBACK

    @property
    def where(self) -> str:
        """What a person calls it: host and model."""
        return f"{urlsplit(self.url).netloc} {self.model}"

    def clean(self, text: str) -> str:
        """``text`` of the endpoint's, without the key, should it say it."""
        return openai_parsing.clean(text.replace(self.key, "[key]") if self.key else text)


@dataclass
class Line:
    """Calls to one address: ``concurrency`` at once, from any number of threads."""

    address: Address
    manners: Manners
    concurrency: int
    price: Price
    purse: Purse
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    now: Callable[[], float] = time.time
    _open: "_Open | None" = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def ask(self, bodies: Sequence[Body], retries: int | None = None) -> list[openai_parsing.Reply | Unanswered]:
        """One reply a body, in the same order, or why there is none. ModelError where the endpoint is of no use."""
        with self._lock:
            if self._open is None:
                self._open = _Open.on(self.address, self.manners, self.concurrency)
                weakref.finalize(self, self._open.loop.call_soon_threadsafe, self._open.loop.stop).atexit = False
        tries = (self.manners.retries if retries is None else retries) + 1
        return asyncio.run_coroutine_threadsafe(self._all(self._open, bodies, tries), self._open.loop).result()

    def pause(self, tried: int) -> None:
        """Wait as before the next of several tries."""
        assert self._open is not None
        asyncio.run_coroutine_threadsafe(_slept(self.sleep(_backoff(tried))), self._open.loop).result()

    async def _all(self, to: "_Open", bodies: Sequence[Body], tries: int) -> list[openai_parsing.Reply | Unanswered]:
        """All of them end before an error is told: what was paid for is counted."""
        made = await asyncio.gather(*(self._answered(to, body, tries) for body in bodies), return_exceptions=True)
        for one in made:
            if isinstance(one, BaseException) and not isinstance(one, Unanswered):
                raise one
        return [one for one in made if isinstance(one, openai_parsing.Reply | Unanswered)]

    async def _answered(self, to: "_Open", body: Body, tries: int) -> openai_parsing.Reply:
        """Asked until answered. Raises Unanswered or ModelError."""
        async with to.free:
            tried = 0
            while True:
                told = await self._once(to.client, body)
                tried += 1
                if isinstance(told, openai_parsing.Reply):
                    return told
                if told.stop:
                    raise ModelError(f"{self.address.where}: {told.stop}")
                if not told.again:
                    raise Unanswered(told.reason, told.status, exhausted=False)
                if tried == tries:
                    raise Unanswered(f"{told.reason}, {tries} times", told.status, exhausted=True)
                await self.sleep(_backoff(tried - 1) if told.wait is None else told.wait)

    async def _once(self, client: "openai.AsyncOpenAI", body: Body) -> "openai_parsing.Reply | _Failure":
        """One request, on the account."""
        most = self._most(body)
        while not self.purse.take(most):
            await asyncio.sleep(0.01)
        told: openai_parsing.Reply | _Failure | None = None
        try:
            told = await self._sent(client, body)
        finally:
            if isinstance(told, openai_parsing.Reply):
                self.purse.settle(most, self._bill(told.usage) if told.usage else None, told.outcome)
            elif told is None:
                self.purse.settle(most, None, "interrupted")
            else:
                self.purse.settle(most, None if told.may_cost else Bill(most.at, 0, 0, 0.0), told.kind)
        return told

    async def _sent(self, client: "openai.AsyncOpenAI", body: Body) -> "openai_parsing.Reply | _Failure":
        import httpx2
        import openai

        try:
            async with asyncio.timeout(self.manners.timeout_seconds):
                raw = await client.chat.completions.with_raw_response.create(**body)
            return self._read(raw.content)
        except (TimeoutError, openai.APITimeoutError):
            return _Failure("timeout", f"no answer within {self.manners.timeout_seconds:g} s", may_cost=True)
        except openai.APIStatusError as error:
            return self._status(error)
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            return _broken(error)

    def _read(self, body: bytes) -> "openai_parsing.Reply | _Failure":
        """The key is cut out before anything is cut short: half a key is a key to somebody."""
        if self.address.key:
            body = body.replace(self.address.key.encode(), b"[key]")
        try:
            reply = openai_parsing.read(body)
        except openai_parsing.Garbled as garbled:
            return _Failure("no reply", self.address.clean(str(garbled)), may_cost=True)
        text, refusal = self.address.clean(reply.text), self.address.clean(reply.refusal)
        tokens = reply.tokens if text == reply.text else ()
        return openai_parsing.Reply(text, self.address.clean(reply.finish), refusal, tokens, reply.usage)

    def _status(self, error: "openai.APIStatusError") -> "_Failure":
        """What an HTTP status means: again, never for this row, or never at all."""
        status, kind = error.status_code, f"status {error.status_code}"
        if status in (401, 403):
            key = f"the key in {self.address.key_name}" if self.address.key_name else "a call without a key"
            return _Failure(kind, stop=f"turns {key} away (status {status}); check the key and api_key_env")
        if status == 404:
            return _Failure(kind, stop="knows no such path or model (404); check url and model")
        if 300 <= status < 400:
            return _Failure(
                kind, stop=f"sends us elsewhere ({status}), where we do not go; put the final address in url"
            )
        said = self.address.clean(_message(error))[:200]
        reason = kind + (f": {said}" if said else "")
        if status not in _RETRIED and status < 500:
            return _Failure(kind, reason, again=False, status=status)
        wait = _retry_after(error.response.headers, self.now())
        if wait is not None and wait > self.manners.max_wait_seconds:
            told = f"asks to wait {wait:.0f} s (Retry-After), more than max_wait_seconds"
            return _Failure(kind, stop=f"{told}; continue with the same command later")
        return _Failure(kind, reason, status=status, wait=wait)

    def _most(self, body: Body) -> Bill:
        """No tokenizer makes more tokens than there are bytes."""
        told = sum(len(turn["content"].encode()) for turn in body["messages"]) + EXTRA_TOKENS
        out = next(int(body[key]) for key in ("max_tokens", "max_completion_tokens") if key in body)
        return self._bill((told, out))

    def _bill(self, usage: tuple[int, int]) -> Bill:
        return Bill(self.address.where, *usage, self.price.usd(*usage))


@dataclass(frozen=True, slots=True)
class _Failure:
    """A request that got no reply, and whether to send it again."""

    kind: str
    """In a word of ours."""
    reason: str = ""
    """With what the endpoint said."""
    stop: str = ""
    """Nothing here will be answered: why, and what to do. Empty where it is this call alone."""
    again: bool = True
    status: int | None = None
    wait: float | None = None
    may_cost: bool = False
    """The endpoint may have worked for it: counted at the most."""


@dataclass(frozen=True)
class _Open:
    """The client, in an event loop of a thread of its own: connections live there, and callers may have loops too."""

    loop: asyncio.AbstractEventLoop
    client: "openai.AsyncOpenAI"
    free: asyncio.Semaphore

    @classmethod
    def on(cls, address: Address, manners: Manners, concurrency: int) -> "_Open":
        made = cls(
            asyncio.new_event_loop(),
            client(address.url, address.key, address.proxy, manners.timeout_seconds),
            asyncio.Semaphore(concurrency),
        )
        threading.Thread(target=_run, args=(made.loop, made.client), daemon=True).start()
        return made


def _run(loop: asyncio.AbstractEventLoop, client: "openai.AsyncOpenAI") -> None:
    """Life of a line's thread: until nobody holds the line any more."""
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.run_until_complete(client.close())
    loop.close()


async def _slept(sleep: Awaitable[None]) -> None:
    await sleep


def _backoff(tried: int) -> float:
    return min(FIRST_WAIT_SECONDS * 2.0**tried, LONGEST_WAIT_SECONDS)


def _broken(error: BaseException) -> _Failure:
    """What became of the connection: by the kinds of the errors alone, whose texts may hold headers."""
    kinds: list[str] = []
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, TooLong):
            reason = f"the reply is longer than {LONGEST_BODY_BYTES >> 20} MiB"
            return _Failure("too long", reason, again=False, may_cost=True)
        kinds.append(type(at).__name__)
        at = at.__cause__
    return _Failure("no connection", f"the connection failed ({kinds[min(1, len(kinds) - 1)]})")


def _message(error: "openai.APIStatusError") -> str:
    """What the endpoint says of its error: {"error": {"message": ...}} without the outer table."""
    body = error.body
    told = body.get("message") or body.get("detail") if isinstance(body, dict) else None
    return told if isinstance(told, str) else ""


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds, from a number or a date; None where there is none that makes sense."""
    told = headers.get("retry-after", "").strip()
    try:
        seconds = float(told)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(told).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return seconds if seconds >= 0 else None
