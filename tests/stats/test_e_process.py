"""Evidence that a rate has risen: by hand, exactly over every sequence, and by simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stats.test_intervals import Evidence

from bedside.stats import e_process
from bedside.stats.e_process import BLOCK, change_point, first_alarm, log_evidence

NEEDED = math.log(1 / 0.05)
LOSSES = st.lists(st.floats(0, 1), max_size=3 * BLOCK)


def drawn(rng: np.random.Generator, *stretches: tuple[int, float]) -> np.ndarray:
    """Losses of 0 and 1: so many at each rate, one stretch after the other."""
    return np.concatenate([rng.random(n) < rate for n, rate in stretches]).astype(float)


def test_two_losses_by_hand():
    # ε = 0.2: λ = (r − 1) / 0.8, at most 2.5; half of the stake plays from the beginning, half waits
    stakes = [0.3125, 0.625, 1.25, 2.5, 2.5]
    wanted = sum(0.5 + 0.5 * (1 + s * 0.8) * (1 - s * 0.2) for s in stakes) / 5
    assert np.exp(log_evidence([1, 0], 0.2)[-1]) == pytest.approx(wanted)


def test_a_second_start_stakes_its_own_share():
    clean, stakes = [0.0] * BLOCK, [0.3125, 0.625, 1.25, 2.5, 2.5]
    wanted = sum(1 / 3 + (0.5 * (1 - s * 0.2) ** BLOCK + 1 / 6) * (1 + s * 0.8) for s in stakes) / 5
    assert np.exp(log_evidence([*clean, 1], 0.2)[-1]) == pytest.approx(wanted)


@pytest.mark.parametrize("tolerated", [0.02, 0.15, 0.5, 0.9])
def test_at_the_tolerated_rate_nothing_is_gained_on_average_over_every_sequence(tolerated, monkeypatch):
    monkeypatch.setattr(e_process, "BLOCK", 3)
    mean = 0.0
    for losses in itertools.product((0.0, 1.0), repeat=10):
        failed = sum(losses)
        mean += tolerated**failed * (1 - tolerated) ** (10 - failed) * np.exp(log_evidence(losses, tolerated)[-1])
    assert mean == pytest.approx(1, abs=1e-12)


@given(LOSSES, st.floats(0.01, 0.99))
def test_later_losses_change_nothing_that_was_said(losses, tolerated):
    whole = log_evidence(losses, tolerated)
    half = log_evidence(losses[: len(losses) // 2], tolerated)
    assert whole[0] == pytest.approx(0, abs=1e-12)
    assert whole[: len(half)] == pytest.approx(half, abs=1e-9)


@given(LOSSES.filter(len), st.floats(0.01, 0.99), st.data())
def test_a_greater_loss_is_never_less_evidence(losses, tolerated, data):
    at = data.draw(st.integers(0, len(losses) - 1))
    worse = [*losses[:at], 1.0, *losses[at + 1 :]]
    assert (log_evidence(worse, tolerated) >= log_evidence(losses, tolerated) - 1e-9).all()


@pytest.mark.parametrize(("losses", "tolerated"), [([0.5, 1.1], 0.1), ([-0.1], 0.1), ([0.0], -0.1), ([0.0], 1.0)])
def test_what_is_no_loss_or_no_rate_is_refused(losses, tolerated):
    with pytest.raises(ValueError, match=r"losses must lie in \[0, 1\]"):
        log_evidence(losses, tolerated)


def test_a_rate_that_doubles_is_found_and_placed():
    losses = drawn(np.random.default_rng(0), (1000, 0.05), (1000, 0.2))
    at = first_alarm(log_evidence(losses, 0.05), NEEDED)
    assert 1000 < at < 1200
    assert abs(change_point(losses[:at], 0.05) - 1000) <= 2 * BLOCK
    assert first_alarm(log_evidence(losses[: at - 1], 0.05), NEEDED) is None


def test_no_alarm_comes_of_no_losses():
    assert log_evidence([], 0.1).tolist() == pytest.approx([0])
    assert first_alarm(log_evidence([], 0.1), NEEDED) is None


@pytest.mark.parametrize("tolerated", [0.02, 0.05, 0.15])
def test_false_alarms_are_as_rare_as_promised(tolerated):
    rng = np.random.default_rng(1)
    false_alarms = [
        first_alarm(log_evidence(drawn(rng, (2000, tolerated)), tolerated), NEEDED) is not None for _ in range(300)
    ]
    assert np.mean(false_alarms) <= 0.05


@pytest.mark.prove
@pytest.mark.parametrize("tolerated", [0.02, 0.05, 0.15])
def test_false_alarms_over_a_long_watch(tolerated, evidence: Evidence):
    rng, trials = np.random.default_rng(2), 2000
    false_alarms = np.mean(
        [
            first_alarm(log_evidence(drawn(rng, (20_000, tolerated)), tolerated), NEEDED) is not None
            for _ in range(trials)
        ]
    )
    evidence["monitor: false alarms, promised 0.05"].append(
        {"rate = limit": tolerated, "answers": 20_000, "trials": trials, "ever an alarm": f"{false_alarms:.4f}"}
    )
    assert false_alarms <= 0.05


@pytest.mark.prove
@pytest.mark.parametrize("clean", [0, 1000, 4000, 16_000])
@pytest.mark.parametrize(("tolerated", "becomes"), [(0.05, 0.075), (0.05, 0.1), (0.05, 0.2), (0.15, 0.3), (0.02, 0.1)])
def test_how_long_a_rise_goes_unseen(clean, tolerated, becomes, evidence: Evidence):
    rng, trials, delays = np.random.default_rng(3), 400, []
    for _ in range(trials):
        at = first_alarm(
            log_evidence(drawn(rng, (clean, tolerated / 2), (8000, becomes)), tolerated), math.log(3 / 0.05)
        )
        delays.append(math.inf if at is None else at - clean)
    after = sorted(delay for delay in delays if delay > 0)
    evidence["monitor: delays, of one of three limits, promised false alarms 0.05"].append(
        {
            "limit": tolerated,
            "becomes": becomes,
            "kept before, at half the limit": f"{clean:>6,}",
            "median answers to the alarm": after[len(after) // 2],
            "nine in ten by": after[len(after) * 9 // 10],
            "alarms before the rise": f"{trials - len(after)} of {trials}",
        }
    )
    assert after[len(after) // 2] < 8000
