"""The style and the scripts of the pages: files of the package."""

from functools import cache

from bedside.config import rendering


@cache
def text(name: str) -> str:
    """A script; or the style, which is that of the reports with what only these pages have."""
    names = ("report.css", "web.css") if name == "style.css" else (name,)
    return "\n".join(rendering.source(part) for part in names)
