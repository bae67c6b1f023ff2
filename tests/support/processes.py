"""Programs in processes of their own, as a person starts them, without waiting for imports: see fork_server.py.

All of one server share one hash seed, so what has to equal them is started by ``subprocess`` at least once.
"""

import atexit
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from tests.support.paths import SUPPORT


def run_python(*argv: object, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """``python ARGV``, once."""
    (done,) = run_together([(argv, env or os.environ)], cwd=cwd)
    return done


def run_together(
    programs: Sequence[tuple[Sequence[object], Mapping[str, str]]], *, cwd: Path
) -> list[subprocess.CompletedProcess[str]]:
    """``python ARGV`` for each program, all at once."""
    with tempfile.TemporaryDirectory() as folder:
        lines = []
        for number, (argv, env) in enumerate(programs):
            out, err = (str(Path(folder, f"{number}.{stream}")) for stream in ("out", "err"))
            lines.append(
                {"argv": [str(w) for w in argv], "cwd": str(cwd), "env": {**env}, "stdout": out, "stderr": err}
            )
        server = _server()
        server.stdin.write(json.dumps(lines) + "\n")
        server.stdin.flush()
        codes = json.loads(server.stdout.readline())
        return [
            subprocess.CompletedProcess(line["argv"], code, *(Path(line[k]).read_text() for k in ("stdout", "stderr")))
            for line, code in zip(lines, codes, strict=True)
        ]


@cache
def _server() -> subprocess.Popen[str]:
    command = [sys.executable, str(SUPPORT / "fork_server.py")]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    atexit.register(server.kill)
    return server
