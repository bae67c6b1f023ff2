"""A cache of judgements for several runs, by judge, conversation and answer.

    cache/judgements/5f/b2-5f3a....json    {"judge", "asked": [turns], "answered", "reading": {...}, "digest"}

The file name is a digest of the judge (weights, or endpoint with model and revision; wording; decoding), the turns
and the answer; ``digest`` is that of the rest of the file. Each judgement has its own file, which is renamed into
place, so two processes may write the same judgement at once. The file has the exchange word for word, so that `bedside
erase` finds it. Only its owner may read it, unless the folder was opened to others (chmod).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.core.hashing import canonical, digest
from bedside.core.types import Conversation
from bedside.data.io import make_private, write_text

FOLDER = "judgements"


@dataclass(frozen=True, slots=True)
class JudgementFiles:
    """The cache in the folder ``root``; see ``bedside.core.protocols.JudgementCache``."""

    root: Path
    numerics: str = ""
    includes_local: bool = False

    def recall(self, judge: str, conversation: Conversation, answer: str) -> Mapping[str, Any] | None:
        """The judgement of exactly this exchange. None if there is none, or if its file was changed."""
        try:
            row = json.loads(self._file(judge, conversation, answer).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        written = row.pop("digest", None) if isinstance(row, dict) else None
        return row["reading"] if written == digest(row) else None

    def keep(self, judge: str, conversation: Conversation, answer: str, judgement: Mapping[str, Any]) -> None:
        row: dict[str, Any] = {
            "judge": judge,
            "asked": [[turn.role, turn.text] for turn in conversation],
            "answered": answer,
            "reading": judgement,
        }
        make_private(self.root)
        file = self._file(judge, conversation, answer)
        write_text(file, canonical({**row, "digest": digest(row)}) + "\n", self.root / FOLDER)

    def _file(self, judge: str, conversation: Conversation, answer: str) -> Path:
        name = digest(judge, conversation, answer)
        return self.root / FOLDER / name[3:5] / f"{name}.json"


def default_root(runs: Path) -> Path:
    """The folder of the cache for all runs in ``runs``, unless a config names another."""
    return runs.absolute().parent / "cache"
