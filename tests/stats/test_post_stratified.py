"""A rate by labels on some of the answers: by hand, by property, and by coverage in worlds whose truth is known."""

from functools import partial

import numpy as np
import pytest
import truescore
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.stats.intervals import TWO_SIDED, clopper_pearson, mid_p, share_bounds
from bedside.stats.post_stratified import failure_share

BOUNDS = partial(clopper_pearson, quantile=0.95)
JUDGES = [(q1, q0) for q1 in (0.9, 0.7) for q0 in (0.9, 0.7)]
"""P(judged to fail | fails), P(judged to keep | keeps)."""


def test_the_estimate_by_hand():
    """10 judged to fail, all labelled: 4 fail. 90 judged to keep, 30 labelled: 3 fail.

    theta = 0.1 * 0.4 + 0.9 * 0.1 = 0.13
    """
    values = [1.0] * 4 + [0.0] * 6 + [1.0] * 3 + [0.0] * 27 + [None] * 60
    found = failure_share(values, ["fail"] * 10 + ["keep"] * 90, range(100), BOUNDS)
    assert found.value == pytest.approx(0.13)
    between = 0.1 * 0.4**2 + 0.9 * 0.1**2 - 0.13**2
    reaches = [
        0.1 * (BOUNDS(0.4, 10).high - 0.4),
        0.9 * (BOUNDS(0.1, 30).high - 0.1),
        BOUNDS(0.13, 0.13 * 0.87 * 100 / between).high - 0.13,
    ]
    assert found.interval.high == pytest.approx(0.13 + np.sqrt(np.sum(np.square(reaches))))


def test_with_every_label_it_is_the_bound_of_a_share_whatever_the_judge_says():
    rng = np.random.default_rng(0)
    values, groups = rng.integers(0, 2, 60).astype(float).tolist(), rng.integers(0, 25, 60).tolist()
    for strata in (["all"] * 60, rng.integers(0, 3, 60).tolist()):
        found = failure_share(values, strata, groups, BOUNDS)
        assert (found.interval.low, found.interval.high) == pytest.approx(
            (share_bounds(values, groups).low, share_bounds(values, groups).high)
        )


def test_a_stratum_without_any_label_gives_no_number():
    assert failure_share([1.0, 0.0, None], ["fail", "fail", "keep"], range(3), BOUNDS) is None
    with pytest.raises(ValueError, match="one of each a row"):
        failure_share([1.0], ["fail"], [], BOUNDS)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_limits_hold_the_value_and_a_worse_label_never_helps(data):
    n = data.draw(st.integers(2, 30))
    strata = data.draw(st.lists(st.sampled_from("ab"), min_size=n, max_size=n))
    groups = data.draw(st.lists(st.integers(0, 9), min_size=n, max_size=n))
    values = data.draw(st.lists(st.sampled_from([0.0, 1.0, None]), min_size=n, max_size=n))
    found = failure_share(values, strata, groups, BOUNDS)
    if found is None or 0.0 not in values:
        return
    assert 0 <= found.interval.low <= found.value <= found.interval.high <= 1
    worse = values.copy()
    worse[values.index(0.0)] = 1.0
    assert failure_share(worse, strata, groups, BOUNDS).value >= found.value - 1e-12


def world(rng, groups, theta, judge, icc=0.0, size=1):
    """Groups, truth and the judge's word of every row. With ``size`` 0 sizes are geometric and go with the rate."""
    rate = np.full(groups, theta) if not icc else rng.beta(theta * (1 / icc - 1), (1 - theta) * (1 / icc - 1), groups)
    sizes = np.full(groups, size) if size else np.minimum(rng.geometric(0.3, groups), 20)
    if not size:
        sizes = np.sort(sizes)[np.argsort(np.argsort(rate))]
    group = np.repeat(np.arange(groups), sizes)
    fails = rng.random(len(group)) < rate[group]
    said = np.where(fails, rng.random(len(group)) < judge[0], rng.random(len(group)) > judge[1])
    return group, fails, said


