"""The results of a run's stages, in folders named by the digest of what decides them.

A stage's key is a digest of its name, its spec, its batch plan and the *bytes* of its inputs, so

* a finished stage is read, not run again;
* a stage that starts again after a crash runs only the batches that are not yet on disk;
* an input that is produced again and comes out equal changes nothing downstream.

    store/judge/b2-5f3a.../part.jsonl    one line per finished batch, in the order in which they finished
                           part-1.jsonl  the same, of the second process
                           rows.jsonl    all rows, in the order of the inputs
                           stage.json    written last: where it exists, the stage is finished

stage.json has the digest of every other file, of the folder's name and of itself, and every file that is read is
compared with it. A damaged finished stage is an error; it is never silently run again. Times are written to
events.jsonl and nowhere else: stage files are the same bytes on every run.
"""

import json
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar, cast

from pydantic import TypeAdapter

from bedside.core.distributed import Ranks, SingleRank, run_on_all, share
from bedside.core.errors import StageError
from bedside.core.hashing import digest, digest_bytes, digest_file, digest_rows, plain
from bedside.core.protocols import Progress, SilentProgress
from bedside.data.io import append_to, make_private, whole_lines, write_parts, write_text
from bedside.run.events import EventLog, utc_now

LEARNED_FROM = "learned_from.jsonl"
"""The rows of a training, kept in its stage so that `bedside erase` finds what an adapter learned from."""
In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")
Row_co = TypeVar("Row_co", covariant=True)
ROWS, STAGE = "rows.jsonl", "stage.json"


@dataclass(frozen=True)
class StageOutput(Generic[Out]):
    """The rows of a finished stage. They are read from disk once, compared with their digest, then kept."""

    path: Path
    row_type: type[Out]
    digest: str
    _rows: list[Out] = field(default_factory=list, repr=False, compare=False)

    def all(self) -> list[Out]:
        """The rows. StageError if the file is not what was written."""
        if not self._rows:
            adapter = TypeAdapter(self.row_type)
            self._rows.extend(adapter.validate_json(line) for line in self.data().splitlines())
        return self._rows

    def data(self) -> bytes:
        """The file, a row a line. StageError where it is not what was written."""
        data = self.path.read_bytes() if self.path.is_file() else b""
        if digest_bytes(data) != self.digest:
            raise _damaged(self.path.parent, self.path.name)
        return data

    def stream(self) -> Iterator[Out]:
        """The rows one by one, none of which is kept. StageError if the file is not what was written."""
        if not self.path.is_file() or digest_file(self.path) != self.digest:
            raise _damaged(self.path.parent, self.path.name)
        adapter = TypeAdapter(self.row_type)
        with self.path.open("rb") as lines:
            yield from map(adapter.validate_json, lines)

    def __iter__(self) -> Iterator[Out]:
        return iter(self.all())

    def __len__(self) -> int:
        return len(self.all())


