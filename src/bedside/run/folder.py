"""A run folder's layout and config: written when the run starts, compared when it goes on.

layout.yaml    layout: 2      how the folder is arranged; a folder of another layout is refused
config.yaml                   the resolved config
"""

import json
from pathlib import Path
from typing import Any

import yaml

from bedside.config import loader
from bedside.config.schema import Config
from bedside.core.errors import ConfigError
from bedside.data.io import write_text

LAYOUT = 2
MAY_CHANGE = (
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


def write_config(folder: Path, config: Config) -> None:
    """Write both files. ConfigError where the folder holds results of a different run, which would be lost."""
    check_layout(folder)
    file = folder / "config.yaml"
    tables = loader.tables(config)
    now = _by_dotted_key(tables)
    before = _by_dotted_key(yaml.safe_load(file.read_bytes())) if file.is_file() else now
    differing = [key for key in before if key in now and before[key] != now[key]]
    changed = [key for key in differing if not key.startswith(MAY_CHANGE) and not key.endswith(".limit")]
    if changed and any((folder / "store").glob("*/*")):
        differences = ", ".join(f"{key} was {before[key]!r} and is {now[key]!r}" for key in changed[:3])
        more = f", and {len(changed) - 3} more keys differ" if len(changed) > 3 else ""
        raise ConfigError(
            f"{folder} holds another run: {differences}{more}; name this one (--set run=NAME), remove that folder, or "
            f"continue it unchanged: --set {changed[0]}={json.dumps(before[changed[0]])}"
        )
    write_text(folder / "layout.yaml", f"layout: {LAYOUT}\n", folder)
    write_text(file, yaml.safe_dump(tables, sort_keys=False), folder)


def check_layout(folder: Path) -> None:
    """ConfigError where ``folder`` holds a run that another version of Bedside wrote, arranged otherwise."""
    file = folder / "layout.yaml"
    layout = yaml.safe_load(file.read_bytes())["layout"] if file.is_file() else 1
    if layout != LAYOUT and (folder / "config.yaml").is_file():
        raise ConfigError(
            f"{folder} has layout {layout}, and this version of Bedside reads layout {LAYOUT}: continue that run with "
            "the version that began it, or name this one (--set run=NAME)"
        )


def _by_dotted_key(value: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested tables, each under its dotted key."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        key: leaf
        for name, item in value.items()
        for key, leaf in _by_dotted_key(item, f"{prefix}.{name}" if prefix else name).items()
    }
