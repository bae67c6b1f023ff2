"""Sequences laid end to end without padding, and attention over such a pack.

    sequences   How much is safe? | Two.            How much is safe? | Ask a doctor.
    pack        How much is safe? Two. Ask a doctor.
    segments    [-------- 0 ---------] [---- 1 ----]     the prefix of segment 1 is a part of segment 0

A beginning that neighbours share is stored once. The position of a token is its index in its own sequence, so a model
computes what it would compute for each alone. This holds for any transformers model that uses ``AttentionInterface``:

    AttentionInterface["bedside"](module, q, k, v, …, attention_function=PackedAttention(layout))

transformers builds no mask for an implementation without a registered mask function, and hands the keyword arguments
of the model to it. A token attends to itself and to the earlier tokens of its own sequence, in a layer with a sliding
window only to those within it:

    CPU     one call of scaled dot-product attention for each segment; with a gradient in bfloat16 and over at
            most 512 keys, matrix products instead: the backward pass of the fused kernel is slow there
    CUDA    variable-length attention in half precision; where that is not possible (softcap, dropout, fp32, an older
            torch), one call with a block mask (T, T)

Shapes: T tokens, H query heads, G key heads that divide H, head size D; q (1, H, T, D), k and v (1, G, T, D).
The result is (1, T, H, D).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import signature
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface

NAME = "bedside"
"""The name of the attention implementation in transformers."""
MIN_SHARED_TOKENS = 16
"""A shorter common beginning is not shared, because it would cost more in attention than it saves."""
MAX_MATMUL_KEYS = 512
"""Matrix products keep heads x tokens x keys for the backward pass: over more keys, more than the rest of a layer."""


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """Tokens ``start`` to ``end`` (exclusive) of a segment, counted from its first token."""

    segment: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class PackSegment:
    """``length`` new tokens from index ``start`` of the pack on; they continue the tokens of ``prefix``."""

    start: int
    length: int
    prefix: tuple[TokenSpan, ...]

    @property
    def offset(self) -> int:
        """Tokens of the prefix: the position of the segment's first token."""
        return sum(span.end - span.start for span in self.prefix)


@dataclass(frozen=True, slots=True)
class Layout:
    """A pack of T tokens: ``ids`` and ``positions`` have length T."""

    ids: list[int]
    positions: list[int]
    segments: list[PackSegment]
    token_indices: list[list[int]]
    """``token_indices[s][t]``: index in the pack of token t of sequence s."""


def pack(sequences: Sequence[Sequence[int]]) -> Layout:
    """Lay out all ``sequences`` in their order; each may share a beginning with the one before it."""
    layout = Layout([], [], [], [])
    spans: tuple[TokenSpan, ...] = ()
    indices: list[int] = []
    for previous, sequence in pairwise([(), *sequences]):
        shared = _shared_tokens(previous, sequence)
        spans, indices = _truncate(spans, shared), indices[:shared]
        start = len(layout.ids)
        if len(sequence) > shared:
            layout.segments.append(PackSegment(start, len(sequence) - shared, spans))
            spans = (*spans, TokenSpan(len(layout.segments) - 1, 0, len(sequence) - shared))
        layout.ids.extend(sequence[shared:])
        layout.positions.extend(range(shared, len(sequence)))
        indices = indices + list(range(start, len(layout.ids)))
        layout.token_indices.append(indices)
    return layout


def split(sequences: Sequence[Sequence[int]], max_tokens: int) -> Iterator[range]:
    """Index ranges of neighbours whose pack holds at most ``max_tokens``, or a single longer sequence."""
    start, size = 0, 0
    for i, sequence in enumerate(sequences):
        new = len(sequence) - (_shared_tokens(sequences[i - 1], sequence) if i > start else 0)
        if i > start and size + new > max_tokens:
            yield range(start, i)
            start, size, new = i, 0, len(sequence)
        size += new
    if sequences:
        yield range(start, len(sequences))


