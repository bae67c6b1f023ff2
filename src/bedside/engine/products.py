"""x Wᵀ by whichever of torch's two libraries is fast on this processor.

torch asks MKL for every product in fp32. On an AMD processor oneDNN, which torch brings as well, is faster at those of
a training (docs/decisions/0003). Which one is asked follows from the processor and the shapes alone, so that a run that
goes on where it was killed computes the same bits.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

FEW = 32
"""With fewer rows, asking oneDNN takes longer than it saves."""


def product(x_TI: Tensor, W_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """x Wᵀ + bias, (T, O); without gradient."""
    if by_onednn() and _fits(x_TI, W_OI):
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x_TI, W_OI, bias_O, "none", [], "")
        return y
    return functional.linear(x_TI, W_OI, bias_O)


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """``layer``'s own forward, by ``product`` where nothing is to be differentiated."""
    if torch.is_grad_enabled() and (x.requires_grad or layer.weight.requires_grad):
        return functional.linear(x, layer.weight, layer.bias)
    return product(x.reshape(-1, x.shape[-1]), layer.weight, layer.bias).view(*x.shape[:-1], -1)


@cache
def by_onednn() -> bool:
    """Whether MKL would be asked and is slow here: on AMD's processors."""
    told = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    slow = told.get("architecture") == "x86_64" and "AMD" in str(told.get("cpu_name", ""))
    libraries: Any = torch.backends
    both = libraries.mkl.is_available() and libraries.mkldnn.is_available()
    return slow and both and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _fits(x: Tensor, W: Tensor) -> bool:
    """In fp32, of many rows, and dense: between gaps oneDNN would go number by number, a thousand times as slow."""
    plain = x.device.type == "cpu" and x.dtype == W.dtype == torch.float32
    return plain and len(x) >= FEW and x.is_contiguous() and (W.is_contiguous() or W.t().is_contiguous())
