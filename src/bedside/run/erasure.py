"""Erase what a person said from every run: rows, caches, examples. Adapters trained on it are listed.

    cached stages that hold the text are removed whole: a run that still needs them runs them again
    kto.jsonl, dpo.jsonl and other files of rows lose the lines that hold it
    judgement caches lose the files that hold it: the cache beside ``runs``, and any that a run's config names
    summary.json loses the examples that hold it; report.html is removed
    events.jsonl gets one line: that something was erased, and how much; neither the text nor a digest of it

Training cannot be undone row by row. The adapters of a cycle that was trained on an erased row, and of every later
cycle, are listed, and removed on request, then or later. Adapters of `bedside train` are not traced.
"""

import json
import math
import re
import shutil
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bedside.core.errors import DataError
from bedside.data.io import write_json, write_text
from bedside.judges.cache import FOLDER as JUDGEMENTS
from bedside.judges.cache import default_root
from bedside.run.events import EventLog
from bedside.run.owner import owned
from bedside.run.stage_cache import StageCache

LEAST_CHARACTERS = 8


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


@dataclass(frozen=True, slots=True)
class _Occurrences:
    """Where one run holds the text."""

    run: Path
    stages: list[Path]
    """Folders of cached stages, finished or not."""
    lines: dict[Path, int]
    """Files of rows, and how many of their lines hold it."""
    examples: int
    adapters: list[str]
    """Folders of adapters trained on it, by today's rows or by an earlier erasure event."""


def erase(runs: Path, text: str, *, adapters: bool, dry_run: bool = False) -> list[ErasureResult]:
    """Erase ``text`` from every run below ``runs``, and with ``adapters`` the adapters trained on it.

    ``dry_run`` returns what would be erased and changes nothing. Every string that contains ``text``, in any case and
    with any white space, is erased. DataError for a text too short to identify a person, and for a folder without
    runs.
    """
    normalised = _plain(text)
    if len(normalised) < LEAST_CHARACTERS:
        raise DataError(f"{text!r} is too short to erase by; give {LEAST_CHARACTERS} characters or more")
    folders = sorted(path.parent for path in runs.glob("*/events.jsonl"))
    if not folders:
        raise DataError(f"{runs}: there is no run in this folder; name the folder of all runs with --runs")
    caches = sorted({default_root(runs), *(cache for folder in folders if (cache := _cache(folder)))})
    from_caches = [erased for cache in caches if (erased := _from_cache(cache, normalised, dry_run=dry_run))]
    occurrences = [held for folder in folders if (held := _occurrences(folder, normalised, adapters=adapters))]
    if not dry_run:
        for folder in folders:
            _drop_drafts(folder)
        for held in occurrences:
            with owned(held.run):
                _erase(held, normalised, adapters=adapters)
    return from_caches + [_result(held, adapters=adapters) for held in occurrences]


def _cache(run: Path) -> Path | None:
    """The judgement cache that the run's own config names."""
    file = run / "config.yaml"
    config = yaml.safe_load(file.read_bytes()) if file.is_file() else None
    named = (config.get("cache") or {}).get("folder") if isinstance(config, dict) else None
    return Path(named).absolute() if named else None


def _from_cache(cache: Path, normalised: str, *, dry_run: bool) -> ErasureResult | None:
    """Remove judgements that hold the text, and all drafts, which may hold it."""
    holding = [file for file in cache.glob(f"{JUDGEMENTS}/*/*.json") if _count(file, normalised)]
    if not dry_run:
        _drop_drafts(cache)
        for file in holding:
            file.unlink(missing_ok=True)
        if holding:
            StageCache(cache).log_event("forgotten", judgements=len(holding))
    return ErasureResult(cache, 0, len(holding), (), adapters_removed=False) if holding else None


def _drop_drafts(folder: Path) -> None:
    for draft in folder.rglob(".*.draft"):
        draft.unlink(missing_ok=True)