class RowStream(Protocol[Row_co]):
    """Rows with a known digest, which are read from the source each time: there may be more than fit into memory."""

    @property
    def digest(self) -> str:
        """``digest_rows`` of the rows."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Row_co]: ...


@dataclass(frozen=True)
class StageDir:
    """The folder of one stage: its rows, or an adapter. The stage is finished once ``finish`` has been called."""

    path: Path

    @property
    def adapter(self) -> Path:
        """Where a training stores its PEFT folder."""
        return self.path / "adapter"

    @property
    def finished(self) -> bool:
        return (self.path / STAGE).exists()

    def finish(self, record: Mapping[str, Any], *files: Path) -> None:
        """Write ``record`` and the digests of ``files`` to stage.json. The files must be on disk before."""
        digests = {file.relative_to(self.path).as_posix(): digest_file(file) for file in files}
        whole = {**plain(record), "files": digests}
        write_text(self.path / STAGE, _json({**whole, "digest": digest(self.path.name, whole)}) + "\n")

    def record(self) -> dict[str, Any]:
        """What ``finish`` wrote. StageError if stage.json is not that."""
        try:
            record = json.loads((self.path / STAGE).read_bytes())
        except (ValueError, RecursionError):
            record = None
        written = record.pop("digest", None) if isinstance(record, dict) else None
        if written != digest(self.path.name, record):
            raise _damaged(self.path, STAGE)
        return cast("dict[str, Any]", record)

    def check(self) -> None:
        """StageError if a file of the stage is not what was written."""
        for name, written in self.record()["files"].items():
            file = self.path / name
            if not file.is_file() or digest_file(file) != written:
                raise _damaged(self.path, name)


@dataclass(frozen=True)
class StageCache:
    """All stages of one run.

    ``numerics`` is whatever decides floating-point results: dtype, device kind, torch version, threads.
    """

    root: Path
    numerics: tuple[str, ...] = ()
    progress: Progress = field(default_factory=SilentProgress)
    now: Callable[[], str] = utc_now
    ranks: Ranks = field(default_factory=SingleRank)

    @property
    def is_main_process(self) -> bool:
        """This process writes results; the other processes read them."""
        return self.ranks.rank == 0

    def log_event(self, event: str, **details: Any) -> None:
        """Append one line to events.jsonl, with the time. DataError if that file was changed."""
        if self.is_main_process:
            self._say_removed(self._log.append(event, **details))

    def events(self) -> list[dict[str, Any]]:
        """All events so far, without a half-written line. DataError if the file was changed."""
        return self._log.read()

    def record(self, *paths: Path) -> None:
        """Log the digest of each file, and of each file of a folder, so that it is known when it is read again."""
        if self.is_main_process:
            self._say_removed(self._log.record(*paths))

    def _say_removed(self, removed: int) -> None:
        if removed:
            self.progress.say(f"{self._log.path}: its last line was incomplete ({removed} bytes) and was removed")

    @property
    def _log(self) -> EventLog:
        return EventLog(self.root, self.now)

    def map(
        self,
        stage: str,
        spec: Any,
        rows: Sequence[In] | StageOutput[In] | RowStream[In],
        work: Callable[[list[In]], Sequence[Out]],
        row_type: type[Out],
        plan: Sequence[Sequence[int]] | None = None,
        *,
        label: str = "",
        concurrency: int = 1,
    ) -> StageOutput[Out]:
        """Runs ``work`` on every batch of ``plan`` that is not on disk yet. Returns rows in the order of the inputs.

        ``plan`` has indices into ``rows``; None is one batch. ``spec`` has everything else that the result depends on.
        For a ``RowStream``, only the current batches are kept, and ``plan`` must have its order. The result does not
        depend on ``label``, the name for people, or on ``concurrency``, the number of batches at once.
        """
        inputs = rows.all() if isinstance(rows, StageOutput) else rows
        batches = [list(batch) for batch in plan] if plan is not None else [list(range(len(inputs)))]
        input_digest = digest_rows(rows) if isinstance(rows, Sequence) else rows.digest
        stage_dir = self.stage_dir(stage, digest(spec, input_digest, batches))
        missing = self.broadcast(stage_dir, lambda: None if stage_dir.finished else _missing(stage_dir, len(batches)))
        if missing is not None:
            self.log_event("start", stage=stage, what=label, rows=len(inputs), batches=len(batches))
            mine = share(self.ranks, missing)
            done = len(inputs) - sum(len(batches[number]) for number in missing)
            run_on_all(
                self.ranks,
                lambda: self._write(
                    stage_dir,
                    batches,
                    _outputs(_inputs(inputs, batches, mine), work, min(concurrency, len(mine))),
                    lambda written: self.progress.step(label or stage, done + written, len(inputs)),
                ),
            )
            if len(mine) < len(missing):
                self.progress.step(label or stage, len(inputs), len(inputs))
            if self.is_main_process:
                record = {"stage": stage, "spec": spec, "inputs": input_digest, "rows": len(inputs)}
                write_parts(stage_dir.path / ROWS, (_json(row) + "\n" for row in _joined(stage_dir, batches)))
                stage_dir.finish(record, stage_dir.path / ROWS)
            self.barrier()
            self.log_event("done", stage=stage, what=label, rows=len(inputs))
        if self.is_main_process:  # also after a kill that came before this line
            for part in _parts(stage_dir):
                part.unlink(missing_ok=True)
        return StageOutput(stage_dir.path / ROWS, row_type, stage_dir.record()["files"][ROWS])

    def stage_dir(self, stage: str, *key: Any) -> StageDir:
        """The folder of a stage. ``key`` is what the result depends on; its digest names the folder."""
        path = self.root / "store" / stage / digest(stage, self.numerics, *key)
        make_private(path, self.root)
        return StageDir(path)

    def broadcast(self, stage_dir: StageDir, compute: Callable[[], T]) -> T:
        """``compute()`` of the main process, on every process. StageError if another process is at another stage."""
        answers = self.ranks.gather((stage_dir.path.name, compute() if self.is_main_process else None))
        if any(name != stage_dir.path.name for name, _ in answers):
            raise StageError(
                "the processes of this run do not do the same work: they need one shared folder, machines of one "
                "kind, and the same device, threads and versions; or start one process"
            )
        return cast("T", answers[0][1])

    def barrier(self) -> None:
        """Wait until every process is here."""
        self.ranks.gather(None)

    def _write(
        self,
        stage_dir: StageDir,
        batches: Sequence[Sequence[int]],
        outputs: Iterator[tuple[int, Sequence[Out]]],
        on_written: Callable[[int], None],
    ) -> None:
        """Write this process's batches. ``on_written`` gets the rows that are on disk, after each batch."""
        written = 0
        part = f"part-{self.ranks.rank}.jsonl" if self.ranks.rank else "part.jsonl"
        with append_to(stage_dir.path / part, self.root) as out:
            for number, rows in outputs:
                if len(rows) != len(batches[number]):
                    raise StageError(
                        f"{stage_dir.path.parent.name}: {len(batches[number])} rows went in, {len(rows)} came out; "
                        "this is a plug-in's bug"
                    )
                batch = {"batch": number, "rows": plain(list(rows))}
                out.write(_json({**batch, "digest": digest(batch)}) + "\n")
                out.flush()
                os.fsync(out.fileno())
                written += len(rows)
                on_written(written)


