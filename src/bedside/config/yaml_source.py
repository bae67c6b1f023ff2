"""Reads YAML into plain tables with the line of each value, and writes tables as YAML with a comment at each value.

PyYAML's safe loader reads the text. Some things that it accepts are refused here: a key that occurs twice in a table
(it would keep the last one), a value that contains itself, more values or levels than a config has, numbers of more
than 64 bits, control characters, and every tag but those of plain values. A date is text. A path is dotted,
``align.train.0.beta``; a list of plain values is one value and has one path.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from bedside.config import validation_messages
from bedside.core.errors import ConfigError

DEEPEST, MOST_VALUES = 40, 20_000
"""How deep a config may be nested, and how many values it may have once every alias is written out."""
LARGEST = 2**63 - 1
_YAML = "tag:yaml.org,2002:"
_TAGS = {_YAML + kind for kind in ("map", "seq", "str", "int", "float", "bool", "null", "merge")}
"""A date is text, and so is what is written in any other type of YAML's."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


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


def flow(value: Any) -> str:
    """A value, list or table on one line of YAML; ``read`` reads it back equal.

    >>> flow({"prompt": "what: they ask", "harm": "Risk"})
    '{prompt: "what: they ask", harm: Risk}'
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(str(key))}: {flow(item)}" for key, item in value.items()) + "}"
    return f"[{', '.join(flow(item) for item in value)}]" if isinstance(value, list) else _scalar(value)


def join(at: str, key: object) -> str:
    """The path of ``key`` in the table at path ``at``."""
    return f"{at}.{key}" if at else str(key)


def _parse_document(text: str, name: str) -> tuple[yaml.Node | None, Any]:
    try:
        loader = _ConfigLoader(text)
        node = loader.get_single_node()
        duplicates = list(_duplicate_keys(node, (), itertools.count(1)))
        table = loader.construct_document(node) if node and not duplicates else None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{name}, line {line}: holds the control character U+{error.character:04X}; remove it"
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        problem = getattr(error, "problem", None) or error
        cure = (
            "indent with spaces, not tabs"
            if "'\\t'" in str(problem)
            else "look at indentation, colons and brackets, and quote text that holds ': ' or ' #'"
        )
        cure = getattr(error, "note", None) or cure
        raise ConfigError(f"{name}{_where(error)}: is not YAML: {' '.join(str(problem).split())}; {cure}") from None
    if duplicates:
        raise ConfigError("\n".join(f"{name}, {line}" for line in duplicates))
    return node, _text_keys(table)


class _ConfigLoader(yaml.SafeLoader):
    """YAML as far as a config needs it: tables, lists, text, numbers, true, false and null, nested ``DEEPEST`` deep."""

    yaml_implicit_resolvers = {  # noqa: RUF012, an instance variable in PyYAML's types
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _TAGS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > DEEPEST:
            here: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise _mistake(f"this is nested more than {DEEPEST} deep", here, "a config is a few tables")
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is not None:
            _check_plain(node)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError):  # what PyYAML lets through for a value that its tag is not of
            kind, shown = node.tag.removeprefix(_YAML), validation_messages.short(node.value)
            raise _mistake(f"{shown} cannot be read as {kind}", node, "correct it") from None
        if isinstance(value, int) and abs(value) > LARGEST:
            raise _mistake(
                f"{validation_messages.short(value)} is too large a number", node, f"{LARGEST} is the largest"
            )
        return value


def _check_plain(node: yaml.Node) -> None:
    """MarkedYAMLError for a tag that no config needs, and for text with a character that no file may hold."""
    if node.tag not in _TAGS:
        tag = node.tag.replace(_YAML, "!!")
        raise _mistake(f"{validation_messages.short(tag)} is no tag of a config", node, "write a plain value")
    if isinstance(node, yaml.ScalarNode) and (strange := _CONTROL.search(node.value)):
        raise _mistake(f"the text holds the control character U+{ord(strange[0]):04X}", node, "remove it")


def _mistake(problem: str, at: Any, cure: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark, note=cure)


def _duplicate_keys(node: yaml.Node | None, inside: tuple[yaml.Node, ...], visits: Iterator[int]) -> Iterator[str]:
    """A message for each key that occurs twice in its table.

    YAMLError if a value contains itself, or if aliases make the document larger than ``MOST_VALUES``.
    """
    if node in inside:
        raise yaml.MarkedYAMLError(problem="a value contains itself", problem_mark=inside[-1].start_mark)
    if next(visits) > MOST_VALUES:
        raise _mistake(f"there are more than {MOST_VALUES} values, with all aliases", inside[0], "write fewer")
    if isinstance(node, yaml.MappingNode):
        first: dict[str, yaml.Node] = {}
        for key, value in node.value:
            text = str(key.value)
            if first.setdefault(text, key) is not key and text != "<<":
                line, earlier = key.start_mark.line + 1, first[text].start_mark.line + 1
                yield f"line {line}: {text!r} is already on line {earlier}; keep one of the two"
            yield from _duplicate_keys(value, (*inside, node), visits)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _duplicate_keys(item, (*inside, node), visits)


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
