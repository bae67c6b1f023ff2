"""What every server has beside its pages: the style and the script, served as they are."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bedside.web import assets

_TYPES = {".css": "text/css", ".js": "text/javascript"}


def _route(name: str) -> Route:
    async def file(request: Request) -> Response:
        return Response(assets.text(name), media_type=_TYPES[name[name.rindex(".") :]])

    return Route(f"/{name}", file)


async def _no_icon(request: Request) -> Response:
    """Browsers ask for it by themselves."""
    return Response(status_code=204)


ROUTES = [_route("style.css"), _route("web.js"), Route("/favicon.ico", _no_icon)]
