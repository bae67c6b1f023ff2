"""LoRA adapters (Hu et al. 2021, arXiv 2106.09685) on one base model: loaded, saved, merged, composed.

A linear layer with LoRA computes (W + s·B A) x, with A (r, I), B (O, r), rank r and s = lora_alpha / r.

    LoraHost          one base model with at most one adapter; unloading it gives back the base's own modules, so
                      the base is never changed. Equal weights are saved as equal bytes.
    merged_weights    in a context, W + s·B A replaces W: LoRA then costs nothing for each decoded token.
                      W is kept aside and put back; nothing is subtracted, so no rounding error stays.
    compose_adapters  two adapters as one of rank r₁ + r₂, exactly:
                      W + s₁·B₁A₁ + s₂·B₂A₂ = W + [s₁B₁ s₂B₂]·[A₁; A₂]

Adapters are composed when the target itself is a PEFT folder. An adapter that was trained on the merged target would
load on the base without an error and compute something else; the composed adapter loads on the base and is right.
"""

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from peft import PEFT_TYPE_TO_CONFIG_MAPPING, LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bedside.core.errors import ModelError
from bedside.core.hashing import digest, digest_file
from bedside.training.lora_linear import use_lora_linear

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_LORA_A, _LORA_B = ".lora_A.weight", ".lora_B.weight"
_DISK_FULL = ("No space left", "failed writing file", "inline_container", "iostream error")
"""Parts of the messages of safetensors and torch.save when they cannot write."""
_MOST_ALPHA = 1e6
_NOT_PLAIN = ("use_dora", "modules_to_save", "lora_bias", "trainable_token_indices")
"""Settings of PEFT that add something other than B A."""


class LoraHost:
    """A base model and the adapter that is loaded on it now. ``target`` names the base in saved adapters."""

    def __init__(self, base: Any, target: str) -> None:
        self.base, self._target = base, target
        """The base with the adapter that is loaded now; ``base_model`` unloads it."""
        self._peft: Any = None
        self._folder: Path | None = None

    def base_model(self) -> Any:
        """The base without an adapter, in evaluation mode."""
        if self._peft is not None:
            self.base = self._peft.unload()
            self._peft, self._folder = None, None
        return self.base.eval()

    def with_adapter(self, folder: Path | None) -> Any:
        """The base with the frozen adapter in ``folder``, or without an adapter for None; in evaluation mode.

        ModelError if the adapter does not fit the base.
        """
        if folder is None:
            return self.base_model()
        if self._peft is None or self._folder != folder:
            self._peft = _load_adapter(self.base_model(), folder, is_trainable=False)
            self._folder = folder
        return self._peft.eval()

    def trainable(self, folder: Path | None, lora: Mapping[str, Any], seed: int) -> Any:
        """The base with a trainable copy of the adapter in ``folder``, in training mode.

        Without a folder the adapter is new: ``lora`` holds arguments of PEFT's LoraConfig, ``seed`` decides A, and B is
        zero. ModelError if the adapter does not fit the base.
        """
        base = self.base_model()
        if folder is None:
            torch.manual_seed(seed)
            try:
                self._peft = use_lora_linear(get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **lora)))
            except ValueError as error:
                raise ModelError(f"align.lora does not fit the target: {str(error).strip().splitlines()[0]}") from None
        else:
            self._peft = _load_adapter(base, folder, is_trainable=True)
        return self._peft.train()

    def save(self, folder: Path) -> str:
        """Write the loaded adapter as a PEFT folder; returns its digest. OSError if the disk is full."""
        with disk_full_as_oserror(folder):
            self._peft.save_pretrained(folder, safe_serialization=True)
        (folder / "README.md").unlink(missing_ok=True)
        # PEFT writes target_modules in hash order, and the local path of the base: neither may change the bytes.
        config = _read_config(folder) | {"base_model_name_or_path": self._target}
        if isinstance(modules := config.get("target_modules"), list):  # otherwise it is the user's pattern
            config["target_modules"] = sorted(modules)
        _write_config(folder, config)
        return digest_adapter(folder)

    def adapters_disabled(self) -> AbstractContextManager[None]:
        """A context in which the model computes what the base computes."""
        return contextlib.nullcontext() if self._peft is None else self._peft.disable_adapter()


