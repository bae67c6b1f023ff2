"""Keys and values of the active answers, one slot for each, allocated beforehand.

``set_step`` says where a step writes and what it sees, in tensors, so that a captured step can be replayed with other
values; then each layer calls ``attend``. Shapes: B slots in use, H query heads, G key heads, W tokens of a slot, D
head size; keys and values are (slots, G, W, D).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bedside.training.packed_attention import AttentionArguments, attention


def min_growth(device: torch.device) -> int:
    """The cache grows by at least this many tokens: more on a GPU, where each growth costs a new CUDA graph."""
    return 64 if device.type == "cpu" else 256


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
        mask = self._mask(arguments.window, q)
        return attention(grouped, keys[:B, :, :width], values[:B, :, :width], mask, arguments).reshape(B, 1, H, -1)

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
            keys, values = (_enlarged(x, self.slots, self.width) for x in old.pop(layer, None) or empty)
            self._layers[layer] = (keys, values)


def _enlarged(cached: Tensor, slots: int, width: int) -> Tensor:
    """``cached`` and zeros after it: a token that was never written is masked, but NaN would pass the mask."""
    new = cached.new_empty(slots, cached.shape[1], width, cached.shape[3])
    old_slots, old_width = cached.shape[0], cached.shape[2]
    new[:old_slots, :, :old_width] = cached
    new[:old_slots, :, old_width:] = 0
    new[old_slots:] = 0
    return new
