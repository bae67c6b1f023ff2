"""LoRA adapters on one base model: put on, taken off, saved as the same bytes for the same weights.

One adapter at a time stands on the base. Taking it off gives back the very modules of the base, so the
base is never merged, never unmerged, and cannot drift.
"""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError

from bedside.core.errors import ModelError
from bedside.core.identity import digest, digest_file
from bedside.engine.fused import fused

_DISK_SIGNS = ("No space left", "failed writing file", "inline_container", "iostream error")
"""What safetensors and torch.save say when they cannot write."""
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


class Bed:
    """A base model and the adapter that lies on it now."""

    def __init__(self, base: Any, target: str) -> None:
        self._base, self._target = base, target
        self._peft: Any = None
        self._folder: Path | None = None

    @property
    def device(self) -> Any:
        return self._base.device

    def bare_config(self) -> Any:
        """The base's own configuration: context length and the like."""
        return self._base.config

    def bare(self) -> Any:
        """The target as given."""
        if self._peft is not None:
            self._base = self._peft.unload()
            self._peft, self._folder = None, None
        return self._base.eval()

    def wearing(self, folder: Path | None) -> Any:
        """The base under the adapter in ``folder``, frozen; the target as given where None."""
        if folder is None:
            return self.bare()
        if self._peft is None or self._folder != folder:
            self.bare()
            self._peft = _put_on(self._base, folder, is_trainable=False)
            self._folder = folder
        return self._peft.eval()

    def training(self, folder: Path | None, lora: Mapping[str, Any], seed: int) -> Any:
        """The base under a trainable copy of the adapter in ``folder``, or under a fresh one from ``seed``."""
        self.bare()
        if folder is None:
            torch.manual_seed(seed)
            self._peft = _fresh(self._base, lora)
        else:
            self._peft = _put_on(self._base, folder, is_trainable=True)
        self._folder = None
        return self._peft.train()

    def save(self, folder: Path) -> str:
        """Write the adapter that lies on the base as a PEFT folder; returns its digest."""
        with disk_told(folder):
            self._peft.save_pretrained(folder, safe_serialization=True)
        (folder / "README.md").unlink(missing_ok=True)
        _write_config(folder / CONFIG, self._target)
        return digest_adapter(folder)

    @contextlib.contextmanager
    def lifted(self) -> Iterator[None]:
        """Within it, the module computes the target as given."""
        if self._peft is None:
            yield
            return
        with self._peft.disable_adapter():
            yield


@contextlib.contextmanager
def disk_told(folder: Path) -> Iterator[None]:
    """A full disk is an OSError that names the folder, whichever library's own error says it."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        if not any(sign in str(error) for sign in _DISK_SIGNS):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from None


def scaled(folder: Path, to: Path, factor: float) -> None:
    """Write the adapter in ``folder`` to ``to``, its update of the base times ``factor``."""
    shutil.copytree(_checked(folder), to, dirs_exist_ok=True)
    config = json.loads((to / CONFIG).read_text(encoding="utf-8"))
    _tell(to / CONFIG, config | {"lora_alpha": factor * config["lora_alpha"]})


def merged(base: Any, folder: Path) -> Any:
    """``base`` with the adapter in ``folder`` worked into its weights: a target as given."""
    return _put_on(base, folder, is_trainable=False).merge_and_unload()


def _fresh(base: Any, lora: Mapping[str, Any]) -> Any:
    try:
        return fused(get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **lora)))
    except ValueError as error:
        raise ModelError(f"align.lora does not fit the target: {str(error).strip().splitlines()[0]}") from None


def digest_adapter(folder: Path) -> str:
    """What the adapter computes; where its base lies on this machine stays out. ModelError where there is none."""
    _checked(folder)
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return digest({**config, "base_model_name_or_path": None}, digest_file(folder / WEIGHTS))


def _put_on(base: Any, folder: Path, *, is_trainable: bool) -> Any:
    """``base`` under the adapter in ``folder``; ModelError where they do not fit.

    What saves it later looks for the base where it lies: by its name PEFT would ask the hub.
    """
    try:
        worn = PeftModel.from_pretrained(base, _checked(folder), is_trainable=is_trainable)
    except (RuntimeError, ValueError, TypeError) as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"{folder}: this adapter does not fit the model: {first}") from None
    worn.peft_config["default"].base_model_name_or_path = base.name_or_path
    return fused(worn)


def _checked(folder: Path) -> str:
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"{folder}: no {name}, so this is no PEFT adapter in safetensors; check the path")
    return str(folder)


def _write_config(path: Path, target: str) -> None:
    """PEFT writes sets in hash order and the base's local path; neither may decide the bytes."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = target
    tidy = {key: sorted(value) if key == "target_modules" else value for key, value in config.items()}
    _tell(path, tidy)


def _tell(path: Path, config: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
