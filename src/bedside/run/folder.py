"""A run folder's layout and config: written when the run starts, compared when it continues.

layout.yaml    layout: 3      how the folder is arranged; a folder of another layout is refused
config.yaml                   the resolved config
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from bedside.config import loader, yaml_source
from bedside.config.schema import Config
from bedside.core.errors import ConfigError, DataError
from bedside.data.io import write_text
from bedside.run.events import EventLog
from bedside.run.stage_cache import StageCache

LAYOUT, CONFIG = 3, "config.yaml"
DTYPE, MEASURED = "target.dtype", "dtype measured"
MAY_CHANGE = (
    "align.attack",
    "align.cycles",
    "align.save_steps",
    "align.max_tokens_per_microbatch",
    "baselines",
    "budget",
    "cache",
    "device",
    "gates",
    "generate.batch_size",
    "judges",
    "metrics",
    "rehearse",
    "report_to",
    "runs",
    "select",
)
"""Keys that may change when a run continues: more rows or cycles, other limits. Any other change is another run."""


def write_config(cache: StageCache, config: Config) -> None:
    """Write both files into the folder of ``cache``.

    ConfigError if the folder holds results of a different run, which would be lost; DataError if config.yaml is
    neither what was written before nor what is written now.
    """
    folder, file = cache.root, cache.root / CONFIG
    check_layout(folder)
    tables = loader.tables(config)
    text = yaml.safe_dump(tables, sort_keys=False)
    now = _by_dotted_key(tables)
    before = now if _holds(file, text) else _by_dotted_key(yaml.safe_load(_written_config(folder)))
    differing = [key for key in before if key in now and before[key] != now[key]]
    changed = [key for key in differing if not key.startswith(MAY_CHANGE) and not key.endswith(".limit")]
    if changed and has_results(folder):
        differences = ", ".join(f"{key} was {before[key]!r} and is {now[key]!r}" for key in changed[:3])
        more = f", and {len(changed) - 3} more keys differ" if len(changed) > 3 else ""
        raise ConfigError(
            f"{folder} holds another run: {differences}{more}; name this one (--set run=NAME), remove that folder, or "
            f"continue it unchanged: --set {changed[0]}={json.dumps(before[changed[0]])}"
        )
    write_text(folder / "layout.yaml", f"layout: {LAYOUT}\n", folder)
    write_text(file, text, folder)
    cache.record(file)


def recorded_dtype(config: Config) -> str | None:
    """``target.dtype`` in the config.yaml of a run that has results; None if there is none that can be read.

    ``write_config`` says where that file is not what was written.
    """
    folder = Path(config.runs) / config.run
    if not (folder / CONFIG).is_file() or not has_results(folder):
        return None
    try:
        table, _ = yaml_source.read(folder / CONFIG)
    except ConfigError:
        return None
    dtype = _by_dotted_key(table).get(DTYPE)
    return dtype if dtype in ("auto", "float32", "bfloat16", "float16") else None


def measured_dtype(config: Config, shapes: Sequence[tuple[int, int]]) -> str | None:
    """What was measured in this run's folder for products of these ``shapes``; None if nothing was measured."""
    events = EventLog(Path(config.runs) / config.run).read()
    asked = [list(shape) for shape in shapes]
    return next((row["dtype"] for row in events[::-1] if row["event"] == MEASURED and row["shapes"] == asked), None)


def record_measured_dtype(config: Config, shapes: Sequence[tuple[int, int]], dtype: str, speedup: float) -> None:
    """Log the choice for these ``shapes``, so that this run measures once."""
    log = EventLog(Path(config.runs) / config.run)
    log.append(MEASURED, dtype=dtype, speedup=round(speedup, 2), shapes=[list(shape) for shape in shapes])


def has_results(folder: Path) -> bool:
    """Whether a stage of the run in ``folder`` has begun."""
    return any((folder / "store").glob("*/*"))


def check_layout(folder: Path) -> None:
    """ConfigError if ``folder`` has a run of another version of Bedside, with another layout."""
    file = folder / "layout.yaml"
    layout = _layout(file) if file.is_file() else 1
    if layout != LAYOUT and (folder / CONFIG).is_file():
        raise ConfigError(
            f"{folder} has layout {layout}, and this version of Bedside reads layout {LAYOUT}: continue that run with "
            "the version that began it, or name this one (--set run=NAME)"
        )


def _layout(file: Path) -> int:
    """The number in layout.yaml. DataError if there is none."""
    number = re.fullmatch(rb"layout: (\d+)\n", file.read_bytes())
    if number is None:
        raise DataError(f"{file} is not what was written: write `layout: {LAYOUT}` into it, or put back a copy")
    return int(number[1])


def _holds(file: Path, text: str) -> bool:
    return not file.is_file() or file.read_bytes() == text.encode("utf-8")


def _written_config(folder: Path) -> bytes:
    remedy = "put back a copy; or remove it, and the same command writes it from its own config"
    return EventLog(folder).read_file(CONFIG, remedy)


def _by_dotted_key(value: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested tables, each under its dotted key."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        key: leaf
        for name, item in value.items()
        for key, leaf in _by_dotted_key(item, f"{prefix}.{name}" if prefix else name).items()
    }
