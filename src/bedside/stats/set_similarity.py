"""Connected components of similar sets, exactly, and without comparing every set with every other.

    Jaccard(x, y) = |x ∩ y| / |x ∪ y| ≥ t      ⟺      |x ∩ y| ≥ t / (1 + t) · (|x| + |y|)

Prefix and positional filtering (Bayardo et al., WWW 2007; Xiao et al., WWW 2008). The elements of every set stand in
one order, the rare ones first. Let the first element that x and y share be number i of x and number j of y, from 0. No
element before it is shared, so at most min(|x| − i, |y| − j) are. With |y| ≤ |x|, two similar sets share at least t|x|
elements and at least 2t / (1 + t) · |y|, which bounds i and j. Only sets that meet within these bounds are compared.

Array names: **N** sets, **E** elements of all sets one after the other, **H** those of them that an index holds, by
element, **P** pairs of sets.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

PAIRS_AT_ONCE = 1 << 18
SIGNATURE_BITS = 128


def components(sets: Sequence[frozenset[Hashable]], threshold: Fraction) -> list[int]:
    """For each of ``sets``, which must be sorted by size, smallest first, the number of its component."""
    label_N = np.arange(len(sets))
    ordered = _Ordered.of(sets)
    for first_P, second_P in _pairs_that_meet(ordered, threshold):
        apart = label_N[first_P] != label_N[second_P]
        similar = ordered.similar(first_P[apart], second_P[apart], threshold)
        edges = (label_N[first_P[apart][similar]], label_N[second_P[apart][similar]])
        if len(edges[0]):
            graph = csr_array((np.ones(len(edges[0]), bool), edges), shape=(len(sets), len(sets)))
            label_N = connected_components(graph, directed=False)[1][label_N]
    return [int(label) for label in label_N]


@dataclass(frozen=True)
class _Ordered:
    """The elements of all sets as numbers, rare ones first within each set."""

    element_E: Any
    set_E: Any
    position_E: Any
    size_N: Any
    holds: csr_array
    """N × elements: 1 where the set has the element."""
    signature: Any
    """64-bit words × N: element e sets bit e modulo ``SIGNATURE_BITS``. Two sets differ in as many or more."""

    @classmethod
    def of(cls, sets: Sequence[frozenset[Hashable]]) -> "_Ordered":
        counts = Counter(chain.from_iterable(sets))
        number = {element: n for n, (element, _) in enumerate(sorted(counts.items(), key=lambda pair: pair[1]))}
        size_N = np.array([len(one) for one in sets], np.int64)
        ends_N = np.cumsum(size_N)
        set_E = np.repeat(np.arange(len(sets)), size_N)
        element_E = np.fromiter(map(number.__getitem__, chain.from_iterable(sets)), np.int64, len(set_E))
        element_E = element_E[np.lexsort((element_E, set_E))]
        position_E = np.arange(len(element_E)) - (ends_N - size_N)[set_E]
        holds = csr_array(
            (np.ones(len(element_E), np.int32), element_E, np.append(0, ends_N)), (len(sets), len(number))
        )
        bits = np.zeros((len(sets), SIGNATURE_BITS), bool)
        bits[set_E, element_E % SIGNATURE_BITS] = True
        signature = np.ascontiguousarray(np.packbits(bits, axis=1).view(np.uint64).T)
        return cls(element_E, set_E, position_E, size_N, holds, signature)

    def similar(self, first_P: Any, second_P: Any, threshold: Fraction) -> Any:
        """Which of the pairs are similar."""
        sizes_P = self.size_N[first_P] + self.size_N[second_P]
        needed_P = _ceil(sizes_P, threshold / (1 + threshold))
        for word_N in self.signature:
            sizes_P -= np.bitwise_count(word_N[first_P] ^ word_N[second_P])
        similar_P = sizes_P >= 2 * needed_P  # and perhaps not
        maybe = np.flatnonzero(similar_P)
        shared = (self.holds[first_P[maybe]] * self.holds[second_P[maybe]]).sum(axis=1)
        similar_P[maybe] = shared >= needed_P[maybe]
        return similar_P


def _pairs_that_meet(sets: _Ordered, threshold: Fraction) -> Iterator[tuple[Any, Any]]:
    """Each pair of a set and an earlier one that may be similar, once or more, some ``PAIRS_AT_ONCE`` at a time."""
    n, size_E, sharing = len(sets.size_N), sets.size_N[sets.set_E], threshold / (1 + threshold)
    left_E = size_E - sets.position_E
    probes = np.flatnonzero(sets.position_E <= size_E - _ceil(size_E, threshold))
    held = np.flatnonzero(sets.position_E <= size_E - _ceil(size_E, 2 * sharing))
    held = held[np.lexsort((sets.set_E[held], sets.element_E[held]))]
    keys = sets.element_E[held] * n + sets.set_E[held]
    smallest_N = np.searchsorted(sets.size_N, _ceil(sets.size_N, threshold))
    first = np.searchsorted(keys, sets.element_E[probes] * n + smallest_N[sets.set_E[probes]])
    count = np.searchsorted(keys, sets.element_E[probes] * n + sets.set_E[probes]) - first
    total = np.cumsum(count)
    set_H, left_H, size_H = sets.set_E[held], left_E[held], size_E[held]
    for some in np.split(np.arange(len(probes)), np.flatnonzero(np.diff(total // PAIRS_AT_ONCE)) + 1):
        ends = np.cumsum(count[some])
        probe_P = np.repeat(probes[some], count[some])
        held_P = np.arange(len(probe_P)) + np.repeat(first[some] - (ends - count[some]), count[some])
        left_P = np.minimum(left_E[probe_P], left_H[held_P])
        near = sharing.denominator * left_P >= sharing.numerator * (size_E[probe_P] + size_H[held_P])
        yield sets.set_E[probe_P[near]], set_H[held_P[near]]


def _ceil(counts: Any, share: Fraction) -> Any:
    return -(-share.numerator * counts // share.denominator)
