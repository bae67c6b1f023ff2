"""The LM head in chunks: log-probabilities of tokens without keeping the logits.

    z = W h,  with a softcap c: c tanh(z / c)       log p(y) = z_y − logsumexp(z)
    ∂ log p(y) / ∂h = Wᵀ [ (1_y − p) (1 − (z / c)²) ]

W is frozen, so the gradient is computed together with the value, and the logits of all N rows are never in memory at
once. Shapes: N rows, hidden size H, V words of the vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def chunk_rows(device: torch.device, V: int) -> int:
    """Rows whose logits are in memory at once.

    On a CPU as many as its caches hold, but enough that reading W pays; many on a GPU.
    """
    return max(128, (1 << 20) // V) if device.type == "cpu" else max(1, (1 << 27) // V)


@dataclass(frozen=True, slots=True)
class LmHead:
    """Weights (V, H) and final softcap of a model."""

    weight_VH: Tensor
    softcap: float | None = None

    def logits(self, hidden_NH: Tensor) -> Tensor:
        """(N, V), fp32."""
        logits_NV = hidden_NH @ self.weight_VH.t()
        if self.softcap is not None:
            logits_NV = self.softcap * torch.tanh(logits_NV / self.softcap)
        return logits_NV.float()

    def chunks(self, N: int) -> Iterator[slice]:
        """Slices of N rows, each small enough for its logits to be in memory."""
        rows = chunk_rows(self.weight_VH.device, len(self.weight_VH))
        return (slice(start, start + rows) for start in range(0, N, rows))

    def token_logprobs(self, hidden_NH: Tensor, targets_N: Tensor) -> Tensor:
        """log p(target) of each row, nats, (N,), fp32, with gradient if ``hidden_NH`` needs one."""
        needs_gradient = torch.is_grad_enabled() and hidden_NH.requires_grad
        apply: Any = _TokenLogprobs.apply
        values_N: Tensor = apply(hidden_NH, targets_N, self, needs_gradient)
        return values_N


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_NH: Tensor, targets_N: Tensor, head: LmHead, needs_gradient: bool) -> Tensor:
        values_N = hidden_NH.new_empty(len(hidden_NH), dtype=torch.float32)
        gradient_NH = torch.empty_like(hidden_NH) if needs_gradient else None
        buffer: Tensor | None = None
        for rows in head.chunks(len(hidden_NH)):
            logits = head.logits(hidden_NH[rows])
            targets = targets_N[rows, None]
            target_logits = logits.gather(1, targets)
            if needs_gradient and buffer is None:
                buffer = torch.empty_like(logits)
            total = _logsumexp(logits, logits if buffer is None else buffer[: len(logits)])
            values_N[rows] = (target_logits - total).squeeze(1)
            if gradient_NH is not None:
                gradient_NH[rows] = _gradient(logits, total, targets, head)
        if gradient_NH is not None:
            ctx.save_for_backward(gradient_NH)
        return values_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient_NH,) = ctx.saved_tensors
        return gradient_NH * gradients[0][:, None].to(gradient_NH.dtype), None, None, None


def _logsumexp(logits: Tensor, buffer: Tensor) -> Tensor:
    """(N, 1): bit for bit what torch.logsumexp gives for finite logits. ``buffer`` (N, V) saves an allocation."""
    largest = logits.amax(-1, keepdim=True)
    return torch.sub(logits, largest, out=buffer).exp_().sum(-1, keepdim=True).log_().add_(largest)


def _gradient(logits: Tensor, total: Tensor, targets: Tensor, head: LmHead) -> Tensor:
    """∂ log p(y) / ∂h, (N, H). Overwrites ``logits``."""
    slope = None if head.softcap is None else 1 - (logits / head.softcap) ** 2
    residual = logits.sub_(total).exp_()
    residual.scatter_add_(1, targets, torch.full_like(targets, -1, dtype=residual.dtype))
    if slope is not None:
        residual.mul_(slope)
    return (residual.to(head.weight_VH.dtype) @ head.weight_VH).neg_()
