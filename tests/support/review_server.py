"""`bedside review serve` and its neighbours in a process of their own, as a person starts them."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def served(*words: object, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """The process, and who to link, as the command prints them. It is killed in the end, where it still runs."""
    command = [sys.executable, "-m", "bedside", *map(str, words), "--port", "0"]
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process, dict(_links(process))
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def _links(process: subprocess.Popen[str]) -> Iterator[tuple[str, str]]:
    assert process.stdout
    assert process.stderr
    for line in process.stdout:
        if line.startswith("Ctrl-C"):
            return
        name, link = line.split()
        yield name, link
    raise AssertionError(process.stderr.read())
