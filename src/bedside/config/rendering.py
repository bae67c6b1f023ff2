"""Jinja templates of the package: judge questions, steering instructions, the report.

Text from patients and models is not trusted. It is a value of a template and never a template itself. In a judge's
question it stands between fences, <<<NAME ... NAME>>>, that it cannot close. In HTML it is escaped.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape

_ENVIRONMENT = Environment(
    loader=PackageLoader("bedside.config", "templates"),
    autoescape=select_autoescape(enabled_extensions=("html",), default_for_string=False),
    undefined=StrictUndefined,
    trim_blocks=False,
    keep_trailing_newline=False,
)


def render(name: str, **values: Any) -> str:
    """Template ``name`` of ``config/templates`` with ``values`` filled in. A missing value is an error."""
    return _ENVIRONMENT.get_template(name).render(**values)


def render_text(source: str, **values: Any) -> str:
    """The template text ``source``, for example one of the user's, with ``values`` filled in."""
    return _compiled(source).render(**values)


@lru_cache(maxsize=32)
def _compiled(source: str) -> Template:
    """Cached, because a judge renders one template thousands of times."""
    return _ENVIRONMENT.from_string(source)


def source(name: str, own: str | None = None) -> str:
    """The text of a template, or of the user's ``own`` file. Cache keys of results include it."""
    return (Path(own) if own else path(name)).read_text(encoding="utf-8")


def path(name: str) -> Path:
    """The path of template ``name``."""
    return Path(__file__).parent / "templates" / name


def fenced(text: str) -> str:
    """``text`` with every run of three or more < or > replaced by "...", so that it cannot open or close a fence."""
    return re.sub(r"<{3,}|>{3,}", "...", text)
