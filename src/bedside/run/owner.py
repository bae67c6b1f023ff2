"""One process at a time writes into a run folder.

The lock is a lock of the system (flock), so it ends with its process, even if that is killed. ``owner.lock`` names the
last process that took it.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from bedside.core.errors import ConfigError
from bedside.data.io import make_private

FILE = "owner.lock"


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """A context in which no other process owns ``folder``. ConfigError if one does."""
    make_private(folder)
    file = folder / FILE
    lock = FileLock(file)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        owner = file.read_text(encoding="utf-8", errors="replace").strip() or "another process"
        raise ConfigError(
            f"{folder} is in use by {owner}: wait until it has ended, or name this run otherwise (--set run=NAME)"
        ) from None
    try:
        file.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
        yield
    finally:
        lock.release()
