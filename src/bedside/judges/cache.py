"""Judgements kept between runs: what a judge said of an exchange, found again by the exchange and the judge.

    cache/judgements/5f/b2-5f3a....json    {"judge": ..., "asked": [turns], "answered": ..., "reading": {...}}

The name of a file digests the judge (weights or endpoint with model and revision, wording, decoding), the turns
and the answer. One judgement a file, renamed into place: two processes may keep the same one at once. The
exchange stands in the file as it was said, so that `bedside forget` finds it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.core.hashing import canonical, digest
from bedside.core.types import Conversation
from bedside.data.io import write_text

FOLDER = "judgements"


@dataclass(frozen=True, slots=True)
class Judgements:
    """The cache at ``root``."""

    root: Path
    bits: str = ""
    """What decides the float bits of a model that runs here."""
    local: bool = False
    """Readings of such a model are kept, too."""

    def recall(self, judge: str, asked: Conversation, answered: str) -> Mapping[str, Any] | None:
        """The reading kept for exactly this; None where there is none, or where its file is broken."""
        try:
            kept = json.loads(self._file(judge, asked, answered).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        reading = kept.get("reading") if isinstance(kept, dict) else None
        return reading if isinstance(reading, dict) else None

    def keep(self, judge: str, asked: Conversation, answered: str, reading: Mapping[str, Any]) -> None:
        turns = [[turn.role, turn.text] for turn in asked]
        told = {"judge": judge, "asked": turns, "answered": answered, "reading": reading}
        write_text(self._file(judge, asked, answered), canonical(told) + "\n")

    def _file(self, judge: str, asked: Conversation, answered: str) -> Path:
        name = digest(judge, asked, answered)
        return self.root / FOLDER / name[3:5] / f"{name}.json"


def beside(runs: Path) -> Path:
    """Where the cache of all runs in ``runs`` lies, unless a config says otherwise."""
    return runs.absolute().parent / "cache"
