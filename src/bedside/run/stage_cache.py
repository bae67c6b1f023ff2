"""Finished work, kept by what it was made from.

A stage's key is a digest of its name, its spec, its batch plan and the *bytes* of its inputs, so

* the same stage on the same inputs is read, not run;
* a stage that starts again after a crash does only the batches that are not yet on disk;
* an input that was made anew but came out equal changes nothing downstream.

    store/judge/b2-5f3a.../part.jsonl    one line a finished batch, in the order they came
                           part-1.jsonl  the same, of the second process
                           rows.jsonl    all rows, in the order of the inputs
                           stage.json    written last: if it is there, the stage is finished

Times are written to events.jsonl and nowhere else: stage files are the same bytes on every run.
"""

import json
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from pydantic import TypeAdapter

from bedside.core.distributed import Alone, Ranks, share, together
from bedside.core.errors import StageError
from bedside.core.hashing import digest, digest_bytes, plain
from bedside.core.protocols import Progress, Silent
from bedside.data.io import whole_lines, write_text

In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Rows(Generic[Out]):
    """The rows of a finished stage, on disk. Read once, then kept."""

    path: Path
    of: type[Out]
    digest: str
    _read: list[Out] = field(default_factory=list, repr=False, compare=False)

    def all(self) -> list[Out]:
        if not self._read:
            adapter = TypeAdapter(self.of)
            with self.path.open(encoding="utf-8") as lines:
                self._read.extend(adapter.validate_json(line) for line in lines)
        return self._read

    def __iter__(self) -> Iterator[Out]:
        return iter(self.all())

    def __len__(self) -> int:
        return len(self.all())


@dataclass(frozen=True)
class Place:
    """A folder for what is not rows: adapters. ``finish`` is called last, and makes it count."""

    path: Path

    @property
    def finished(self) -> bool:
        return (self.path / "stage.json").exists()

    def finish(self, stamp: Any) -> None:
        write_text(self.path / "stage.json", _json(stamp) + "\n")

    def stamp(self) -> Any:
        return json.loads((self.path / "stage.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Store:
    """All stages of one run. ``bits`` is whatever decides float bits: dtype, device kind, torch version."""

    root: Path
    bits: tuple[str, ...] = ()
    progress: Progress = field(default_factory=Silent)
    now: Callable[[], str] = _now
    ranks: Ranks = field(default_factory=Alone)

    @property
    def first(self) -> bool:
        """This process writes; others, if there are any, read."""
        return self.ranks.rank == 0

    def event(self, event: str, **facts: Any) -> None:
        """Append one line to events.jsonl: the only place that knows the time."""
        if not self.first:
            return
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "events.jsonl").open("a", encoding="utf-8") as out:
            out.write(_json({"time": self.now(), "event": event, **facts}) + "\n")

    def events(self) -> list[dict[str, Any]]:
        """All events so far, whole lines only."""
        path = self.root / "events.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def map(
        self,
        stage: str,
        spec: Any,
        rows: Sequence[In] | Rows[In],
        work: Callable[[list[In]], Sequence[Out]],
        of: type[Out],
        plan: Sequence[Sequence[int]] | None = None,
        *,
        label: str = "",
        lanes: int = 1,
    ) -> Rows[Out]:
        """``work`` on every batch of ``plan`` (indices into ``rows``; one batch where None), at most once ever.

        Rows keep the order of the inputs. ``spec`` is everything else that decides the result; ``label`` is
        what a person is told, and decides nothing; nor does ``lanes``, how many batches are in work at once.
        """
        inputs = list(rows)
        batches = [list(batch) for batch in plan] if plan is not None else [list(range(len(inputs)))]
        made_from = rows.digest if isinstance(rows, Rows) else digest(inputs)
        place = self.place(stage, digest(spec, made_from, batches))
        missing = self.agreed(place, lambda: None if place.finished else _missing(place, len(batches)))
        if missing is not None:
            self.event("start", stage=stage, what=label, rows=len(inputs), batches=len(batches))
            mine = [(number, [inputs[i] for i in batches[number]]) for number in share(self.ranks, missing)]
            done = len(inputs) - sum(len(batches[number]) for number in missing)
            todo = _Todo(stage, label or stage, mine, done, len(inputs))
            together(self.ranks, lambda: self._batches(place, todo, _Lanes(work, lanes)))
            if len(mine) < len(missing):
                self.progress.step(todo.label, todo.total, todo.total)
            if self.first:
                self._finish(place, stage, _joined(place, batches), spec, made_from)
            self.ranks.gather(None)
            self.event("done", stage=stage, what=label, rows=len(inputs))
        return Rows(place.path / "rows.jsonl", of, place.stamp()["digest"])

    def place(self, stage: str, *made_from: Any) -> Place:
        """The folder of a stage's result; what it is made of decides its name."""
        path = self.root / "store" / stage / digest(stage, self.bits, *made_from)
        path.mkdir(parents=True, exist_ok=True)
        return Place(path)

    def agreed(self, place: Place, said: Callable[[], T]) -> T:
        """What the first process says of ``place``, for all. StageError where another is at another place."""
        told = self.ranks.gather((place.path.name, said() if self.first else None))
        if any(name != place.path.name for name, _ in told):
            raise StageError(
                "the processes of this run do not do the same work: they need one shared folder, machines of one "
                "kind, and the same device, threads and versions; or start one process"
            )
        return cast("T", told[0][1])

    def _batches(self, place: Place, todo: "_Todo[In]", lanes: "_Lanes[In, Out]") -> None:
        """This process's batches. Each is on disk before it counts."""
        done, sizes = todo.done, {number: len(rows) for number, rows in todo.batches}
        with _part(place, self.ranks.rank).open("a", encoding="utf-8") as out:
            for number, rows in lanes.run(todo.batches):
                out.write(_json({"batch": number, "rows": _checked(todo.stage, rows, sizes[number])}) + "\n")
                out.flush()
                os.fsync(out.fileno())
                done += len(rows)
                self.progress.step(todo.label, done, todo.total)

    @staticmethod
    def _finish(place: Place, stage: str, rows: list[Any], spec: Any, made_from: str) -> None:
        text = "".join(_json(row) + "\n" for row in rows)
        write_text(place.path / "rows.jsonl", text)
        stamp = {"stage": stage, "spec": plain(spec), "inputs": made_from, "rows": len(rows)}
        place.finish({**stamp, "digest": digest_bytes(text.encode("utf-8"))})
        for part in _parts(place):
            part.unlink()


