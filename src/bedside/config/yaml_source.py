"""Reads YAML into plain tables with the line of each value, and writes tables as YAML with a comment at each value.

PyYAML's safe loader reads the text. Two things that it accepts are refused here: a key that occurs twice in a table (it
would keep the last one) and a value that contains itself. A path is dotted, ``align.train.0.beta``; a list of plain
values is one value and has one path.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from bedside.config import validation_messages
from bedside.core.errors import ConfigError


def read(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The table in the file at ``path``, and the line number of each value by its path. ConfigError with the line."""
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path.name}, line {line}: is not UTF-8; save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); `bedside init` writes one") from None
    node, table = _parse_document(text, path.name)
    if node is None:
        raise ConfigError(f"{path.name}: is empty; `bedside init` writes one to start from")
    if not isinstance(table, dict):
        raise ConfigError(f"{path.name}: is {validation_messages.short(table)}; a config is a table (`target: …`)")
    return table, dict(_line_numbers(node))


def parse(text: str, name: str) -> Any:
    """The value of the YAML ``text``, with every key as text. ConfigError with ``name``, line and column."""
    return _parse_document(text, name)[1]


def leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of every leaf: a plain value, an empty table, or a list of plain values."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, join(at, key))
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        for index, item in enumerate(value):
            yield from leaves(item, join(at, index))
    else:
        yield at, value


def lines(value: Any, comment: Callable[[str], str], at: str = "", indent: str = "") -> Iterator[str]:
    """The YAML lines of a table, or of a list of tables. ``comment`` gives the comment for a path."""
    is_table = isinstance(value, dict)
    for key, item in value.items() if is_table else enumerate(value):
        here = join(at, key)
        head = f"{indent}{_scalar(key)}:" if is_table else f"{indent}-"
        if next(leaves(item, here)) == (here, item):
            yield f"{head} {_scalar(item)}  # {comment(here)}"
        elif is_table:
            yield head
            yield from lines(item, comment, here, indent + "  ")
        else:
            first, *rest = lines(item, comment, here, indent + "  ")
            yield from (f"{head} {first.strip()}", *rest)


def join(at: str, key: object) -> str:
    """The path of ``key`` in the table at path ``at``."""
    return f"{at}.{key}" if at else str(key)


def _parse_document(text: str, name: str) -> tuple[yaml.Node | None, Any]:
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        duplicates = list(_duplicate_keys(node, ()))
        table = loader.construct_document(node) if node and not duplicates else None
    except (yaml.YAMLError, ValueError) as error:
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        cure = (
            "indent with spaces, not tabs"
            if "'\\t'" in str(problem)
            else "look at indentation, colons and brackets, and quote text that holds ': ' or ' #'"
        )
        raise ConfigError(f"{name}{_where(error)}: is not YAML: {' '.join(str(problem).split())}; {cure}") from None
    if duplicates:
        raise ConfigError("\n".join(f"{name}, {line}" for line in duplicates))
    return node, _text_keys(table)


def _duplicate_keys(node: yaml.Node | None, inside: tuple[yaml.Node, ...]) -> Iterator[str]:
    """A message for each key that occurs twice in its table. YAMLError if a value contains itself."""
    if node in inside:
        raise yaml.MarkedYAMLError(problem="a value contains itself", problem_mark=inside[-1].start_mark)
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            line, text = key.start_mark.line + 1, str(key.value)
            if first.setdefault(text, line) != line and text != "<<":
                yield f"line {line}: {text!r} is already on line {first[text]}; keep one of the two"
            yield from _duplicate_keys(value, (*inside, node))
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _duplicate_keys(item, (*inside, node))


def _line_numbers(node: yaml.Node, at: str = "") -> Iterator[tuple[str, int]]:
    """Path and line of every leaf below ``node``, with the paths of ``leaves``."""
    if isinstance(node, yaml.MappingNode) and node.value:
        for key, value in node.value:
            yield from _line_numbers(value, join(at, str(key.value)))
    elif isinstance(node, yaml.SequenceNode) and any(isinstance(n, yaml.CollectionNode) for n in node.value):
        for index, item in enumerate(node.value):
            yield from _line_numbers(item, join(at, index))
    else:
        yield at, node.start_mark.line + 1


_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9 _./@<>=-]*[A-Za-z0-9]")
"""Text that needs no quotes inside brackets. PyYAML leaves more text unquoted than it reads back."""


def _scalar(value: Any) -> str:
    """A value, or a list of values, on one line of YAML."""
    if isinstance(value, list):
        return f"[{', '.join(_scalar(item) for item in value)}]"
    written = yaml.safe_dump(
        value,
        default_style='"' if isinstance(value, str) and not _PLAIN.fullmatch(value) else None,
        default_flow_style=True,
        width=float("inf"),
        allow_unicode=True,
    )
    return str(written).removesuffix("\n").removesuffix("\n...")


def _text_keys(value: Any) -> Any:
    """``value`` with every key as text: YAML reads ``1:`` and ``yes:`` as a number and a boolean."""
    if isinstance(value, dict):
        return {str(key): _text_keys(item) for key, item in value.items()}
    return [_text_keys(item) for item in value] if isinstance(value, list) else value


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
