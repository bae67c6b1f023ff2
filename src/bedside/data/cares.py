"""CARES-18K: harmful and harmless medical requests at four harm levels, asked in four styles.

Columns: ``principle_index, generation_model, harmful_level, method, base_prompt, prompt``. Rows with the same
``base_prompt`` ask the same thing in different words, so they form a group. By default the data set is read from the
Hugging Face hub; ``path`` may be another hub id, or a file or folder with these columns.
"""

from functools import partial
from typing import Any

from pydantic import Field

from bedside.config.plugins import Plugin, register
from bedside.core.protocols import Launch
from bedside.data.io import rows_or_hub_rows
from bedside.data.prompts import ReadOptions, TablePrompts, Unlabelled


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

    def open(self, launch: Launch, **opened: Any) -> TablePrompts:
        read = partial(rows_or_hub_rows, self.path, revision=self.revision, split=self.split)
        return TablePrompts(self.path, read, ReadOptions(self.split, self.unlabelled))
