"""A run folder has one owner at a time, and a process that ends, however it ends, owns nothing."""

import os
import signal
import subprocess
import sys

import pytest

import bedside
from bedside.core.errors import ConfigError
from bedside.run.owner import owned

HOLD = "import sys; from pathlib import Path; from bedside.run.owner import owned\n"
HOLD += "with owned(Path(sys.argv[1])): print('owned', flush=True); sys.stdin.read()"


@pytest.fixture
def other(tmp_path):
    """A process that owns the folder, until it is killed."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "runs" / "r")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "owned\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_a_second_process_is_told_who_owns_the_folder_and_a_killed_one_owns_nothing(tmp_path, other):
    folder = tmp_path / "runs" / "r"
    for _ in range(2):  # the first refusal leaves the owner's name in place
        with pytest.raises(ConfigError, match=f"r is in use by process {other.pid} on .*: wait .*--set run=NAME"):
            owned(folder).__enter__()
    other.send_signal(signal.SIGKILL)
    other.wait()
    with owned(folder):
        assert f"process {os.getpid()} " in (folder / "owner.lock").read_text()
    with owned(folder):
        pass


def test_verbs_that_write_own_the_run_and_those_that_read_do_not(tmp_path):
    data = {part: {"kind": "clinic", "part": part, "n": 10} for part in ("train", "valid", "test")}
    config = {"target": "embedded", "data": data, "runs": str(tmp_path), "run": "r"}
    with owned(tmp_path / "r"):
        for verb in (bedside.align, bedside.generate, bedside.rewrite, bedside.run_comfort, bedside.chat):
            with pytest.raises(ConfigError, match="r is in use by process"):
                verb(config, progress=bedside.SilentProgress())
        with pytest.raises(bedside.core.errors.DataError, match="no finished run here"):
            bedside.read_run(tmp_path / "r")