def by_design(rng, group, said, sample):
    """As ``safety.labelled_sample`` draws: what is judged to fail, then one of each group of the others."""
    n_fail = min(int(said.sum()), max(sample // 2, sample - int((~said).sum())))
    drawn = []
    for rows, number in ((np.flatnonzero(said), n_fail), (np.flatnonzero(~said), sample - n_fail)):
        rows = rng.permutation(rows)
        first = np.unique(group[rows], return_index=True)[1]
        later = np.setdiff1d(np.arange(len(rows)), first)
        drawn += [*rows[rng.permutation(first)], *rows[later]][:number]
    return np.array(drawn)


def estimate(group, fails, said, drawn, limits):
    values = [None] * len(group)
    for row in drawn:
        values[row] = float(fails[row])
    return failure_share(values, said.tolist(), group.tolist(), limits)


def coverage(rng, cell, sample, repeats):
    """Shares of worlds in which the upper and the lower bound hold, and the mean width."""
    groups, theta, judge, icc, size = cell
    upper = lower = width = 0.0
    for _ in range(repeats):
        group, fails, said = world(rng, groups, theta, judge, icc, size)
        found = estimate(group, fails, said, by_design(rng, group, said, sample), BOUNDS)
        low, high = (found.interval.low, found.interval.high) if found else (0.0, 1.0)
        upper, lower, width = upper + (theta <= high), lower + (low <= theta), width + high - low
    return upper / repeats, lower / repeats, width / repeats


def test_the_bounds_hold_in_a_few_hundred_worlds():
    upper, lower, _ = coverage(np.random.default_rng(1), (200, 0.05, (0.7, 0.9), 0.5, 3), 100, 200)
    assert upper >= 0.93
    assert lower >= 0.91


@pytest.mark.prove
@pytest.mark.parametrize("theta", [0.02, 0.05, 0.1, 0.4])
@pytest.mark.parametrize("judge", JUDGES)
def test_labels_by_design_hold_what_they_promise(theta, judge, evidence):
    rng, repeats = np.random.default_rng(7), 2000
    shapes = {
        "600, one answer each": (600, 0.0, 1),
        "150 of four, ICC 0.5": (150, 0.5, 4),
        "150, sizes go with the rate, ICC 0.5": (150, 0.5, 0),
    }
    for name, (groups, icc, size) in shapes.items():
        upper, lower, width = coverage(rng, (groups, theta, judge, icc, size), 150, repeats)
        evidence["coverage of labelled rates"].append(
            {
                "groups": name,
                "truth": theta,
                "judge sees": judge[0],
                "judge passes": judge[1],
                "upper bound holds": f"{upper:.3f}",
                "lower bound holds": f"{lower:.3f}",
                "mean width": f"{width:.3f}",
                "worlds": repeats,
            }
        )
        assert min(upper, lower) >= 0.94 - 2 * np.sqrt(0.95 * 0.05 / repeats)


@pytest.mark.prove
@pytest.mark.parametrize("theta", [0.02, 0.05, 0.1, 0.4])
@pytest.mark.parametrize("judge", JUDGES)
def test_random_labels_stand_beside_prediction_powered_inference(theta, judge, evidence):
    """The same worlds, the same 150 of 600 labels, two-sided at 95 %."""
    rng, repeats = np.random.default_rng(11), 2000
    held, widths = np.zeros((2, 2)), np.zeros(2)
    for _ in range(repeats):
        group, fails, said = world(rng, 600, theta, judge)
        drawn = rng.permutation(600)[:150]
        ours = estimate(group, fails, said, drawn, mid_p)
        theirs = truescore.ppi_estimate(said.astype(float), fails[drawn].astype(float), drawn)
        for i, (low, high) in enumerate(((ours.interval.low, ours.interval.high), (theirs.low, theirs.high))):
            held[i] += (theta <= high, low <= theta <= high)
            widths[i] += high - low
    held, widths = held / repeats, widths / repeats
    evidence["random labels beside truescore"].append(
        {
            "truth": theta,
            "judge sees": judge[0],
            "judge passes": judge[1],
            "ours: upper, both, width": f"{held[0, 0]:.3f}, {held[0, 1]:.3f}, {widths[0]:.3f}",
            "truescore: upper, both, width": f"{held[1, 0]:.3f}, {held[1, 1]:.3f}, {widths[1]:.3f}",
            "width ratio": f"{widths[0] / widths[1]:.2f}",
            "worlds": repeats,
        }
    )
    assert held[0, 0] >= held[1, 0] - 0.005
    assert widths[0] <= 1.15 * widths[1]


def test_the_limits_that_are_shown_are_inside_those_that_decide():
    values = [1.0, 0.0, 0.0, 0.0] + [None] * 6
    shown, decided = (
        failure_share(values, ["a"] * 2 + ["b"] * 8, range(10), limits)
        for limits in (mid_p, partial(clopper_pearson, quantile=TWO_SIDED))
    )
    assert decided.interval.low <= shown.interval.low
    assert shown.interval.high <= decided.interval.high
