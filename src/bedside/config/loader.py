"""From a YAML file and ``--set`` to a checked config that knows where each value came from, and back.

    loaded = load(Config, Path("bedside.yaml"), ["align.cycles=3"])
    loaded.config.align.cycles            3
    loaded.origins["align.cycles"]        "--set"
    dump(loaded)                          YAML with that origin in a comment at each value

YAML is read by PyYAML's safe loader. ``--set a.b=c`` wins over the file; c is YAML, and a number in the path
counts items of a list from 0. All mistakes are reported at once, one line each:

    bedside.yaml: align.cycels: no such key; did you mean 'cycles'?
    --set: align.alpha: is 6; should be at most 1

A key that ends in ``_env`` holds the NAME of an environment variable; anything else there is refused unread.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from bedside.config import validation_messages, yaml_source
from bedside.config.plugins import Table
from bedside.core.errors import ConfigError

SET = "--set"
DEFAULT = "default"

T = TypeVar("T", bound=Table)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """A checked config, and the origin of each of its values."""

    config: T
    origins: Mapping[str, str]
    """Place of a value to ``default``, ``bedside.yaml:12`` or ``--set``. A list of plain values is one."""


def load(
    schema: type[T],
    path: Path | None,
    sets: Sequence[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> Loaded[T]:
    """A ``schema`` out of ``defaults``, then the file at ``path``, then ``sets``; or one ConfigError."""
    source = _Source(path.name if path else "config", _overlaid(defaults or {}, {}), {})
    if path:
        source.read(path)
    mistakes = source.apply(sets, schema)
    secrets = source.secrets()
    try:
        config = schema.model_validate(source.table)
    except ValidationError as error:
        found = validation_messages.told(error, schema).errors(include_url=False)
        rows = [(validation_messages.place(row["loc"]), str(row["ctx"]["told"])) for row in found]
        mistakes += [source.line(at, sentence) for at, sentence in rows if at not in secrets]
    mistakes += secrets.values()
    if mistakes:
        raise ConfigError("\n".join(dict.fromkeys(mistakes)))
    return Loaded(config, {place: source.origin(place, leaf) for place, leaf in yaml_source.leaves(tables(config))})


def dump(loaded: Loaded[Any]) -> str:
    """The resolved config as YAML, the origin of each value in a comment; ``load`` reads it back equal."""
    return "\n".join(yaml_source.lines(tables(loaded.config), lambda at: loaded.origins.get(at, DEFAULT))) + "\n"


def tables(config: BaseModel) -> dict[str, Any]:
    """``config`` as a person would write it: plain tables, lists and values."""
    lifted = _lifted(config.model_dump(mode="json", by_alias=True))
    assert isinstance(lifted, dict)
    return lifted


@dataclass
class _Source:
    """Plain tables on their way to becoming a config, and where each of their values stands."""

    name: str
    table: dict[str, Any]
    origins: dict[str, str]

    def read(self, path: Path) -> None:
        """Lay the file at ``path`` over the defaults."""
        table, lines = yaml_source.read(path)
        self.table = _overlaid(self.table, table)
        self.origins |= {place: f"{self.name}:{line}" for place, line in lines.items()}

    def apply(self, sets: Sequence[str], schema: type[BaseModel]) -> list[str]:
        """Put each ``a.b=c`` in its place; returns what is wrong with those that cannot be."""
        mistakes = []
        for text in sets:
            try:
                self._put(text, schema)
            except ConfigError as error:
                mistakes.append(f"{SET} {text}: {error}" if not _holds_name(text) else f"{SET}: {error}")
        return mistakes

    def _put(self, text: str, schema: type[BaseModel]) -> None:
        place, equals, written = text.partition("=")
        place = place.strip()
        if not equals or not all(place.split(".")):
            raise ConfigError("needs the form key=value or table.key=value, such as align.cycles=3")
        value = yaml_source.parse(written, "the value")
        _seed(self.table, place, schema)
        _assign(self.table, place.split("."), value)
        self.origins = {at: origin for at, origin in self.origins.items() if not _is_at_or_in(at, place)}
        self.origins |= {at: SET for at, _ in yaml_source.leaves(value, place)}

    def secrets(self) -> dict[str, str]:
        """A line for each ``*_env`` that does not name a variable. Never repeats what it holds."""
        found = [at for at, leaf in yaml_source.leaves(self.table) if _holds_name(at) and not _is_variable(leaf)]
        return {at: self.line(at, validation_messages.NAME_OF_KEY) for at in found}

    def line(self, place: str, told: str) -> str:
        """One mistake with the origin of the value it is about."""
        return f"{self._blamed(place)}: {place}: {told}" if place else f"{self.name}: {told}"

    def _blamed(self, place: str) -> str:
        """``--set`` where all that is written at ``place``, or in the nearest table around it, was set."""
        while place:
            near = {o for at, o in self.origins.items() if _is_at_or_in(at, place) or _is_at_or_in(place, at)}
            if near:
                return SET if near == {SET} else self.name
            place = place.rpartition(".")[0]
        return self.name

    def origin(self, place: str, leaf: Any) -> str:
        """Where the value of the finished config at ``place`` came from."""
        inside = [origin for at, origin in self.origins.items() if _is_at_or_in(at, place)]
        if inside:
            return SET if SET in inside else inside[0]
        around, _, _ = place.rpartition(".")
        while around:
            if around in self.origins and _value_at(self.table, around) == leaf:
                return self.origins[around]
            around = around.rpartition(".")[0]
        return DEFAULT


def _seed(table: dict[str, Any], place: str, schema: type[BaseModel]) -> None:
    """Write out the schema's own default where ``place`` reaches into a table or list that nobody wrote."""
    *tops, _ = place.split(".")
    for key in tops:
        field = schema.model_fields.get(key)
        if field is None or not isinstance(table, dict):
            return
        if key not in table:
            default = field.get_default(call_default_factory=True)
            plain = _plain(default)
            if not isinstance(plain, (dict, list)):
                return
            table[key] = plain
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return
        table, schema = table[key], field.annotation


