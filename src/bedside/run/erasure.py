"""Erase what a person said from every run: rows, caches, examples. What was learned from it is named.

    cached stages that hold the text are removed whole: a run that still needs them makes them anew
    kto.jsonl, dpo.jsonl and other rows lose the lines that hold it
    judgements kept between runs, in the cache beside ``runs`` and in any that a run's config names, go by file
    summary.json loses the examples that hold it, report.html is removed
    events.jsonl gets a tombstone: that something was erased, and how much; not the text, nor a digest of it

Training cannot be undone row by row. Adapters of a cycle that learned from an erased row, and of every later
cycle, are named, and removed if asked, then or later. What `bedside train` made of a file is not traced.
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
from bedside.judges.cache import beside
from bedside.run.stage_cache import Store

LEAST_CHARACTERS = 8


@dataclass(frozen=True, slots=True)
class Erased:
    """What one run lost."""

    run: Path
    """Its folder; or that of a cache of judgements."""
    stages: int
    rows: int
    adapters: tuple[str, ...]
    """Folders of adapters that learned from an erased row, relative to the run."""
    adapters_removed: bool


@dataclass(frozen=True, slots=True)
class _Held:
    """Where one run holds the text."""

    run: Path
    stages: list[Path]
    """Folders of cached stages, finished or not."""
    lines: dict[Path, int]
    """Files of rows to how many of their lines hold it."""
    examples: int
    adapters: list[str]
    """What learned from it, by today's rows or by an earlier tombstone."""


def forget(runs: Path, text: str, *, adapters: bool, dry_run: bool = False) -> list[Erased]:
    """Erase ``text`` from every run below ``runs``; ``adapters``: what learned from it goes too.

    ``dry_run``: say what would go, and touch nothing. Any string value that holds ``text``, in any case and any
    white space, counts. DataError for a text too short to mean somebody, and for a folder that is not the folder of
    all runs.
    """
    wanted = _plain(text)
    if len(wanted) < LEAST_CHARACTERS:
        raise DataError(f"{text!r} is too short to erase by; give {LEAST_CHARACTERS} characters or more")
    folders = sorted(path.parent for path in runs.glob("*/events.jsonl"))
    if not folders:
        raise DataError(f"{runs}: there is no run in this folder; name the folder of all runs with --runs")
    caches = sorted({beside(runs), *(cache for folder in folders if (cache := _cache(folder)))})
    kept = [erased for cache in caches if (erased := _from_cache(cache, wanted, dry_run=dry_run))]
    held = [held for folder in folders if (held := _held(folder, wanted, adapters=adapters))]
    if not dry_run:
        for folder in folders:
            _drop_drafts(folder)
        for one in held:
            _erase(one, wanted, adapters=adapters)
    return kept + [_told(one, adapters=adapters) for one in held]


def _cache(run: Path) -> Path | None:
    """The folder that the run's own config keeps judgements in, where it names one."""
    file = run / "config.yaml"
    told = yaml.safe_load(file.read_bytes()) if file.is_file() else None
    named = (told.get("cache") or {}).get("folder") if isinstance(told, dict) else None
    return Path(named).absolute() if named else None


def _from_cache(cache: Path, wanted: str, *, dry_run: bool) -> Erased | None:
    """Judgements that hold the text, and drafts, which may."""
    files = cache.glob(f"{JUDGEMENTS}/*/*.json")
    holding = [file for file in files if any(_holds(line, wanted) for line in _lines(file))]
    if not dry_run:
        _drop_drafts(cache)
        for file in holding:
            file.unlink(missing_ok=True)
        if holding:
            Store(cache).event("forgotten", judgements=len(holding))
    return Erased(cache, 0, len(holding), (), adapters_removed=False) if holding else None


def _drop_drafts(folder: Path) -> None:
    for draft in folder.rglob(".*.draft"):
        draft.unlink(missing_ok=True)


def _held(run: Path, wanted: str, *, adapters: bool) -> _Held | None:
    """Where ``run`` holds the text; None where it does not, and no adapter is left to be removed."""
    lines = {file: n for file in sorted(run.glob("cycle-*/*.jsonl")) if (n := _count(file, wanted))}
    stages, examples = _stages(run / "store", wanted), _examples(run / "summary.json", wanted)
    earlier = _named_earlier(run) if adapters else []
    if not (stages or lines or examples or earlier):
        return None
    return _Held(run, stages, lines, examples, sorted({*_learned(run, lines), *earlier}))


