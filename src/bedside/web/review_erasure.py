"""Erase what a person said from reviews: `bedside erase` comes here after the runs.

    items and their keys that hold the text leave, with every rating of them, in the database and in what was exported
    a note that holds it becomes [ERASED], and the rating stays
    pages and tables of the review lose what holds it, as ``run/text_removal.py`` says
    any other file of the folder that holds it is named: only a person can mend it

The database is written anew, so that no free page of it holds the text, and notes the erasure: what was locked stays
locked. End `bedside review serve` first: it shows the items that it read when it began.
"""

import json
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bedside.core.errors import DataError
from bedside.data import io
from bedside.run.erasure import ErasureResult
from bedside.run.events import EventLog
from bedside.run.text_removal import Remainder, contains, holds, normalised, without
from bedside.web import study
from bedside.web.packing import PACKED
from bedside.web.rating_store import FILE as RATINGS
from bedside.web.rating_store import RatingStore
from bedside.web.study import FILE, ITEMS, KEY, LOCKED, PLAN, SECRET, StudyFolder

_OWN = (FILE, ITEMS, KEY, LOCKED, PLAN, SECRET, RATINGS, f"{RATINGS}-wal", f"{RATINGS}-shm")


@dataclass(frozen=True, slots=True)
class _Occurrences:
    items: frozenset[str]
    """That leave."""
    notes: int
    files: dict[Path, Remainder]
    left: tuple[str, ...]


def folders(runs: Path, named: Iterable[Path]) -> list[Path]:
    """Reviews that ``named`` says, those below ``runs``, and those that the runs' events say they were packed to."""
    logs = (file.parent for file in runs.rglob(io.EVENTS)) if runs.is_dir() else ()
    packed = [Path(event["to"]) for run in logs for event in EventLog(run).read() if event["event"] == PACKED]
    below = [file.parent for file in runs.rglob(FILE)]
    found = [folder.resolve() for folder in (*packed, *below) if (folder / FILE).is_file()]
    return sorted({*found, *(folder.resolve() for folder in named)})


def erase(folder: Path, text: str, *, dry_run: bool) -> ErasureResult | None:
    """Erase ``text`` from one review; None where it does not hold it. One that cannot be read is named, and stays."""
    try:
        return _erase_from(study.read(folder), normalised(text), dry_run=dry_run)
    except DataError as error:
        return ErasureResult(folder, 0, 0, (), adapters_removed=False, left=(f"all, since {error}",))


def _erase_from(opened: StudyFolder, plain: str, *, dry_run: bool) -> ErasureResult | None:
    with closing(RatingStore(opened.root)) as store:
        store.all()  # DataError where it cannot be read
        held = _occurrences(opened, store, plain)
        if not (held.items or held.notes or held.files or held.left):
            return None
        if not dry_run:
            _erase(opened, store, held, plain)
    rows = len(held.items) + held.notes + sum(one.removed for one in held.files.values())
    return ErasureResult(opened.root, 0, rows, (), adapters_removed=False, left=held.left)


def _occurrences(folder: StudyFolder, store: RatingStore, text: str) -> _Occurrences:
    """A key that an erasure left behind when it was killed counts as held."""
    items, keys = ((folder.root / name).read_bytes().splitlines() for name in (ITEMS, KEY))
    lines = [json.loads(line) for line in (*items, *keys)]
    own = {line["id"] for line in lines if contains(line, text) or line["id"] not in folder.key}
    again = {row.id for row in folder.key.values() if row.repeats in own}
    files, left = {}, []
    for file in sorted(path for path in folder.root.rglob("*") if path.is_file() and path.name not in _OWN):
        remainder = without(file, text)
        if remainder is not None and remainder.removed:
            files[file] = remainder
        elif remainder is None and holds(file, text):
            left.append(file.relative_to(folder.root).as_posix())
    gone = frozenset(own | again)
    return _Occurrences(gone, len(store.notes_with(text, gone)), files, tuple(left))


def _erase(folder: StudyFolder, store: RatingStore, held: _Occurrences, text: str) -> None:
    """The items last: by them a second try after a kill finds what else is to go."""
    store.erase(held.items, text)
    for file, remainder in held.files.items():
        remainder.write(file)
    kept = [item for item in folder.items if item.id not in held.items]
    if held.items:
        study.write_items(folder.root, kept, [folder.key[item.id] for item in kept])
