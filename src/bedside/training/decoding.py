"""Decoding token by token, without padding and without waiting for the longest answer.

    prompts are read in packs; a beginning that they share is read once      packing
    each active answer has a slot in a cache that is allocated beforehand    KVCache
    a finished answer frees its slot for a waiting prompt
    a step runs eagerly, or on a GPU captured as a CUDA graph and replayed

A step for one token in each slot is hundreds of small kernels, and a CPU needs longer to launch them than a GPU to
compute them. A CUDA graph launches all of them at once. A graph holds memory addresses: as long as the cache is not
reallocated, a step writes its ids and positions into the same tensors and replays the same graph over all allocated
slots in their whole width. Tokens beyond the end of an answer are masked; the result of an unused slot is ignored.

Greedy answers are those of transformers' ``generate``. Sampled tokens come from one table of uniform numbers with a row
for each answer, so an answer does not depend on the others, but for the last bits of the logits.
B counts active answers, H is the hidden size, V the vocabulary.

``KVCache`` holds keys and values of the active answers, (slots, G, W, D): G key heads, W tokens of a slot, D head size;
there H counts query heads. ``set_step`` says where a step writes and what it sees, in tensors, so that a captured step
can be replayed with other values; then each layer calls ``attend``.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bedside.training.adapters import merged_weights
from bedside.training.backbone import Backbone, find_backbone, pack_tokens
from bedside.training.lora_linear import lora_weight_cache
from bedside.training.packing import AttentionArguments, PackedAttention, attention, pack, split

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
        cache: "KVCache",
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
            packed = PackedAttention(layout, keep_kv=True)
            states_TH = self.backbone.packed_states(layout, packed)
            assert packed.kv is not None
            self.cache.add(packed.kv, layout.token_indices)
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
    """The most likely token of each row, (B,); the first one if several are equal."""
    if logits_BV.device.type == "cpu" and logits_BV.dtype == torch.float32:
        return torch.from_numpy(logits_BV.numpy().argmax(-1))  # on a CPU about twenty times as fast as torch
    return logits_BV.argmax(-1)


def sample_tokens(logits_BV: Tensor, uniform_B: Tensor, sampler: TokenSampler) -> Tensor:
    """The token at which the cumulated probability passes ``uniform_B`` (0 to 1), (B,).

    For ``top_p`` below 1 only the nucleus counts (Holtzman et al. 2019, arXiv 1904.09751), the most likely token first.
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


def step_function(backbone: Backbone, cache: "KVCache", device: torch.device) -> StepFunction:
    """Eager steps on a CPU, replayed ones on a GPU."""
    if device.type == "cuda":
        return _GraphStep(backbone, cache, device)
    return lambda ids: eager_step(backbone, cache, ids, device)


def eager_step(backbone: Backbone, cache: "KVCache", ids: Sequence[int], device: torch.device) -> Tensor:
    """One step without a graph: (B, H)."""
    positions_B = torch.tensor(cache.lengths, device=device)
    cache.set_step(positions_B, max(cache.lengths) + 1)
    return backbone.states(torch.tensor(ids, device=device)[:, None], positions_B[:, None], cache)[:, 0]


class _GraphStep:
    """A ``StepFunction``. The graph is captured again whenever the cache has been reallocated."""

    def __init__(self, backbone: Backbone, cache: "KVCache", device: torch.device) -> None:
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


