"""The index of a run's rows, kept in its store: `bedside align` writes it, and `bedside view` only reads it.

    store/view/b2-5f3a.../table.json    the cells of every row, column by column, and where its lines begin
                          words.txt     what a search looks through, a line a row
                          stage.json    the digests of both, and which answers and verdicts they are of

The folder's name is the digest of the run's summary: a run that went on gets a new index, and the old one is removed.
Nothing needs the index: where it is missing or of another summary, the next `bedside view` makes it again.
`bedside erase` removes an index that holds the text, as it removes any other stage. Where the run folder cannot be
written, or another process owns it, the index lives in memory alone.
"""

import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter

from bedside.alignment import held_out_answers
from bedside.alignment.held_out_answers import HeldOutAnswers
from bedside.core.errors import ConfigError, DataError
from bedside.core.hashing import digest, digest_file
from bedside.core.protocols import Progress
from bedside.core.results import RunSummary
from bedside.core.types import JudgedResponse, Response, Verdict, with_id
from bedside.data import io
from bedside.run import summary_file
from bedside.run.owner import owned
from bedside.run.stage_cache import ROWS, StageDir, StageOutput
from bedside.safety.labelled_sample import FailureMetric
from bedside.web import row_index
from bedside.web.row_index import RowIndex, RowPair

VIEW, TABLE, WORDS = "view", "table.json", "words.txt"
VERSION = 1
"""Of what the files say; another one makes every index anew."""
SLOW_SECONDS = 1.0
SLOW = "indexing the rows of this run; the index is kept, so that the next time they are there at once"
T = TypeVar("T")
BothAnswers = tuple[HeldOutAnswers, HeldOutAnswers]


def open_index(run: Path, of_run: RunSummary, progress: Progress) -> RowIndex:
    """The rows of a finished run, indexed. DataError where its store was emptied, StageError where it was changed."""
    folder = _folder(run)
    metric = held_out_answers.metric(of_run)
    kept = _kept(folder, run)
    if kept is not None:
        return _read(folder, kept, metric)
    with _said_if_slow(progress, SLOW):
        answers = held_out_answers.read(run, of_run)
        built = _build(answers, metric)
        with suppress(OSError, ConfigError), owned(run):  # a folder of somebody else's is only read
            _keep(folder, run, answers, built)
    return RowIndex(lambda number: built.rows[number - 1], built.table, lambda: built.words)


def write_index(run: Path, of_run: RunSummary, progress: Progress) -> None:
    """Keep the index of a run that has just finished, for its owner, who calls this. A run without it is whole."""
    folder = _folder(run)
    with suppress(OSError, DataError), _said_if_slow(progress, SLOW):
        if _kept(folder, run) is None:
            answers = held_out_answers.read(run, of_run)
            _keep(folder, run, answers, _build(answers, held_out_answers.metric(of_run)))


def _folder(run: Path) -> StageDir:
    return StageDir(run / "store" / VIEW / digest(VIEW, VERSION, digest_file(run / summary_file.FILE)))


@dataclass(frozen=True, slots=True)
class _Built:
    rows: list[RowPair]
    table: list[tuple[row_index.Cell, ...]]
    words: list[str]


class _StoredLines(Generic[T]):
    """The rows of a finished stage, each read out of the file's bytes when it is asked for."""

    def __init__(self, output: StageOutput[T], begins: Sequence[int]) -> None:
        """``begins``: the byte at which each row does, and the end."""
        self._data, self._begins, self._adapter = output.data(), begins, TypeAdapter(output.row_type)

    def row(self, number: int) -> T:
        """Row ``number``, from 1."""
        return self._adapter.validate_json(self._data[self._begins[number - 1] : self._begins[number]])


def _build(answers: BothAnswers, metric: FailureMetric) -> _Built:
    sides = zip(*map(_judged, answers), strict=True)
    rows = [RowPair.of(number, before, after, metric) for number, (before, after) in enumerate(sides, start=1)]
    return _Built(rows, list(map(row_index.cells, rows)), list(map(row_index.searched, rows)))


def _judged(answers: HeldOutAnswers) -> Iterator[JudgedResponse]:
    """``answers.judged()`` without a digest of every text: these verdicts are of the very bytes of these answers."""
    for response, verdict in zip(answers.responses, answers.verdicts, strict=True):
        yield JudgedResponse(with_id(response, verdict.response), verdict)


def _keep(folder: StageDir, run: Path, answers: BothAnswers, built: _Built) -> None:
    """Write the index, unless the answers were removed since they were read, as an erasure does."""
    outputs = _outputs(answers)
    if not all(StageDir(output.path.parent).finished for output in outputs):
        return
    shutil.rmtree(folder.path.parent, ignore_errors=True)
    io.make_private(folder.path, run)
    table = {"cells": list(zip(*built.table, strict=True)), "begins": list(map(_begins, outputs))}
    io.write_text(folder.path / TABLE, json.dumps(table), run)
    io.write_parts(folder.path / WORDS, (f"{line}\n" for line in built.words), run)
    of = [{"stage": output.path.parent.relative_to(run).as_posix(), "digest": output.digest} for output in outputs]
    folder.finish({"stage": VIEW, "of": of}, folder.path / TABLE, folder.path / WORDS)


def _outputs(answers: BothAnswers) -> list[StageOutput[Any]]:
    return [output for side in answers for output in (side.responses, side.verdicts)]


def _begins(output: StageOutput[Any]) -> list[int]:
    return list(accumulate(map(len, output.data().splitlines(keepends=True)), initial=0))


def _kept(folder: StageDir, run: Path) -> list[StageOutput[Any]] | None:
    """The answers and verdicts of both sides that the kept index is of; None where there is none, or no longer such."""
    if not folder.finished:
        return None
    written = folder.record()["of"]
    stages = [StageDir(run / one["stage"]) for one in written]
    for stage, one in zip(stages, written, strict=True):
        if not stage.finished or stage.record()["files"][ROWS] != one["digest"]:
            return None
    types = (Response, Verdict) * 2
    return [
        StageOutput(stage.path / ROWS, row_type, one["digest"])
        for stage, row_type, one in zip(stages, types, written, strict=True)
    ]


def _read(folder: StageDir, kept: Sequence[StageOutput[Any]], metric: FailureMetric) -> RowIndex:
    """StageError where a file is not what was written."""
    folder.check()
    table = json.loads((folder.path / TABLE).read_bytes())
    lines = [_StoredLines(output, begins) for output, begins in zip(kept, table["begins"], strict=True)]

    def row(number: int) -> RowPair:
        texts = [stored.row(number) for stored in lines]
        before, after = JudgedResponse(*texts[:2]), JudgedResponse(*texts[2:])
        return RowPair.of(number, before, after, metric)

    words = (folder.path / WORDS).read_bytes()  # decoded by the first search
    return RowIndex(row, zip(*table["cells"], strict=True), lambda: words.decode("utf-8").split("\n")[:-1])


@contextmanager
def _said_if_slow(progress: Progress, line: str) -> Iterator[None]:
    timer = threading.Timer(SLOW_SECONDS, progress.say, [line])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
