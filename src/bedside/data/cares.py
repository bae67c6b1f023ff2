"""CARES-18K: harmful and harmless medical requests at four harm levels, asked in four styles.

Columns ``principle_index, generation_model, harmful_level, method, base_prompt, prompt`` are read as they
are. Rows that ask the same thing in other words share ``base_prompt``, so that is their group. By default it
is read from the Hugging Face hub; ``path`` may be another hub id, a file or a folder with those columns.
"""

from functools import partial
from typing import Any

from pydantic import Field

from bedside.config.plugins import Plugin, register
from bedside.core.protocols import Launch
from bedside.data.io import anywhere
from bedside.data.prompts import Reading, TablePrompts, Unlabelled


@register("dataset", "cares")
class Cares(Plugin):
    """Prompts of CARES-18K or of a table with its columns."""

    kind: str = "cares"
    path: str = Field("HFXM/CARES-18K", min_length=1)
    """Hugging Face id, file or folder."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    split: str | None = None
    """The hub's split, the files of a folder that are named after it, or what the column ``split`` says."""
    unlabelled: Unlabelled = "error"
    """A row without a harm level is an error, is skipped, or is kept without one."""

    def open(self, launch: Launch, **opened: Any) -> TablePrompts:
        read = partial(anywhere, self.path, revision=self.revision, split=self.split)
        return TablePrompts(self.path, read, Reading(self.split, self.unlabelled))
