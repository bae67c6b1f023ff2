"""A call in a process of its own, forked off, that is killed for real before its n-th change of a file in a folder."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.support.killed_verb import Killer


def killed_call(folder: Path, at: int, call: Callable[[], object]) -> int | None:
    """None if it was killed before its change ``at``, else how many changes it made. 0: nothing is killed.

    It needs no import, so it takes milliseconds where ``killed_verb`` takes seconds. What it raises fails the test.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _run(folder, at, call, writing)
    os.close(writing)
    with os.fdopen(reading) as told:
        changes = told.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, -9), "what it raised stands on stderr"
    return int(changes) if code == 0 else None


def _run(folder: Path, at: int, call: Callable[[], object], writing: int) -> None:
    """Never returns."""
    code = 1
    try:
        killer = Killer(folder, at)
        sys.addaudithook(killer)
        call()
        killer.at = 0
        os.write(writing, str(killer.changes).encode())
        code = 0
    except BaseException:  # noqa: BLE001, what is printed fails the test
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