def digest_adapter(folder: Path) -> str:
    """A digest of what the adapter computes, without the path of its base. ModelError if there is no adapter."""
    _require_adapter(folder)
    return digest({**_read_config(folder), "base_model_name_or_path": None}, digest_file(folder / WEIGHTS))


def base_name(folder: Path) -> str:
    """The model that the adapter names as its base; empty if it names none."""
    return str(_read_config(folder).get("base_model_name_or_path") or "")


def rename_base(folder: Path, model: str) -> None:
    """Write ``model`` as the base of the adapter in ``folder``. Its digest stays: it leaves that name out."""
    _write_config(folder, _read_config(folder) | {"base_model_name_or_path": model})


def scale_adapter(folder: Path, *, to: Path, factor: float) -> None:
    """Copy the adapter in ``folder`` to ``to`` with s·B A multiplied by ``factor``. ModelError if there is none."""
    shutil.copytree(_require_adapter(folder), to, dirs_exist_ok=True)
    config = _read_config(to)
    _write_config(to, config | {"lora_alpha": factor * config["lora_alpha"]})


def merge_adapter(base: Any, folder: Path) -> Any:
    """``base`` with the adapter in ``folder`` merged into its weights for good. ModelError if it does not fit."""
    return _load_adapter(base, folder, is_trainable=False).merge_and_unload()


@contextlib.contextmanager
def merged_weights(model: Any) -> Iterator[None]:
    """A context in which each LoRA layer of ``model`` has W + s·B A instead of W.

    Nothing is merged if a layer is not plain LoRA in fp32: half precision would round a small adapter away.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, Linear)]
    can_merge = all(map(_can_merge, layers))
    originals = [(layer, layer.base_layer.weight.data) for layer in layers if can_merge]
    try:
        with torch.no_grad():
            for layer, weight in originals:
                names = list(layer.active_adapters)
                layer.base_layer.weight.data = weight + sum(layer.get_delta_weight(name) for name in names)
                layer.merged_adapters = names
        yield
    finally:
        for layer, weight in originals:
            layer.base_layer.weight.data = weight
            layer.merged_adapters = []


def check_composable(folder: Path) -> None:
    """ModelError if the adapter is more than plain LoRA: ``compose_adapters`` could not express it."""
    config = _read_config(folder)
    reasons = [
        *(key for key in _NOT_PLAIN if config.get(key)),
        *(["bias"] if config.get("bias", "none") != "none" else []),
        *([] if config.get("peft_type") == "LORA" else [f"peft_type {config.get('peft_type')}"]),
    ]
    if not reasons:
        reasons = [key for key in load_file(folder / WEIGHTS) if not key.endswith((_LORA_A, _LORA_B))][:1]
    if reasons:
        raise ModelError(
            f"{folder}: this adapter is more than plain LoRA ({', '.join(reasons)}), so no adapter can be trained on "
            "top of it; merge it into its base first (model.merge_and_unload().save_pretrained(FOLDER)) and give that "
            "folder as target"
        )


def compose_adapters(first: Path, second: Path, *, to: Path) -> None:
    """Write the sum of both adapters to ``to``, as one PEFT folder for the base of ``first``, in fp32.

    OSError if the disk is full.
    """
    config, adapters = _read_config(first), [_read_layers(first), _read_layers(second)]
    modules = sorted({name for layers in adapters for name in layers})
    rank = max(sum(layers[name][0].shape[0] for layers in adapters if name in layers) for name in modules)
    tensors: dict[str, Tensor] = {}
    for name in modules:
        A, B = zip(*(layers[name] for layers in adapters if name in layers), strict=True)
        tensors[name + _LORA_A], tensors[name + _LORA_B] = _pad_rank(torch.cat(A), torch.cat(B, dim=1), rank)
    to.mkdir(parents=True, exist_ok=True)
    with disk_full_as_oserror(to):
        save_file(tensors, to / WEIGHTS, metadata={"format": "pt"})
    _write_config(
        to,
        {
            **{key: config.get(key) for key in ("base_model_name_or_path", "revision", "fan_in_fan_out")},
            **{"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "inference_mode": True},
            **{"r": rank, "lora_alpha": rank, "lora_dropout": 0.0},
            "target_modules": [name.removeprefix("base_model.model.") for name in modules],
        },
    )


@contextlib.contextmanager
def disk_full_as_oserror(folder: Path) -> Iterator[None]:
    """Raise OSError with ``folder`` in it for a full disk, whatever error the library raises."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        if not any(part in str(error) for part in _DISK_FULL):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from None


