"""A linear layer under LoRA as one autograd step; W is frozen.

    y  = (W + s·B A) x                  dx = (W + s·B A)ᵀ dy
    dA = s·(Bᵀ dy) xᵀ                   dB = s·dy (A x)ᵀ

PEFT multiplies every token with A and with B, and walks over each output twice more. In fp32 the sum W + s·B A is
formed: a pack has many more tokens than B A has ranks. Where no weight changes for a while, as in the packs of an
optimizer step, it is formed once, as far as ``ROOM`` goes. In half precision it would round a small adapter away;
there A and B, which stay in fp32 for the optimizer, are rounded as mixed precision does, and their part is added into
what W gave. T counts tokens, I and O what goes in and comes out, r the rank.
"""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

ROOM = 1 << 30
"""Bytes that kept sums may take; layers beyond form theirs each time."""


@dataclass
class _Kept:
    """What does not change while nobody trains, by the weight it was made from."""

    rounded: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary)
    sums: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary)
    room: int = field(default_factory=lambda: ROOM)


_KEPT: _Kept | None = None
_within = 0
"""How many are at rest: of several threads, or one within another, the last to leave forgets."""
_LOCK = threading.Lock()


def fused(model: Any) -> Any:
    """``model``, whose plain LoRA layers compute so from now on."""
    for layer in model.modules():
        if isinstance(layer, Linear) and type(layer.base_layer) is torch.nn.Linear:
            layer.forward = MethodType(_forward, layer)
    return model


def _forward(layer: Linear, x: Tensor, *args: Any, **more: Any) -> Tensor:
    """Of one active adapter without dropout; anything else is PEFT's."""
    names = [name for name in layer.active_adapters if name in layer.lora_A]
    ours = len(names) == 1 and not (args or more or layer.disable_adapters or layer.merged or layer.lora_variant)
    if not ours or any(layer.lora_bias.values()) or _drops(layer.lora_dropout[names[0]]):
        plain: Tensor = Linear.forward(layer, x, *args, **more)
        return plain
    (name,) = names
    base, A, B = layer.base_layer, layer.lora_A[name].weight, layer.lora_B[name].weight
    asked = (x.reshape(-1, x.shape[-1]), base.weight, base.bias, A, B, layer.scaling[name])
    half = x.dtype != A.dtype
    apply: Any = (Added if half else Formed).apply
    made = (rounded(A, x.dtype), rounded(B, x.dtype)) if half else (_sum(base.weight, A, B, layer.scaling[name]),)
    y: Tensor = apply(*asked, *made)
    return y.view(*x.shape[:-1], -1)


def _sum(W: Tensor, A: Tensor, B: Tensor, scale: float) -> Tensor | None:
    """W + s·B A, kept; None where it is to be formed for the moment."""
    if _KEPT is None:
        return None
    if B not in _KEPT.sums:
        if W.nbytes > _KEPT.room:
            return None
        _KEPT.room -= W.nbytes
        _KEPT.sums[B] = _formed(W, A.detach(), B.detach(), scale)
    kept: Tensor = _KEPT.sums[B]
    return kept


def summed_bytes(model: Any) -> int:
    """What W + s·B A of every linear layer takes, in fp32: all at once while answering, up to ``ROOM`` in training."""
    layers = [layer.weight for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    return sum(weight.nbytes for weight in layers if weight.dtype == torch.float32)


def rounded(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """``weight`` in ``dtype``."""
    if _KEPT is None:
        return weight.detach().to(dtype)
    if weight not in _KEPT.rounded:
        _KEPT.rounded[weight] = weight.detach().to(dtype)
    kept: Tensor = _KEPT.rounded[weight]
    return kept


@contextlib.contextmanager
def at_rest() -> Iterator[None]:
    """Within it no weight changes, and what is made of one is kept. Versions tell nothing: fused AdamW leaves them."""
    global _KEPT, _within
    with _LOCK:
        _KEPT, _within = _KEPT or _Kept(), _within + 1
    try:
        yield
    finally:
        with _LOCK:
            _within -= 1
            _KEPT = _KEPT if _within else None


def _drops(dropout: Any) -> bool:
    return bool(dropout.training and getattr(dropout, "p", 0.0))


class Formed(torch.autograd.Function):
    """x (T, I), W (O, I), bias (O,) or None, A (r, I), B (O, r), s, W + s·B A or None: (T, O), of one precision."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, bias: Tensor | None, *lora: Any) -> Tensor:
        A, B, scale, kept = lora
        ctx.save_for_backward(x, W, A, B, kept)
        ctx.scale = scale
        return functional.linear(x, _formed(W, A, B, scale) if kept is None else kept, bias)

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        (x, W, A, B, kept), (dy,) = ctx.saved_tensors, above
        dx = None
        if ctx.needs_input_grad[0]:
            dx = dy @ (_formed(W, A, B, ctx.scale) if kept is None else kept)
        dA, dB = _gradients(dy @ B, x, dy, x @ A.t(), ctx.scale)
        return dx, None, None, dA, dB, None, None


class Added(torch.autograd.Function):
    """As ``Formed``, for x and W in half precision, A and B in fp32 and as rounded."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, bias: Tensor | None, *lora: Any) -> Tensor:
        _, _, scale, down, up = lora
        low = x @ down.t()
        ctx.save_for_backward(x, W, down, up, low)
        ctx.scale = scale
        return functional.linear(x, W, bias).addmm_(low, up.t(), alpha=scale)

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        (x, W, down, up, low), (dy,) = ctx.saved_tensors, above
        back = dy @ up
        dx = (dy @ W).addmm_(back, down, alpha=ctx.scale) if ctx.needs_input_grad[0] else None
        dA, dB = _gradients(back, x, dy, low, ctx.scale)
        return dx, None, None, dA.float(), dB.float(), None, None, None


def _formed(W: Tensor, A: Tensor, B: Tensor, scale: float) -> Tensor:
    return torch.addmm(W, B, A, alpha=scale)


def _gradients(back_Tr: Tensor, x: Tensor, dy: Tensor, low_Tr: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Of A, (r, I), and of B, (O, r)."""
    return (back_Tr.t() @ x).mul_(scale), (dy.t() @ low_Tr).mul_(scale)
