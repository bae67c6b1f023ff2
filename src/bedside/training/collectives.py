"""Processes that met: objects go by gloo, gradients by gloo on a CPU and by nccl on a GPU.

Gradients are not averaged by the network. Each micro-batch's own are gathered and added in the order of the plan,
as one process adds them: g = ((g₁ + g₂) + g₃) + ... So the weights come out with the same bits, on every rank and
for every number of ranks.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.rendezvous import rendezvous

from bedside.core.distributed import Ranks
from bedside.core.errors import ConfigError, Lost, StageError
from bedside.core.hashing import digest_bytes

T = TypeVar("T")
MEETING = timedelta(minutes=5)
"""How long the first waits for the last to come."""
PATIENCE = timedelta(days=1)
"""How long one waits for another's batches. A process that is gone is noticed at once."""


@dataclass(frozen=True)
class Met:
    """The ranks of a process group."""

    rank: int
    world: int

    def gather(self, mine: T) -> list[T]:
        found: list[Any] = [None] * self.world
        with _noticed():
            dist.all_gather_object(found, mine)
        return found

    def gather_tensors(self, mine: Tensor) -> list[Tensor]:
        found = [torch.empty_like(mine) for _ in range(self.world)]
        with _noticed():
            dist.all_gather(found, mine)
        return found


def meet(device: str) -> Met:
    """Wait for the other processes that the launcher started. ConfigError where they do not come."""
    if not dist.is_initialized():
        try:
            store, rank, world = next(rendezvous("env://", timeout=MEETING))
            backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
            dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=PATIENCE)
        except (RuntimeError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise ConfigError(f"the processes of this run did not meet ({first}); start them with torchrun") from None
    return Met(dist.get_rank(), dist.get_world_size())


@contextlib.contextmanager
def added_in_order(ranks: Ranks, parameters: Sequence[Tensor], count: int) -> Iterator[None]:
    """Gradients formed within it are one micro-batch's; then those of the first ``count`` ranks are added in turn."""
    if ranks.world == 1:
        yield
        return
    before = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    yield
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
    for p, grad in zip(parameters, before, strict=True):
        p.grad = grad
    for one in ranks.gather_tensors(flat)[:count]:
        for p, piece in zip(parameters, one.split([p.numel() for p in parameters]), strict=True):
            grad = piece.view_as(p).to(p.dtype)
            p.grad = grad.clone() if p.grad is None else p.grad + grad


def same_weights(ranks: Ranks, parameters: Sequence[Tensor]) -> None:
    """StageError where the ranks do not hold the same bits."""
    if ranks.world == 1:
        return
    data = [p.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes() for p in parameters]
    if len(set(ranks.gather(digest_bytes(b"".join(data))))) > 1:
        raise StageError(
            "the processes trained different weights, so none is kept: they must run on machines of one kind with "
            "the same versions; or start one process"
        )


@contextlib.contextmanager
def _noticed() -> Iterator[None]:
    """What the network says when a process is gone."""
    try:
        yield
    except RuntimeError as error:
        raise Lost from error
