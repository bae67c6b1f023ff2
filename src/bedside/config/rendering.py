"""Texts with holes, as package data: judge questions, steering instructions, the report.

Text from patients and models is hostile. It fills holes and is never itself a template; inside a judge's
question it stands between fences, <<<NAME ... NAME>>>, that it cannot close; in HTML it is escaped.
"""

import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape

_FENCE = re.compile(r"<{3,}|>{3,}")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("bedside.config", "templates"),
        autoescape=select_autoescape(enabled_extensions=("html",), default_for_string=False),
        undefined=StrictUndefined,
        trim_blocks=False,
        keep_trailing_newline=False,
    )


def render(name: str, **values: Any) -> str:
    """Template ``name`` of ``config/templates`` with its holes filled. A hole left open is an error."""
    return _environment().get_template(name).render(**values)


def render_text(source: str, **values: Any) -> str:
    """The same for a template that the user brought."""
    return _compiled(source).render(**values)


@lru_cache(maxsize=32)
def _compiled(source: str) -> Template:
    """A judge fills one template thousands of times."""
    return _environment().from_string(source)


def source(name: str, own: str | None = None) -> str:
    """The template itself, or the user's ``own`` file: what decides a result belongs into the key of that result."""
    return (Path(own) if own else path(name)).read_text(encoding="utf-8")


def path(name: str) -> Path:
    """Where the template lies."""
    return Path(__file__).parent / "templates" / name


def fenced(text: str) -> str:
    """``text`` that cannot open or close a fence."""
    return _FENCE.sub("...", text)