@dataclass(frozen=True)
class _Todo(Generic[In]):
    """One process's share of what a stage still misses."""

    stage: str
    label: str
    batches: list[tuple[int, list[In]]]
    done: int
    """Rows that were on disk before."""
    total: int
    """Rows of the whole stage."""


@dataclass(frozen=True)
class _Lanes(Generic[In, Out]):
    """Batches in work at once: one after another in this thread, or in several threads of their own."""

    work: Callable[[list[In]], Sequence[Out]]
    count: int

    def run(self, batches: Sequence[tuple[int, list[In]]]) -> Iterator[tuple[int, Sequence[Out]]]:
        """Number and rows of each batch, as they come. The first error is raised after what is in work has come."""
        if self.count == 1:
            yield from ((number, self.work(batch)) for number, batch in batches)
            return
        waiting: queue.SimpleQueue[tuple[int, list[In]] | None] = queue.SimpleQueue()
        come: queue.SimpleQueue[tuple[int, Sequence[Out] | None, BaseException | None]] = queue.SimpleQueue()
        lanes = min(self.count, len(batches))
        for item in [*batches, *[None] * lanes]:
            waiting.put(item)
        for _ in range(lanes):  # daemons: an interrupt does not wait for calls in flight
            threading.Thread(target=self._lane, args=(waiting, come), daemon=True).start()
        failed: list[BaseException] = []
        expected = len(batches)
        try:
            while expected > 0:
                number, rows, error = come.get()
                expected -= 1
                if rows is not None:
                    yield number, rows
                    continue
                failed.append(error or StageError("a lane gave no rows; this is a plug-in's bug"))
                expected -= _emptied(waiting)
        finally:
            _emptied(waiting)
        if failed:
            raise failed[0]

    def _lane(self, waiting: Any, come: Any) -> None:
        while (item := waiting.get()) is not None:
            rows: Sequence[Out] | None = None
            with _Carried() as carried:
                rows = self.work(item[1])
            come.put((item[0], rows, carried.error))


class _Carried:
    """Takes an error over to the thread that waits for it, where it is raised: a lane has nobody to tell."""

    error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        self.error = error
        return True


def _emptied(waiting: Any) -> int:
    """Takes all batches back that nobody has begun; returns how many. The signs to stop stay."""
    taken = stops = 0
    try:
        while True:
            if waiting.get_nowait() is None:
                stops += 1
            else:
                taken += 1
    except queue.Empty:
        for _ in range(stops):
            waiting.put(None)
    return taken


def _checked(stage: str, rows: Sequence[Any], expected: int) -> list[Any]:
    if len(rows) != expected:
        raise StageError(f"{stage}: {expected} rows went in, {len(rows)} came out; this is a plug-in's bug")
    return [plain(row) for row in rows]


def _part(place: Place, rank: int) -> Path:
    return place.path / (f"part-{rank}.jsonl" if rank else "part.jsonl")


def _parts(place: Place) -> list[Path]:
    """Of all processes that ever worked on it."""
    return sorted(place.path.glob("part*.jsonl"))


def _missing(place: Place, count: int) -> list[int]:
    done = {number for part in _parts(place) for number in _read_part(part)}
    return [number for number in range(count) if number not in done]


def _joined(place: Place, batches: list[list[int]]) -> list[Any]:
    """All rows as plain values, in the order of the inputs."""
    done = {number: rows for part in _parts(place) for number, rows in _read_part(part).items()}
    made = {i: row for number, batch in enumerate(batches) for i, row in zip(batch, done[number], strict=True)}
    return [made[i] for i in range(len(made))]


def _read_part(part: Path) -> dict[int, list[Any]]:
    """Finished batches by number. One of which a crash left half a line runs again."""
    return {item["batch"]: item["rows"] for item in map(json.loads, whole_lines(part))}


def _json(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False, sort_keys=True)
