"""The door of pages that other machines reach: a key is typed once, then a signed cookie opens them.

Only the style is shown to who has not typed it. The key stands in no address, so in no log and no history.
"""

from dataclasses import dataclass
from hmac import compare_digest

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bedside.report.page import render_page
from bedside.web import guard

COOKIE, SESSION_SECONDS = "bedside", 12 * 3600
OPEN_TO_ALL = ("/style.css", "/web.js")
_OPEN = "open"


@dataclass(frozen=True)
class Entrance:
    """``app`` for who has typed ``key``."""

    app: ASGIApp
    key: str
    title: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if request.url.path in OPEN_TO_ALL or self._has_cookie(request):
            await self.app(scope, receive, send)
        elif request.url.path == "/enter":
            await (await self._enter(request))(scope, receive, send)
        else:
            await RedirectResponse("/enter", 303)(scope, receive, send)

    async def _enter(self, request: Request) -> Response:
        sent = await guard.form(request) if request.method == "POST" else {}
        signer = guard.FormSigner(self.key)
        if signer.signed(sent.get("token", ""), "enter") and compare_digest(
            sent.get("key", "").encode(), self.key.encode()
        ):
            entered = RedirectResponse("/", 303)
            cookie = str(self._signer.dumps(_OPEN))
            entered.set_cookie(COOKIE, cookie, max_age=SESSION_SECONDS, httponly=True, samesite="strict")
            return entered
        page = render_page("web_enter.html", title=self.title, token=signer.token("enter"), wrong=bool(sent))
        return HTMLResponse(page, 403 if sent else 200)

    def _has_cookie(self, request: Request) -> bool:
        try:
            return bool(self._signer.loads(request.cookies.get(COOKIE, ""), max_age=SESSION_SECONDS) == _OPEN)
        except BadSignature:
            return False

    @property
    def _signer(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self.key, salt="session")
