"""One decoding step for all active answers: run eagerly, or on a GPU captured as a CUDA graph and replayed.

A step for one token in each slot is hundreds of small kernels, and a CPU needs longer to launch them than a GPU to
compute them. A CUDA graph launches all of them at once. A graph holds memory addresses: as long as the cache is not
reallocated, a step writes its ids and positions into the same tensors and replays the same graph over all allocated
slots in their whole width. Tokens beyond the end of an answer are masked; the result of an unused slot is ignored.
B counts active answers, H is the hidden size.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bedside.training.backbone import Backbone
from bedside.training.kv_cache import KVCache

_LOG = logging.getLogger(__name__)
StepFunction = Callable[[Sequence[int]], Tensor]
"""From the newest token of each active answer to the hidden states that choose the next, (B, H)."""


def step_function(backbone: Backbone, cache: KVCache, device: torch.device) -> StepFunction:
    """Eager steps on a CPU, replayed ones on a GPU."""
    if device.type == "cuda":
        return _GraphStep(backbone, cache, device)
    return lambda ids: eager_step(backbone, cache, ids, device)


def eager_step(backbone: Backbone, cache: KVCache, ids: Sequence[int], device: torch.device) -> Tensor:
    """One step without a graph: (B, H)."""
    positions_B = torch.tensor(cache.lengths, device=device)
    cache.set_step(positions_B, max(cache.lengths) + 1)
    return backbone.states(torch.tensor(ids, device=device)[:, None], positions_B[:, None], cache)[:, 0]


class _GraphStep:
    """A ``StepFunction``. The graph is captured anew whenever the cache has been reallocated."""

    def __init__(self, backbone: Backbone, cache: KVCache, device: torch.device) -> None:
        self.backbone, self.cache, self.device = backbone, cache, device
        self._captured_size = (0, 0)
        self._ids_B1 = self._positions_B1 = self._states_B1H = torch.empty(0)
        self._graph: Any = None

    def __call__(self, ids: Sequence[int]) -> Tensor:
        size = (self.cache.slots, self.cache.width)
        if size != self._captured_size:
            self._graph, self._captured_size = None, size
            self._ids_B1, self._positions_B1 = torch.zeros(2, size[0], 1, dtype=torch.long, device=self.device)
            self._set_inputs(ids)
            self._graph = self._capture()
        if self._graph is None:
            return eager_step(self.backbone, self.cache, ids, self.device)
        self._set_inputs(ids)
        self._graph.replay()
        return self._states_B1H[: len(ids), 0]

    def _set_inputs(self, ids: Sequence[int]) -> None:
        """An unused slot writes at position 0, which its next answer overwrites."""
        n = len(ids)
        self._ids_B1[:n, 0], self._positions_B1[:n, 0] = torch.tensor([ids, self.cache.lengths], device=self.device)
        self._positions_B1[n:] = 0

    def _capture(self) -> Any:
        """The step as a CUDA graph; None if it cannot be captured.

        A capture must be preceded by a few runs on another stream. They write the same values to the same places.
        """
        cuda: Any = torch.cuda
        try:
            side_stream = cuda.Stream(self.device)
            side_stream.wait_stream(cuda.current_stream(self.device))
            with cuda.stream(side_stream):
                for _ in range(2):
                    self._run()
            cuda.current_stream(self.device).wait_stream(side_stream)
            graph = cuda.CUDAGraph()
            with cuda.graph(graph):
                self._states_B1H = self._run()
        except RuntimeError as error:
            _LOG.warning("decoding steps run without a CUDA graph: %s", str(error).strip().splitlines()[0])
            return None
        return graph

    def _run(self) -> Tensor:
        """The step over all allocated slots in their whole width: (slots, 1, H)."""
        self.cache.set_step(self._positions_B1[:, 0], self.cache.width)
        return self.backbone.states(self._ids_B1, self._positions_B1, self.cache)
