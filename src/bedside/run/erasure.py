"""Erase a person's words from every run: rows, caches, examples. Adapters trained on them are listed.

    cached stages with the text are removed completely; a run that still needs them runs them again
    from files of rows, tables, JSON and pages below the run, ``text_removal`` removes the parts with the text
    from judgement caches, the files with the text are removed: the cache beside ``runs``, and those that configs name
    report.html and other pages of such a run are removed
    any other file below ``runs`` with the text (events, config, packed copies) is named: only a person can change it
    events.jsonl gets one line that says how much was erased, without the text or a digest of it

Training cannot be undone row by row. Every training keeps its rows in ``learned_from.jsonl``. So erasure lists the
adapters that learned from an erased row, the adapters that were trained on top of them, every adapter of that cycle and
of later ones, and the folders to which `bedside train` wrote them. They are removed on request, then or later. A folder
outside of the run is only named. TensorBoard's files have the trainings' scalars, and are searched.
"""

import json
import math
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bedside.core.errors import DataError
from bedside.data.chained_log import HEADS
from bedside.data.io import EVENTS, SPEND, is_draft, write_json
from bedside.judges.cache import FOLDER as JUDGEMENTS
from bedside.judges.cache import default_root
from bedside.run.events import EventLog
from bedside.run.exports import EXPORTED
from bedside.run.owner import owned
from bedside.run.stage_cache import LEARNED_FROM, StageCache, StageDir
from bedside.run.text_removal import WEIGHTS, Remainder, holds, normalised, without

LEAST_CHARACTERS = 8
_PAGE = ".html"


@dataclass(frozen=True, slots=True)
class ErasureResult:
    """What was erased from one run."""

    run: Path
    """The folder of the run, or of a judgement cache."""
    stages: int
    rows: int
    adapters: tuple[str, ...]
    """Folders of adapters trained on an erased row, relative to the run."""
    adapters_removed: bool
    copies: tuple[str, ...] = ()
    """Folders outside of the run to which such an adapter was written. They stay."""
    left: tuple[str, ...] = ()
    """Files with the text that stay, relative to the run: their kind is unknown, or they are needed unchanged."""


@dataclass(frozen=True, slots=True)
class _Occurrences:
    """The places in one run that have the text."""

    run: Path
    stages: list[Path]
    """Folders of cached stages, finished or not."""
    files: dict[Path, Remainder]
    """The new content, without the text, of each file that has it."""
    left: list[Path]
    adapters: list[str]
    """Folders of adapters trained on it, by today's rows or by an earlier erasure event."""


def erase(runs: Path, text: str, *, adapters: bool, dry_run: bool = False) -> list[ErasureResult]:
    """Erase ``text`` from every run below ``runs``, and with ``adapters`` the adapters trained on it.

    ``dry_run`` returns what would be erased and changes nothing. Every string that contains ``text``, in any case and
    with any white space, is erased. DataError for a text too short to identify a person, and for a folder without
    runs.
    """
    plain = require_enough(text)
    folders = sorted(path.parent for path in runs.rglob(EVENTS) if not (path.parent / JUDGEMENTS).is_dir())
    if not folders:
        raise DataError(f"{runs}: there is no run in this folder; name the folder of all runs with --runs")
    caches = sorted({default_root(runs), *(cache for folder in folders if (cache := _cache(folder)))})
    from_caches = [erased for cache in caches if (erased := _from_cache(cache, plain, dry_run=dry_run))]
    occurrences = [held for folder in folders if (held := _occurrences(folder, plain, adapters=adapters))]
    if not dry_run:
        _drop_drafts(runs)
    results = [_result(held, adapters=adapters) for held in occurrences]
    for held, result in zip(occurrences, results, strict=True) if not dry_run else ():
        with owned(held.run):
            _erase(held, result)
    return [*from_caches, *results, *_outside_of_runs(runs, folders, plain)]


def require_enough(text: str) -> str:
    """``text`` as it is sought. DataError where it is too short to identify a person."""
    plain = normalised(text)
    if len(plain) < LEAST_CHARACTERS:
        raise DataError(f"{text!r} is too short to erase by; give {LEAST_CHARACTERS} characters or more")
    return plain


def _outside_of_runs(runs: Path, folders: Collection[Path], text: str) -> list[ErasureResult]:
    """Files below ``runs`` that have the text and belong to no run. They stay."""
    others = [file for file in _files(runs) if not any(parent in folders for parent in file.parents)]
    left = tuple(file.relative_to(runs).as_posix() for file in others if holds(file, text))
    return [ErasureResult(runs, 0, 0, (), adapters_removed=False, left=left)] if left else []


def _cache(run: Path) -> Path | None:
    """The judgement cache that the run's own config names."""
    file = run / "config.yaml"
    config = yaml.safe_load(file.read_bytes()) if file.is_file() else None
    named = (config.get("cache") or {}).get("folder") if isinstance(config, dict) else None
    return Path(named).absolute() if named else None


def _from_cache(cache: Path, text: str, *, dry_run: bool) -> ErasureResult | None:
    """Remove judgements with the text, and all drafts, because they may have it."""
    holding = [file for file in cache.glob(f"{JUDGEMENTS}/*/*.json") if holds(file, text)]
    if not dry_run:
        _drop_drafts(cache)
        for file in holding:
            file.unlink(missing_ok=True)
        if holding:
            StageCache(cache).log_event("forgotten", judgements=len(holding))
    return ErasureResult(cache, 0, len(holding), (), adapters_removed=False) if holding else None


