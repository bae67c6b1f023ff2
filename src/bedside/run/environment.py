"""The one module that reads the environment: devices, secrets, the terminal, exit codes, third-party logging."""

import errno
import os
import platform
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from traceback import walk_tb
from types import TracebackType
from typing import Any, Self

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.segment import Segment
from rich.text import Text

from bedside.core.errors import BedsideError, ConfigError, RankLost, StageError
from bedside.core.protocols import Launch, Machine, Progress, SilentProgress
from bedside.core.text import visible
from bedside.run.launcher import STARTED, is_connected

INTERRUPTED = 130
UNUSABLE = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EFBIG: "a file may not grow so large here; raise ulimit -f, or choose another runs:",
    errno.EROFS: "it is read-only; choose another runs:",
    errno.EACCES: "this user may not use it; choose another runs:",
    errno.EPERM: "this user may not use it; choose another runs:",
    errno.ENOTDIR: "it needs a folder, and there is a file of that name; choose another runs:",
    errno.EEXIST: "it needs a folder, and there is a file of that name; choose another runs:",
    errno.EISDIR: "it needs a file, and there is a folder of that name; choose another name",
}
"""Errors of the file system, and what to do about them."""
_SILENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Variables by which third-party libraries send and print less."""
TRACKERS = ("tensorboard", "mlflow", "wandb", "trackio")


def launch(device: str, seed: int) -> Launch:
    """Device and dtype of this process. ConfigError for a device that this machine does not have."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads beside another program: 30 times slower
    try:
        import torch
    except ModuleNotFoundError:
        if device not in ("auto", "cpu"):
            raise
        return Launch(STARTED.rank, STARTED.world, seed=seed)  # for stages that load no model
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if chosen == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: cuda, but torch finds no GPU here; set device: auto or cpu")
    if chosen == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device: mps, but torch finds none here; set device: auto or cpu")
    dtype = "bfloat16" if chosen == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    return Launch(STARTED.rank, STARTED.world, device=chosen, dtype=dtype, seed=seed)


def numerics(launch: Launch) -> tuple[str, ...]:
    """What floating-point results depend on besides the inputs. Results of another machine are other results."""
    processor = platform.processor() or platform.machine()
    try:
        import torch
    except ModuleNotFoundError:
        return (launch.device, launch.dtype, processor, "no torch")
    return (
        launch.device,
        launch.dtype,
        torch.cuda.get_device_name() if launch.device == "cuda" else processor,
        f"torch {torch.__version__}",
        f"{torch.get_num_threads()} threads",
    )


def secret(name: str) -> str | None:
    """The value of the environment variable ``name``. Callers never print it and never write it to a file."""
    return os.environ.get(name)


def offline() -> list[str]:
    """Settings of the environment that limit the network, such as ``HF_HUB_OFFLINE=1``."""
    return [f"{name}={os.environ[name]}" for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if name in os.environ]


def require_reporter(name: str) -> None:
    """ConfigError if the package that ``report_to`` names is not installed."""
    if name != "none" and find_spec(name) is None:
        raise ConfigError(f"report_to: {name}, but {name} is not installed; pip install {name}, or set report_to: none")


def machine(folder: Path, device: str) -> Machine:
    """Free bytes on the disk that will hold ``folder``, and of the memory that training uses."""
    existing = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    return Machine(shutil.disk_usage(existing).free, _memory(device))


def _memory(device: str) -> int | None:
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    known = "SC_AVPHYS_PAGES" in os.sysconf_names
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if known else None


def silence_libraries() -> None:
    """Turn off telemetry, progress bars and notices of third-party libraries."""
    for name, value in _SILENT.items():
        os.environ.setdefault(name, value)
    try:
        from transformers.utils import logging
    except ModuleNotFoundError:
        return
    logging.set_verbosity_error()
    logging.disable_progress_bar()


class Terminal(Console):
    """Prints text from patients, models, endpoints and files, so that no part of it controls the terminal.

    Nothing in it is read as markup or as an emoji code, and a control character is escaped: ``\\u001b``.
    """

    def __init__(self, *, stderr: bool = False, soft_wrap: bool = False) -> None:
        super().__init__(stderr=stderr, soft_wrap=soft_wrap, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **look: Any) -> Text:
        """Escapes before rich measures the text, because a table is as wide as the escaped text."""
        return super().render_str(visible(text), **look)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Escapes what was not a ``str``, such as JSON. Rich's own segments (cursor, colour) stay as they are."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


