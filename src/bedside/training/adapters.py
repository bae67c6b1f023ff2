"""LoRA adapters on one base model: put on, taken off, saved as the same bytes for the same weights.

One adapter at a time stands on the base. Taking it off gives back the very modules of the base, so the
base is never merged, never unmerged, and cannot drift.

An adapter worked into the weights for a while, so that LoRA costs nothing where tokens come one by one.

The base's own tensors are set aside, sums stand in their place, and the tensors themselves come back: nothing is
subtracted, so nothing drifts. Half precision would round a small adapter away, so it is left as it is there.

Two LoRA adapters as one: what was trained on a base with an adapter in it, for the base alone.

    W + s₁·B₁A₁ + s₂·B₂A₂ = W + [s₁B₁ s₂B₂]·[A₁; A₂]        rank r₁ + r₂, exact

A person whose target is a PEFT folder has its base and that folder. A second adapter that fits only the two merged
would load on the base without complaint and compute something else; the sum of both loads on the base and is right.
"""

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bedside.core.errors import ModelError
from bedside.core.hashing import digest, digest_file
from bedside.training.lora_linear import fused

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


@contextlib.contextmanager
def merged_weights(model: Any) -> Iterator[None]:
    """Within it ``model`` computes the same without its LoRA layers, where they are plain and in fp32."""
    layers = [layer for layer in model.modules() if isinstance(layer, Linear)]
    plain = all(_plain(layer) for layer in layers)
    kept = [(layer, layer.base_layer.weight.data) for layer in layers] if plain else []
    try:
        with torch.no_grad():
            for layer, weight in kept:
                names = list(layer.active_adapters)
                layer.base_layer.weight.data = weight + sum(layer.get_delta_weight(name) for name in names)
                layer.merged_adapters = names
        yield
    finally:
        for layer, weight in kept:
            layer.base_layer.weight.data = weight
            layer.merged_adapters = []


def _plain(layer: Any) -> bool:
    base = layer.base_layer
    return (
        type(base) is torch.nn.Linear
        and base.weight.dtype == torch.float32
        and not layer.disable_adapters
        and not layer.merged_adapters
        and not layer.lora_variant
        and not any(layer.lora_bias.values())
        and all(name in layer.lora_A for name in layer.active_adapters)
    )


Tensors = Mapping[str, torch.Tensor]
A, B = ".lora_A.weight", ".lora_B.weight"
_CURE = "merge it into its base first (model.merge_and_unload().save_pretrained(FOLDER)) and give that folder as target"


def check_composable(folder: Path) -> None:
    """ModelError where the adapter is more than plain LoRA, so that no sum of ranks could hold it."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    odd = [key for key in ("use_dora", "modules_to_save", "lora_bias", "trainable_token_indices") if config.get(key)]
    odd += ["bias"] if config.get("bias", "none") != "none" else []
    odd += [] if config.get("peft_type") == "LORA" else [f"peft_type {config.get('peft_type')}"]
    strange = [key for key in load_file(folder / WEIGHTS) if not key.endswith((A, B))] if not odd else []
    if odd or strange:
        said = ", ".join(odd or strange[:1])
        raise ModelError(f"{folder}: is more than plain LoRA ({said}), so nothing can be trained upon it; {_CURE}")


def compose(first: Path, second: Path, to: Path) -> None:
    """Write the sum of both as one PEFT folder for the base of ``first``."""
    config = json.loads((first / CONFIG).read_text(encoding="utf-8"))
    layers = [_layers(first), _layers(second)]
    modules = sorted({name for found in layers for name in found})
    rank = max(sum(found[name][0].shape[0] for found in layers if name in found) for name in modules)
    joined: dict[str, torch.Tensor] = {}
    for name in modules:
        down, up = zip(*(found[name] for found in layers if name in found), strict=True)
        joined[name + A], joined[name + B] = _padded(torch.cat(down), torch.cat(up, dim=1), rank)
    to.mkdir(parents=True, exist_ok=True)
    with disk_told(to):
        save_file(joined, to / WEIGHTS, metadata={"format": "pt"})
    plain = {key: config.get(key) for key in ("base_model_name_or_path", "revision", "fan_in_fan_out")}
    plain |= {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "inference_mode": True}
    plain |= {"r": rank, "lora_alpha": rank, "lora_dropout": 0.0}
    plain |= {"target_modules": [name.removeprefix("base_model.model.") for name in modules]}
    (to / CONFIG).write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _layers(folder: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Module to its A and its B with the scale worked in, float32."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    tensors = load_file(folder / WEIGHTS)
    names = [key.removesuffix(A) for key in tensors if key.endswith(A)]
    return {
        name: (tensors[name + A].float(), tensors[name + B].float() * _scale(config, name, tensors)) for name in names
    }


def _scale(config: Mapping[str, Any], name: str, tensors: Tensors) -> float:
    """α / r, or α / √r for rank-stabilised LoRA; a pattern, read as PEFT does, may give a module another α."""
    rank = tensors[name + A].shape[0]
    patterns = config.get("alpha_pattern") or {}
    alpha = next(
        (value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", name)), config["lora_alpha"]
    )
    return float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)


def _padded(down: torch.Tensor, up: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns of zeros up to ``rank``: PEFT gives every module the same one."""
    missing = rank - down.shape[0]
    wide = torch.nn.functional.pad(down, (0, 0, 0, missing))
    return wide.contiguous(), torch.nn.functional.pad(up, (0, missing)).contiguous()
