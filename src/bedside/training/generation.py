"""Decoding token by token, without padding and without waiting for the longest answer.

    prompts are read in packs; a beginning that they share is read once      packing, packed_attention
    each active answer has a slot in a cache that is allocated beforehand    kv_cache
    a finished answer frees its slot for a waiting prompt
    a step runs eagerly, or on a GPU captured as a CUDA graph and replayed

A step for one token in each slot is hundreds of small kernels, and a CPU needs longer to launch them than a GPU to
compute them. A CUDA graph launches all of them at once. A graph holds memory addresses: as long as the cache is not
reallocated, a step writes its ids and positions into the same tensors and replays the same graph over all allocated
slots in their whole width. Tokens beyond the end of an answer are masked; the result of an unused slot is ignored.

Greedy answers are those of transformers' ``generate``. Sampled tokens come from one table of uniform numbers with a row
for each answer, so an answer does not depend on the others, but for the last bits of the logits.
B counts active answers, H is the hidden size, V the vocabulary.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bedside.training.adapters import merged_weights
from bedside.training.backbone import Backbone, find_backbone, pack_tokens
from bedside.training.kv_cache import KVCache
from bedside.training.lora_linear import lora_weight_cache
from bedside.training.packed_attention import PackedAttention
from bedside.training.packing import pack, split

_LOG = logging.getLogger(__name__)
StepFunction = Callable[[Sequence[int]], Tensor]
"""From the newest token of each active answer to the hidden states that choose the next, (B, H)."""


@dataclass(frozen=True, slots=True)
class TokenSampler:
    """How the next token is chosen: greedily at temperature 0, otherwise sampled from the ``top_p`` nucleus."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(slots=True)
class _Answer:
    """An answer to prompt ``number``, of at most ``limit`` tokens."""

    number: int
    limit: int
    ids: list[int] = field(default_factory=list)


def decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    stop_ids: frozenset[int],
    sampler: TokenSampler,
    *,
    slots: int = 64,
) -> list[list[int]] | None:
    """Token ids of the answer to each prompt: at most ``limits`` of them, the stop token included.

    At most ``slots`` answers are active at once. None if the model cannot be packed; use its own ``generate`` then.
    """
    with torch.no_grad(), merged_weights(model), lora_weight_cache():
        backbone = find_backbone(model)
        if backbone is None:
            return None
        cache = KVCache(expected=min(slots, len(prompts)))
        answers = [_Answer(number, limit) for number, limit in enumerate(limits)]
        _Decoder(backbone, cache, prompts, stop_ids, sampler, model.device).run(answers, slots)
        return [answer.ids for answer in answers]


class _Decoder:
    def __init__(
        self,
        backbone: Backbone,
        cache: KVCache,
        prompts: Sequence[Sequence[int]],
        stop_ids: frozenset[int],
        sampler: TokenSampler,
        device: torch.device,
    ) -> None:
        self.backbone, self.cache, self.device = backbone, cache, device
        self.prompts, self.stop_ids, self.sampler = prompts, stop_ids, sampler
        self.step = step_function(backbone, cache, device)
        self.uniform: Tensor | None = None

    def run(self, answers: Sequence[_Answer], slots: int) -> None:
        """Fill ``ids`` of all ``answers``. Prompts are sorted, so that those with one beginning share a pack."""
        if self.sampler.temperature > 0:
            generator, longest = torch.Generator().manual_seed(self.sampler.seed), max(a.limit for a in answers)
            self.uniform = torch.rand(len(self.prompts), longest, generator=generator, dtype=torch.float64)
        waiting = sorted(answers, key=lambda a: (list(self.prompts[a.number]), a.number))
        active: list[_Answer] = []
        while waiting or active:
            free = slots - len(active)
            if waiting and (free >= max(1, slots // 4) or not active):
                self._read_prompts(waiting[:free])
                active, waiting = active + waiting[:free], waiting[free:]
            else:
                self.cache.grow_if_full()
                states_BH = self.step([answer.ids[-1] for answer in active])
                self.cache.advance()
                self._append_tokens(active, states_BH)
            active = self._remove_finished(active)

    def _read_prompts(self, answers: Sequence[_Answer]) -> None:
        """Give each of ``answers`` a slot after the active ones, and its first token."""
        prompts = [self.prompts[answer.number] for answer in answers]
        for indices in split(prompts, pack_tokens(self.device)):
            layout = pack([prompts[i] for i in indices])
            attention = PackedAttention(layout, keep_kv=True)
            states_TH = self.backbone.packed_states(layout, attention)
            assert attention.kv is not None
            self.cache.add(attention.kv, layout.token_indices)
            self._append_tokens([answers[i] for i in indices], states_TH[[own[-1] for own in layout.token_indices]])

    def _append_tokens(self, answers: Sequence[_Answer], states_BH: Tensor) -> None:
        logits_BV = self.backbone.head.logits(states_BH)
        if self.uniform is None:
            tokens_B = greedy_tokens(logits_BV)
        else:
            uniform_B = torch.stack([self.uniform[a.number, len(a.ids)] for a in answers])
            tokens_B = sample_tokens(logits_BV, uniform_B.to(self.device), self.sampler)
        for answer, token in zip(answers, tokens_B.tolist(), strict=True):
            answer.ids.append(token)

    def _remove_finished(self, active: list[_Answer]) -> list[_Answer]:
        """The unfinished answers in the order of their slots: the last answer moves into a freed slot."""
        unfinished = list(active)
        for slot in reversed(range(len(unfinished))):
            answer = unfinished[slot]
            if answer.ids[-1] in self.stop_ids or len(answer.ids) >= answer.limit:
                self.cache.remove(slot)
                last = unfinished.pop()
                if slot < len(unfinished):
                    unfinished[slot] = last
        return unfinished


def greedy_tokens(logits_BV: Tensor) -> Tensor:
    """The likeliest token of each row, (B,); the first one of equals."""
    if logits_BV.device.type == "cpu" and logits_BV.dtype == torch.float32:
        return torch.from_numpy(logits_BV.numpy().argmax(-1))  # on a CPU about twenty times as fast as torch
    return logits_BV.argmax(-1)


def sample_tokens(logits_BV: Tensor, uniform_B: Tensor, sampler: TokenSampler) -> Tensor:
    """The token at which the cumulated probability passes ``uniform_B`` (0 to 1), (B,).

    For ``top_p`` below 1 only the nucleus counts (Holtzman et al. 2019, arXiv 1904.09751), likeliest token first.
    """
    probability = torch.softmax(logits_BV / sampler.temperature, -1).double()
    order = None
    if sampler.top_p < 1:
        probability, order = probability.sort(-1, descending=True)
        before = probability.cumsum(-1) - probability
        probability = probability.masked_fill(before >= sampler.top_p, 0.0)
    total = probability.cumsum(-1)
    index = torch.searchsorted(total, (uniform_B[:, None] * total[:, -1:]), right=True).clamp(max=total.shape[-1] - 1)
    return (index if order is None else order.gather(-1, index)).squeeze(-1)


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
