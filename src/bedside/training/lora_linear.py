"""A linear layer with LoRA as one autograd function. W is frozen.

    y  = (W + s·B A) x                  dx = (W + s·B A)ᵀ dy
    dA = s·(Bᵀ dy) xᵀ                   dB = s·dy (A x)ᵀ

PEFT multiplies every token with A and with B, and reads and writes each output twice more. Here

    fp32             the merged weight W + s·B A is computed: a pack has many more tokens than B A has ranks.
    half precision   a merged weight would round a small adapter away. A and B stay in fp32 for the optimizer, are
                     cast as in mixed precision, and their part is added to W x.

Merged weights and casts are cached while no weight changes, as within one optimizer step.
T counts tokens, I and O are the input and output size, r is the rank.
"""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import MethodType
from typing import Any, cast

import torch
from peft.tuners.lora import Linear
from torch import Tensor
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

CACHE_BYTES = 1 << 30
"""The most that cached merged weights may take; further layers compute theirs each time."""


@dataclass
class _WeightCache:
    """Casts by A or B, merged weights by B."""

    casts: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary)
    merged: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary)
    free_bytes: int = field(default_factory=lambda: CACHE_BYTES)


_cache: _WeightCache | None = None
_reference_count = 0
_LOCK = threading.Lock()


@contextlib.contextmanager
def lora_weight_cache() -> Iterator[None]:
    """A context in which no weight changes: merged weights and casts are computed once and kept.

    Contexts may be nested or open in several threads. They are counted, and the cache is cleared at zero. The cache
    cannot check by itself: a fused AdamW changes a tensor without changing its version.
    """
    global _cache, _reference_count
    with _LOCK:
        _cache, _reference_count = _cache or _WeightCache(), _reference_count + 1
    try:
        yield
    finally:
        with _LOCK:
            _reference_count -= 1
            _cache = _cache if _reference_count else None


def use_lora_linear(model: Any) -> Any:
    """``model``, whose plain LoRA layers are computed as above from now on."""
    for layer in model.modules():
        if isinstance(layer, Linear) and type(layer.base_layer) is torch.nn.Linear:
            layer.forward = MethodType(_forward, layer)
    return model


def merged_weight_bytes(model: Any) -> int:
    """Bytes of W + s·B A over all fp32 linear layers: all at once in decoding, up to CACHE_BYTES in training."""
    weights = [layer.weight for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    return sum(weight.nbytes for weight in weights if weight.dtype == torch.float32)


def cast_weight(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """``weight`` in ``dtype`` without gradient, cached where a cache is open."""
    if _cache is None:
        return weight.detach().to(dtype)
    if weight not in _cache.casts:
        _cache.casts[weight] = weight.detach().to(dtype)
    return cast("Tensor", _cache.casts[weight])


class MergedLoraLinear(torch.autograd.Function):
    """One precision. Inputs x (T, I), W (O, I), bias (O,) or None, A (r, I), B (O, r), s, W + s·B A or None.

    Returns (T, O). Without a cached merged weight, it is computed in the forward and again in the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, bias: Tensor | None, *lora: Any) -> Tensor:
        A, B, scale, merged = lora
        ctx.save_for_backward(x, W, A, B, merged)
        ctx.scale = scale
        return functional.linear(x, _merge(W, A, B, scale) if merged is None else merged, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x, W, A, B, merged), (dy,) = ctx.saved_tensors, gradients
        dx = dy @ (_merge(W, A, B, ctx.scale) if merged is None else merged) if ctx.needs_input_grad[0] else None
        dA, dB = _lora_gradients(dy @ B, x, dy, x @ A.t(), ctx.scale)
        return dx, None, None, dA, dB, None, None


class MixedPrecisionLoraLinear(torch.autograd.Function):
    """x and W in half precision; A and B in fp32, followed by s and by A and B in half precision. Returns (T, O)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, bias: Tensor | None, *lora: Any) -> Tensor:
        _, _, scale, A, B = lora
        Ax_Tr = x @ A.t()
        ctx.save_for_backward(x, W, A, B, Ax_Tr)
        ctx.scale = scale
        return functional.linear(x, W, bias).addmm_(Ax_Tr, B.t(), alpha=scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x, W, A, B, Ax_Tr), (dy,) = ctx.saved_tensors, gradients
        Bdy_Tr = dy @ B
        dx = (dy @ W).addmm_(Bdy_Tr, A, alpha=ctx.scale) if ctx.needs_input_grad[0] else None
        dA, dB = _lora_gradients(Bdy_Tr, x, dy, Ax_Tr, ctx.scale)
        return dx, None, None, dA.float(), dB.float(), None, None, None


def _forward(layer: Linear, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Computes a layer with one active adapter and no dropout; PEFT computes any other."""
    names = [name for name in layer.active_adapters if name in layer.lora_A]
    plain = len(names) == 1 and not (args or kwargs or layer.disable_adapters or layer.merged or layer.lora_variant)
    dropout: Any = layer.lora_dropout[names[0]] if plain else None
    if not plain or any(layer.lora_bias.values()) or (dropout.training and getattr(dropout, "p", 0.0)):
        return cast("Tensor", Linear.forward(layer, x, *args, **kwargs))
    base, A, B = layer.base_layer, layer.lora_A[names[0]].weight, layer.lora_B[names[0]].weight
    inputs = (x.reshape(-1, x.shape[-1]), base.weight, base.bias, A, B, layer.scaling[names[0]])
    merged, mixed = cast("Any", MergedLoraLinear), cast("Any", MixedPrecisionLoraLinear)
    if x.dtype == A.dtype:
        y = merged.apply(*inputs, _cached_merge(base.weight, A, B, layer.scaling[names[0]]))
    else:
        y = mixed.apply(*inputs, cast_weight(A, x.dtype), cast_weight(B, x.dtype))
    return cast("Tensor", y.view(*x.shape[:-1], -1))


def _cached_merge(W: Tensor, A: Tensor, B: Tensor, scale: float) -> Tensor | None:
    """W + s·B A from the cache; None if no cache is open or its space is used up."""
    if _cache is None:
        return None
    if B not in _cache.merged:
        if W.nbytes > _cache.free_bytes:
            return None
        _cache.free_bytes -= W.nbytes
        _cache.merged[B] = _merge(W, A.detach(), B.detach(), scale)
    return cast("Tensor", _cache.merged[B])


def _merge(W: Tensor, A: Tensor, B: Tensor, scale: float) -> Tensor:
    """W + s·B A, (O, I)."""
    return torch.addmm(W, B, A, alpha=scale)


def _lora_gradients(Bdy_Tr: Tensor, x: Tensor, dy: Tensor, Ax_Tr: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """dA (r, I) and dB (O, r)."""
    return (Bdy_Tr.t() @ x).mul_(scale), (dy.t() @ Ax_Tr).mul_(scale)
