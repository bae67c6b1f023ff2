"""What stands around every page: only the right host, only small requests, headers that forbid everything else.

Host                     only the address that the server was started for: a page of another site that has its name
                         point here (DNS rebinding) reads nothing
Content-Security-Policy  our own style and script file; no inline script, no frame, no other address
forms                    each carries a signed token (``FormSigner``), and its request a body of at most 256 KiB
"""

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import parse_qsl

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
MOST_BYTES = 256 * 1024
FORM_SECONDS = 12 * 3600
"""A page that stood open for longer is loaded anew before its form is taken."""


@dataclass(frozen=True)
class Guard:
    """The application with what stands around it."""

    app: ASGIApp
    hosts: Collection[str]
    """Values of the Host header that are served, with their port."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = self._refusal(Headers(scope=scope))

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await (refusal or self.app)(scope, receive, send_guarded)

    def _refusal(self, headers: Headers) -> PlainTextResponse | None:
        if headers.get("host", "").lower() not in self.hosts:
            return PlainTextResponse("This server answers only at the address that it printed.\n", 421)
        size = headers.get("content-length", "0")
        if not size.isdigit() or int(size) > MOST_BYTES or "transfer-encoding" in headers:
            return PlainTextResponse("This is too large for a form.\n", 413)
        return None


class FormSigner:
    """Signs the forms of one server: a form of another site, of another person or for another item is not taken."""

    def __init__(self, key: str) -> None:
        self._signer = URLSafeTimedSerializer(key, salt="form")

    def token(self, *about: str) -> str:
        return str(self._signer.dumps(about))

    def signed(self, token: str, *about: str) -> bool:
        """Whether ``token`` was given out for ``about``, not too long ago."""
        try:
            return bool(self._signer.loads(token, max_age=FORM_SECONDS) == list(about))
        except BadSignature:
            return False


async def form(request: Request) -> dict[str, str]:
    """The fields of a posted form, each once: the last of a name counts."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            return {}
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=200))