def _told(held: _Held, *, adapters: bool) -> Erased:
    rows = sum(held.lines.values()) + held.examples
    return Erased(held.run, len(held.stages), rows, tuple(held.adapters), adapters)


def _erase(held: _Held, wanted: str, *, adapters: bool) -> None:
    """Everything that ``held`` names, and the tombstone."""
    for folder in held.stages:
        shutil.rmtree(folder)
    for file in held.lines:
        kept = [line for line in _lines(file) if not _holds(line, wanted)]
        write_text(file, "".join(f"{line}\n" for line in kept))
    if held.examples:
        _drop_examples(held.run / "summary.json", wanted)
    (held.run / "report.html").unlink(missing_ok=True)
    if adapters:
        _remove(held.run, held.adapters)
    told = _told(held, adapters=adapters)
    facts = {"stages": told.stages, "rows": told.rows, "adapters": held.adapters, "adapters_removed": adapters}
    Store(held.run).event("forgotten", **facts)


def _named_earlier(run: Path) -> list[str]:
    """Adapters that an earlier tombstone names and that are still there."""
    told = [event["adapters"] for event in Store(run).events() if event["event"] == "forgotten"]
    return [folder for folders in told for folder in folders if (run / folder).is_dir()]


def _remove(run: Path, adapters: list[str]) -> None:
    """The folders, every cached training, and the claim that one of them ships."""
    for folder in [*adapters, "store/train"]:
        shutil.rmtree(run / folder, ignore_errors=True)
    summary = run / "summary.json"
    if "ship" in adapters and summary.is_file():
        told = json.loads(summary.read_text(encoding="utf-8"))
        write_json(summary, {**told, "ships": None})


def _stages(store: Path, wanted: str) -> list[Path]:
    """Cached stages that hold the text, finished or not."""
    files = store.glob("*/*/*.jsonl")
    return sorted({file.parent for file in files if any(_holds(line, wanted) for line in _lines(file))})


def _count(file: Path, wanted: str) -> int:
    """Lines that hold the text."""
    return sum(_holds(line, wanted) for line in _lines(file))


def _examples(file: Path, wanted: str) -> int:
    """Examples of a summary that hold the text."""
    told = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"examples": []}
    return sum(_says(example, wanted) for example in told["examples"])


def _drop_examples(file: Path, wanted: str) -> None:
    told = json.loads(file.read_text(encoding="utf-8"))
    write_json(file, {**told, "examples": [one for one in told["examples"] if not _says(one, wanted)]})


def _learned(run: Path, lost: Mapping[Path, int]) -> list[str]:
    """Adapters of the first cycle whose training rows held the text, and of all later ones."""
    first = min((_cycle(file.parent.name) for file in lost), default=math.inf)
    found = [path.parent for path in run.glob("cycle-*/*/adapter_config.json")]
    names = [folder.relative_to(run).as_posix() for folder in found if _cycle(folder.parent.name) >= first]
    return sorted([*names, *(["ship"] if _ships(run) in names else [])])


def _cycle(name: str) -> float:
    """The number in ``cycle-3``; a folder of another name is nobody's cycle, and the last of all."""
    number = re.fullmatch(r"cycle-(\d+)", name)
    return int(number[1]) if number else math.inf


def _ships(run: Path) -> str | None:
    file = run / "summary.json"
    ships = json.loads(file.read_text(encoding="utf-8")).get("ships") if file.is_file() else None
    return str(ships) if ships else None


def _lines(file: Path) -> list[str]:
    """As they are. A line ends at \\n alone: other separators stand inside texts."""
    return [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]


def _holds(line: str, wanted: str) -> bool:
    """Is the text in any string of this row? A half-written line cannot be read, so it counts as holding it."""
    try:
        return _says(json.loads(line), wanted)
    except json.JSONDecodeError:
        return True


def _says(value: Any, wanted: str) -> bool:
    if isinstance(value, str):
        return wanted in _plain(value)
    if isinstance(value, dict):
        return any(_says(item, wanted) for pair in value.items() for item in pair)
    return isinstance(value, list) and any(_says(item, wanted) for item in value)


def _plain(text: str) -> str:
    """One case, one kind of white space, one way to write an accent."""
    return " ".join(unicodedata.normalize("NFKC", text).split()).casefold()
