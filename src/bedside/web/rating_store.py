"""Ratings in SQLite: what a rater sent is on the disk before they get the next page.

    events    one row a rating, skip, undo or lock, in the order in which they came; only an erasure changes one, and
              notes the digests before and after it

Of a rater and an item the last event counts; after an undo none does. The write-ahead log needs a disk of this machine:
a folder that other machines share is refused.
"""

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bedside.core.errors import DataError
from bedside.core.hashing import digest
from bedside.run.events import utc_now
from bedside.run.text_removal import ERASED as ERASED_TEXT
from bedside.run.text_removal import contains
from bedside.web import study
from bedside.web.study import StudyFolder

FILE = "ratings.sqlite"
KINDS = RATING, SKIP, UNDO, LOCK, DECISION, ERASED = "rating", "skip", "undo", "lock", "decision", "erased"
OF_RATERS = (RATING, SKIP, UNDO)
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs",
           "fuse.sshfs", "fuse.glusterfs", "fuse.ceph")  # fmt: skip
_EVENTS = """
create table if not exists events (
    number integer primary key autoincrement, at text not null, kind text not null, rater text not null,
    item text not null, answers text not null)
"""

_INSERT = "insert into events (at, kind, rater, item, answers) values (?, ?, ?, ?, ?)"
_CURRENT = "select number, kind, rater, item, answers from events order by number"


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
        with ExitStack() as undone:
            undone.callback(self._db.close)
            self._open(folder)
            undone.pop_all()

    def _open(self, folder: Path) -> None:
        self.path.chmod(0o600)
        ((mode,),) = self._query("pragma journal_mode=wal")
        if mode != "wal":
            raise DataError(f"{folder}: SQLite cannot write ahead here ({mode}); move the review to a local disk")
        self._query("pragma synchronous=full")
        self._query(_EVENTS)

    def close(self) -> None:
        self._db.close()

    def rate(self, rating: Rating) -> None:
        """Keep a rating or a skip. Returns once it is on the disk. ReviewLocked after the lock."""
        self.rate_all([rating])

    def rate_all(self, ratings: Sequence[Rating]) -> None:
        """Keep all of them or, where something is raised, none."""
        with self._writing():
            self._require_open()
            for rating in ratings:
                self._insert(SKIP if rating.skipped else RATING, rating)

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
        return self.state()

    def state(self) -> tuple[int, str]:
        """How many ratings, skips and undos there are, and their digest."""
        events = self._query(
            f"select * from events where kind not in ('{DECISION}', '{LOCK}', '{ERASED}') order by number"
        )
        try:
            return len(events), digest(events)
        except TypeError:  # bytes, which nothing here writes
            raise self._damaged("a row") from None

    def follows(self, locked: str) -> bool:
        """Whether the ratings are those with the digest ``locked``, or what erasures left of them."""
        for number, answers in self._query(f"select number, answers from events where kind = '{ERASED}'"):
            try:
                noted = json.loads(str(answers))
                locked = noted["after"] if noted["before"] == locked else locked
            except (ValueError, TypeError, KeyError, RecursionError):
                raise self._damaged(f"row {number}") from None
        return self.state()[1] == locked

    def notes_with(self, text: str, gone: Collection[str]) -> list[tuple[int, str]]:
        """Number and content of the events whose note holds the normalised ``text``, but those of items ``gone``."""
        rows = self._query("select number, item, answers from events where kind <> ?", (ERASED,))
        return [(n, answers) for n, item, answers in rows if item not in gone and contains(json.loads(answers), text)]

    def erase(self, gone: Collection[str], text: str) -> None:
        """Remove every event of the items ``gone``, and the normalised ``text`` from other notes."""
        self._query("pragma secure_delete=on")
        with self._writing():
            before, notes = self.state()[1], self.notes_with(text, gone)
            for item in gone:
                self._query("delete from events where item = ?", (item,))
            for number, answers in notes:
                kept = json.dumps({**json.loads(answers), "note": ERASED_TEXT}, ensure_ascii=False, sort_keys=True)
                self._query("update events set answers = ? where number = ?", (kept, number))
            noted = json.dumps({"before": before, "after": self.state()[1]})
            self._query(_INSERT, (utc_now(), ERASED, "", "", noted))
        self._query("vacuum")
        self._query("pragma wal_checkpoint(truncate)")

    def of(self, rater: str) -> dict[str, Rating]:
        """The rater's ratings and skips that count, by item, the last one last."""
        return {rating.item: rating for rating in self.all() if rating.rater == rater}

    def last_sent(self, rater: str, item: str) -> Rating | None:
        """What the rater last sent of an item, also where they took it back; None where nothing."""
        query = (
            "select number, answers from events where rater = ? and item = ? and kind in (?, ?) "
            "order by number desc limit 1"
        )
        sent = self._query(query, (rater, item, RATING, SKIP))
        return self._rating(sent[0][0], rater, item, sent[0][1]) if sent else None

    def all(self) -> list[Rating]:
        """Of every rater and item what counts, in the order in which it came."""
        return self._current(OF_RATERS)

    def decisions(self) -> dict[str, Rating]:
        """By item, the last decision of an adjudicator."""
        return {rating.item: rating for rating in self._current((DECISION,))}

    def _current(self, kinds: tuple[str, ...]) -> list[Rating]:
        current: dict[tuple[str, str], Rating] = {}
        for number, kind, rater, item, answers in self._query(_CURRENT):
            if kind not in KINDS or (kind in OF_RATERS and rater not in self._study.study.raters):
                raise self._damaged(f"row {number}")
            if kind in kinds:
                rating = self._rating(number, rater, item, answers)
                current.pop((rater, item), None)
                if kind != UNDO:
                    current[rater, item] = rating
        return list(current.values())

    def _rating(self, number: int, rater: object, item: object, answers: object) -> Rating:
        """The rating of a row. DataError where it is none that this review could have."""
        try:
            given = json.loads(str(answers))
            rating = Rating(str(rater), str(item), given["answers"], given["note"], given["skipped"])
            rating.note.encode()  # half of a surrogate pair could not be shown
            if self._study.can_hold(rating.item, rating.answers, rating.skipped):
                return rating
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            pass
        raise self._damaged(f"row {number}")

    @cached_property
    def _study(self) -> StudyFolder:
        return study.read(self.path.parent)

    def _damaged(self, where: str) -> DataError:
        return DataError(f"{self.path}, {where}: is not as this review wrote it; put back a copy of {FILE}")

    def _query(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        try:
            return self._db.execute(query, values).fetchall()
        except (sqlite3.DatabaseError, sqlite3.InterfaceError, UnicodeDecodeError) as error:
            raise DataError(f"{self.path}: SQLite cannot read it ({error}); put back a copy of {FILE}") from None

    def _insert(self, kind: str, rating: Rating) -> None:
        answers = {"answers": dict(rating.answers), "note": rating.note, "skipped": rating.skipped}
        text = json.dumps(answers, ensure_ascii=False, sort_keys=True)
        values = (utc_now(), kind, rating.rater, rating.item, text)
        self._query(_INSERT, values)

    def _is_locked(self) -> bool:
        return bool(self._query(f"select 1 from events where kind = '{LOCK}'"))

    def _require_open(self) -> None:
        if self._is_locked():
            raise ReviewLocked("this review is locked and takes no more ratings; ask whoever leads it")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._db:  # commits, or takes everything back where something is raised
            self._query("begin immediate")
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
