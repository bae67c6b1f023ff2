"""The components are those of comparing every set with every other."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.stats import set_similarity
from bedside.stats.set_similarity import components

SETS = st.lists(st.frozensets(st.integers(0, 12), min_size=1, max_size=9), max_size=25)
THRESHOLDS = st.sampled_from([Fraction(3, 5), Fraction(1, 2), Fraction(9, 10), Fraction(1)])


def by_comparing_all(sets, threshold):
    labels = list(range(len(sets)))
    for here, one in enumerate(sets):
        for there, other in enumerate(sets[:here]):
            if Fraction(len(one & other), len(one | other)) >= threshold:
                labels = [labels[there] if label == labels[here] else label for label in labels]
    return labels


def partition(labels):
    return {frozenset(np.flatnonzero(np.array(labels) == label).tolist()) for label in labels}


@given(SETS, THRESHOLDS)
def test_filtering_loses_no_pair(sets, threshold):
    sets = sorted(sets, key=len)
    assert partition(components(sets, threshold)) == partition(by_comparing_all(sets, threshold))


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_how_many_pairs_are_compared_at_once_changes_nothing(monkeypatch, at_once):
    rng = np.random.default_rng(0)
    sets = sorted((frozenset(rng.integers(0, 300, rng.integers(2, 20)).tolist()) for _ in range(150)), key=len)
    sets = sorted([*sets, *(one - {min(one)} for one in sets[60:])], key=len)
    monkeypatch.setattr(set_similarity, "PAIRS_AT_ONCE", at_once)
    found = partition(components(sets, Fraction(3, 5)))
    assert found == partition(by_comparing_all(sets, Fraction(3, 5)))
    assert 1 < len(found) < len(sets)
