"""Who approved which checkpoint: lines of the run's log, so that they are part of its chain.

{"event": "approved", "by": "Dr A. Example", "role": "medical lead", "checkpoint": "cycle-1/kto",
 "summary": "b2-…", "time": "…"}
"""

from dataclasses import dataclass
from pathlib import Path

from bedside.core.hashing import digest_file
from bedside.run.events import APPROVED, EventLog

SUMMARY = "summary.json"


@dataclass(frozen=True)
class Approval:
    """A person's approval of the checkpoint that a run may release."""

    by: str
    role: str
    checkpoint: str
    summary: str
    """Digest of summary.json when it was approved."""
    time: str

    def __str__(self) -> str:
        return f"{self.checkpoint} by {self.by}, {self.role}, {self.time[:10]}"

    def is_about(self, folder: Path) -> bool:
        """Whether the run still has the summary that was approved."""
        file = folder / SUMMARY
        return file.is_file() and digest_file(file) == self.summary


def append(folder: Path, *, by: str, role: str, checkpoint: str) -> Approval:
    """Log an approval of ``checkpoint`` by a named person. Returns it."""
    EventLog(folder).append(APPROVED, by=by, role=role, checkpoint=checkpoint, summary=digest_file(folder / SUMMARY))
    return read(folder)[-1]


def read(folder: Path) -> list[Approval]:
    """All approvals, the oldest first. DataError if the log is not what was written."""
    rows = [row for row in EventLog(folder).read() if row["event"] == APPROVED]
    return [Approval(**{key: row[key] for key in Approval.__dataclass_fields__}) for row in rows]
