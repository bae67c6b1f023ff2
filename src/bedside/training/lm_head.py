"""The LM head where it is needed, in chunks: token log-probabilities without keeping logits.

    z = W h,  capped: c tanh(z / c)                 log p(y) = z_y − logsumexp(z)
    ∂ log p(y) / ∂h = Wᵀ [ (1_y − p) (1 − (z / c)²) ]

W is frozen, so the gradient is formed beside the value and the logits of N tokens over V words never stand in
memory together.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def chunk(device: Any, V: int) -> int:
    """Rows whose logits stand in memory at once: a GPU likes many; a CPU as many as its caches hold, and enough of
    them for W to be worth reading.
    """
    return max(128, (1 << 20) // V) if torch.device(device).type == "cpu" else max(1, (1 << 27) // V)


@dataclass(frozen=True, slots=True)
class Head:
    """Weights (V, H) and the final softcap of a model."""

    weight_VH: Tensor
    softcap: float | None = None

    def logits(self, hidden_NH: Tensor) -> Tensor:
        """(N, V), fp32 at least."""
        logits = hidden_NH @ self.weight_VH.t()
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits.float()

    def chunks(self, N: int) -> Iterator[slice]:
        """Slices of N rows, each small enough."""
        step = chunk(self.weight_VH.device, len(self.weight_VH))
        return (slice(start, start + step) for start in range(0, N, step))

    def token_logprobs(self, hidden_NH: Tensor, targets_N: Tensor) -> Tensor:
        """log p(target) of each row, nats, (N,), fp32; with gradient for ``hidden_NH`` where it wants one."""
        wanted = torch.is_grad_enabled() and hidden_NH.requires_grad
        apply: Any = _TokenLogprobs.apply
        values: Tensor = apply(hidden_NH, targets_N, self, wanted)
        return values


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_NH: Tensor, targets_N: Tensor, head: Head, wanted: bool) -> Tensor:
        values_N = hidden_NH.new_empty(len(hidden_NH), dtype=torch.float32)
        gradient_NH = torch.empty_like(hidden_NH) if wanted else None
        room: Tensor | None = None
        for rows in head.chunks(len(hidden_NH)):
            logits = head.logits(hidden_NH[rows])
            targets = targets_N[rows, None]
            told = logits.gather(1, targets)
            if wanted and room is None:
                room = torch.empty_like(logits)
            total = _logsumexp(logits, logits if room is None else room[: len(logits)])
            values_N[rows] = (told - total).squeeze(1)
            if gradient_NH is not None:
                gradient_NH[rows] = _gradient(logits, total, targets, head)
        if gradient_NH is not None:
            ctx.save_for_backward(gradient_NH)
        return values_N

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient_NH,) = ctx.saved_tensors
        return gradient_NH * above[0][:, None].to(gradient_NH.dtype), None, None, None


def _logsumexp(logits: Tensor, room: Tensor) -> Tensor:
    """torch's over the last axis, kept, to the bit for finite logits; ``room`` takes what torch asks memory for."""
    most = logits.amax(-1, keepdim=True)
    return torch.sub(logits, most, out=room).exp_().sum(-1, keepdim=True).log_().add_(most)


def _gradient(logits: Tensor, total: Tensor, targets: Tensor, head: Head) -> Tensor:
    """∂ log p(y) / ∂h; ``logits`` are used up."""
    slope = None if head.softcap is None else 1 - (logits / head.softcap) ** 2
    away = logits.sub_(total).exp_()
    away.scatter_add_(1, targets, torch.full_like(targets, -1, dtype=away.dtype))
    if slope is not None:
        away.mul_(slope)
    return (away.to(head.weight_VH.dtype) @ head.weight_VH).neg_()
