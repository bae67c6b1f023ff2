"""Plug-ins by kind and name: the built-in ones are listed here, others join by entry point.

    BUILT_IN["judge"]["keyword"]  ->  bedside.judges.keyword  ->  @register("judge", "keyword") class Keyword(Plugin)

To add a built-in plug-in, write its module and add one line to BUILT_IN. Another package adds one through the
entry-point groups ``bedside.judge``, ``bedside.model``, ``bedside.dataset``, ``bedside.metric`` and
``bedside.objective``. Only the module asked for is imported, so a judge never loads torch by accident.
"""

import importlib
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import EntryPoints, entry_points
from typing import Any, ClassVar, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator

from bedside.config import validation_messages
from bedside.core.errors import ConfigError, ModelError
from bedside.core.protocols import Launch

BUILT_IN: Mapping[str, Mapping[str, str]] = {
    "model": {
        "local": "bedside.models.hf",
        "http": "bedside.models.openai_compatible",
        "clinic_writer": "bedside.clinic.writer",
    },
    "judge": {
        "rubric": "bedside.judges.rubric",
        "labels": "bedside.judges.human_labels",
        "panel": "bedside.judges.ensemble",
        "keyword": "bedside.judges.keyword",
        "noisy": "bedside.judges.noisy",
        "comfort": "bedside.comfort.empathy_judge",
        "emotion": "bedside.comfort.emotion_classifier",
        "truth": "bedside.clinic.stance_judge",
        "clinic_comfort": "bedside.clinic.comfort_judge",
    },
    "dataset": {
        "jsonl": "bedside.data.jsonl",
        "cares": "bedside.data.cares",
        "dialogues": "bedside.data.dialogues",
        "clinic": "bedside.clinic.prompts",
        "clinic_dialogues": "bedside.clinic.dialogues",
    },
    "metric": {
        "safety": "bedside.safety.metrics",
        "comfort": "bedside.comfort.comfort_metrics",
        "knowledge": "bedside.comfort.knowledge_metrics",
    },
    "objective": {
        "sft": "bedside.training.objectives.sft",
        "dpo": "bedside.training.objectives.dpo",
        "kto": "bedside.training.objectives.kto",
    },
}
"""Kind to name to the module that registers it."""


class Table(BaseModel):
    """A table of the config file: frozen, an unknown key is an error, a string under a field describes it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        protected_namespaces=(),
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="wrap")
    @classmethod
    def _say_it_plainly(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Word mistakes here, where the keys of this table are known."""
        try:
            return handler(value)
        except ValidationError as error:
            raise validation_messages.told(error, cls) from None


class Plugin(Table):
    """The config class of a plug-in: fields are its whole configuration, ``open`` does the work."""

    kind: str = ""
    version: ClassVar[str] = "1"
    """Raised when the same configuration begins to mean another result, so that no cache answers for it."""
    needs: ClassVar[tuple[str, ...]] = ()
    """What ``open`` wants of the run beside its own plug-ins, where there is a run: purse, secret, memory."""

    @abstractmethod
    def open(self, launch: Launch, **opened: Any) -> Any:
        """What the config describes, ready to work; ``opened`` holds its own plug-ins by field name."""


P = TypeVar("P", bound=type[Plugin])
_found: dict[tuple[str, str], type[Plugin]] = {}


