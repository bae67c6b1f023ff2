"""Prompts of your own: a JSONL, CSV or Parquet file, or a folder of them.

    {kind: jsonl, path: data/train.jsonl}
    {kind: jsonl, path: exports/tickets.csv, columns: {prompt: message, harm: risk}, unlabelled: skip}

The columns are those of ``data/prompts.py``.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from bedside.config import validation_messages
from bedside.config.plugins import Plugin, register
from bedside.core.protocols import Launch
from bedside.data.io import Format, rows
from bedside.data.prompts import COLUMNS, ReadOptions, TablePrompts, Unlabelled


def _known_columns(columns: dict[str, str]) -> dict[str, str]:
    for name in columns:
        if name not in COLUMNS:
            raise ValueError(f"there is nothing to read as {name!r}; {validation_messages.did_you_mean(name, COLUMNS)}")
    return columns


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
    """Our name of a column to its name in the file: {prompt: message, harm: risk}."""

    def open(self, launch: Launch, **opened: Any) -> TablePrompts:
        options = ReadOptions(self.split, self.unlabelled, self.columns)
        return TablePrompts(self.path, lambda: rows(self.path, format=self.format, split=self.split), options)
