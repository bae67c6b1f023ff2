"""Runs the command line, and kills its own process, for real, before its n-th change of a file below a folder.

    python tests/support/killed_verb.py FOLDER N align -c bedside.yaml    N 0: nothing is killed; prints the changes

A change is a file opened for writing, renamed, truncated or removed, or a folder made or removed.
"""

import os
import signal
import sys
import threading
from pathlib import Path

CHANGES = ("os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC


class Killer:
    """An audit hook: it hears of each change before it is made."""

    def __init__(self, folder: Path, at: int) -> None:
        self.folder, self.at, self.changes, self.lock = str(folder.resolve()), at, 0, threading.Lock()

    def __call__(self, event: str, args: tuple) -> None:
        changes = event in CHANGES or (event == "open" and isinstance(args[2], int) and args[2] & WRITING)
        if changes and isinstance(args[0], str | os.PathLike) and os.path.abspath(args[0]).startswith(self.folder):
            with self.lock:
                self.changes += 1
                if self.changes == self.at:
                    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    folder, at, *words = sys.argv[1:]
    import tests.support.careless_writer  # noqa: F401  registers the writer
    from bedside.cli.main import main

    killer = Killer(Path(folder), int(at))
    sys.addaudithook(killer)
    sys.argv = ["bedside", *words]
    try:
        main()
    finally:
        print(f"changes {killer.changes}", file=sys.stderr)
