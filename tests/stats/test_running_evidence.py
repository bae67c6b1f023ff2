"""The evidence one loss at a time: the same as all at once, and the same bits wherever it was written down."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from bedside.core.hashing import plain
from bedside.stats.e_process import BLOCK, RunningEvidence, _log_growth, _log_weights, change_point, log_evidence

LOSSES = st.lists(st.booleans(), max_size=5 * BLOCK)
RATES = st.floats(0.01, 0.9)


def running(losses, tolerated):
    evidence = RunningEvidence(tolerated)
    for loss in losses:
        evidence.add(loss)
    return evidence


@given(LOSSES, RATES)
def test_one_by_one_gives_what_all_at_once_gives(losses, tolerated):
    evidence, values = RunningEvidence(tolerated), [1.0]
    for loss in losses:
        evidence.add(loss)
        values.append(evidence.value)
    assert [math.log(value) for value in values] == pytest.approx(log_evidence(losses, tolerated).tolist(), abs=1e-8)


@given(LOSSES.filter(len), RATES)
def test_the_change_point_has_as_much_weight_as_the_best_restart(losses, tolerated):
    growth_TK = _log_growth(losses, tolerated)
    weighted = (growth_TK[-1] - growth_TK[::BLOCK]).max(axis=1) + _log_weights((len(growth_TK) - 1) // BLOCK)
    at = running(losses, tolerated).change_point
    assert at % BLOCK == 0
    assert weighted[at // BLOCK] == pytest.approx(weighted.max(), abs=1e-9)
    assert weighted[change_point(losses, tolerated) // BLOCK] == pytest.approx(weighted.max(), abs=1e-9)


@given(LOSSES, RATES, st.data())
def test_written_down_and_read_again_it_goes_on_with_the_same_bits(losses, tolerated, data):
    stop = data.draw(st.integers(0, len(losses)))
    half = running(losses[:stop], tolerated)
    again = TypeAdapter(RunningEvidence).validate_json(json.dumps(plain(half)))
    for loss in losses[stop:]:
        again.add(loss)
    assert again == running(losses, tolerated)
    assert again.value == running(losses, tolerated).value


@given(st.lists(st.integers(0, 120), max_size=6), RATES)
def test_misses_at_once_are_misses_one_by_one(gaps, tolerated):
    slow, fast = RunningEvidence(tolerated), RunningEvidence(tolerated)
    for gap in gaps:
        left = gap
        while left:
            step = min(left, BLOCK - fast.n % BLOCK)
            fast.add_misses(step)
            left -= step
        for _ in range(gap):
            slow.add(False)
        for one in (slow, fast):
            one.add(True)
    assert slow == fast


def test_where_nothing_is_tolerated_the_first_failure_is_infinite_evidence():
    evidence = running([False] * 70, 0.0)
    assert evidence.value == 1
    evidence.add(True)
    evidence.add(False)
    assert math.isinf(evidence.value)
    assert evidence.change_point == 70


def test_evidence_that_grows_for_ever_stays_a_number():
    assert running([True] * 5000, 0.02).value > 1e190
