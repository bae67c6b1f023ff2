"""The style and the script of the pages: files of the package, served as they are."""

from functools import cache

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bedside.config import rendering

_TYPES = {".css": "text/css", ".js": "text/javascript"}


@cache
def text(name: str) -> str:
    """The style: that of the reports, with what only pages of a server have. Or a script."""
    names = ("report.css", "web.css") if name == "style.css" else (name,)
    return "\n".join(rendering.source(part) for part in names)


def _route(name: str) -> Route:
    async def file(request: Request) -> Response:
        return Response(text(name), media_type=_TYPES[name[name.rindex(".") :]])

    return Route(f"/{name}", file)


async def _no_icon(request: Request) -> Response:
    """Browsers ask for it by themselves."""
    return Response(status_code=204)


ROUTES = [_route("style.css"), _route("web.js"), Route("/favicon.ico", _no_icon)]
