"""A folder that is written whole: into a draft, which takes its place once everything is on the disk."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bedside.data import io


@contextmanager
def new_folder(path: Path, last: str) -> Iterator[Path]:
    """A draft whose files are those of the folder ``path`` once the context has ended without an error.

    Where there is no ``path``, it appears whole. Into a folder that exists the files are moved one by one, the file
    ``last`` at the end: without it nobody takes the folder for what it is to be.
    """
    path = path.resolve()
    draft = io.draft_of(path / path.name if path.is_dir() else path)
    draft.parent.mkdir(parents=True, exist_ok=True)
    try:
        draft.mkdir()
        yield draft
        _take_place(draft, path, last)
    except OSError as error:
        if str(error.filename).startswith(str(draft)):  # whose name would mean nothing to the user
            error.filename = str(path)
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    io.sync_folder(path.parent)


def remove_dead_drafts(path: Path) -> None:
    """Remove what killed processes left of ``path``."""
    path = path.resolve()
    for dead in [*io.dead_drafts(path), *io.dead_drafts(path / path.name)]:
        shutil.rmtree(dead, ignore_errors=True)


def _take_place(draft: Path, path: Path, last: str) -> None:
    for file in draft.rglob("*"):
        if file.is_file():
            _sync(file)
    if draft.parent != path:
        draft.rename(path)
        return
    for file in sorted(draft.iterdir(), key=lambda file: file.name == last):
        file.replace(path / file.name)
    io.sync_folder(path)


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
