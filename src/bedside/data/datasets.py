"""Data sets of prompts: a file or folder of your own, and CARES-18K.

    {kind: jsonl, path: data/train.jsonl}
    {kind: jsonl, path: exports/tickets.csv, columns: {prompt: message, harm: risk}, unlabelled: skip}
    {kind: cares}

The columns of your own files are those of ``data/prompts.py``.

CARES-18K holds harmful and harmless medical requests at four harm levels, asked in four styles. Its columns are
``principle_index, generation_model, harmful_level, method, base_prompt, prompt``. Rows with the same ``base_prompt``
ask the same thing in different words, so they form a group. By default it is read from the Hugging Face hub; ``path``
may be another hub id, or a file or folder with these columns.
"""

from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from bedside.config import validation_messages
from bedside.config.plugins import Plugin, register
from bedside.core.protocols import Launch
from bedside.data.deidentify import Names, Phi
from bedside.data.io import Format, rows, rows_or_hub_rows
from bedside.data.prompts import COLUMNS, ReadOptions, TablePrompts, Unlabelled

HarmLevel = Annotated[int, Field(ge=0, le=3)]


def _known_columns(columns: dict[str, str]) -> dict[str, str]:
    for name in columns:
        if name not in COLUMNS:
            raise ValueError(f"no column is called {name!r} here; {validation_messages.did_you_mean(name, COLUMNS)}")
    return columns


def _words_in_lower_case(label_map: Any) -> Any:
    if not isinstance(label_map, dict):
        return label_map
    return {str(word).strip().lower(): level for word, level in label_map.items()}


@register("dataset", "csv")
@register("dataset", "parquet")
@register("dataset", "jsonl")
class Jsonl(Plugin):
    """Prompts of a file or a folder of files."""

    kind: str = "jsonl"
    path: str = Field(min_length=1)
    """File or folder."""
    split: str | None = None
    """Only the files of a folder that are named after it, or the rows with this value in column ``split``."""
    format: Format | None = None
    """jsonl, csv or parquet; unset: by the file's ending."""
    unlabelled: Unlabelled = "error"
    """A row without a harm level is an error, is skipped, is kept without one, or takes its proposed level."""
    columns: Annotated[dict[str, str], AfterValidator(_known_columns)] = Field(default_factory=dict)
    """The file's names of our columns: {prompt: message, harm: risk}."""
    label_map: Annotated[dict[str, HarmLevel], BeforeValidator(_words_in_lower_case)] = Field(default_factory=dict)
    """The harm level of each word in the file: {none: 0, low: 1, medium: 2, high: 3}."""
    phi: Phi = "scan"
    names: Names = False

    def open(self, launch: Launch, **opened: Any) -> TablePrompts:
        return TablePrompts(
            self.path,
            rows=partial(rows, self.path, format=self.format, split=self.split),
            options=ReadOptions(self.split, self.unlabelled, self.columns, self.label_map, self.phi, self.names),
        )


@register("dataset", "cares")
class Cares(Plugin):
    """Prompts of CARES-18K or of a table with its columns."""

    kind: str = "cares"
    path: str = Field("HFXM/CARES-18K", min_length=1)
    """Hugging Face id, file or folder."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    split: str | None = None
    """Only this split of the hub, the files of a folder that are named after it, or this value of column ``split``."""
    unlabelled: Unlabelled = "error"
    """A row without a harm level is an error, is skipped, or is kept without one."""
    phi: Phi = "scan"
    names: Names = False

    def open(self, launch: Launch, **opened: Any) -> TablePrompts:
        return TablePrompts(
            self.path,
            rows=partial(rows_or_hub_rows, self.path, revision=self.revision, split=self.split),
            options=ReadOptions(self.split, self.unlabelled, phi=self.phi, names=self.names),
        )