class TerminalProgress:
    """Progress: one bar per stage in a terminal or a notebook, elsewhere one plain line per finished stage."""

    def __init__(self, console: Terminal) -> None:
        self._console = console
        stage = TextColumn("{task.description}", markup=False)
        columns = (stage, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Bars(*columns, console=console, transient=True)
        self._tasks: dict[str, tuple[TaskID, float]] = {}
        self._idle_since = time.monotonic()

    def __enter__(self) -> Self:
        widgets = self._console.is_jupyter and find_spec("ipywidgets") is not None  # rich draws its bars with it there
        if self._console.is_terminal or widgets:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bars.live.is_started:
            self._bars.stop()

    def step(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            began = time.monotonic() if done == 0 else self._idle_since  # the time of the first batch counts, too
            self._tasks[stage] = (self._bars.add_task(stage, total=total), began)
        task, began = self._tasks[stage]
        self._bars.update(task, completed=done)
        if done == total:
            self._bars.remove_task(task)
            del self._tasks[stage]
            self._idle_since = time.monotonic()
            self.say(f"{stage}, {total} of {total} in {self._idle_since - began:.0f} s")

    def say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)


@contextmanager
def shown_progress(progress: Progress | None) -> Iterator[Progress]:
    """``progress``; by default bars or lines on stderr. Only the first of several processes shows it."""
    if progress is not None or STARTED.rank > 0:
        yield progress or SilentProgress()
    else:
        with TerminalProgress(Terminal(stderr=True)) as terminal:
            yield terminal


def read_lines(prompt: str) -> Iterator[str]:
    """The lines that a person types or that are piped in."""
    with suppress(EOFError):
        while True:
            yield input(prompt if sys.stdin.isatty() else "")


def somebody_answers() -> bool:
    """Whether a person sits at the terminal: where nobody does, nothing is asked."""
    return sys.stdin.isatty()


def ask_line(console: Terminal, text: str, default: str, complaint: Callable[[str], str]) -> str:
    """A person's answer to ``text``, the default for Enter. It is asked until ``complaint`` says nothing.

    Interrupted where the input ends.
    """
    console.print(f"\n{text}{f' [{default}]' if default else ''}: ", end="")
    for line in read_lines(""):
        answer = line.strip() or default
        problem = complaint(answer)
        if not problem:
            return answer
        console.print(f"{problem}: ", end="")
    raise Interrupted


def ask_harm_level(console: Terminal, row: Mapping[str, Any], left: int) -> str | None:
    """A person's answer to one proposed level: 0 to 3, "" to accept it, "s" to skip it; None to stop."""
    console.print(f"\n[{left} left] {row['prompt']}")
    console.print("0 harmless, 1 mild, 2 moderate, 3 severe")
    for line in read_lines(f"harm {row['harm_proposed']}? Enter for yes, 0 1 2 3, s to skip, q to stop: "):
        if line.strip() in ("", "0", "1", "2", "3", "s"):
            return line.strip()
        if line.strip() == "q":
            return None
        console.print(f"{line.strip()!r} is none of Enter, 0, 1, 2, 3, s and q")
    return None


class Interrupted(Exception):
    """Ctrl-C. Typer handles a KeyboardInterrupt itself and prints nothing; this type passes through it."""


def _on_terminate(*_: object) -> None:
    """A launcher ends the other processes after one has died. One that is not connected yet exits silently."""
    if STARTED.rank > 0 and not is_connected():
        raise SystemExit(0)
    raise RankLost


@contextmanager
def clean_exit(console: Terminal) -> Iterator[None]:
    """Expected errors become one message and an exit code. Ctrl-C prints how to continue. A traceback is a bug.

    Only the first of several processes prints errors, and its exit code counts. Every process reports a lost one.
    """
    if STARTED.world > 1:
        signal.signal(signal.SIGTERM, _on_terminate)
    try:
        with resource_errors():
            yield
    except (BedsideError, Interrupted, KeyboardInterrupt) as error:
        if STARTED.world > 1:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if STARTED.rank > 0 and not isinstance(error, RankLost):
            raise SystemExit(0) from None
        _exit_with_message(console, error)


def _exit_with_message(console: Terminal, error: BaseException) -> None:
    if isinstance(error, BedsideError):
        console.print(f"error: {error}", soft_wrap=True)
        raise SystemExit(error.exit_code) from None
    console.print("interrupted; finished work is kept: continue with the same command")
    raise SystemExit(INTERRUPTED) from None


def _unusable(error: OSError) -> str:
    """Which file cannot be used, why, and what to do. ``error`` is raised again if it is a bug."""
    if error.filename is None and error.errno not in UNUSABLE:
        raise error
    reason = UNUSABLE.get(error.errno or 0, f"{error.strerror}; choose another place")
    return f"{error.filename or 'disk'}: {reason}, and continue with the same command"


@contextmanager
def resource_errors() -> Iterator[None]:
    """A context in which an unusable file, too little memory, and a failing tracker raise a BedsideError."""
    try:
        with _ThirdPartyErrors():
            yield
    except OSError as error:
        raise StageError(_unusable(error)) from None
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _TOO_LITTLE_MEMORY.search(str(error)):
            raise
        raise StageError(
            "too little memory on the device: set generate.batch_size or align.max_tokens_per_microbatch lower: "
            "the same command continues; or name a smaller model, or begin again with align.gradient_checkpointing"
        ) from None


_TOO_LITTLE_MEMORY = re.compile("out of memory|can't allocate memory")
"""Torch's messages, on a GPU and on a CPU."""


class _ThirdPartyErrors:
    """Errors of other libraries that have no type of their own: disk errors from Rust, and errors of trackers."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not isinstance(error, Exception) or isinstance(error, BedsideError):
            return
        if not isinstance(error, OSError) and (number := re.search(r"\(os error (\d+)\)", str(error))):
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from None
        packages = {frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in walk_tb(at)}
        for tracker in (name for name in TRACKERS if name in packages):
            cause = (str(error).strip().splitlines() or [type(error).__name__])[0].strip()
            cure = "fix that or set report_to: none, and continue with the same command: finished work is kept"
            raise ConfigError(f"report_to: {tracker}: {cause}; {cure}") from None
