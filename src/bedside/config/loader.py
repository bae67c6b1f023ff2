"""Loads a config from a YAML file and ``--set``, checks it, and remembers where each value comes from.

    loaded = load(Config, Path("bedside.yaml"), ["align.cycles=3"])
    loaded.config.align.cycles            3
    loaded.origins["align.cycles"]        "--set"
    dump(loaded)                          YAML with the origin of each value in a comment

``--set a.b=c`` overrides the file. c is YAML, and a number in the path is an index of a list, from 0. All mistakes are
reported at once, one line each:

    bedside.yaml: align.cycels: no such key; did you mean 'cycles'?
    --set: align.alpha: is 6; should be at most 1

A key that ends in ``_env`` holds the NAME of an environment variable. Any other value there may be a secret: it is
refused and never shown.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel, ValidationError

from bedside.config import renamed, shared_source, validation_messages, yaml_source
from bedside.config.plugins import Table
from bedside.core.errors import ConfigError

SET = "--set"
DEFAULT = "default"
_SHOWN_CHARACTERS = 80

T = TypeVar("T", bound=Table)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """A checked config, and the origin of each of its values."""

    config: T
    origins: Mapping[str, str]
    """Path of a value to ``default``, ``bedside.yaml:12`` or ``--set``. A list of plain values is one value."""


def load(
    schema: type[T],
    path: Path | None,
    sets: Sequence[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> Loaded[T]:
    """The config from ``defaults``, overridden by the file at ``path``, then by ``sets``.

    ConfigError with one line for every mistake.
    """
    source = _Source(path.name if path else "config", _merged(defaults or {}, {}), {})
    if path:
        source.read(path)
    mistakes = source.apply(sets, schema)
    mistakes += source.share()
    not_variables = source.not_variables()
    try:
        config = schema.model_validate(source.table)
    except ValidationError as error:
        mistakes += [
            source.mistake(at, renamed.message(at) or sentence)
            for at, sentence in validation_messages.sentences(error, schema)
            if at not in not_variables
        ]
    mistakes += not_variables.values()
    if mistakes:
        raise ConfigError("\n".join(dict.fromkeys(mistakes)))
    return Loaded(config, {place: source.origin(place, leaf) for place, leaf in yaml_source.leaves(tables(config))})


def dump(loaded: Loaded[Any]) -> str:
    """The config as YAML with the origin of each value in a comment. ``load`` reads it back equal."""
    return "\n".join(yaml_source.lines(tables(loaded.config), lambda at: loaded.origins.get(at, DEFAULT))) + "\n"


def tables(config: BaseModel) -> dict[str, Any]:
    """``config`` as plain tables, lists and values, in the form that a person would write."""
    return cast("dict[str, Any]", _inlined(config.model_dump(mode="json", by_alias=True)))


@dataclass
class _Source:
    """The plain tables that the config is made of, and the origin of each value."""

    name: str
    table: dict[str, Any]
    origins: dict[str, str]
    written: dict[str, str] = field(default_factory=dict)
    """Path of a key of a part of the data to the path of the shared key that it comes from."""

    def read(self, path: Path) -> None:
        """Overrides the table with the file at ``path``."""
        table, lines = yaml_source.read(path)
        self.table = _merged(self.table, table)
        self.origins |= {place: f"{self.name}:{line}" for place, line in lines.items()}

    def apply(self, sets: Sequence[str], schema: type[BaseModel]) -> list[str]:
        """Sets each ``a.b=c``. Returns a message for each one that is not valid."""
        mistakes = []
        for text in sets:
            try:
                self._set(text, schema)
            except ConfigError as error:
                mistakes.append(f"{SET}: {error}" if _is_variable_key(text) else f"{SET} {_start(text)}: {error}")
        return mistakes

    def _set(self, text: str, schema: type[BaseModel]) -> None:
        place, equals, written = text.partition("=")
        place = place.strip()
        if not equals or not all(place.split(".")):
            raise ConfigError("needs the form key=value or table.key=value, such as align.cycles=3")
        value = yaml_source.parse(written, "the value")
        _fill_in_defaults(self.table, place, schema)
        _assign(self.table, place.split("."), value)
        self.origins = {at: origin for at, origin in self.origins.items() if not _is_at_or_in(at, place)}
        self.origins |= {at: SET for at, _ in yaml_source.leaves(value, place)}

    def share(self) -> list[str]:
        """Writes the keys that the parts of the data share into each. Returns a message where that cannot be."""
        try:
            self.written = shared_source.expand(self.table)
        except ConfigError as error:
            return [self.mistake("data.path", str(error))]
        for place, shared in self.written.items():
            inside = {at: origin for at, origin in self.origins.items() if _is_at_or_in(at, shared)}
            self.origins |= {place + at.removeprefix(shared): origin for at, origin in inside.items()}
        return []

    def not_variables(self) -> dict[str, str]:
        """Path to message of each ``*_env`` whose value is not a variable's name. The message never shows the value."""
        return {
            place: self.mistake(place, validation_messages.NAME_OF_KEY)
            for place, leaf in yaml_source.leaves(self.table)
            if _is_variable_key(place)
            and leaf is not None
            and not (isinstance(leaf, str) and validation_messages.VARIABLE.fullmatch(leaf))
        }

    def mistake(self, place: str, sentence: str) -> str:
        """One line about the value at ``place``, starting with the file or ``--set``."""
        for part, shared in self.written.items():
            if _is_at_or_in(place, part):
                place = shared + place.removeprefix(part)
        return f"{self._file_or_set(place)}: {place}: {sentence}" if place else f"{self.name}: {sentence}"

    def _file_or_set(self, place: str) -> str:
        """``--set`` if everything at ``place``, or in the nearest table around it, comes from there; else the file."""
        while place:
            near = {o for at, o in self.origins.items() if _is_at_or_in(at, place) or _is_at_or_in(place, at)}
            if near:
                return SET if near == {SET} else self.name
            place = place.rpartition(".")[0]
        return self.name

    def origin(self, place: str, leaf: Any) -> str:
        """Where the value ``leaf`` at ``place`` of the finished config comes from."""
        inside = [origin for at, origin in self.origins.items() if _is_at_or_in(at, place)]
        if inside:
            return SET if SET in inside else inside[0]
        around, _, _ = place.rpartition(".")
        while around:
            if around in self.origins and _value_at(self.table, around) == leaf:
                return self.origins[around]
            around = around.rpartition(".")[0]
        return DEFAULT


