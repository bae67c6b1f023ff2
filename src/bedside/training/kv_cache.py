"""Keys and values of the answers in work, a slot each, laid out beforehand.

A step reads and writes through ``attend``, which a layer's attention is handed to; what a step does to which tokens is
said beforehand by ``aim``, in tensors, so that a recorded step can be played again on others. B counts slots in use, G
key heads, W tokens of a slot.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bedside.training.packed_attention import Rules, attention


def room(device: torch.device) -> int:
    """The cache grows by this many tokens at least: on a GPU a step is recorded anew each time."""
    return 64 if device.type == "cpu" else 256


class Cache:
    """The slots in use are the first ones. ``expected``: how many will be, as far as is known."""

    def __init__(self, expected: int = 0) -> None:
        self.expected = expected
        self.lengths: list[int] = []
        """Tokens in each slot in use."""
        self.slots = self.width = 0
        """Laid out: so many slots of so many tokens."""
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._masks: dict[int | None, Tensor] = {}
        self._aim: tuple[Tensor, Tensor, int] | None = None

    def add(self, kept: dict[int, tuple[Tensor, Tensor]], places: Sequence[Sequence[int]]) -> None:
        """Fill a slot for each of ``places``: where its tokens lie in a pack whose layers were ``kept``."""
        first, device = len(self.lengths), next(iter(kept.values()))[0].device
        self.lengths.extend(len(p) for p in places)
        self._ensure(max(len(self.lengths), self.expected), max(self.lengths) + room(device), kept)
        longest = max(len(p) for p in places)
        index_BL = torch.tensor([[*p, *[0] * (longest - len(p))] for p in places], device=device)
        for layer, both in kept.items():
            for cached, new in zip(self._layers[layer], both, strict=True):
                cached[first : len(self.lengths), :, :longest] = new[0][:, index_BL].transpose(0, 1)

    def make_room(self) -> None:
        """Before a step: one more token fits into every slot."""
        if max(self.lengths) >= self.width:
            more = max(room(next(iter(self._layers.values()))[0].device), self.width // 4)
            self._ensure(self.slots, self.width + more, self._layers)

    def aim(self, at_B: Tensor, width: int) -> None:
        """The step writes a token at ``at`` of each of the first B slots, (B,), and sees ``width`` tokens at most."""
        self._aim = torch.arange(len(at_B), device=at_B.device), at_B, width
        self._masks = {}

    def stepped(self) -> None:
        self.lengths = [length + 1 for length in self.lengths]

    def drop(self, slot: int) -> None:
        """Free ``slot``: the last one in use moves into it."""
        last = len(self.lengths) - 1
        length = self.lengths.pop()
        if slot == last:
            return
        self.lengths[slot] = length
        for both in self._layers.values():
            for cached in both:
                cached[slot, :, :length] = cached[last, :, :length]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rules: Rules) -> Tensor:
        """One query token a slot; query heads that share a key head stand where tokens stand: (B, G, H / G, D)."""
        assert self._aim is not None
        rows_B, at_B, width = self._aim
        B, H, _, D = q.shape
        keys, values = self._layers[layer]
        keys[rows_B, :, at_B], values[rows_B, :, at_B] = k[:, :, 0], v[:, :, 0]
        grouped = q.reshape(B, k.shape[1], H // k.shape[1], D)
        out = attention(grouped, keys[:B, :, :width], values[:B, :, :width], self._mask(rules.window, q), rules)
        return out.reshape(B, 1, H, -1)

    def _mask(self, window: int | None, like: Tensor) -> Tensor:
        """0 on the tokens that a slot's newest one sees, −∞ on the rest, (B, 1, 1, W)."""
        if window not in self._masks:
            assert self._aim is not None
            at_B1, places_W = self._aim[1][:, None], torch.arange(self._aim[2], device=like.device)
            hidden = places_W > at_B1
            if window is not None:
                hidden |= places_W <= at_B1 - window
            mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, -math.inf)
            self._masks[window] = mask[:, None, None]
        return self._masks[window]

    def _ensure(self, slots: int, width: int, like: dict[int, tuple[Tensor, Tensor]]) -> None:
        """Room for ``slots`` of ``width`` tokens, shaped as ``like``; what is cached moves along."""
        if slots <= self.slots and width <= self.width:
            return
        width = -(-width // 16) * 16  # masks of a GPU's attention want that
        old, self.slots, self.width = self._layers, max(slots, self.slots), max(width, self.width)
        self._layers = {}
        for layer in list(like):
            both = like[layer]
            before = old.pop(layer, None) or tuple(x.new_empty(0, x.shape[1], 0, x.shape[3]) for x in both)
            key, value = (_grown(cached, self.slots, self.width) for cached in before)
            self._layers[layer] = (key, value)


def _grown(cached: Tensor, slots: int, width: int) -> Tensor:
    """What was cached, and zeros: a token that nobody has written is masked, but NaN would pass the mask."""
    new = cached.new_empty(slots, cached.shape[1], width, cached.shape[3])
    held, long = cached.shape[0], cached.shape[2]
    new[:held, :, :long] = cached
    new[:held, :, long:] = 0
    new[held:] = 0
    return new
