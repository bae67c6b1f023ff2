"""A linear layer under LoRA as one autograd step; W is frozen.

    y  = (W + s·B A) x                  dx = (W + s·B A)ᵀ dy
    dA = s·(Bᵀ dy) xᵀ                   dB = s·dy (A x)ᵀ

PEFT multiplies every token with A and with B, and walks over each output twice more. In fp32 the sum W + s·B A is
formed for the moment it is needed: a pack has many more tokens than B A has ranks. In half precision it would round a
small adapter away; there A and B, which stay in fp32 for the optimizer, are rounded as mixed precision does, and their
part is added into what W gave. T counts tokens, I and O what goes in and comes out, r the rank.
"""

import contextlib
from collections.abc import Iterator
from types import MethodType
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

_KEPT: Any = None


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
    half = () if x.dtype == A.dtype else (rounded(A, x.dtype), rounded(B, x.dtype))
    apply: Any = (Added if half else Formed).apply
    y: Tensor = apply(*asked, *half)
    return y.view(*x.shape[:-1], -1)


def rounded(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """``weight`` in ``dtype``."""
    if _KEPT is None:
        return weight.detach().to(dtype)
    if weight not in _KEPT:
        _KEPT[weight] = weight.detach().to(dtype)
    kept: Tensor = _KEPT[weight]
    return kept


@contextlib.contextmanager
def at_rest() -> Iterator[None]:
    """Within it nobody trains, and what was rounded is kept. Its version would not tell: fused AdamW leaves it."""
    global _KEPT
    before, _KEPT = _KEPT, WeakTensorKeyDictionary()
    try:
        yield
    finally:
        _KEPT = before


def _drops(dropout: Any) -> bool:
    return bool(dropout.training and getattr(dropout, "p", 0.0))


class Formed(torch.autograd.Function):
    """x (T, I), W (O, I), bias (O,) or None, A (r, I), B (O, r), s: (T, O), all of one precision."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, bias: Tensor | None, A: Tensor, B: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(x, W, A, B)
        ctx.scale = scale
        return functional.linear(x, torch.addmm(W, B, A, alpha=scale), bias)

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        (x, W, A, B), (dy,) = ctx.saved_tensors, above
        dx = dy @ torch.addmm(W, B, A, alpha=ctx.scale) if ctx.needs_input_grad[0] else None
        dA, dB = _gradients(dy @ B, x, dy, x @ A.t(), ctx.scale)
        return dx, None, None, dA, dB, None


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


def _gradients(back_Tr: Tensor, x: Tensor, dy: Tensor, low_Tr: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Of A, (r, I), and of B, (O, r)."""
    return (back_Tr.t() @ x).mul_(scale), (dy.t() @ low_Tr).mul_(scale)
