"""Files of a run for other tools: rows in TRL's format and PEFT folders.

cycle-1/sft.jsonl    right answers           kto.jsonl    unpaired preferences    dpo.jsonl    preference pairs
cycle-1/dpo-after-kto.jsonl                  preference pairs of the model after KTO
cycle-1/kto/         adapter_config.json, adapter_model.safetensors
release/             the adapter that may be released, with its tokenizer, chat template, generation config and card

If the target is a PEFT folder, each adapter is the sum of the target's adapter and the trained one, for the same base.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from bedside.core.protocols import Policy
from bedside.core.types import Checkpoint, PreferenceData, PreferencePair
from bedside.data import trl_format
from bedside.data.io import write_jsonl
from bedside.run.context import RunContext

EXPORTED = "exported"
"""The event that records where an adapter was copied."""

RELEASE = "release"


def preferences(folder: Path, data: PreferenceData) -> list[Path]:
    """Write the training rows of SFT, KTO and DPO, one file each. Returns the files."""
    rows = {
        "sft.jsonl": [trl_format.demonstration_row(row) for row in data.demonstrations],
        "kto.jsonl": [trl_format.unpaired_row(row) for row in data.unpaired],
        "dpo.jsonl": [trl_format.pair_row(row) for row in data.pairs],
    }
    for name, lines in rows.items():
        write_jsonl(folder / name, lines)
    return [folder / name for name in rows]


def pairs_after_kto(folder: Path, pairs: Sequence[PreferencePair]) -> Path:
    """Write the training rows of a DPO that follows KTO. Returns the file."""
    write_jsonl(folder / "dpo-after-kto.jsonl", [trl_format.pair_row(row) for row in pairs])
    return folder / "dpo-after-kto.jsonl"


def adapter(target: Policy, run: Path, checkpoint: Checkpoint, to: Path) -> None:
    """Copy the adapter of ``checkpoint`` to the folder ``to``."""
    assert checkpoint.path is not None
    target.export(run / checkpoint.path, to)


def save(run: RunContext, checkpoint: Checkpoint, to: Path) -> None:
    """Copy the adapter of ``checkpoint`` to a folder that the user names, and log the folder for `bedside erase`."""
    adapter(run.target, run.folder, checkpoint, to)
    run.cache.log_event(EXPORTED, adapter=checkpoint.path, to=str(to.resolve()))


def release(run: RunContext, name: str | None) -> None:
    """Copy the adapter ``name``, with all that is needed to load it, to ``release/``. For None, remove ``release/``.

    Everybody who may enter the run folder may read it.
    """
    to = run.folder / RELEASE
    shutil.rmtree(to, ignore_errors=True)
    if name is not None:
        shutil.copytree(run.folder / name, to)
        run.target.complete_release(to)
        for path in (to, *to.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
