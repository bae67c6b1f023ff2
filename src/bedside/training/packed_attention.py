"""Attention without padding, for any transformers model that asks the attention interface.

    AttentionInterface["ragged"](module, q, k, v, …, ragged=Pack(layout))

An implementation without a registered mask is given none, and keyword arguments of the model reach it. A token
attends to the tokens of its own sequence before it, and within a sliding window where the layer has one:

    CPU     one scaled-dot-product call a segment
    CUDA    varlen attention in half precision; a block mask of T × T where that cannot be had (softcap, fp32)

Shapes: q (1, H, T, D), k and v (1, G, T, D) with G key heads dividing H; the result is (1, T, H, D).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface

from bedside.training.packing import Layout, Segment, Span

NAME = "ragged"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a layer asks for beside q, k and v."""

    scale: float
    window: int | None = None
    """A token sees itself and the ``window`` − 1 before it; None: all before it."""
    softcap: float | None = None
    """Scores become softcap · tanh(score / softcap)."""
    dropout: float = 0.0


class Misfit(Exception):
    """The model does not ask for attention as this one answers."""


class Attends(Protocol):
    """Computes one layer's attention."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rules: Rules) -> Tensor:
        """(1, T, H, D)."""
        ...


def ragged(module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Any, **asked: Any) -> tuple[Tensor, None]:
    """The registered implementation: hands the layer to the ``ragged`` that the model was called with."""
    rules = Rules(
        scale=asked.get("scaling") or q.shape[-1] ** -0.5,
        window=asked.get("sliding_window"),
        softcap=asked.get("softcap"),
        dropout=asked.get("dropout") or 0.0,
    )
    if "ragged" not in asked:
        raise Misfit("keyword arguments of the model do not reach its attention")
    attends: Attends = asked["ragged"]
    return attends.attend(module.layer_idx, q, k, v, rules), None


AttentionInterface.register(NAME, ragged)


class Pack:
    """Attention over the segments of one layout. With ``keep`` each layer's k and v are kept for decoding."""

    def __init__(self, layout: Layout, *, keep: bool = False) -> None:
        self.layout = layout
        self.kept: dict[int, tuple[Tensor, Tensor]] | None = {} if keep else None
        self.windows: set[int | None] = set()
        """Windows that layers asked for: who has one in its config and asks for none is not understood."""
        self._masks: dict[Any, Tensor] = {}
        self._runs: tuple[Tensor, Tensor, Tensor | None, int, int] | None = None

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rules: Rules) -> Tensor:
        if not q.shape[2] == k.shape[2] == len(self.layout.ids):
            raise Misfit("the model attends to other tokens than it was given")
        self.windows.add(rules.window)
        if self.kept is not None:
            self.kept[layer] = (k, v)
        if q.device.type == "cpu":
            return self._by_segment(q, k, v, rules)
        varlen = _varlen(q, rules)
        return self._by_varlen(varlen, q, k, v, rules) if varlen else self.by_block_mask(q, k, v, rules)

    def _by_segment(self, q: Tensor, k: Tensor, v: Tensor, rules: Rules) -> Tensor:
        lengths = [segment.length for segment in self.layout.segments]
        groups = q.shape[1] // k.shape[1]
        qs = torch.split(q, lengths, 2)
        ks, vs = (torch.split(x.repeat_interleave(groups, 1), lengths, 2) for x in (k, v))
        out = [
            attention(
                qs[i],
                _behind(ks, segment.before, i),
                _behind(vs, segment.before, i),
                self._mask(segment, rules.window, q),
                rules,
            )
            for i, segment in enumerate(self.layout.segments)
        ]
        return torch.cat([o.transpose(1, 2) for o in out], 1)

    def _mask(self, segment: Segment, window: int | None, like: Tensor) -> Tensor | None:
        """0 where a token sees, −∞ where not, (length, offset + length); None where causal is all there is."""
        before, length = segment.offset, segment.length
        if window is not None and before + length <= window:
            window = None
        if window is None and not before:
            return None
        key = (before, length, window)
        if key not in self._masks:
            sees = torch.ones(length, before + length, dtype=torch.bool, device=like.device).tril(before)
            sees = sees if window is None else sees.triu(before - window + 1)
            self._masks[key] = torch.zeros_like(sees, dtype=like.dtype).masked_fill_(~sees, -math.inf)
        return self._masks[key]

    def _by_varlen(self, varlen: "Varlen", q: Tensor, k: Tensor, v: Tensor, rules: Rules) -> Tensor:
        """Queries as they lie, keys gathered behind one another; causal from the lower right corner."""
        if self._runs is None:
            self._runs = self._cumulated(q.device)
        cu_q, cu_k, gather, max_q, max_k = self._runs
        k_TGD, v_TGD = (x[0].transpose(0, 1) for x in (k, v))
        if gather is not None:  # its gradient adds what lies twice; indexing's would sort first
            k_TGD, v_TGD = k_TGD.index_select(0, gather), v_TGD.index_select(0, gather)
        out = varlen(q[0].transpose(0, 1), k_TGD, v_TGD, cu_q, cu_k, max_q, max_k, rules)
        return out[None]

    def _cumulated(self, device: Any) -> tuple[Tensor, Tensor, Tensor | None, int, int]:
        """Where queries and keys of each segment begin, the keys' indices, and the longest of both.

        No indices where nothing is shared: then keys lie as queries do.
        """
        keys = [list(_places(self.layout, segment)) for segment in self.layout.segments]
        q_lengths, k_lengths = [s.length for s in self.layout.segments], [len(key) for key in keys]
        cu_q, cu_k = (
            functional.pad(torch.tensor(n).cumsum(0), (1, 0)).to(device, torch.int32) for n in (q_lengths, k_lengths)
        )
        shared = any(segment.before for segment in self.layout.segments)
        gather = torch.tensor([i for key in keys for i in key], device=device) if shared else None
        return cu_q, cu_k, gather, max(q_lengths), max(k_lengths)

    def by_block_mask(self, q: Tensor, k: Tensor, v: Tensor, rules: Rules) -> Tensor:
        """One call over all T tokens, with everything masked that is no token's own past."""
        groups = q.shape[1] // k.shape[1]
        k, v = (x.repeat_interleave(groups, 1) for x in (k, v))
        return attention(q, k, v, self._block_mask(rules.window, q), rules).transpose(1, 2)

    def _block_mask(self, window: int | None, like: Tensor) -> Tensor:
        key = ("block", window)
        if key not in self._masks:
            T = len(self.layout.ids)
            sees = torch.zeros(T, T, dtype=torch.bool)
            for segment in self.layout.segments:
                own = slice(segment.start, segment.start + segment.length)
                before = list(_places(self.layout, segment))[: segment.offset]
                sees[own, before] = True
                sees[own, own] = torch.ones(segment.length, segment.length, dtype=torch.bool).tril()
            if window is not None:
                at = torch.tensor(self.layout.positions)
                sees &= at[:, None] - at[None] < window
            mask = torch.zeros(T, T, dtype=like.dtype).masked_fill_(~sees, -math.inf)
            self._masks[key] = mask.to(like.device)
        return self._masks[key]


