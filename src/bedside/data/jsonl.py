"""Prompts of your own: a JSONL, CSV or Parquet file, or a folder of them.

    {kind: jsonl, path: data/train.jsonl}
    {kind: jsonl, path: exports/tickets.csv, columns: {prompt: message, harm: risk}, unlabelled: skip}

Which columns are understood stands in ``bedside.data.prompts``.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from bedside.config import validation_messages
from bedside.config.plugins import Plugin, register
from bedside.core.protocols import Launch
from bedside.data.io import Format, rows
from bedside.data.prompts import COLUMNS, Reading, TablePrompts, Unlabelled


def _ours(columns: dict[str, str]) -> dict[str, str]:
    for name in columns:
        if name not in COLUMNS:
            raise ValueError(f"there is nothing to read as {name!r}; {validation_messages.nearest(name, COLUMNS)}")
    return columns


@register("dataset", "jsonl")
class Jsonl(Plugin):
    """Prompts of a file or a folder of files."""

    kind: str = "jsonl"
    path: str = Field(min_length=1)
    """File or folder."""
    split: str | None = None
    """Only the files of a folder that are named after it, or the rows whose column ``split`` says it."""
    format: Format | None = None
    """jsonl, csv or parquet; unset: what the file's ending says."""
    unlabelled: Unlabelled = "error"
    """A row without a harm level is an error, is skipped, is kept without one, or takes what was proposed."""
    columns: Annotated[dict[str, str], AfterValidator(_ours)] = Field(default_factory=dict)
    """What we call a column, to the name it has in the file: {prompt: message, harm: risk}."""

    def open(self, launch: Launch, **opened: Any) -> TablePrompts:
        reading = Reading(self.split, self.unlabelled, self.columns)
        return TablePrompts(self.path, lambda: rows(self.path, format=self.format, split=self.split), reading)
