"""Answers token by token: greedy as ``generate`` gives them, or drawn; no padding, no waiting for the longest.

    prompts are read in packs, a common beginning once           layout, attention
    each answer has a slot in a cache that is laid out beforehand     cache
    a finished answer leaves its slot, and a waiting prompt takes it
    a step is called, or replayed as recorded on a GPU                steps

Drawn tokens come from one table of uniform numbers, a row for each answer: who shares a step with whom changes
nothing but the last bits. B counts answers in work, G key heads, W tokens in the cache, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bedside.training.adapters import merged_weights
from bedside.training.backbone import Body, body_of, pack_tokens
from bedside.training.cuda_graphs import steps_of
from bedside.training.kv_cache import Cache
from bedside.training.lora_linear import at_rest
from bedside.training.packed_attention import Pack
from bedside.training.packing import cut, lay


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
    with torch.no_grad(), merged_weights(model), at_rest():
        body = body_of(model)
        if body is None:
            return None
        cache = Cache(expected=min(slots, len(prompts)))
        return _Decoder(body, cache, prompts, limits, stop_ids, draw, model.device).run(slots)


class _Decoder:
    def __init__(
        self,
        body: Body,
        cache: Cache,
        prompts: Sequence[Sequence[int]],
        limits: Sequence[int],
        stop_ids: frozenset[int],
        draw: Draw,
        device: Any,
    ) -> None:
        self.body, self.cache, self.device = body, cache, device
        self.prompts, self.stop_ids, self.draw = prompts, stop_ids, draw
        self.answers = [_Answer(number, limit) for number, limit in enumerate(limits)]
        self.states = steps_of(body, self.cache, device)
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
        self.cache.make_room()
        hidden_BH = self.states([answer.ids[-1] for answer in active])
        self.cache.stepped()
        self._choose(active, hidden_BH)

    def _choose(self, answers: Sequence[_Answer], hidden_BH: Tensor) -> None:
        logits_BV = self.body.head.logits(hidden_BH)
        if self.uniform is None:
            chosen = likeliest(logits_BV)
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


def likeliest(logits_BV: Tensor) -> Tensor:
    """Of equal ones the first. NumPy looks at a vocabulary some twenty times as fast as torch does on a CPU."""
    if logits_BV.device.type == "cpu" and logits_BV.dtype == torch.float32:
        return torch.from_numpy(logits_BV.numpy().argmax(-1))
    return logits_BV.argmax(-1)


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
