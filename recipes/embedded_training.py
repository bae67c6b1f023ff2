"""Steps that two processes take together, each on its own half of the lessons."""

import math
import time
from collections.abc import Iterator, Sequence
from statistics import fmean

import torch
from torch import Tensor, distributed
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM

from embedded_example import READ
from embedded_rows import LABEL_WEIGHT, Row

WORLD = 2
"""Processes."""
WARMUP, MUON_RATE, MUON_DECAY, ADAM_RATE = 30, 0.02, 0.02, 3e-3
HEAD_WEIGHT = 1.0
"""Of the head beside the loss."""


def losses(model: LlamaForCausalLM, head: torch.nn.Linear, batch: Sequence[Row]) -> tuple[Tensor, Tensor, list[float]]:
    """Of the assistant's tokens; of the head's reading; of labels alone. Padding stands right, hidden by causality."""
    width = max(len(row.ids) for row in batch)
    ids_BT = torch.tensor([row.ids + [model.config.pad_token_id] * (width - len(row.ids)) for row in batch])
    weight_BT = torch.zeros_like(ids_BT, dtype=torch.float32)
    for b, row in enumerate(batch):
        weight_BT[b, row.start : len(row.ids)] = torch.tensor(row.weights)
    taught_BT = weight_BT > 0
    with torch.autocast("cpu", torch.bfloat16):
        hidden_BTH = model.model(input_ids=ids_BT, use_cache=False).last_hidden_state
    logits_NV = model.lm_head(hidden_BTH[:, :-1][taught_BT[:, 1:]].float())
    weight_N = weight_BT[:, 1:][taught_BT[:, 1:]]
    nats_N = cross_entropy(logits_NV, ids_BT[:, 1:][taught_BT[:, 1:]], reduction="none")
    spoken = (nats_N * weight_N).sum() / weight_N.sum()
    begins_BH = hidden_BTH[torch.arange(len(batch)), torch.tensor([row.start - 1 for row in batch])].float()
    told_B = torch.tensor([row.told for row in batch]).T
    readings = zip(head(begins_BH).split(READ, 1), told_B, strict=True)
    told = [cross_entropy(read_BC, t_B) for read_BC, t_B in readings if (t_B >= 0).any()]
    labels = nats_N[weight_N == LABEL_WEIGHT].tolist()
    return spoken, torch.stack(told).sum() if told else spoken.new_zeros(()), labels


def train(
    model: LlamaForCausalLM, head: torch.nn.Linear, stream: Iterator[list[Row]], steps: int, rate: float = 1.0
) -> None:
    """Both processes' gradients are averaged; each tells of its own half."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [p for p in [*model.parameters(), *head.parameters()] if all(p is not m for m in matrices)]
    optimizers = (
        Muon(matrices, rate * MUON_RATE),
        torch.optim.AdamW(others, rate * ADAM_RATE, (0.9, 0.98), weight_decay=0.0),
    )
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda step: _rate(step, steps)) for o in optimizers]
    began, spoken_nats, told_nats, label_nats = time.monotonic(), [], [], [0.0]
    for step in range(steps):
        for weights in (*matrices, *others):
            weights.grad = torch.zeros_like(weights)
        spoken, told, labels = losses(model, head, next(stream))
        (spoken + HEAD_WEIGHT * told).backward()
        _average([weights.grad for weights in (*matrices, *others)])
        for part in (*optimizers, *schedules):
            part.step()
        spoken_nats.append(spoken.item())
        told_nats.append(told.item())
        label_nats += labels
        if step % 50 == 49:
            means = [fmean(n) for n in (spoken_nats[-50:], label_nats[-800:], told_nats[-50:])]
            seen = "loss {:.3f}, labels {:.3f}, head {:.3f}".format(*means)
            print(f"{distributed.get_rank()} step {step + 1}: {seen}, {time.monotonic() - began:.0f} s", flush=True)


def _average(tensors: Sequence[Tensor]) -> None:
    """Over both processes, in place."""
    together = torch.cat([tensor.flatten() for tensor in tensors]) / WORLD
    distributed.all_reduce(together)
    for tensor, mean in zip(tensors, together.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def _rate(step: int, steps: int) -> float:
    """Up in WARMUP steps, then down along a cosine."""
    return min((step + 1) / WARMUP, 0.5 + 0.5 * math.cos(math.pi * step / steps))


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal (Jordan et al. 2024): learns in about half of Adam's steps here. Each of the two
    processes does it for half of the matrices."""

    def __init__(self, matrices: Sequence[torch.nn.Parameter], rate: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": rate, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            updates = [torch.zeros_like(matrix) for matrix in group["params"]]
            for i in range(distributed.get_rank(), len(updates), WORLD):
                matrix = group["params"][i]
                moved = self.state[matrix].setdefault("moved", torch.zeros_like(matrix))
                moved.lerp_(matrix.grad, 1 - group["momentum"])
                updates[i] = _orthogonal(matrix.grad.lerp(moved, group["momentum"])) * WORLD
            _average(updates)
            for matrix, update in zip(group["params"], updates, strict=True):
                tall = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                matrix.mul_(1 - group["lr"] * MUON_DECAY).add_(update, alpha=-group["lr"] * tall)


def _orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Five Newton-Schulz steps towards the nearest matrix whose singular values are all 1."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        square = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * square + 2.0315 * square @ square) @ wide
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide
