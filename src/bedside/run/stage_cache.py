"""The results of a run's stages, in folders named by the digest of what decides them.

A stage's key is a digest of its name, its spec, its batch plan and the *bytes* of its inputs, so

* a finished stage is read, not run;
* a stage that starts again after a crash runs only the batches that are not yet on disk;
* an input that is produced again and comes out equal changes nothing downstream.

    store/judge/b2-5f3a.../part.jsonl    one line per finished batch, in the order in which they finished
                           part-1.jsonl  the same, of the second process
                           rows.jsonl    all rows, in the order of the inputs
                           stage.json    written last: where it exists, the stage is finished

Times are written to events.jsonl and nowhere else: stage files are the same bytes on every run.
"""

import json
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from pydantic import TypeAdapter

from bedside.core.distributed import Ranks, SingleRank, run_on_all, share
from bedside.core.errors import StageError
from bedside.core.hashing import digest, digest_bytes, digest_rows, plain
from bedside.core.protocols import Progress, SilentProgress
from bedside.data.io import whole_lines, write_text

In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class StageOutput(Generic[Out]):
    """The rows of a finished stage. They are read from disk once, then kept."""

    path: Path
    row_type: type[Out]
    digest: str
    _rows: list[Out] = field(default_factory=list, repr=False, compare=False)

    def all(self) -> list[Out]:
        if not self._rows:
            adapter = TypeAdapter(self.row_type)
            with self.path.open(encoding="utf-8") as lines:
                self._rows.extend(adapter.validate_json(line) for line in lines)
        return self._rows

    def __iter__(self) -> Iterator[Out]:
        return iter(self.all())

    def __len__(self) -> int:
        return len(self.all())


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
        return (self.path / "stage.json").exists()

    def finish(self, record: Any) -> None:
        """Write ``record`` to stage.json. Everything else in the folder must be on disk before."""
        write_text(self.path / "stage.json", _json(record) + "\n")

    def record(self) -> Any:
        """What ``finish`` wrote."""
        return json.loads((self.path / "stage.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class StageCache:
    """All stages of one run.

    ``numerics`` is whatever decides floating-point results: dtype, device kind, torch version, threads.
    """

    root: Path
    numerics: tuple[str, ...] = ()
    progress: Progress = field(default_factory=SilentProgress)
    now: Callable[[], str] = _now
    ranks: Ranks = field(default_factory=SingleRank)

    @property
    def is_main_process(self) -> bool:
        """This process writes results; the other processes read them."""
        return self.ranks.rank == 0

    def log_event(self, event: str, **details: Any) -> None:
        """Append one line to events.jsonl, with the time."""
        if self.is_main_process:
            self.root.mkdir(parents=True, exist_ok=True)
            with (self.root / "events.jsonl").open("a", encoding="utf-8") as out:
                out.write(_json({"time": self.now(), "event": event, **details}) + "\n")

    def events(self) -> list[dict[str, Any]]:
        """All events so far. A half-written line is left out."""
        path = self.root / "events.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def map(
        self,
        stage: str,
        spec: Any,
        rows: Sequence[In] | StageOutput[In],
        work: Callable[[list[In]], Sequence[Out]],
        row_type: type[Out],
        plan: Sequence[Sequence[int]] | None = None,
        *,
        label: str = "",
        concurrency: int = 1,
    ) -> StageOutput[Out]:
        """``work`` on every batch of ``plan`` that is not on disk yet; rows in the order of the inputs.

        ``plan`` holds indices into ``rows``; None is one batch. ``spec`` is everything else that decides the result.
        ``label``, the name that a person sees, and ``concurrency``, the batches in work at once, do not decide it.
        """
        inputs = list(rows)
        batches = [list(batch) for batch in plan] if plan is not None else [list(range(len(inputs)))]
        input_digest = rows.digest if isinstance(rows, StageOutput) else digest_rows(inputs)
        stage_dir = self.stage_dir(stage, digest(spec, input_digest, batches))
        missing = self.broadcast(stage_dir, lambda: None if stage_dir.finished else _missing(stage_dir, len(batches)))
        if missing is not None:
            self.log_event("start", stage=stage, what=label, rows=len(inputs), batches=len(batches))
            mine = [(number, [inputs[i] for i in batches[number]]) for number in share(self.ranks, missing)]
            done = len(inputs) - sum(len(batches[number]) for number in missing)
            run_on_all(
                self.ranks,
                lambda: self._write(
                    stage_dir,
                    dict(mine),
                    _outputs(mine, work, concurrency),
                    lambda written: self.progress.step(label or stage, done + written, len(inputs)),
                ),
            )
            if len(mine) < len(missing):
                self.progress.step(label or stage, len(inputs), len(inputs))
            if self.is_main_process:
                self._finish(stage_dir, _joined(stage_dir, batches), stage=stage, spec=spec, inputs=input_digest)
            self.barrier()
            self.log_event("done", stage=stage, what=label, rows=len(inputs))
        return StageOutput(stage_dir.path / "rows.jsonl", row_type, stage_dir.record()["digest"])

    def stage_dir(self, stage: str, *key: Any) -> StageDir:
        """The folder of a stage. ``key`` is what decides the result; its digest names the folder."""
        path = self.root / "store" / stage / digest(stage, self.numerics, *key)
        path.mkdir(parents=True, exist_ok=True)
        return StageDir(path)

    def broadcast(self, stage_dir: StageDir, compute: Callable[[], T]) -> T:
        """``compute()`` of the main process, on every process. StageError where another process is at another stage."""
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
        batches: Mapping[int, list[In]],
        outputs: Iterator[tuple[int, Sequence[Out]]],
        on_written: Callable[[int], None],
    ) -> None:
        """Write this process's batches. ``on_written`` gets the rows that are on disk, after each batch."""
        written = 0
        part = f"part-{self.ranks.rank}.jsonl" if self.ranks.rank else "part.jsonl"
        with (stage_dir.path / part).open("a", encoding="utf-8") as out:
            for number, rows in outputs:
                if len(rows) != len(batches[number]):
                    raise StageError(
                        f"{stage_dir.path.parent.name}: {len(batches[number])} rows went in, {len(rows)} came out; "
                        "this is a plug-in's bug"
                    )
                out.write(_json({"batch": number, "rows": list(rows)}) + "\n")
                out.flush()
                os.fsync(out.fileno())
                written += len(rows)
                on_written(written)

    @staticmethod
    def _finish(stage_dir: StageDir, rows: list[Any], **record: Any) -> None:
        text = "".join(_json(row) + "\n" for row in rows)
        write_text(stage_dir.path / "rows.jsonl", text)
        stage_dir.finish({**record, "rows": len(rows), "digest": digest_bytes(text.encode("utf-8"))})
        for part in _parts(stage_dir):
            part.unlink()