def _load_adapter(base: Any, folder: Path, *, is_trainable: bool) -> Any:
    _check_settings(folder)
    try:
        model = PeftModel.from_pretrained(base, str(folder), is_trainable=is_trainable)
    except (RuntimeError, ValueError, TypeError, SafetensorError) as error:
        raise ModelError(
            f"{folder}: this adapter does not fit the model: {str(error).strip().splitlines()[0]}"
        ) from None
    # When PEFT saves, it looks for the base. By the name in the adapter, it would ask the hub.
    model.peft_config["default"].base_model_name_or_path = base.name_or_path
    return use_lora_linear(model)


def _require_adapter(folder: Path) -> str:
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"{folder}: no {name}, so this is not a PEFT adapter in safetensors; check the path")
    return str(folder)


def _check_settings(folder: Path) -> None:
    """ModelError for an adapter whose settings PEFT cannot use, or would import code for."""
    _require_adapter(folder)
    config = _read_config(folder)
    rank, alpha, kind = config.get("r", 8), config.get("lora_alpha", 8), config.get("peft_type")
    is_rank, is_alpha = type(rank) is int and rank > 0, type(alpha) in (int, float) and abs(alpha) <= _MOST_ALPHA
    wrong = [
        *([] if kind in PEFT_TYPE_TO_CONFIG_MAPPING else [f"peft_type {kind!r} is not known"]),
        *([] if kind != "LORA" or is_rank else [f"r is {rank!r}, which is no rank"]),
        *([] if kind != "LORA" or is_alpha else [f"lora_alpha is {alpha!r}, which is no scale"]),
        *(["megatron_config imports code"] if config.get("megatron_config") else []),
    ]
    if wrong:
        raise ModelError(f"{folder / CONFIG}: {', '.join(wrong)}; copy the adapter again, or name another")


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise ModelError(f"{folder / CONFIG}: is no JSON object; copy the adapter again")
    return config


def _write_config(folder: Path, config: Mapping[str, Any]) -> None:
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _can_merge(layer: Any) -> bool:
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


def _read_layers(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """For each module its A (r, I) and its s·B (O, r), fp32."""
    config, tensors = _read_config(folder), load_file(folder / WEIGHTS)
    names = [key.removesuffix(_LORA_A) for key in tensors if key.endswith(_LORA_A)]
    pairs = {name: (tensors[name + _LORA_A].float(), tensors[name + _LORA_B].float()) for name in names}
    return {name: (A, B * _lora_scale(config, name, A.shape[0])) for name, (A, B) in pairs.items()}


def _lora_scale(config: Mapping[str, Any], name: str, rank: int) -> float:
    """s = α / r, or α / √r for rank-stabilised LoRA. ``alpha_pattern`` may give a module its own α, as in PEFT."""
    patterns = config.get("alpha_pattern") or {}
    alphas = (alpha for pattern, alpha in patterns.items() if re.match(rf"(.*\.)?({pattern})$", name))
    return float(next(alphas, config["lora_alpha"])) / (rank**0.5 if config.get("use_rslora") else rank)


def _pad_rank(A: Tensor, B: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """A (rank, I) and B (O, rank), with zeros added: PEFT gives every module the same rank."""
    missing = rank - A.shape[0]
    return (
        torch.nn.functional.pad(A, (0, 0, 0, missing)).contiguous(),
        torch.nn.functional.pad(B, (0, missing)).contiguous(),
    )