def register(kind: str, name: str) -> Callable[[P], P]:
    """Class decorator. ``kind`` is a key of BUILT_IN; ``name`` is what a config file will say."""

    def keep(cls: P) -> P:
        other = _found.setdefault((kind, name), cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ConfigError(f"{kind} {name!r} is both {other.__module__} and {cls.__module__}; rename one")
        return cls

    return keep


def names(kind: str) -> list[str]:
    """Every name of ``kind``, sorted. Imports nothing."""
    others = {point.name for point in _others(kind)}
    return sorted({*BUILT_IN[kind], *others, *(name for k, name in _found if k == kind)})


def find(kind: str, name: str) -> type[Plugin]:
    """The config class called ``name``, or a ConfigError that says what there is."""
    if name not in names(kind):
        raise ConfigError(f"no {kind} is called {name!r}; {validation_messages.nearest(name, names(kind))}")
    for point in _others(kind).select(name=name):
        with _imported(f"{kind} {name!r} (entry point {point.value})"):
            register(kind, name)(cast(type[Plugin], point.load()))
    if (kind, name) not in _found:
        module = BUILT_IN[kind][name]
        with _imported(f"{kind} {name!r} ({module})"):
            importlib.import_module(module)
        if (kind, name) not in _found:
            raise ConfigError(f"{module} does not register a {kind} called {name!r}")
    return _found[kind, name]


@contextmanager
def named(place: str) -> Iterator[None]:
    """A model that cannot be used is told with its place in the config."""
    try:
        yield
    except ModelError as error:
        raise type(error)(f"{place}: {error}") from None


@contextmanager
def _imported(what: str) -> Iterator[None]:
    """A mistake in a plug-in's file is told with the plug-in's name."""
    try:
        yield
    except (ImportError, AttributeError, NameError, SyntaxError, TypeError) as error:
        raise ConfigError(f"plug-in {what} cannot be imported: {type(error).__name__}: {error}") from error


def _others(kind: str) -> EntryPoints:
    """What other packages add."""
    return _points(kind, tuple(sys.path))


@lru_cache(maxsize=8)
def _points(kind: str, path: tuple[str, ...]) -> EntryPoints:
    """Of every package on ``path``, read once a kind: a config asks some twenty times, and reading takes 25 ms."""
    return entry_points(group=f"bedside.{kind}")


def open_plugin(plugin: Plugin, launch: Launch, given: Mapping[str, Any]) -> Any:
    """Open ``plugin``, its own plug-ins first. A field that says a key of ``given`` gets that value."""
    opened: dict[str, Any] = {need: given[need] for need in plugin.needs if need in given}
    for name in type(plugin).model_fields:
        value = getattr(plugin, name)
        if isinstance(value, Plugin):
            opened[name] = open_plugin(value, launch, given)
        elif isinstance(value, tuple) and any(isinstance(item, Plugin) for item in value):
            opened[name] = tuple(open_plugin(item, launch, given) for item in value)
        elif name != "kind" and isinstance(value, str) and value in given and _names_plugin(plugin, name):
            opened[name] = given[value]
    return plugin.open(launch, **opened)


def asks_for(plugin: Plugin, name: str) -> bool:
    """True where ``plugin``, or a plug-in inside it, is to be given what is called ``name``."""
    for field in type(plugin).model_fields:
        value = getattr(plugin, field)
        inside = value if isinstance(value, tuple) else (value,)
        if any(isinstance(item, Plugin) and asks_for(item, name) for item in inside):
            return True
        if value == name and field != "kind" and _names_plugin(plugin, field):
            return True
    return False


def _names_plugin(plugin: Plugin, field: str) -> bool:
    """True where the field is declared to hold a plug-in or the name of something already open."""
    return any(isinstance(item, Slot) for item in type(plugin).model_fields[field].metadata)


class Slot:
    """Marks a field that holds a plug-in of ``kind``, or one of ``or_name`` for something opened elsewhere.

    model: Annotated[Any, Slot("model", "target")] = "target"
    """

    def __init__(self, kind: str, *or_name: str) -> None:
        self.kind, self.or_name = kind, or_name

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            self.build, serialization=core_schema.plain_serializer_function_ser_schema(_as_table)
        )

    def build(self, value: Any) -> Any:
        """A plug-in out of a table with ``kind``; the value itself where it is a name on offer."""
        if isinstance(value, Plugin) or (isinstance(value, str) and value in self.or_name):
            return value
        if not isinstance(value, Mapping) or "kind" not in value:
            offers = "".join(f", or {name!r}" for name in self.or_name)
            raise ValueError(f"needs a table with kind: one of {', '.join(names(self.kind))}{offers}")
        try:
            cls = find(self.kind, str(value["kind"]))
        except ConfigError as error:
            raise validation_messages.wrong([(("kind",), str(error))]) from None
        return cls.model_validate(dict(value))


def _as_table(value: Any) -> Any:
    return value.model_dump(mode="json", by_alias=True) if isinstance(value, Plugin) else value
