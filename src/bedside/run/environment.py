"""The one place that looks at the environment: devices, ranks, terminals, other libraries' chatter."""

import errno
import os
import platform
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from traceback import walk_tb
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from bedside.core.errors import BedsideError, ConfigError, Lost, ModelError
from bedside.core.protocols import Launch, Machine
from bedside.run.launcher import STARTED, met

INTERRUPTED = 130
UNUSABLE = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EFBIG: "a file may not grow so large here; raise ulimit -f, or choose another runs:",
    errno.EROFS: "it is read-only; choose another runs:",
    errno.EACCES: "this user may not use it; choose another runs:",
    errno.EPERM: "this user may not use it; choose another runs:",
    errno.ENOTDIR: "a file stands where a folder should be; choose another runs:",
    errno.EEXIST: "a file stands where a folder should be; choose another runs:",
    errno.EISDIR: "a folder stands where a file should be; choose another name",
}
"""What the system says of a place, and what to do."""
TRACKERS = ("tensorboard", "mlflow", "wandb", "trackio")


def launch(device: str, seed: int) -> Launch:
    """Device and dtype of this process. ConfigError for what this machine has not."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # a spinning thread beside another program costs 30 times
    torch = _torch()
    chosen = _best_device(torch) if device == "auto" else device
    if chosen == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: cuda, but torch sees no GPU here; say device: auto or cpu")
    if chosen == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device: mps, but torch sees none here; say device: auto or cpu")
    bf16 = chosen == "cuda" and torch.cuda.is_bf16_supported()
    dtype = "bfloat16" if bf16 else "float32"
    return Launch(STARTED.rank, STARTED.world, device=chosen, dtype=dtype, seed=seed)


def bits(launch: Launch) -> tuple[str, ...]:
    """What decides float bits, beside the inputs: a result made elsewhere is another result."""
    torch = _torch()
    kind = torch.cuda.get_device_name() if launch.device == "cuda" else platform.processor() or platform.machine()
    return (
        launch.device,
        launch.dtype,
        kind,
        f"torch {torch.__version__}",
        f"{torch.get_num_threads()} threads",
    )


def secret(name: str) -> str | None:
    """The key in the environment variable ``name``. Whoever asks says nothing of it and keeps it out of files."""
    return os.environ.get(name)


def reporter(name: str) -> None:
    """ConfigError where training curves are to go to a package that is not installed."""
    if name != "none" and find_spec(name) is None:
        raise ConfigError(f"report_to: {name}, but {name} is not installed; pip install {name}, or say report_to: none")


def machine(folder: Path, device: str) -> Machine:
    """Bytes free on the disk that will hold ``folder``, and of the memory that training uses."""
    there = next(place for place in (folder, *folder.resolve().parents) if place.exists())
    return Machine(shutil.disk_usage(there).free, _memory(device))


def _memory(device: str) -> int | None:
    if device == "cuda":
        return int(_torch().cuda.mem_get_info()[0])
    if "SC_AVPHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise ModelError("local models need torch, transformers and peft: pip install 'bedside[train]'") from None
    return torch


def _best_device(torch: Any) -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def hush() -> None:
    """Other libraries' progress bars and notices belong to their authors; ours say what a person can act on."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


class Terminal:
    """Progress for a person: one bar a stage, or one plain line a stage where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Bars(*columns, console=console, transient=True)
        self._tasks: dict[str, tuple[TaskID, float]] = {}

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    def step(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = (self._bars.add_task(stage, total=total), time.monotonic())
        task, began = self._tasks[stage]
        self._bars.update(task, completed=done)
        if done == total:
            self._bars.remove_task(task)
            del self._tasks[stage]
            self._line(f"{stage}, {total} of {total} in {time.monotonic() - began:.0f} s")

    def say(self, line: str) -> None:
        self._line(line)

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def lines(question: str) -> Iterator[str]:
    """What a person types, or what is piped in, until it ends."""
    while True:
        try:
            yield input(question if sys.stdin.isatty() else "")
        except EOFError:
            return


def level(console: Console, row: Mapping[str, Any], left: int) -> str | None:
    """What a person says of one proposal: 0 to 3, "" for yes, "s" to skip; None when they have had enough."""
    console.print(f"\n[{left} left] {row['prompt']}", markup=False)
    console.print("0 harmless, 1 mild, 2 moderate, 3 severe")
    asked = f"harm {row['harm_proposed']}? Enter for yes, 0 1 2 3, s to skip, q to stop: "
    for said in lines(asked):
        if said.strip() in ("", "0", "1", "2", "3", "s"):
            return said.strip()
        if said.strip() == "q":
            return None
        console.print(f"{said.strip()!r} is none of Enter, 0, 1, 2, 3, s and q", markup=False)
    return None


class Interrupted(Exception):
    """Ctrl-C, under a name that typer does not take for its own: of a KeyboardInterrupt it says nothing."""


def _ended(*_: object) -> None:
    """A launcher ends the others when one is gone. A second one that has met nobody yet has lost nothing to tell of."""
    if STARTED.rank > 0 and not met():
        raise SystemExit(0)
    raise Lost


@contextmanager
def clean_exit(console: Console) -> Iterator[None]:
    """Our errors become one message and an exit code; Ctrl-C says how to go on. A traceback is a bug.

    Of several processes the first speaks for all, and its exit code counts; each tells of one that is gone.
    """
    if STARTED.world > 1:
        signal.signal(signal.SIGTERM, _ended)
    try:
        with _OthersErrors():
            yield
    except (BedsideError, Interrupted, KeyboardInterrupt, OSError) as error:
        if STARTED.world > 1:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if STARTED.rank > 0 and not isinstance(error, Lost):
            raise SystemExit(0) from None
        _told(console, error)


def _told(console: Console, error: BaseException) -> None:
    """Say it and leave."""
    if isinstance(error, BedsideError):
        console.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(error.exit_code) from None
    if not isinstance(error, OSError):
        console.print("interrupted; finished work is kept: continue with the same command")
        raise SystemExit(INTERRUPTED) from None
    if error.filename is None and error.errno not in UNUSABLE:
        raise error
    reason = UNUSABLE.get(error.errno or 0, f"{error.strerror}; choose another place")
    said = f"error: {error.filename or 'disk'}: {reason}, and continue with the same command"
    console.print(said, markup=False, highlight=False, soft_wrap=True)
    raise SystemExit(1) from None


class _OthersErrors:
    """What others raise and no type tells apart: a disk's word out of Rust, and whatever stops a tracker in mid-run."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not isinstance(error, Exception) or isinstance(error, BedsideError):
            return
        if not isinstance(error, OSError) and (number := re.search(r"\(os error (\d+)\)", str(error))):
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from None
        rooms = {frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in walk_tb(at)}
        for tracker in (name for name in TRACKERS if name in rooms):
            cause = (str(error).strip().splitlines() or [type(error).__name__])[0].strip()
            cure = "mend that or say report_to: none, and continue with the same command: finished work is kept"
            raise ConfigError(f"report_to: {tracker}: {cause}; {cure}") from None
