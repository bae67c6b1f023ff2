"""The registry of plug-ins, by kind and name. Built-in ones are listed here; others join by entry point.

    BUILT_IN["judge"]["keyword"]  ->  bedside.judges.keyword  ->  @register("judge", "keyword") class Keyword(Plugin)

To add a built-in plug-in, write its module and add one line to BUILT_IN. Another package adds one through the
entry-point groups ``bedside.judge``, ``bedside.model``, ``bedside.dataset``, ``bedside.metric``, ``bedside.attack``
and ``bedside.objective``. Only the modules of the plug-ins in use are imported, so a judge never loads torch by
accident.
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
from bedside.config.renamed import KINDS
from bedside.core.errors import ConfigError, ModelError
from bedside.core.protocols import Launch

BUILT_IN: Mapping[str, Mapping[str, str]] = {
    "model": {
        "local": "bedside.models.hf",
        "openai": "bedside.models.openai_compatible",
        "clinic_writer": "bedside.clinic.writer",
    },
    "judge": {
        "rubric": "bedside.judges.rubric",
        "labels": "bedside.judges.human_labels",
        "ensemble": "bedside.judges.composite",
        "classifier": "bedside.judges.classifier",
        "comfort_classifier": "bedside.judges.comfort_classifier",
        "keyword": "bedside.judges.keyword",
        "noisy": "bedside.judges.composite",
        "comfort": "bedside.comfort.judges",
        "emotion": "bedside.comfort.judges",
        "truth": "bedside.clinic.judges",
        "clinic_comfort": "bedside.clinic.judges",
    },
    "dataset": {
        "jsonl": "bedside.data.datasets",
        "csv": "bedside.data.datasets",
        "parquet": "bedside.data.datasets",
        "cares": "bedside.data.datasets",
        "dialogues": "bedside.data.dialogues",
        "clinic": "bedside.clinic.prompts",
        "consult": "bedside.consult.prompts",
        "consult_dialogues": "bedside.consult.prompts",
        "seed_prompts": "bedside.data.seed_prompts",
        "clinic_dialogues": "bedside.clinic.dialogues",
    },
    "metric": {
        "safety": "bedside.safety.metrics",
        "comfort": "bedside.comfort.metrics",
        "knowledge": "bedside.comfort.metrics",
    },
    "attack": {
        "role-play": "bedside.attacks.framing",
        "indirection": "bedside.attacks.framing",
        "substitution": "bedside.attacks.letters",
        "spelling-noise": "bedside.attacks.letters",
        "homoglyphs": "bedside.attacks.letters",
        "burial": "bedside.attacks.framing",
        "pressure": "bedside.attacks.framing",
        "temporal": "bedside.attacks.framing",
        "implicit-harm": "bedside.attacks.framing",
        "false-authority": "bedside.attacks.framing",
        "chain": "bedside.attacks.chain",
    },
    "objective": {
        "sft": "bedside.training.objectives",
        "dpo": "bedside.training.objectives",
        "kto": "bedside.training.objectives",
    },
}
"""The module that registers a plug-in, by kind and name."""


class Table(BaseModel):
    """A table of the config file. It is frozen, an unknown key is an error, and a string under a field describes it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        protected_namespaces=(),
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="wrap")
    @classmethod
    def _reword_errors(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Errors are worded here, where the keys of this table are known."""
        try:
            return handler(value)
        except ValidationError as error:
            raise validation_messages.explain(error, cls) from None


class Plugin(Table):
    """The config class of a plug-in. Its fields are its whole configuration; ``open`` does the work.

    A field that holds a plug-in, or the name of an opened one, is declared with ``PluginField``.
    """

    kind: str = ""
    version: ClassVar[str] = "1"
    """Raise it when the same configuration begins to give another result, so that no cached result is used."""
    needs: ClassVar[tuple[str, ...]] = ()
    """What ``open`` takes from the run, if there is a run: any of budget, secret, judgement_cache."""
    needs_model: ClassVar[bool] = True
    """False for a judge that opens no model and reads each answer alone: it runs without torch, on streamed answers."""

    @abstractmethod
    def open(self, launch: Launch, **opened: Any) -> Any:
        """The object that the config describes. ``opened`` holds the plug-ins of its fields, by field name."""


P = TypeVar("P", bound=type[Plugin])
_registry: dict[tuple[str, str], type[Plugin]] = {}


def register(kind: str, name: str) -> Callable[[P], P]:
    """Class decorator. ``kind`` is a key of BUILT_IN; ``name`` is the ``kind`` that a config file gives."""

    def add(cls: P) -> P:
        other = _registry.setdefault((kind, name), cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ConfigError(f"{kind} {name!r} is both {other.__module__} and {cls.__module__}; rename one")
        return cls

    return add


def names(kind: str) -> list[str]:
    """Every name of ``kind``, sorted. Imports nothing."""
    return sorted({*BUILT_IN[kind], *_entry_points(kind).names, *(name for k, name in _registry if k == kind)})


def find(kind: str, name: str) -> type[Plugin]:
    """The config class called ``name``. Raises ConfigError with the nearest name if there is none."""
    if name not in names(kind):
        if KINDS.get(name) in names(kind):
            raise ConfigError(f"kind {name!r} is now called {KINDS[name]!r}")
        raise ConfigError(f"no {kind} is called {name!r}; {validation_messages.did_you_mean(name, names(kind))}")
    for point in _entry_points(kind).select(name=name):
        with _import_errors(f"{kind} {name!r} (entry point {point.value})"):
            register(kind, name)(cast(type[Plugin], point.load()))
    if (kind, name) not in _registry:
        module = BUILT_IN[kind][name]
        with _import_errors(f"{kind} {name!r} ({module})"):
            importlib.import_module(module)
        if (kind, name) not in _registry:
            raise ConfigError(f"{module} does not register a {kind} called {name!r}")
    return _registry[kind, name]


@contextmanager
def model_errors_at(place: str) -> Iterator[None]:
    """A ModelError raised inside names ``place``, the key of the config."""
    try:
        yield
    except ModelError as error:
        raise type(error)(f"{place}: {error}") from None


@contextmanager
def _import_errors(plugin: str) -> Iterator[None]:
    """A mistake in a plug-in's module becomes a ConfigError that names the plug-in."""
    try:
        yield
    except (ImportError, AttributeError, NameError, SyntaxError, TypeError) as error:
        raise ConfigError(f"plug-in {plugin} cannot be imported: {type(error).__name__}: {error}") from error


def _entry_points(kind: str) -> EntryPoints:
    """The plug-ins of ``kind`` that other packages add."""
    return _entry_points_on(kind, tuple(sys.path))


@lru_cache(maxsize=8)
def _entry_points_on(kind: str, path: tuple[str, ...]) -> EntryPoints:
    """Cached by kind and ``sys.path``: reading takes 25 ms, and one config asks some twenty times."""
    return entry_points(group=f"bedside.{kind}")


def open_plugin(plugin: Plugin, launch: Launch, available: Mapping[str, Any]) -> Any:
    """Open ``plugin`` after the plug-ins of its fields. ``available`` holds opened ones by name, and ``needs``."""
    arguments = {need: available[need] for need in plugin.needs if need in available}
    arguments |= {field: available[name] for field, name in _references(plugin).items() if name in available}
    for field, value in plugin:
        if isinstance(value, Plugin):
            arguments[field] = open_plugin(value, launch, available)
        elif isinstance(value, tuple) and any(isinstance(item, Plugin) for item in value):
            arguments[field] = tuple(open_plugin(item, launch, available) for item in value)
    return plugin.open(launch, **arguments)


def asks_for(plugin: Plugin, name: str) -> bool:
    """True if ``plugin``, or a plug-in in its fields, is given the opened plug-in that is called ``name``."""
    return name in _references(plugin).values() or any(
        asks_for(member, name)
        for _, value in plugin
        for member in (value if isinstance(value, tuple) else (value,))
        if isinstance(member, Plugin)
    )


def _references(plugin: Plugin) -> dict[str, str]:
    """The names of opened plug-ins that fields declared with ``PluginField`` hold, by field."""
    return {
        field: value
        for field, value in plugin
        if isinstance(value, str)
        and any(isinstance(item, PluginField) for item in type(plugin).model_fields[field].metadata)
    }


class PluginField:
    """Declares a field that holds a plug-in of ``kind``, or one of these names of plug-ins that are opened elsewhere.

    model: Annotated[Any, PluginField("model", "target")] = "target"
    """

    def __init__(self, kind: str, *names: str) -> None:
        self.kind, self.names = kind, names

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        to_table = core_schema.plain_serializer_function_ser_schema(
            lambda value: value.model_dump(mode="json", by_alias=True) if isinstance(value, Plugin) else value
        )
        return core_schema.no_info_plain_validator_function(self.build, serialization=to_table)

    def build(self, value: Any) -> Any:
        """The plug-in that a table with ``kind`` describes; ``value`` itself if it is a plug-in or one of the names."""
        if isinstance(value, Plugin) or (isinstance(value, str) and value in self.names):
            return value
        if not isinstance(value, Mapping) or "kind" not in value:
            offers = "".join(f", or {name!r}" for name in self.names)
            raise ValueError(f"needs a table with kind: one of {', '.join(names(self.kind))}{offers}")
        try:
            cls = find(self.kind, str(value["kind"]))
        except ConfigError as error:
            raise validation_messages.validation_error([(("kind",), str(error))]) from None
        return cls.model_validate(dict(value))