def microbatches(sizes: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices in their order, cut into lists whose ``sizes`` sum to at most ``max_tokens``, or hold one larger row."""
    return fill_batches(range(len(sizes)), lambda batch: sum(sizes[i] for i in batch) <= max_tokens)


def fill_batches(indices: Iterable[int], fits: Callable[[Sequence[int]], bool]) -> Iterator[list[int]]:
    """``indices`` in their order, cut into lists as long as each ``fits``; an index that fits nowhere is alone."""
    batch: list[int] = []
    for index in indices:
        if batch and not fits([*batch, index]):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class AttentionArguments:
    """The arguments of a layer's attention, except q, k and v."""

    scale: float
    window: int | None = None
    """A token sees itself and the ``window`` − 1 tokens before it; None: all tokens before it."""
    softcap: float | None = None
    """Scores become softcap · tanh(score / softcap)."""
    dropout: float = 0.0


class UnsupportedAttention(Exception):
    """The model does not call attention in a way that can be replaced."""


class AttentionFunction(Protocol):
    """Computes one layer's attention."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, arguments: AttentionArguments) -> Tensor:
        """(1, T, H, D)."""


def delegate(module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Any, **kwargs: Any) -> tuple[Tensor, None]:
    """The registered implementation: calls the ``attention_function`` that the model was called with."""
    arguments = AttentionArguments(
        scale=kwargs.get("scaling") or q.shape[-1] ** -0.5,
        window=kwargs.get("sliding_window"),
        softcap=kwargs.get("softcap"),
        dropout=kwargs.get("dropout") or 0.0,
    )
    if "attention_function" not in kwargs:
        raise UnsupportedAttention("keyword arguments of the model do not reach its attention")
    return kwargs["attention_function"].attend(module.layer_idx, q, k, v, arguments), None


AttentionInterface.register(NAME, delegate)


@dataclass(frozen=True, slots=True)
class _VarlenIndex:
    """Cumulated query and key lengths of the segments, the key indices, and the longest segment of both.

    ``gather_k`` is None if no segment has a prefix: keys then lie in the order of the queries.
    """

    cu_q: Tensor
    cu_k: Tensor
    gather_k: Tensor | None
    max_q: int
    max_k: int


class PackedAttention:
    """Attention over the segments of one layout. With ``keep_kv``, k and v of each layer are kept for decoding."""

    def __init__(self, layout: Layout, *, keep_kv: bool = False) -> None:
        self.layout = layout
        self.kv: dict[int, tuple[Tensor, Tensor]] | None = {} if keep_kv else None
        self.windows: set[int | None] = set()
        """Windows that layers asked for."""
        self._masks: dict[Any, Tensor] = {}
        self._index: _VarlenIndex | None = None

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, arguments: AttentionArguments) -> Tensor:
        """(1, T, H, D). UnsupportedAttention if the model passes other tokens than those of the layout."""
        if not q.shape[2] == k.shape[2] == len(self.layout.ids):
            raise UnsupportedAttention("the model attends to other tokens than it was given")
        self.windows.add(arguments.window)
        if self.kv is not None:
            self.kv[layer] = (k, v)
        if q.device.type == "cpu":
            return self._attend_by_segment(q, k, v, arguments)
        plain = q.dtype in (torch.float16, torch.bfloat16) and arguments.softcap is None and not arguments.dropout
        varlen = _torch_varlen() if plain else None
        if varlen is None:
            return self.attend_by_block_mask(q, k, v, arguments)
        return self._attend_by_varlen(varlen, q, k, v, arguments)

    def attend_by_block_mask(self, q: Tensor, k: Tensor, v: Tensor, arguments: AttentionArguments) -> Tensor:
        """One call over all T tokens; the mask hides every token of another sequence and every later token."""
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
        return attention(q, k, v, self._block_mask(arguments.window, q), arguments).transpose(1, 2)

    def _attend_by_segment(self, q: Tensor, k: Tensor, v: Tensor, arguments: AttentionArguments) -> Tensor:
        lengths = [segment.length for segment in self.layout.segments]
        qs = torch.split(q, lengths, 2)
        ks, vs = (torch.split(x.repeat_interleave(q.shape[1] // x.shape[1], 1), lengths, 2) for x in (k, v))
        outputs = [
            attention(
                qs[i],
                _with_prefix(ks, segment.prefix, i),
                _with_prefix(vs, segment.prefix, i),
                self._segment_mask(segment, arguments.window, q),
                arguments,
            ).transpose(1, 2)
            for i, segment in enumerate(self.layout.segments)
        ]
        return torch.cat(outputs, 1)

    def _segment_mask(self, segment: PackSegment, window: int | None, like: Tensor) -> Tensor | None:
        """(length, offset + length): 0 where a token is visible, −∞ elsewhere; None for a plain causal mask."""
        offset, length = segment.offset, segment.length
        if window is not None and offset + length <= window:
            window = None
        if window is None and not offset:
            return None
        key = (offset, length, window)
        if key not in self._masks:
            visible = torch.ones(length, offset + length, dtype=torch.bool, device=like.device).tril(offset)
            visible = visible if window is None else visible.triu(offset - window + 1)
            self._masks[key] = torch.zeros_like(visible, dtype=like.dtype).masked_fill_(~visible, -math.inf)
        return self._masks[key]

    def _attend_by_varlen(
        self, varlen: "VarlenFunction", q: Tensor, k: Tensor, v: Tensor, arguments: AttentionArguments
    ) -> Tensor:
        """Queries in pack order, keys of each segment after those of its prefix; aligned at the lower right corner."""
        self._index = index = self._index or self._varlen_index(q.device)
        k_TGD, v_TGD = (x[0].transpose(0, 1) for x in (k, v))
        if index.gather_k is not None:  # index_select adds gradients of a shared token; indexing would sort first
            k_TGD, v_TGD = k_TGD.index_select(0, index.gather_k), v_TGD.index_select(0, index.gather_k)
        q_THD = q[0].transpose(0, 1)
        return varlen(q_THD, k_TGD, v_TGD, index.cu_q, index.cu_k, index.max_q, index.max_k, arguments)[None]

    def _varlen_index(self, device: torch.device) -> _VarlenIndex:
        segments = self.layout.segments
        keys = [list(_visible_tokens(self.layout, segment)) for segment in segments]
        lengths_q, lengths_k = [segment.length for segment in segments], [len(key) for key in keys]
        cu_q, cu_k = (
            functional.pad(torch.tensor(n).cumsum(0), (1, 0)).to(device, torch.int32) for n in (lengths_q, lengths_k)
        )
        shared = any(segment.prefix for segment in segments)
        gather_k = torch.tensor([i for key in keys for i in key], device=device) if shared else None
        return _VarlenIndex(cu_q, cu_k, gather_k, max(lengths_q), max(lengths_k))

    def _block_mask(self, window: int | None, like: Tensor) -> Tensor:
        """(T, T): 0 where a token is visible, −∞ elsewhere."""
        key = ("block", window)
        if key not in self._masks:
            T = len(self.layout.ids)
            visible = torch.zeros(T, T, dtype=torch.bool)
            for segment in self.layout.segments:
                own = slice(segment.start, segment.start + segment.length)
                visible[own, list(_visible_tokens(self.layout, segment))[: segment.offset]] = True
                visible[own, own] = torch.ones(segment.length, segment.length, dtype=torch.bool).tril()
            if window is not None:
                positions = torch.tensor(self.layout.positions)
                visible &= positions[:, None] - positions[None] < window
            self._masks[key] = torch.zeros(T, T, dtype=like.dtype).masked_fill_(~visible, -math.inf).to(like.device)
        return self._masks[key]


VarlenFunction = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int, int, AttentionArguments], Tensor]


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, arguments: AttentionArguments) -> Tensor:
    """softmax(scale · q kᵀ + mask) v, shaped as q; causal if there is no mask."""
    if arguments.softcap is None and not _trains_in_bf16_on_cpu(q, k):
        return functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=arguments.dropout, is_causal=mask is None, scale=arguments.scale
        )
    # As transformers' eager attention, of Gemma 2 too: capped, then masked, softmax in fp32.
    if arguments.softcap is None:
        scores = q @ k.transpose(2, 3) * arguments.scale
    else:
        scores = arguments.softcap * torch.tanh(q @ k.transpose(2, 3) * (arguments.scale / arguments.softcap))
    if mask is None:
        visible = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
        scores = scores.masked_fill(~visible, -math.inf)
    else:
        scores = scores + mask
    weights = torch.softmax(scores.float(), -1).to(q.dtype)
    return functional.dropout(weights, arguments.dropout, training=arguments.dropout > 0) @ v


def _trains_in_bf16_on_cpu(q: Tensor, k: Tensor) -> bool:
    bf16_on_cpu = q.dtype == torch.bfloat16 and q.device.type == "cpu"
    return bf16_on_cpu and q.requires_grad and k.shape[2] <= MAX_MATMUL_KEYS


@cache
def _torch_varlen() -> VarlenFunction | None:
    """torch's variable-length attention; None if this torch has none, or one without scale and window (2.10)."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    parameters = set(signature(varlen_attn).parameters)
    if not {"scale", "window_size"} <= parameters:
        return None
    grouped: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in parameters else {}

    def varlen(
        q: Tensor, k: Tensor, v: Tensor, cu_q: Tensor, cu_k: Tensor, max_q: int, max_k: int, a: AttentionArguments
    ) -> Tensor:
        window = (-1 if a.window is None else a.window - 1, 0)
        output = varlen_attn(q, k, v, cu_q, cu_k, max_q, max_k, scale=a.scale, window_size=window, **grouped)
        assert isinstance(output, Tensor)
        return output

    return varlen


def _shared_tokens(previous: Sequence[int], sequence: Sequence[int]) -> int:
    """Length of the common beginning; 0 if it is too short to be shared."""
    differences = (i for i, (a, b) in enumerate(zip(previous, sequence, strict=False)) if a != b)
    shared = next(differences, min(len(previous), len(sequence)))
    return shared if shared >= MIN_SHARED_TOKENS else 0


def _truncate(spans: tuple[TokenSpan, ...], tokens: int) -> tuple[TokenSpan, ...]:
    """The first ``tokens`` tokens of ``spans``."""
    kept: list[TokenSpan] = []
    for span in spans:
        length = min(span.end - span.start, tokens)
        if length <= 0:
            break
        kept.append(TokenSpan(span.segment, span.start, span.start + length))
        tokens -= length
    return tuple(kept)


def _visible_tokens(layout: Layout, segment: PackSegment) -> Iterator[int]:
    """Indices in the pack of the segment's prefix, then of its own tokens."""
    for span in segment.prefix:
        start = layout.segments[span.segment].start
        yield from range(start + span.start, start + span.end)
    yield from range(segment.start, segment.start + segment.length)


def _with_prefix(pieces: Sequence[Tensor], prefix: Sequence[TokenSpan], own: int) -> Tensor:
    """Keys or values of the prefix, then those of segment ``own``."""
    before = [pieces[span.segment][:, :, span.start : span.end] for span in prefix]
    return torch.cat([*before, pieces[own]], 2) if before else pieces[own]
