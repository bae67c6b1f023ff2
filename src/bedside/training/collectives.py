"""The processes of a run as torch.distributed joins them: objects by gloo, gradients by gloo on a CPU, nccl on a GPU.

Gradients are not averaged by the network. The gradient of each micro-batch is gathered, and all are added in the order
of the plan, as one process adds them: g = ((g₁ + g₂) + g₃) + ... The weights then have the same bits on every rank and
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
from bedside.core.errors import ConfigError, RankLost, StageError
from bedside.core.hashing import digest_bytes

T = TypeVar("T")
JOIN_TIMEOUT = timedelta(minutes=5)
"""How long the first process waits for the last to join."""
GATHER_TIMEOUT = timedelta(days=1)
"""How long a process waits for the batches of another. A process that has ended is noticed at once."""


@dataclass(frozen=True)
class ProcessGroupRanks:
    """The ranks of torch's default process group. RankLost if one of them has ended."""

    rank: int
    world: int

    def gather(self, mine: T) -> list[T]:
        """``mine`` of every rank, in the order of the ranks, on every rank."""
        objects: list[Any] = [None] * self.world
        with _rank_lost():
            dist.all_gather_object(objects, mine)
        return objects

    def gather_tensors(self, mine: Tensor) -> list[Tensor]:
        """As ``gather``, for tensors of one shape and dtype."""
        tensors = [torch.empty_like(mine) for _ in range(self.world)]
        with _rank_lost():
            dist.all_gather(tensors, mine)
        return tensors


def join_process_group(device: str) -> ProcessGroupRanks:
    """Connect to the other processes that the launcher started. ConfigError if they cannot be reached."""
    if not dist.is_initialized():
        try:
            store, rank, world = next(rendezvous("env://", timeout=JOIN_TIMEOUT))
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo",
                store=store,
                rank=rank,
                world_size=world,
                timeout=GATHER_TIMEOUT,
            )
        except (RuntimeError, ValueError) as error:
            raise ConfigError(
                f"the processes of this run cannot connect ({str(error).splitlines()[0]}); start them with torchrun"
            ) from None
    return ProcessGroupRanks(dist.get_rank(), dist.get_world_size())


@contextlib.contextmanager
def add_gradients_in_order(ranks: Ranks, parameters: Sequence[Tensor], count: int) -> Iterator[None]:
    """A context for the backward pass of one micro-batch on each rank.

    At its end the gradients of the first ``count`` ranks are added to ``parameters``, in the order of the ranks.
    """
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
    for gathered in ranks.gather_tensors(flat)[:count]:
        for p, piece in zip(parameters, gathered.split([p.numel() for p in parameters]), strict=True):
            grad = piece.view_as(p).to(p.dtype)
            p.grad = grad.clone() if p.grad is None else p.grad + grad


def require_same_weights(ranks: Ranks, parameters: Sequence[Tensor]) -> None:
    """StageError if the ranks do not hold the same bits."""
    data = (p.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes() for p in parameters)
    if ranks.world > 1 and len(set(ranks.gather(digest_bytes(b"".join(data))))) > 1:
        raise StageError(
            "the processes trained different weights, so none is kept: they must run on machines of one kind with "
            "the same versions; or start one process"
        )


@contextlib.contextmanager
def _rank_lost() -> Iterator[None]:
    """Raise RankLost for the RuntimeError of torch.distributed when a process has ended."""
    try:
        yield
    except RuntimeError as error:
        raise RankLost from error
