"""One token more for every answer in work: called layer by layer, or on a GPU recorded once and replayed.

What a model does to one token a slot is hundreds of small kernels, and a CPU needs longer to ask for them than a GPU to
compute them. A CUDA graph asks once. It holds addresses: as long as the cache lies where it lay, a step writes its ids
and places into the same tensors and plays the same graph, over all slots that are laid out and their whole width; what
lies beyond an answer is masked, and slots without an answer compute what nobody reads.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bedside.training.backbone import Body
from bedside.training.kv_cache import Cache

_LOG = logging.getLogger(__name__)
Steps = Callable[[Sequence[int]], Tensor]
"""Newest id of each answer in work to the hidden states that choose the next, (B, H)."""


def steps_of(body: Body, cache: Cache, device: torch.device) -> Steps:
    """How steps are taken on ``device``."""
    return _Replayed(body, cache, device) if device.type == "cuda" else lambda ids: called(body, cache, ids, device)


def called(body: Body, cache: Cache, ids: Sequence[int], device: torch.device) -> Tensor:
    """One step as the model's own code computes it."""
    at_B = torch.tensor(cache.lengths, device=device)
    cache.aim(at_B, max(cache.lengths) + 1)
    return body.states(torch.tensor(ids, device=device)[:, None], at_B[:, None], cache)[:, 0]


class _Replayed:
    def __init__(self, body: Body, cache: Cache, device: torch.device) -> None:
        self.body, self.cache, self.device = body, cache, device
        self._laid = (0, 0)
        self._ids_B1 = self._at_B1 = self._hidden_B1H = torch.empty(0)
        self._graph: Any = None

    def __call__(self, ids: Sequence[int]) -> Tensor:
        laid = (self.cache.slots, self.cache.width)
        if laid != self._laid:
            self._graph, self._laid = None, laid
            self._ids_B1, self._at_B1 = torch.zeros(2, laid[0], 1, dtype=torch.long, device=self.device)
            self._fill(ids)
            self._graph = self._recorded()
        if self._graph is None:
            return called(self.body, self.cache, ids, self.device)
        self._fill(ids)
        self._graph.replay()
        return self._hidden_B1H[: len(ids), 0]

    def _fill(self, ids: Sequence[int]) -> None:
        """Slots without an answer write at place 0, where the next answer begins."""
        n = len(ids)
        self._ids_B1[:n, 0], self._at_B1[:n, 0] = torch.tensor([ids, self.cache.lengths], device=self.device)
        self._at_B1[n:] = 0

    def _recorded(self) -> Any:
        """The step as a graph, called twice before: taken again it writes the same to the same place. None: refused."""
        cuda: Any = torch.cuda
        try:
            beside = cuda.Stream(self.device)
            beside.wait_stream(cuda.current_stream(self.device))
            with cuda.stream(beside):
                for _ in range(2):
                    self._states()
            cuda.current_stream(self.device).wait_stream(beside)
            graph = cuda.CUDAGraph()
            with cuda.graph(graph):
                self._hidden_B1H = self._states()
        except RuntimeError as error:
            _LOG.warning("steps are called, not replayed: %s", str(error).strip().splitlines()[0])
            return None
        return graph

    def _states(self) -> Tensor:
        """Over all slots that are laid out, in their whole width."""
        self.cache.aim(self._at_B1[:, 0], self.cache.width)
        return self.body.states(self._ids_B1, self._at_B1, self.cache)
