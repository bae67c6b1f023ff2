"""Ratings in SQLite: what a rater sent is on the disk before they get the next page.

    events    one row a rating, skip, undo or lock, in the order in which they came; none is ever changed

Of a rater and an item the last event counts; after an undo none does. The write-ahead log needs a disk of this machine:
a folder that other machines share is refused.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bedside.core.errors import DataError
from bedside.core.hashing import digest
from bedside.run.events import utc_now

FILE = "ratings.sqlite"
RATING, SKIP, UNDO, LOCK, DECISION = "rating", "skip", "undo", "lock", "decision"
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs",
           "fuse.sshfs", "fuse.glusterfs", "fuse.ceph")  # fmt: skip
_EVENTS = """
create table if not exists events (
    number integer primary key autoincrement, at text not null, kind text not null, rater text not null,
    item text not null, answers text not null)
"""


@dataclass(frozen=True, slots=True)
class Rating:
    """What one rater last said of one item."""

    rater: str
    item: str
    answers: Mapping[str, str] = field(default_factory=dict)
    """Question to choice. Empty where the item was skipped."""
    note: str = ""
    skipped: str = ""
    """Why; empty where it was rated."""

    @property
    def counts(self) -> bool:
        return not self.skipped


class ReviewLocked(DataError):
    """The review takes no more ratings."""


class RatingStore:
    """The ratings of one review."""

    def __init__(self, folder: Path) -> None:
        require_local_disk(folder)
        self.path = folder / FILE
        self._db = sqlite3.connect(self.path, isolation_level=None, timeout=10, check_same_thread=False)
        self.path.chmod(0o600)
        (mode,) = self._db.execute("pragma journal_mode=wal").fetchone()
        if mode != "wal":
            raise DataError(f"{folder}: SQLite cannot write ahead here ({mode}); move the review to a local disk")
        self._db.execute("pragma synchronous=full")
        self._db.execute(_EVENTS)

    def close(self) -> None:
        self._db.close()

    def rate(self, rating: Rating) -> None:
        """Keep a rating or a skip. Returns once it is on the disk. ReviewLocked after the lock."""
        self._append(SKIP if rating.skipped else RATING, rating)

    def decide(self, rating: Rating) -> None:
        """Keep an adjudicator's decision; the lock is set before, and does not stop it."""
        with self._writing():
            self._insert(DECISION, rating)

    def undo(self, rater: str) -> str | None:
        """Take the rater's last rating back. Returns its item; None where there is none."""
        with self._writing():
            self._require_open()
            last = next(reversed(self.of(rater)), None)
            if last is not None:
                self._insert(UNDO, Rating(rater, last))
        return last

    def lock(self) -> tuple[int, str]:
        """Take no more ratings from now on. Returns how many ratings, skips and undos there are, and their digest."""
        with self._writing():
            if not self._is_locked():
                self._insert(LOCK, Rating("", ""))
        events = self._db.execute(
            f"select * from events where kind not in ('{DECISION}', '{LOCK}') order by number"
        ).fetchall()
        return len(events), digest(events)

    def of(self, rater: str) -> dict[str, Rating]:
        """The rater's ratings and skips that count, by item, the last one last."""
        return {rating.item: rating for rating in self.all() if rating.rater == rater}

    def last_sent(self, rater: str, item: str) -> Rating | None:
        """What the rater last sent of an item, also where they took it back; None where nothing."""
        query = (
            "select answers from events where rater = ? and item = ? and kind in (?, ?) order by number desc limit 1"
        )
        sent = self._db.execute(query, (rater, item, RATING, SKIP)).fetchone()
        return None if sent is None else Rating(rater, item, **json.loads(sent[0]))

    def all(self) -> list[Rating]:
        """Of every rater and item what counts, in the order in which it came."""
        return self._current((RATING, SKIP, UNDO))

    def decisions(self) -> dict[str, Rating]:
        """By item, the last decision of an adjudicator."""
        return {rating.item: rating for rating in self._current((DECISION,))}

    def _current(self, kinds: tuple[str, ...]) -> list[Rating]:
        current: dict[tuple[str, str], Rating] = {}
        rows = self._db.execute("select kind, rater, item, answers from events order by number")
        for kind, rater, item, answers in rows:
            if kind in kinds:
                current.pop((rater, item), None)
                if kind != UNDO:
                    current[rater, item] = Rating(rater, item, **json.loads(answers))
        return list(current.values())

    def _append(self, kind: str, rating: Rating) -> None:
        with self._writing():
            self._require_open()
            self._insert(kind, rating)

    def _insert(self, kind: str, rating: Rating) -> None:
        answers = {"answers": dict(rating.answers), "note": rating.note, "skipped": rating.skipped}
        text = json.dumps(answers, ensure_ascii=False, sort_keys=True)
        values = (utc_now(), kind, rating.rater, rating.item, text)
        self._db.execute("insert into events (at, kind, rater, item, answers) values (?, ?, ?, ?, ?)", values)

    def _is_locked(self) -> bool:
        return self._db.execute(f"select 1 from events where kind = '{LOCK}'").fetchone() is not None

    def _require_open(self) -> None:
        if self._is_locked():
            raise ReviewLocked("this review is locked and takes no more ratings; ask whoever leads it")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._db:  # commits, or takes everything back where something is raised
            self._db.execute("begin immediate")
            yield


def require_local_disk(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> None:
    """DataError where ``folder`` lies on a disk that other machines share: locks do not hold there."""
    kind = _filesystem(folder.resolve(), mounts)
    if kind in NETWORK:
        raise DataError(f"{folder} is on a network disk ({kind}), where ratings could be lost; move it to a local disk")


def _filesystem(folder: Path, mounts: Path) -> str:
    """The kind of the deepest mount that holds ``folder``; empty where the system does not say."""
    if not mounts.is_file():
        return ""
    fields = [line.split(" ") for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines()]
    at = {Path(field[1].replace("\\040", " ")): field[2] for field in fields if len(field) > 2}
    return next((at[path] for path in (folder, *folder.parents) if path in at), "")