def _inputs(
    rows: Sequence[In] | RowStream[In], batches: Sequence[Sequence[int]], numbers: Sequence[int]
) -> Iterator[tuple[int, list[In]]]:
    """Number and rows of each of the batches ``numbers``. A stream is read once and to its end, where it is checked."""
    if isinstance(rows, Sequence):
        yield from ((number, [rows[i] for i in batches[number]]) for number in numbers)
        return
    wanted, stream = set(numbers), iter(rows)
    for number, batch in enumerate(batches):
        inputs = list(islice(stream, len(batch)))
        if number in wanted:
            yield number, inputs
    next(stream, None)


def _outputs(
    batches: Iterable[tuple[int, list[In]]], work: Callable[[list[In]], Sequence[Out]], concurrency: int
) -> Iterator[tuple[int, Sequence[Out]]]:
    """Number and rows of each batch, as they finish: one after another in this thread, or several at once in others.

    An error is raised once the batches in work are done.
    """
    if concurrency <= 1:
        yield from ((number, work(batch)) for number, batch in batches)
        return
    pending: queue.SimpleQueue[tuple[int, list[In]] | None] = queue.SimpleQueue()
    finished: queue.SimpleQueue[tuple[int, Any, BaseException | None] | None] = queue.SimpleQueue()
    stopped, running = threading.Event(), concurrency
    for batch in [*batches, *[None] * running]:
        pending.put(batch)
    for _ in range(running):  # daemons, because an interrupt must not wait for calls in flight
        threading.Thread(target=_work, args=(work, pending, finished, stopped), daemon=True).start()
    errors: list[BaseException] = []
    try:
        while running > 0:
            result = finished.get()
            if result is None:
                running -= 1
            elif result[2] is None:
                yield result[0], result[1]
            else:
                errors.append(result[2])
                stopped.set()
    finally:
        stopped.set()
    if errors:
        raise errors[0]


def _work(work: Callable[[list[In]], Sequence[Out]], pending: Any, finished: Any, stopped: threading.Event) -> None:
    """One thread: takes pending batches until it gets None or is stopped, then puts None itself."""
    for number, batch in iter(pending.get, None):
        if stopped.is_set():
            break
        rows: Sequence[Out] = ()
        with _CaughtError() as caught:
            rows = work(batch)
        finished.put((number, rows, caught.error))
    finished.put(None)


class _CaughtError:
    """Keeps an error for the thread that waits for the result: raised in a worker, it would be lost."""

    error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        self.error = error
        return True


def _parts(stage_dir: StageDir) -> list[Path]:
    """The parts of all processes that ever worked on this stage."""
    return sorted(stage_dir.path.glob("part*.jsonl"))


def _finished_batches(stage_dir: StageDir) -> dict[int, tuple[Path, int]]:
    """Part and byte of each batch, by its number. A batch whose line a crash cut in half is left out, and runs again.

    StageError for a line that was changed.
    """
    places = {}
    for part in _parts(stage_dir):
        byte = 0
        for number, line in enumerate(whole_lines(part), start=1):
            places[_read_batch(part, number, line)] = (part, byte)
            byte += len(line) + 1
    return places


def _read_batch(part: Path, number: int, line: bytes) -> int:
    """The number of the batch in a line."""
    try:
        batch = json.loads(line)
    except (ValueError, RecursionError):
        batch = None
    written = batch.pop("digest", None) if isinstance(batch, dict) else None
    if written is None or written != digest(batch):
        raise StageError(
            f"{part}, line {number}: is not what was written: remove that line, and the same command makes it again"
        )
    return cast("int", batch["batch"])


def _damaged(stage: Path, name: str) -> StageError:
    return StageError(
        f"{stage / name} is not what was written: remove the folder {stage}, and the same command makes it again"
    )


def _missing(stage_dir: StageDir, count: int) -> list[int]:
    done = _finished_batches(stage_dir)
    return [number for number in range(count) if number not in done]


def _joined(stage_dir: StageDir, batches: Sequence[Sequence[int]]) -> Iterator[Any]:
    """All rows as plain values, in the order of the inputs. A batch is read when its first row is needed."""
    places, waiting = _finished_batches(stage_dir), dict[int, Any]()
    batch_of = {i: number for number, batch in enumerate(batches) for i in batch}
    for i in range(len(batch_of)):
        if i not in waiting:
            part, byte = places[batch_of[i]]
            with part.open("rb") as lines:
                lines.seek(byte)
                waiting |= zip(batches[batch_of[i]], json.loads(lines.readline())["rows"], strict=True)
        yield waiting.pop(i)


def _json(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False, sort_keys=True)
