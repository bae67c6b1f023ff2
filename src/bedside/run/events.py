"""The log of a run, events.jsonl: what was done when, and the digest of every file that a figure depends on.

    {"chain": "b2-…", "event": "start", "stage": "judge", "time": "…", "what": "cycle 1, train: judge"}
    {"chain": "b2-…", "event": "wrote", "file": "summary.json", "digest": "b2-…", "time": "…"}

Its lines are a chain (``data/chained_log.py``), and every event also records how long this log and spend.jsonl are. So
a line that was changed, moved or removed is detected and named. The last "wrote" of a file counts. A last line without
its end comes from a crash while writing: readers ignore it, and the next event removes it and says so.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bedside.core.errors import DataError
from bedside.core.hashing import digest_bytes, digest_file
from bedside.data import chained_log
from bedside.data.io import EVENTS as FILE
from bedside.data.io import SPEND, whole_lines

WROTE, TORN = "wrote", "incomplete last line removed"
APPROVED = "approved"
_NEEDED = {WROTE: ("file", "digest"), APPROVED: ("by", "role", "checkpoint", "summary", "time")}
"""What every event of a name says, as text."""
_DEPTH = 4
"""A file of a run is at most this many folders below the run folder."""


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class EventLog:
    """The log of the run in ``folder``."""

    folder: Path
    now: Callable[[], str] = utc_now

    @property
    def path(self) -> Path:
        return self.folder / FILE

    def append(self, event: str, **details: Any) -> int:
        """Add one line, with the time. Returns how many bytes of an incomplete last line were removed before.

        DataError if an earlier line was changed.
        """
        verify_events(self.path)
        chained_log.forget_removed(self.path)
        size = self.path.stat().st_size if self.path.is_file() else 0
        deque(whole_lines(self.path), maxlen=0)
        rows = [{"event": event, **details}]
        removed = size - self.path.stat().st_size if size else 0
        if removed:
            rows.insert(0, {"event": TORN, "bytes": removed})
        chained_log.append_rows(self.path, self.folder, ({"time": self.now(), **row} for row in rows))
        chained_log.write_heads(self.folder, FILE, SPEND)
        return removed

    def read(self) -> list[dict[str, Any]]:
        """All events, without their chain. DataError names the first line that is not what was written."""
        return verify_events(self.path)[0]

    def record(self, *paths: Path) -> int:
        """Log the digest of each file, and of every file of each folder, unless the log has it already.

        Returns and raises the same as ``append``.
        """
        logged, removed = self.digests(), 0
        for file in (file for path in paths for file in _files(path)):
            name, written = file.relative_to(self.folder).as_posix(), digest_file(file)
            if logged.get(name) != written:
                removed += self.append(WROTE, file=name, digest=written)
        return removed

    def intact(self, file: Path) -> bool | None:
        """Whether the file has the content that was last written; None if the log does not know the file."""
        logged = self.digests().get(file.relative_to(self.folder).as_posix())
        return None if logged is None else file.is_file() and digest_file(file) == logged

    def read_file(self, name: str, remedy: str) -> bytes:
        """The bytes of a file of the run. DataError with ``remedy`` if they are not what was last written."""
        data = (self.folder / name).read_bytes()
        if self.digests().get(name) != digest_bytes(data):
            raise DataError(f"{self.folder / name} is not what was written{self._or_torn()}: {remedy}")
        return data

    def check(self, path: Path) -> None:
        """DataError if a file, or a file of a folder, is not what was last written. Unknown files pass."""
        inside = path.relative_to(self.folder).as_posix()
        for name, logged in self.digests().items():
            if name == inside or name.startswith(f"{inside}/"):
                file = self.folder / name
                if not file.is_file() or digest_file(file) != logged:
                    raise DataError(
                        f"{file} is not what was written{self._or_torn()}: run the command that wrote it again, or "
                        "put back a copy"
                    )

    def _or_torn(self) -> str:
        """The other possible cause: the line that knows the file may be missing."""
        if not self.path.is_file():
            return f", or {self.path}, which is missing, knew it"
        whole = self.path.read_bytes().endswith(b"\n")
        return "" if whole else f", or the last line of {self.path}, which is incomplete, knew it"

    def digests(self) -> dict[str, str]:
        """The digest of each file when it was last written, by its path in the run."""
        return {event["file"]: event["digest"] for event in self.read() if event["event"] == WROTE}


def check_run_file(path: Path) -> None:
    """DataError if ``path``, a file or folder, is in a run folder and is not what the run wrote there."""
    absolute = path.expanduser().absolute()
    for folder in list(absolute.parents)[:_DEPTH]:
        if (folder / FILE).is_file():
            EventLog(folder).check(absolute)
            return


def verify_events(path: Path) -> tuple[list[dict[str, Any]], str]:
    """All events in the file, and the chain of the last one. DataError names the first line that was changed.

    A half-written last line is left out.
    """
    remedy = "Put back a copy of the file; or remove it and run the same command: finished work is kept"
    rows, chain = chained_log.read_chain(path, remedy)
    for number, row in enumerate(rows, start=1):
        needed = ("event", *_NEEDED.get(str(row.get("event")), ()))
        if missing := [name for name in needed if not isinstance(row.get(name), str)]:
            raise DataError(f"{path}, line {number}: is no event that Bedside writes, without {missing[0]}. {remedy}")
    return rows, chain


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for file in sorted(path.rglob("*")) if file.is_file())
    elif path.is_file():
        yield path