def _occurrences(run: Path, normalised: str, *, adapters: bool) -> _Occurrences | None:
    """Where ``run`` holds the text; None where it does not, and no adapter is left to be removed."""
    lines = {file: n for file in sorted(run.glob("cycle-*/*.jsonl")) if (n := _count(file, normalised))}
    stages = sorted({file.parent for file in run.glob("store/*/*/*.jsonl") if _count(file, normalised)})
    examples = sum(_contains(example, normalised) for example in _summary(run)["examples"])
    earlier = _adapters_left_by_earlier_erasures(run) if adapters else []
    if not (stages or lines or examples or earlier):
        return None
    return _Occurrences(run, stages, lines, examples, sorted({*_trained_on(run, lines), *earlier}))


def _result(held: _Occurrences, *, adapters: bool) -> ErasureResult:
    rows = sum(held.lines.values()) + held.examples
    return ErasureResult(held.run, len(held.stages), rows, tuple(held.adapters), adapters)


def _erase(held: _Occurrences, normalised: str, *, adapters: bool) -> None:
    """Erase every occurrence, then write the event."""
    log = EventLog(held.run)
    intact = [file for file in (*held.lines, held.run / "summary.json") if log.intact(file)]
    for folder in held.stages:
        shutil.rmtree(folder)
    for file in held.lines:
        write_text(file, "".join(f"{line}\n" for line in _lines(file) if not _holds(line, normalised)))
    if held.examples:
        summary = _summary(held.run)
        kept_examples = [example for example in summary["examples"] if not _contains(example, normalised)]
        write_json(held.run / "summary.json", {**summary, "examples": kept_examples})
    (held.run / "report.html").unlink(missing_ok=True)
    if adapters:
        _remove(held.run, held.adapters)
    log.record(*intact)  # a file that was damaged before stays known as damaged
    result = _result(held, adapters=adapters)
    StageCache(held.run).log_event(
        "forgotten", stages=result.stages, rows=result.rows, adapters=held.adapters, adapters_removed=adapters
    )


def _adapters_left_by_earlier_erasures(run: Path) -> list[str]:
    """Adapters that an earlier erasure event names and that still exist."""
    erasures = [event for event in StageCache(run).events() if event["event"] == "forgotten"]
    return [folder for event in erasures for folder in event["adapters"] if (run / folder).is_dir()]


def _remove(run: Path, adapters: list[str]) -> None:
    """Remove the folders and every cached training. The summary then names no released adapter."""
    for folder in [*adapters, "store/train"]:
        shutil.rmtree(run / folder, ignore_errors=True)
    summary = run / "summary.json"
    if "release" in adapters and summary.is_file():
        write_json(summary, {**_summary(run), "released": None})


def _summary(run: Path) -> dict[str, Any]:
    """The summary of the run as it stands in its file; one without examples if there is no file."""
    file = run / "summary.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {"examples": []}


def _trained_on(run: Path, lines: Mapping[Path, int]) -> list[str]:
    """Adapters of the first cycle whose training rows hold the text, and of all later cycles."""
    first = min((_cycle(file.parent.name) for file in lines), default=math.inf)
    folders = [path.parent for path in run.glob("cycle-*/*/adapter_config.json")]
    names = [folder.relative_to(run).as_posix() for folder in folders if _cycle(folder.parent.name) >= first]
    return sorted([*names, *(["release"] if _summary(run).get("released") in names else [])])


def _cycle(name: str) -> float:
    """The number in ``cycle-3``. A folder of another name counts as later than every cycle."""
    number = re.fullmatch(r"cycle-(\d+)", name)
    return int(number[1]) if number else math.inf


def _lines(file: Path) -> list[str]:
    """Lines end at \\n only: other separators stand inside texts."""
    return [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]


def _count(file: Path, normalised: str) -> int:
    """Lines that hold the text."""
    return sum(_holds(line, normalised) for line in _lines(file))


def _holds(line: str, normalised: str) -> bool:
    """Whether a string of this row contains the text. A half-written line cannot be read, so it counts too."""
    try:
        return _contains(json.loads(line), normalised)
    except json.JSONDecodeError:
        return True


def _contains(value: Any, normalised: str) -> bool:
    if isinstance(value, str):
        return normalised in _plain(value)
    if isinstance(value, dict):
        return any(_contains(item, normalised) for pair in value.items() for item in pair)
    return isinstance(value, list) and any(_contains(item, normalised) for item in value)


def _plain(text: str) -> str:
    """``text`` casefolded, in Unicode NFKC, with single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).split()).casefold()
