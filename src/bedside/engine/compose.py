"""Two LoRA adapters as one: what was trained on a base with an adapter in it, for the base alone.

    W + s₁·B₁A₁ + s₂·B₂A₂ = W + [s₁B₁ s₂B₂]·[A₁; A₂]        rank r₁ + r₂, exact

A person whose target is a PEFT folder has its base and that folder. A second adapter that fits only the two merged
would load on the base without complaint and compute something else; the sum of both loads on the base and is right.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from bedside.core.errors import ModelError
from bedside.engine.adapters import CONFIG, WEIGHTS, disk_told

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