class KVCache:
    """The slots in use are the first ones. ``expected`` is the number of slots to allocate at least."""

    def __init__(self, expected: int = 0) -> None:
        self.expected = expected
        self.lengths: list[int] = []
        """Tokens in each slot in use."""
        self.slots = self.width = 0
        """Allocated: ``slots`` of ``width`` tokens."""
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._masks: dict[int | None, Tensor] = {}
        self._step: tuple[Tensor, Tensor, int] | None = None

    def add(self, kv: dict[int, tuple[Tensor, Tensor]], token_indices: Sequence[Sequence[int]]) -> None:
        """Fill one more slot for each sequence of a pack.

        ``kv`` has the keys and values (1, G, T, D) of each layer, ``token_indices`` the tokens of each sequence in T.
        """
        first, device = len(self.lengths), next(iter(kv.values()))[0].device
        self.lengths.extend(len(indices) for indices in token_indices)
        self._reserve(max(len(self.lengths), self.expected), max(self.lengths) + min_growth(device), kv)
        longest = max(len(indices) for indices in token_indices)
        padded_BL = torch.tensor([[*own, *[0] * (longest - len(own))] for own in token_indices], device=device)
        for layer, pair in kv.items():
            for cached, new in zip(self._layers[layer], pair, strict=True):
                cached[first : len(self.lengths), :, :longest] = new[0][:, padded_BL].transpose(0, 1)

    def grow_if_full(self) -> None:
        """Make space for one more token in every slot."""
        if max(self.lengths) >= self.width:
            more = max(min_growth(next(iter(self._layers.values()))[0].device), self.width // 4)
            self._reserve(self.slots, self.width + more, self._layers)

    def set_step(self, positions_B: Tensor, width: int) -> None:
        """The next step writes a token at ``positions_B`` of the first B slots and sees the first ``width`` tokens."""
        self._step = torch.arange(len(positions_B), device=positions_B.device), positions_B, width
        self._masks = {}

    def advance(self) -> None:
        """A step has written one token into each slot in use."""
        self.lengths = [length + 1 for length in self.lengths]

    def remove(self, slot: int) -> None:
        """Free ``slot``: the last slot in use moves into it."""
        length, last = self.lengths.pop(), len(self.lengths)
        if slot < last:
            self.lengths[slot] = length
            for cached in (cached for pair in self._layers.values() for cached in pair):
                cached[slot, :, :length] = cached[last, :, :length]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, arguments: AttentionArguments) -> Tensor:
        """Attention of one query token in each slot: q (B, H, 1, D), k and v (B, G, 1, D); returns (B, 1, H, D).

        Query heads that share a key head take the place of tokens, (B, G, H / G, D), so keys are not repeated.
        """
        assert self._step is not None
        rows_B, positions_B, width = self._step
        B, H, _, D = q.shape
        keys, values = self._layers[layer]
        keys[rows_B, :, positions_B], values[rows_B, :, positions_B] = k[:, :, 0], v[:, :, 0]
        grouped = q.reshape(B, k.shape[1], H // k.shape[1], D)
        seen = keys[:B, :, :width], values[:B, :, :width], self._mask(arguments.window, q)
        return attention(grouped, *seen, arguments).reshape(B, 1, H, -1)

    def _mask(self, window: int | None, like: Tensor) -> Tensor:
        """(B, 1, 1, W): 0 on the tokens that the newest token of a slot sees, −∞ on the others."""
        if window not in self._masks:
            assert self._step is not None
            positions_B1, places_W = self._step[1][:, None], torch.arange(self._step[2], device=like.device)
            hidden_BW = places_W > positions_B1
            if window is not None:
                hidden_BW |= places_W <= positions_B1 - window
            mask = torch.zeros(hidden_BW.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden_BW, -math.inf)
            self._masks[window] = mask[:, None, None]
        return self._masks[window]

    def _reserve(self, slots: int, width: int, like: dict[int, tuple[Tensor, Tensor]]) -> None:
        """Allocate at least ``slots`` of ``width`` tokens for the layers of ``like``, and copy what is cached."""
        if slots <= self.slots and width <= self.width:
            return
        width = -(-width // 16) * 16  # attention masks on a GPU need a multiple of 16
        old, self.slots, self.width = self._layers, max(slots, self.slots), max(width, self.width)
        self._layers = {}
        for layer in list(like):
            empty = (x.new_empty(0, x.shape[1], 0, x.shape[3]) for x in like[layer])
            # A token that was never written is masked, but NaN would pass the mask, so the space is filled with zeros.
            keys, values = (
                functional.pad(x, (0, 0, 0, self.width - x.shape[2], 0, 0, 0, self.slots - x.shape[0]))
                for x in old.pop(layer, None) or empty
            )
            self._layers[layer] = (keys, values)


def min_growth(device: torch.device) -> int:
    """The cache grows by at least this many tokens: more on a GPU, where each growth costs a new CUDA graph."""
    return 64 if device.type == "cpu" else 256
