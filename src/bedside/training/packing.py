"""Sequences laid end to end without padding. A beginning that neighbours share is stored once.

    sequences   How much is safe? | Two.            How much is safe? | Ask a doctor.
    pack        How much is safe? Two. Ask a doctor.
    segments    [-------- 0 ---------] [---- 1 ----]     the prefix of segment 1 is a part of segment 0

The position of a token is its index in its own sequence, so a model computes what it would compute for each alone.
T counts the tokens of a pack.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

MIN_SHARED_TOKENS = 16
"""A shorter common beginning is not shared: it would cost more in attention than it saves."""


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
    batch: list[int] = []
    for index, size in enumerate(sizes):
        if batch and sum(sizes[i] for i in batch) + size > max_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


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
