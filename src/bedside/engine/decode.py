"""Answers token by token: greedy as ``generate`` gives them, or drawn; no padding, no waiting for the longest.

    prompts are read in packs, a common beginning once           layout, attention
    each answer has a slot in a cache that is laid out beforehand
    a finished answer leaves its slot, and a waiting prompt takes it

Drawn tokens come from one table of uniform numbers, a row for each answer: who shares a step with whom changes
nothing but the last bits. B counts answers in work, G key heads, W tokens in the cache, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bedside.engine.attention import Pack, Rules, attention
from bedside.engine.backbone import Body, body_of, pack_tokens
from bedside.engine.layout import cut, lay
from bedside.engine.shadow import merged

ROOM = 64
"""The cache grows by this many tokens at least."""


@dataclass(frozen=True, slots=True)
class Draw:
    """How the next token is chosen: the likeliest at temperature 0, else drawn from the ``top_p`` nucleus."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(slots=True)
class _Answer:
    """One answer in work."""

    number: int
    limit: int
    ids: list[int] = field(default_factory=list)


def decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    stop_ids: frozenset[int],
    draw: Draw,
    *,
    slots: int = 64,
) -> list[list[int]] | None:
    """Ids of each answer, its stop token included; at most ``limits`` of them. At most ``slots`` are in work at once.

    None where only the model's own ``generate`` is known to be right.
    """
    with torch.no_grad(), merged(model):
        body = body_of(model)
        if body is None:
            return None
        return _Decoder(body, prompts, limits, stop_ids, draw, model.device).run(slots)


