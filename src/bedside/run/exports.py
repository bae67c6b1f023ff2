"""What a run leaves for other tools: TRL-shaped rows and PEFT folders.

cycle-1/sft.jsonl    right answers           kto.jsonl    thumbs           dpo.jsonl    pairs
cycle-1/kto/         adapter_config.json, adapter_model.safetensors
ship/                the same, of what may ship

Where the target was a PEFT folder, each holds the sum of that adapter and ours, for its base.
"""

import shutil
from pathlib import Path

from bedside.core.protocols import Policy
from bedside.core.types import Checkpoint, Lesson
from bedside.data import trl_format
from bedside.data.io import write_jsonl


def preferences(folder: Path, lesson: Lesson) -> None:
    """What SFT, KTO and DPO learn from, a file each."""
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "sft.jsonl", [trl_format.dialogue_row(row) for row in lesson.dialogues])
    write_jsonl(folder / "kto.jsonl", [trl_format.thumb_row(row) for row in lesson.thumbs])
    write_jsonl(folder / "dpo.jsonl", [trl_format.pair_row(row) for row in lesson.pairs])


def adapter(target: Policy, run: Path, checkpoint: Checkpoint, to: Path) -> None:
    """A copy of the checkpoint's adapter where a person can find it."""
    assert checkpoint.path is not None
    target.export(run / checkpoint.path, to)


def shipped(run: Path, name: str | None) -> None:
    """``ship/`` holds the adapter that may ship, and does not exist where none may."""
    shutil.rmtree(run / "ship", ignore_errors=True)
    if name is not None:
        shutil.copytree(run / name, run / "ship")
