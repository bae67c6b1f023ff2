"""Sequences laid end to end without padding; what neighbours begin with alike is read once.

    sequences   How much is safe? | Two.            How much is safe? | Ask a doctor.
    laid        How much is safe? Two. Ask a doctor.
    segments    [-------- 0 ---------] [---- 1 ----]     segment 1 stands behind a part of segment 0

A token's position is its place in its own sequence, so a model computes what it would compute for each alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SHARE_FROM = 16
"""Sharing fewer tokens than this costs more in attention than it saves."""


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens ``start`` to ``end`` of a segment, counted within it."""

    segment: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens that were laid in one go: ``length`` of them behind what ``before`` names."""

    start: int
    length: int
    before: tuple[Span, ...]

    @property
    def offset(self) -> int:
        """Tokens before it: the position of its first one."""
        return sum(span.end - span.start for span in self.before)


@dataclass(frozen=True, slots=True)
class Layout:
    """T tokens in segments, and where each token of each sequence came to lie."""

    ids: list[int]
    positions: list[int]
    segments: list[Segment]
    places: list[list[int]]
    """``places[s][t]``: index among the T tokens of token t of sequence s."""


def lay(sequences: Sequence[Sequence[int]]) -> Layout:
    """One layout of all ``sequences`` in their order; a sequence shares with the one before it."""
    layout = Layout([], [], [], [])
    last: Sequence[int] = ()
    spans: tuple[Span, ...] = ()
    places: list[int] = []
    for sequence in sequences:
        known = _known(last, sequence)
        spans, places = _first(spans, known), places[:known]
        start = len(layout.ids)
        if len(sequence) > known:
            layout.segments.append(Segment(start, len(sequence) - known, spans))
            spans = (*spans, Span(len(layout.segments) - 1, 0, len(sequence) - known))
        layout.ids.extend(sequence[known:])
        layout.positions.extend(range(known, len(sequence)))
        places = places + list(range(start, len(layout.ids)))
        layout.places.append(places)
        last = sequence
    return layout


def cut(sequences: Sequence[Sequence[int]], max_tokens: int) -> Iterator[range]:
    """Runs of neighbours whose layout holds at most ``max_tokens``; one sequence at least."""
    start, size = 0, 0
    for i, sequence in enumerate(sequences):
        new = len(sequence) - (_known(sequences[i - 1], sequence) if i > start else 0)
        if i > start and size + new > max_tokens:
            yield range(start, i)
            start, size, new = i, 0, len(sequence)
        size += new
    if sequences:
        yield range(start, len(sequences))


def _known(last: Sequence[int], sequence: Sequence[int]) -> int:
    """How many tokens of ``sequence`` the one before it has laid; 0 where too few to share."""
    alike = 0
    for one, other in zip(last, sequence, strict=False):
        if one != other:
            break
        alike += 1
    return alike if alike >= SHARE_FROM else 0


def _first(spans: tuple[Span, ...], tokens: int) -> tuple[Span, ...]:
    """The first ``tokens`` tokens of ``spans``."""
    kept: list[Span] = []
    for span in spans:
        length = min(span.end - span.start, tokens)
        if length <= 0:
            break
        kept.append(Span(span.segment, span.start, span.start + length))
        tokens -= length
    return tuple(kept)