def _fill_in_defaults(table: dict[str, Any], place: str, schema: type[BaseModel]) -> None:
    """Writes the schema's default into ``table`` if ``place`` is inside a table or list that is not written yet."""
    *parents, _ = place.split(".")
    for key in parents:
        field = schema.model_fields.get(key)
        if field is None or not isinstance(table, dict):
            return
        if key not in table:
            default = _plain(field.get_default(call_default_factory=True))
            if not isinstance(default, (dict, list)):
                return
            table[key] = default
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return
        table, schema = table[key], field.annotation


def _plain(default: Any) -> Any:
    """A default in the form that a person would write."""
    if isinstance(default, BaseModel):
        return tables(default)
    return [_plain(item) for item in default] if isinstance(default, list) else copy.deepcopy(default)


def _assign(table: Any, keys: Sequence[str], value: Any) -> None:
    """Sets the value at the path ``keys``, adding missing tables on the way."""
    for depth, key in enumerate(keys):
        here = ".".join(keys[:depth])
        if not isinstance(table, (list, dict)):
            raise ConfigError(
                f"{here} is {validation_messages.short(table)}, so it has no {key!r}; set {here} as a whole"
            )
        index: Any = _index(key, table, here) if isinstance(table, list) else key
        if depth == len(keys) - 1:
            table[index] = value
        elif isinstance(table, dict) and table.get(key) is None:
            table[index] = {}
        table = table[index]


def _index(key: str, items: list[Any], place: str) -> int:
    if not items:
        raise ConfigError(f"{place} is an empty list; set {place} as a whole: {place}=[...]")
    if not key.isascii() or not key.isdigit() or int(key) >= len(items):
        raise ConfigError(f"{place} is a list of {len(items)}; count its items from 0, not {key!r}")
    return int(key)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``below`` overridden by ``above``. Tables with the same ``kind`` are merged, others are replaced."""
    merged = {str(key): copy.deepcopy(value) for key, value in below.items()}
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and old.get("kind") == value.get("kind"):
            value = _merged(old, value)
        merged[key] = copy.deepcopy(value)
    return merged


def _inlined(value: Any) -> Any:
    """``value`` with the keys of each inline table moved to the front of the table around it."""
    if isinstance(value, dict):
        return {
            key: _inlined(item)
            for key, item in {**(value.get(validation_messages.INLINE) or {}), **value}.items()
            if key != validation_messages.INLINE
        }
    return [_inlined(item) for item in value] if isinstance(value, list) else value


def _value_at(table: Any, place: str) -> Any:
    for key in place.split("."):
        table = table[int(key)] if isinstance(table, list) else table[key]
    return table


def _start(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _is_at_or_in(place: str, around: str) -> bool:
    return place == around or place.startswith(around + ".")


def _is_variable_key(place: str) -> bool:
    return place.partition("=")[0].strip().endswith("_env")