def _drop_drafts(folder: Path) -> None:
    for draft in list(filter(is_draft, folder.rglob(".*.draft"))):
        shutil.rmtree(draft) if draft.is_dir() else draft.unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    """Every file that may hold text, whether finished or not, but drafts, which go."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in WEIGHTS]
    return [file for file in files if not any(map(is_draft, (file, *file.parents)))]


def _occurrences(run: Path, text: str, *, adapters: bool) -> _Occurrences | None:
    """The places in ``run`` that have the text; None if there are none and no adapter is left to be removed."""
    stages: set[Path] = set()
    files: dict[Path, Remainder] = {}
    left: list[Path] = []
    for file in _files(run):
        stage = _stage_of(file, run)
        remainder = None if stage or file.name in _NEEDED else without(file, text)
        if remainder is None and holds(file, text):
            (stages.add(stage) if stage else left.append(file))
        elif remainder is not None and remainder.removed:
            files[file] = remainder
    earlier = _adapters_left_by_earlier_erasures(run) if adapters else []
    if not (stages or files or left or earlier):
        return None
    return _Occurrences(run, sorted(stages), files, left, sorted({*_trained_on(run, files), *earlier}))


_NEEDED = (EVENTS, SPEND, HEADS, "config.yaml", "layout.yaml")
"""A run cannot continue if one of these is missing or changed."""


def _stage_of(file: Path, run: Path) -> Path | None:
    """The folder of the cached stage of ``file``. A training's folder stays, without the rows it learned from."""
    store, stage, *below = (*file.relative_to(run).parts[:4], "", "")[:4]
    return run / store / stage / below[0] if store == "store" and stage != "train" and below[1] else None


def _result(held: _Occurrences, *, adapters: bool) -> ErasureResult:
    return ErasureResult(
        held.run,
        stages=len(held.stages),
        rows=sum(remainder.removed for file, remainder in held.files.items() if file.suffix != _PAGE),
        adapters=tuple(held.adapters),
        adapters_removed=adapters,
        copies=_copies(held.run, held.adapters),
        left=tuple(file.relative_to(held.run).as_posix() for file in held.left),
    )


def _erase(held: _Occurrences, result: ErasureResult) -> None:
    """Erase every occurrence, then write the event."""
    log = EventLog(held.run)
    intact = [file for file in (*held.files, held.run / "summary.json") if log.intact(file)]
    for folder in held.stages:
        shutil.rmtree(folder)
    for file, remainder in held.files.items():
        remainder.write(file)
    for page in held.run.glob(f"*{_PAGE}"):
        page.unlink()
    if result.adapters_removed:
        _remove(held.run, held.adapters)
    log.record(*intact)  # a file that was damaged before must still count as damaged
    StageCache(held.run).log_event(
        "forgotten",
        stages=result.stages,
        rows=result.rows,
        adapters=held.adapters,
        adapters_removed=result.adapters_removed,
    )


def _copies(run: Path, adapters: Collection[str]) -> tuple[str, ...]:
    """The folders to which `bedside train` wrote one of ``adapters``, by the events."""
    exports = [event for event in StageCache(run).events() if event["event"] == EXPORTED]
    return tuple(dict.fromkeys(e["to"] for e in exports if e["adapter"] in adapters and Path(e["to"]).is_dir()))


def _adapters_left_by_earlier_erasures(run: Path) -> list[str]:
    """Adapters that an earlier erasure event names and that still exist."""
    erasures = [event for event in StageCache(run).events() if event["event"] == "forgotten"]
    return [folder for event in erasures for folder in event["adapters"] if (run / folder).is_dir()]


def _remove(run: Path, adapters: Collection[str]) -> None:
    """Remove the folders and every cached training. The summary then names no released adapter."""
    for folder in [*adapters, "store/train", "store/scale"]:
        shutil.rmtree(run / folder, ignore_errors=True)
    if "release" in adapters and (run / _SUMMARY).is_file():
        write_json(run / _SUMMARY, {**_summary(run), "released": None})


_SUMMARY = "summary.json"


def _summary(run: Path) -> dict[str, Any]:
    """The summary of the run from its file; empty if there is no file."""
    file = run / _SUMMARY
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def _trained_on(run: Path, files: Collection[Path]) -> list[str]:
    """Adapters that learned from one of ``files``, which have the text, and the adapters on top of them.

    If the training rows of a cycle have it: every adapter of this cycle and of all later ones.
    """
    if not files:
        return []
    first = min((_cycle(file.parent.name) for file in files if file.parent.parent == run), default=math.inf)
    folders = [path.parent for path in run.glob("cycle-*/*/adapter_config.json")]
    names = [folder.relative_to(run).as_posix() for folder in folders if _cycle(folder.parent.name) >= first]
    names += _trainings_on(run, files)
    return sorted([*names, *(["release"] if _summary(run).get("released") in names else [])])


def _trainings_on(run: Path, files: Collection[Path]) -> list[str]:
    """The adapters of the trainings on ``files``, and of every training that started from one of them.

    A training of an earlier version of Bedside does not record its rows, so it counts as trained on these files.
    """
    records = {file.parent: json.loads(file.read_bytes()) for file in run.glob("store/*/*/stage.json")}
    starts = {_adapter(run, folder): record.get("start") for folder, record in records.items()}
    trainings = [folder for folder in run.glob("store/train/*") if folder.is_dir()]
    names = {
        _adapter(run, folder) for folder in trainings if (rows := folder / LEARNED_FROM) in files or not rows.is_file()
    }
    while more := {name for name, start in starts.items() if start in names} - names:
        names |= more
    return sorted(name for name in names if (run / name).is_dir())


def _adapter(run: Path, stage: Path) -> str:
    return StageDir(stage.relative_to(run)).adapter.as_posix()


def _cycle(name: str) -> float:
    """The number in ``cycle-3``. A folder of another name counts as later than every cycle."""
    number = re.fullmatch(r"cycle-(\d+)", name)
    return int(number[1]) if number else math.inf