def _plain(default: Any) -> Any:
    """A default as a person would write it."""
    if isinstance(default, BaseModel):
        return tables(default)
    return [_plain(item) for item in default] if isinstance(default, list) else copy.deepcopy(default)


def _assign(table: Any, keys: Sequence[str], value: Any) -> None:
    """Put ``value`` where ``keys`` lead, making tables on the way."""
    for depth, key in enumerate(keys):
        last, here = depth == len(keys) - 1, ".".join(keys[:depth])
        if isinstance(table, list):
            index: Any = _index(key, table, here)
        elif isinstance(table, dict):
            index = key
        else:
            raise ConfigError(
                f"{here} is {validation_messages.shown(table)}, so it has no {key!r}; set {here} as a whole"
            )
        if last:
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


def _overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``above`` over ``below``. Tables of one plug-in are merged; a table with another kind replaces."""
    merged = {str(key): copy.deepcopy(value) for key, value in below.items()}
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and old.get("kind") == value.get("kind"):
            value = _overlaid(old, value)
        merged[key] = copy.deepcopy(value)
    return merged


def _lifted(value: Any) -> Any:
    """``value`` with the keys of each inline table among the keys of the table around it, and first."""
    if isinstance(value, dict):
        inner = value.get(validation_messages.INLINE)
        rest = {key: item for key, item in value.items() if key != validation_messages.INLINE}
        return {key: _lifted(item) for key, item in {**(inner or {}), **rest}.items()}
    return [_lifted(item) for item in value] if isinstance(value, list) else value


def _value_at(table: Any, place: str) -> Any:
    for key in place.split("."):
        table = table[int(key)] if isinstance(table, list) else table[key]
    return table


def _is_at_or_in(place: str, around: str) -> bool:
    return place == around or place.startswith(around + ".")


def _holds_name(place: str) -> bool:
    return place.partition("=")[0].strip().endswith("_env")


def _is_variable(leaf: Any) -> bool:
    return leaf is None or (isinstance(leaf, str) and validation_messages.VARIABLE.fullmatch(leaf) is not None)