def _outputs(
    batches: Sequence[tuple[int, list[In]]], work: Callable[[list[In]], Sequence[Out]], concurrency: int
) -> Iterator[tuple[int, Sequence[Out]]]:
    """Number and rows of each batch, as they finish: one after another in this thread, or several at once in others.

    An error is raised once the batches in work are done.
    """
    if concurrency == 1:
        yield from ((number, work(batch)) for number, batch in batches)
        return
    pending: queue.SimpleQueue[tuple[int, list[In]] | None] = queue.SimpleQueue()
    finished: queue.SimpleQueue[tuple[int, Any, BaseException | None] | None] = queue.SimpleQueue()
    stopped, running = threading.Event(), min(concurrency, len(batches))
    for batch in [*batches, *[None] * running]:
        pending.put(batch)
    for _ in range(running):  # daemons: an interrupt does not wait for calls in flight
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
    """One thread: takes pending batches until None comes or somebody stops it, then puts None itself."""
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
    """Of all processes that ever worked on this stage."""
    return sorted(stage_dir.path.glob("part*.jsonl"))


def _finished_batches(stage_dir: StageDir) -> dict[int, list[Any]]:
    """Rows by batch number. A batch whose line a crash cut in half is not among them, and runs again."""
    lines = (line for part in _parts(stage_dir) for line in whole_lines(part))
    return {item["batch"]: item["rows"] for item in map(json.loads, lines)}


def _missing(stage_dir: StageDir, count: int) -> list[int]:
    done = _finished_batches(stage_dir)
    return [number for number in range(count) if number not in done]


def _joined(stage_dir: StageDir, batches: list[list[int]]) -> list[Any]:
    """All rows as plain values, in the order of the inputs."""
    done = _finished_batches(stage_dir)
    rows = {i: row for number, batch in enumerate(batches) for i, row in zip(batch, done[number], strict=True)}
    return [rows[i] for i in range(len(rows))]


def _json(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False, sort_keys=True)