class _Decoder:
    def __init__(
        self,
        body: Body,
        prompts: Sequence[Sequence[int]],
        limits: Sequence[int],
        stop_ids: frozenset[int],
        draw: Draw,
        device: Any,
    ) -> None:
        self.body, self.prompts, self.stop_ids, self.draw, self.device = body, prompts, stop_ids, draw, device
        self.answers = [_Answer(number, limit) for number, limit in enumerate(limits)]
        self.cache = Cache()
        self.uniform: Tensor | None = None
        if draw.temperature > 0:
            numbers = torch.Generator().manual_seed(draw.seed)
            self.uniform = torch.rand(len(prompts), max(limits), generator=numbers, dtype=torch.float64)

    def run(self, slots: int) -> list[list[int]]:
        """By prompt, so that those that begin alike are read together."""
        waiting = sorted(self.answers, key=lambda a: (list(self.prompts[a.number]), a.number))
        active: list[_Answer] = []
        while waiting or active:
            free = slots - len(active)
            if waiting and (free >= max(1, slots // 4) or not active):
                active += self._begin(waiting[:free])
                waiting = waiting[free:]
            else:
                self._step(active)
            active = self._leave(active)
        return [answer.ids for answer in self.answers]

    def _begin(self, new: list[_Answer]) -> list[_Answer]:
        """Read the prompts of ``new`` into slots behind the active ones, and choose their first tokens."""
        prompts = [self.prompts[answer.number] for answer in new]
        for run in cut(prompts, pack_tokens(self.device)):
            layout = lay([prompts[i] for i in run])
            pack = Pack(layout, keep=True)
            hidden_TH = self.body.hidden(layout, pack)
            assert pack.kept is not None
            self.cache.add(pack.kept, layout.places)
            self._choose([new[i] for i in run], hidden_TH[[places[-1] for places in layout.places]])
        return new

    def _step(self, active: list[_Answer]) -> None:
        ids_B1 = torch.tensor([[answer.ids[-1]] for answer in active], device=self.device)
        positions_B1 = torch.tensor([[length] for length in self.cache.lengths], device=self.device)
        self.cache.make_room()
        hidden_B1H = self.body.states(ids_B1, positions_B1, self.cache)
        self.cache.stepped()
        self._choose(active, hidden_B1H[:, 0])

    def _choose(self, answers: Sequence[_Answer], hidden_BH: Tensor) -> None:
        logits_BV = self.body.head.logits(hidden_BH)
        if self.uniform is None:
            chosen = logits_BV.argmax(-1)
        else:
            uniform_B = torch.stack([self.uniform[a.number, len(a.ids)] for a in answers])
            chosen = drawn(logits_BV, uniform_B.to(self.device), self.draw)
        for answer, token in zip(answers, chosen.tolist(), strict=True):
            answer.ids.append(token)

    def _leave(self, active: list[_Answer]) -> list[_Answer]:
        """Finished answers give up their slots; the last ones move into them."""
        staying = list(active)
        for slot in reversed(range(len(staying))):
            answer = staying[slot]
            if answer.ids[-1] in self.stop_ids or len(answer.ids) >= answer.limit:
                self.cache.drop(slot)
                last = staying.pop()
                if slot < len(staying):
                    staying[slot] = last
        return staying


class Cache:
    """Keys and values of the answers in work, a slot each; the slots in use are the first ones."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        """Tokens in each slot in use."""
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._masks: dict[int | None, Tensor] = {}
        self._slots = self._width = 0
        self._at: tuple[Tensor, Tensor] | None = None

    def add(self, kept: dict[int, tuple[Tensor, Tensor]], places: Sequence[Sequence[int]]) -> None:
        """Fill a slot for each of ``places``: where its tokens lie in a pack whose layers were ``kept``."""
        first = len(self.lengths)
        self.lengths.extend(len(p) for p in places)
        self._ensure(max(self._slots, len(self.lengths)), max(self._width, max(self.lengths) + ROOM), kept)
        for layer, (k, v) in kept.items():
            for slot, there in enumerate(places, start=first):
                index = torch.tensor(there, device=k.device)
                for cached, new in zip(self._layers[layer], (k, v), strict=True):
                    cached[slot, :, : len(there)] = new[0].index_select(1, index)

    def make_room(self) -> None:
        """Before a step: one more token fits into every slot."""
        if max(self.lengths) >= self._width:
            self._ensure(self._slots, self._width + max(ROOM, self._width // 4), self._layers)
        self._masks = {}
        device = next(iter(self._layers.values()))[0].device
        self._at = torch.arange(len(self.lengths), device=device), torch.tensor(self.lengths, device=device)

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
        assert self._at is not None
        rows, at = self._at
        B, H, _, D = q.shape
        keys, values = self._layers[layer]
        keys[rows, :, at], values[rows, :, at] = k[:, :, 0], v[:, :, 0]
        width = max(self.lengths) + 1
        grouped = q.reshape(B, k.shape[1], H // k.shape[1], D)
        out = attention(grouped, keys[:B, :, :width], values[:B, :, :width], self._mask(rules.window, width, q), rules)
        return out.reshape(B, 1, H, -1)

    def _mask(self, window: int | None, width: int, like: Tensor) -> Tensor:
        """0 on the tokens that a slot's newest one sees, −∞ on the rest, (B, 1, 1, W)."""
        if window not in self._masks:
            assert self._at is not None
            at_B1, places_W = self._at[1][:, None], torch.arange(width, device=like.device)
            hidden = places_W > at_B1
            if window is not None:
                hidden |= places_W <= at_B1 - window
            mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, -math.inf)
            self._masks[window] = mask[:, None, None]
        return self._masks[window]

    def _ensure(self, slots: int, width: int, like: dict[int, tuple[Tensor, Tensor]]) -> None:
        """Room for ``slots`` of ``width`` tokens, shaped as ``like``; what is cached moves along."""
        if slots <= self._slots and width <= self._width:
            return
        old, self._slots, self._width = self._layers, slots, width
        self._layers = {}
        for layer in list(like):
            both = like[layer]
            made = tuple(x.new_zeros(slots, x.shape[1], width, x.shape[3]) for x in both)
            for new, cached in zip(made, old.pop(layer, ()), strict=False):
                new[: cached.shape[0], :, : cached.shape[2]] = cached
            self._layers[layer] = (made[0], made[1])


def drawn(logits_BV: Tensor, uniform_B: Tensor, draw: Draw) -> Tensor:
    """The token at which the cumulated probability passes ``uniform``, (B,): within the nucleus, likeliest first."""
    probability = torch.softmax(logits_BV / draw.temperature, -1).double()
    order = None
    if draw.top_p < 1:
        probability, order = probability.sort(-1, descending=True)
        before = probability.cumsum(-1) - probability
        probability = probability.masked_fill(before >= draw.top_p, 0.0)
    total = probability.cumsum(-1)
    place = torch.searchsorted(total, (uniform_B[:, None] * total[:, -1:]), right=True)
    place = place.clamp(max=logits_BV.shape[-1] - 1)
    return (place if order is None else order.gather(-1, place)).squeeze(-1)