Varlen = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int, int, Rules], Tensor]


def _varlen(q: Tensor, rules: Rules) -> Varlen | None:
    """torch's varlen attention, where it can do this layer."""
    half = q.dtype in (torch.float16, torch.bfloat16)
    return _torch_varlen() if half and rules.softcap is None and not rules.dropout else None


@cache
def _torch_varlen() -> Varlen | None:
    """None where this torch has none, or one without scale and window (2.10)."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    known = set(signature(varlen_attn).parameters)
    if not {"scale", "window_size"} <= known:
        return None
    grouped: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in known else {}

    def call(q: Tensor, k: Tensor, v: Tensor, cu_q: Tensor, cu_k: Tensor, max_q: int, max_k: int, r: Rules) -> Tensor:
        window = (-1 if r.window is None else r.window - 1, 0)
        out = varlen_attn(q, k, v, cu_q, cu_k, max_q, max_k, scale=r.scale, window_size=window, **grouped)
        assert isinstance(out, Tensor)
        return out

    return call


def _places(layout: Layout, segment: Segment) -> Iterator[int]:
    """Indices of what a segment sees: what stands before it, then itself."""
    for span in segment.before:
        start = layout.segments[span.segment].start
        yield from range(start + span.start, start + span.end)
    yield from range(segment.start, segment.start + segment.length)


def _behind(pieces: Sequence[Tensor], before: Sequence[Span], own: int) -> Tensor:
    """Keys or values of a segment behind those it shares."""
    if not before:
        return pieces[own]
    return torch.cat([*(pieces[span.segment][:, :, span.start : span.end] for span in before), pieces[own]], 2)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, rules: Rules) -> Tensor:
    """softmax(scale · q kᵀ + mask) v, causal where there is no mask."""
    if rules.softcap is not None:
        return _softcapped(q, k, v, mask, rules)
    return functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=rules.dropout, is_causal=mask is None, scale=rules.scale
    )


def _softcapped(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, rules: Rules) -> Tensor:
    """As the eager implementation of Gemma 2: capped, then masked, softmax in fp32."""
    assert rules.softcap is not None
    scores = rules.softcap * torch.tanh(q @ k.transpose(2, 3) * (rules.scale / rules.softcap))
    if mask is None:
        sees = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
        scores = scores.masked_fill(~sees, -math.inf)
    else:
        scores = scores + mask
    weights = torch.softmax(scores.float(), -1).to(q.dtype)
    return functional.dropout(weights, rules.dropout, training=rules.dropout > 0) @ v
