"""Erase what a person said from every run: rows, caches, examples. What was learned from it is named.

    cached stages that hold the text are removed whole: a run that still needs them makes them anew
    kto.jsonl, dpo.jsonl and other rows lose the lines that hold it
    summary.json loses the examples that hold it, report.html is removed
    events.jsonl gets a tombstone: a digest of the text, and what was erased, never the text

Training cannot be undone row by row. Adapters of a cycle that learned from an erased row, and of every later
cycle, are named, and removed if asked.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.core.errors import DataError
from bedside.core.identity import digest
from bedside.kernel.store import Store
from bedside.kernel.tables import write_text

LEAST_CHARACTERS = 8


@dataclass(frozen=True, slots=True)
class Erased:
    """What one run lost."""

    run: Path
    stages: int
    rows: int
    adapters: tuple[str, ...]
    """Folders of adapters that learned from an erased row, relative to the run."""
    adapters_removed: bool


def forget(runs: Path, text: str, *, adapters: bool) -> list[Erased]:
    """Erase ``text`` from every run below ``runs``; ``adapters``: what learned from it goes too.

    Any string value that holds ``text``, in any case, counts. DataError for a text too short to mean somebody.
    """
    wanted = " ".join(text.split()).casefold()
    if len(wanted) < LEAST_CHARACTERS:
        raise DataError(f"{text!r} is too short to erase by; give {LEAST_CHARACTERS} characters or more")
    if not runs.is_dir():
        raise DataError(f"{runs}: there is no such folder; name the folder of all runs with --runs")
    folders = sorted(path.parent for path in runs.glob("*/events.jsonl"))
    return [erased for folder in folders if (erased := _from_run(folder, wanted, adapters=adapters))]


def _from_run(run: Path, wanted: str, *, adapters: bool) -> Erased | None:
    stages = _stages(run / "store", wanted)
    lost = {file: n for file in sorted(run.glob("cycle-*/*.jsonl")) if (n := _without(file, wanted))}
    shown = _examples(run / "summary.json", wanted)
    if not (stages or lost or shown):
        return None
    (run / "report.html").unlink(missing_ok=True)
    learned = _learned(run, lost)
    if adapters:
        for folder in learned:
            shutil.rmtree(run / folder)
        shutil.rmtree(run / "store" / "train", ignore_errors=True)
    found = Erased(run, stages, sum(lost.values()) + shown, tuple(learned), adapters)
    facts = {"stages": stages, "rows": found.rows, "adapters": learned, "adapters_removed": adapters}
    Store(run).event("forgotten", what=digest(wanted), **facts)
    return found


def _stages(store: Path, wanted: str) -> int:
    """Removes cached stages that hold the text, finished or not; returns how many."""
    holding = {file.parent for file in store.glob("*/*/*.jsonl") if any(_holds(row, wanted) for row in _rows(file))}
    for folder in sorted(holding):
        shutil.rmtree(folder)
    return len(holding)


def _without(file: Path, wanted: str) -> int:
    """Rewrites ``file`` without the rows that hold the text; returns how many it lost."""
    rows = list(_rows(file))
    kept = [row for row in rows if not _holds(row, wanted)]
    if len(kept) < len(rows):
        write_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
    return len(rows) - len(kept)


def _examples(file: Path, wanted: str) -> int:
    if not file.is_file():
        return 0
    told = json.loads(file.read_text(encoding="utf-8"))
    kept = [example for example in told["examples"] if not _holds(example, wanted)]
    lost = len(told["examples"]) - len(kept)
    if lost:
        write_text(file, json.dumps({**told, "examples": kept}, indent=1, ensure_ascii=False) + "\n")
    return lost


def _learned(run: Path, lost: dict[Path, int]) -> list[str]:
    """Adapters of the first cycle whose training rows held the text, and of all later ones."""
    cycles = [int(file.parent.name.removeprefix("cycle-")) for file in lost]
    if not cycles:
        return []
    found = [path.parent for path in run.glob("cycle-*/*/adapter_config.json")]
    later = [p for p in found if int(p.parent.name.removeprefix("cycle-")) >= min(cycles)]
    shipped = [run / "ship"] if (run / "ship").is_dir() else []
    return sorted(path.relative_to(run).as_posix() for path in [*later, *shipped])


def _rows(file: Path) -> Iterator[Any]:
    """Whole lines; a half-written last one is no row yet, and its stage is not finished."""
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            yield line


def _holds(value: Any, wanted: str) -> bool:
    """Is the text in any string of ``value``, however deep?"""
    if isinstance(value, str):
        return wanted in " ".join(value.split()).casefold()
    if isinstance(value, dict):
        return any(_holds(item, wanted) for pair in value.items() for item in pair)
    return isinstance(value, list) and any(_holds(item, wanted) for item in value)
