"""An adapter worked into the weights for a while, so that LoRA costs nothing where tokens come one by one.

The base's own tensors are set aside, sums stand in their place, and the tensors themselves come back: nothing is
subtracted, so nothing drifts. Half precision would round a small adapter away, so it is left as it is there.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from peft.tuners.lora import Linear


@contextlib.contextmanager
def merged(model: Any) -> Iterator[None]:
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
