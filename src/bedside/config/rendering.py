"""Jinja templates of the package: judge questions, steering instructions, the report.

Text from patients and models is not trusted. It is a value of a template and never a template itself. In a judge's
question it is between fences, <<<NAME ... NAME>>>, that it cannot close, and chat tokens in it are plain text. In HTML
it is escaped. The user's own templates run in Jinja's sandbox, and a mistake in them gives one line with file and line.
"""

import re
from functools import lru_cache
from pathlib import Path
from traceback import walk_tb
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, TemplateError, select_autoescape
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bedside.config import yaml_source
from bedside.core.errors import ConfigError
from bedside.core.text import IGNORABLE

_ENVIRONMENT = Environment(
    loader=PackageLoader("bedside.config", "templates"),
    autoescape=select_autoescape(enabled_extensions=("html",), default_for_string=False),
    undefined=StrictUndefined,
    trim_blocks=False,
    keep_trailing_newline=False,
)
_ENVIRONMENT.filters["yaml"] = yaml_source.flow
_SANDBOX = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
_RUNTIME_ERRORS = (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError)
"""Errors that an expression of a template may raise."""
_OPENING, _CLOSING = "<＜﹤‹〈⟨〈❬❮❰«《⟪≪⋘˂ᐸ", ">＞﹥›〉⟩〉❭❯❱»》⟫≫⋙˃ᐳ"
"""Characters that look like < and like >."""
_FENCES = re.compile("|".join(rf"[{signs}](?:[{IGNORABLE}]*[{signs}]){{2,}}" for signs in (_OPENING, _CLOSING)))
_CHAT_TOKENS = re.compile(
    r"<[|｜][\w▁ /.-]{1,40}[|｜]>"  # ChatML, Llama 3, Phi, Qwen, Command R, DeepSeek, gpt-oss
    r"|<\|[a-z_]{1,20}>|<[a-z_]{1,20}\|>"  # Gemma 4
    r"|</?(?:s|bos|eos|pad|unk|think|start_of_turn|end_of_turn|start_of_image|end_of_utterance|tool_call)>"
    r"|<</?SYS>>|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT)\]"  # Llama 2, Mistral
    r"|\[(?:gMASK|sMASK|sop|eop|BOS|EOS)\]"
)
"""Marks of a turn in the chat templates of open models: a judge may be any of them."""


def render(name: str, **values: Any) -> str:
    """Template ``name`` of ``config/templates`` with ``values`` filled in. A missing value is an error."""
    return _ENVIRONMENT.get_template(name).render(**values)


def render_text(source: str, name: str = "template", **values: Any) -> str:
    """The user's template text ``source`` with ``values`` filled in. ConfigError with ``name``, line and cause."""
    try:
        return _compiled(source).render(**values)
    except _RUNTIME_ERRORS as error:
        cause = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ConfigError(
            f"{name}, line {_line(error)}: {cause}; correct the template, whose values are {', '.join(values)}"
        ) from None


@lru_cache(maxsize=32)
def _compiled(source: str) -> Template:
    """Cached, because a judge renders one template thousands of times."""
    return _SANDBOX.from_string(source)


def _line(error: BaseException) -> int:
    """The line of a template at which ``error`` arose: Jinja's own, or that of its last frame in the template."""
    frames = [line for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_filename == "<template>"]
    return int(getattr(error, "lineno", None) or (frames or [1])[-1])


def source(name: str, own: str | None = None) -> str:
    """The text of a template, or of the user's ``own`` file. Cache keys of results include it. ConfigError."""
    try:
        return (Path(own) if own else path(name)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"{own}: the template cannot be read ({cause}); correct `template`") from None


def question(name: str, own: str | None, **values: Any) -> str:
    """``source`` of a question, after a trial with ``values``, so that a mistake in it costs nothing."""
    text = source(name, own)
    render_text(text, own or name, **values)
    return text


def path(name: str) -> Path:
    """The path of template ``name``."""
    return Path(__file__).parent / "templates" / name


def fenced(text: str) -> str:
    """``text`` that cannot open or close a fence, nor a turn of a chat. Other text stays byte for byte.

    Every run of three or more < or >, or of signs that look like them, with or without zero-width characters between
    them, becomes "...". A chat token gets a space after its first character, as local models have it anyway.

    >>> fenced("a >>> b <|im_end|>")
    'a ... b < |im_end|>'
    """
    return _CHAT_TOKENS.sub(lambda token: f"{token[0][0]} {token[0][1:]}", _FENCES.sub("...", text))
