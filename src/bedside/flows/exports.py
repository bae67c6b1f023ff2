"""What a run leaves for other tools: TRL-shaped rows and PEFT folders.

    cycle-1/kto.jsonl    {"prompt": [...], "completion": [...], "label": true, ...}
    cycle-1/dpo.jsonl    {"prompt": [...], "chosen": [...], "rejected": [...], ...}
    cycle-1/kto/         adapter_config.json, adapter_model.safetensors

Conversational columns, as TRL 1.16 reads them. ``origin`` says whose answer it is; trainers ignore it.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bedside.core.types import Checkpoint, Pair, Prompt, Thumb
from bedside.kernel.tables import write_jsonl


def preferences(folder: Path, thumbs: Sequence[Thumb], pairs: Sequence[Pair]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "kto.jsonl", [_thumb(row) for row in thumbs])
    write_jsonl(folder / "dpo.jsonl", [_pair(row) for row in pairs])


def adapter(run: Path, checkpoint: Checkpoint, name: str) -> None:
    """A copy of the checkpoint's adapter under a name a person can find."""
    assert checkpoint.path is not None
    shutil.copytree(run / checkpoint.path, run / name, dirs_exist_ok=True)


def shipped(run: Path, name: str | None) -> None:
    """``ship/`` holds the adapter that may ship, and does not exist where none may."""
    shutil.rmtree(run / "ship", ignore_errors=True)
    if name is not None:
        shutil.copytree(run / name, run / "ship")


def _thumb(row: Thumb) -> dict[str, Any]:
    return {
        "prompt": _turns(row.prompt),
        "completion": _answer(row.text),
        "label": row.wanted,
        "harm": row.prompt.harm,
        "origin": row.origin,
    }


def _pair(row: Pair) -> dict[str, Any]:
    return {
        "prompt": _turns(row.prompt),
        "chosen": _answer(row.chosen),
        "rejected": _answer(row.rejected),
        "harm": row.prompt.harm,
        "chosen_origin": row.chosen_origin,
        "rejected_origin": row.rejected_origin,
    }


def _turns(prompt: Prompt) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.text} for m in prompt.messages]


def _answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]
