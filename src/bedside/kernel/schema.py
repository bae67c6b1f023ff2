"""The file a person writes: every key, what it means, its default and where the default comes from.

    target:  the model to be made safe, helpful, accurate and kind
    data:    train teaches, valid selects, test is sealed and gives every reported number
    judges:  by name; ``self`` is the target as given, frozen
    align:   one cycle: answer, judge, make preferences, train
    select:  which candidate is carried and which may ship
    gates:   limits that stop a run or raise an alarm; null switches one off
    baselines: what stands beside the result

[summary] marks a default from a secondary summary of arXiv 2512.04210: it is not a claim about the paper.
Defaults without a source are ours.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from bedside.kernel import words
from bedside.kernel.keys import Around, Count
from bedside.kernel.limits import Baselines, Budget, Cache, Gates, Select
from bedside.kernel.registry import Slot, Table
from bedside.kernel.training import Align, Comfort, Generate

_FOLDER_NAME = re.compile(r"\w[\w.-]*")
SELF = {"kind": "rubric", "model": "target"}


def _folder_name(name: str) -> str:
    if not _FOLDER_NAME.fullmatch(name):
        raise ValueError(f"is {name!r}; it names a folder: letters, digits, dots, - and _ only")
    return name


def _local(value: Any) -> Any:
    """A bare string is a local model's name or folder; a table without ``kind`` is a local model."""
    if isinstance(value, str):
        return {"kind": "local", "model": value}
    if isinstance(value, Mapping) and "kind" not in value:
        return {"kind": "local", **value}
    return value


def _with_self(value: Any) -> Any:
    """The judge ``self`` is always there: a rubric put to the target, unless the file says otherwise."""
    given = value.get("self", {}) if isinstance(value, Mapping) else None
    if not isinstance(given, Mapping) or "kind" in given:
        return value
    return {"self": {**SELF, **given}, **{key: item for key, item in value.items() if key != "self"}}


class Part(Around):
    """A part of the data: the keys of a data set, and which of its rows stand in the part."""

    dataset: Annotated[Any, Slot("dataset")] = Field(alias=words.INLINE)
    """Where the rows come from. Its keys stand in this table, ``kind`` first."""
    share: float | None = Field(None, gt=0, lt=1)
    """Draw this share of the data set's groups and take them out of train. Unset: all its rows."""
    by: Literal["group"] = "group"
    """What is drawn: whole groups, so that near-duplicates never stand in two parts."""
    limit: Count | None = None
    """At most this many rows, to try on a few: the first ones, and of each harm level some."""


class Data(Table):
    """Three parts that share no group."""

    train: Part
    """Teaches."""
    valid: Part
    """Selects: candidates of each cycle are compared on it."""
    test: Part
    """Sealed: opened once, at the end, and gives every reported number."""


class Config(Table):
    """One file runs a whole experiment."""

    run: Annotated[str, AfterValidator(_folder_name)] = "run"
    """Name of the run: its folder below ``runs``. The same name resumes."""
    runs: str = Field("runs", min_length=1)
    """Folder of all runs."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Every draw comes from it."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where models run; auto takes a GPU where there is one."""
    target: Annotated[Any, Slot("model"), BeforeValidator(_local)]
    """The model to align: hub id, local folder or ``embedded``. A table without ``kind`` is a local model."""
    data: Data
    """The three parts."""
    judges: Annotated[dict[str, Annotated[Any, Slot("judge")]], BeforeValidator(_with_self)] = Field(
        default_factory=dict, validate_default=True
    )
    """Judges by name. ``self`` is always there: a rubric put to the target as given."""
    metrics: list[Annotated[Any, Slot("metric")]] = Field(default_factory=list)
    """Measured beside the safety metric, which is always there: tables with ``kind``. ``select.require`` may name what
    they measure."""
    generate: Generate = Generate()
    """How answers are drawn."""
    align: Align = Field(default_factory=Align)
    """The cycle."""
    select: Select = Select()
    """What is carried and what may ship."""
    gates: Gates = Gates()
    """Limits."""
    baselines: Baselines = Baselines()
    """What the result is compared with."""
    budget: Budget = Budget()
    """What may be spent at endpoints."""
    cache: Cache = Cache()
    """Judgements kept between runs."""
    comfort: Comfort = Field(default_factory=Comfort)
    """Rewriting, and comfort against knowledge."""
    report_to: Literal["none", "tensorboard", "wandb", "mlflow", "trackio"] = "none"
    """Where training curves go. none: no network."""

    @model_validator(mode="wrap")
    @classmethod
    def _judges_exist(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """``align.judge`` and ``select.judge`` name a judge; told beside every other mistake."""
        mistakes = _unknown_judges(value) if isinstance(value, Mapping) else []
        try:
            config = handler(value)
        except ValidationError as error:
            raise words.wrong(mistakes, beside=error) from None
        if mistakes:
            raise words.wrong(mistakes)
        return config

    @property
    def selecting_judge(self) -> str:
        """Key of the judge that reads valid and test."""
        return self.select.judge or self.align.judge


def _unknown_judges(value: Mapping[str, Any]) -> list[tuple[words.Loc, str]]:
    judges = value.get("judges") or {}
    known = {"self", *judges} if isinstance(judges, Mapping) else {"self"}
    found: list[tuple[words.Loc, str]] = []
    for table in ("align", "select"):
        name = _key(value.get(table), "judge")
        if isinstance(name, str) and name not in known:
            hint = words.nearest(name, known)
            found.append(((table, "judge"), f"no judge is called {name!r} in judges; {hint}"))
    return found


def _key(table: Any, key: str) -> Any:
    return table.get(key) if isinstance(table, Mapping) else getattr(table, key, None)
