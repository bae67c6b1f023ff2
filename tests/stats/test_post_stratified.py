"""A rate by labels on some of the answers: by hand, by property, and by coverage in worlds whose truth is known."""

from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import pytest
import truescore
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

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


WORLDS, BLOCK = 40_000, 500
SHAPES = {
    "600, one answer each": (600, 0.0, 1),
    "150 of four, ICC 0.5": (150, 0.5, 4),
    "150, sizes go with the rate, ICC 0.5": (150, 0.5, 0),
}
"""Groups, ICC and rows of a group, as ``world`` takes them."""


@dataclass(frozen=True)
class Worlds:
    """Many worlds at once: of each row of each group, whether it is there, fails, and is judged to fail; WGM."""

    there: np.ndarray
    fails: np.ndarray
    said: np.ndarray

    @classmethod
    def drawn_by(cls, rng, worlds, cell):
        """By the law of ``world``."""
        groups, theta, judge, icc, size = cell
        shape = (worlds, groups)
        rate_WG = np.full(shape, theta)
        if icc:
            rate_WG = rng.beta(theta * (1 / icc - 1), (1 - theta) * (1 / icc - 1), shape)
        sizes_WG = np.full(shape, size) if size else np.minimum(rng.geometric(0.3, shape), 20)
        if not size:
            rate_WG, sizes_WG = np.sort(rate_WG, axis=1), np.sort(sizes_WG, axis=1)
        there = np.arange(sizes_WG.max()) < sizes_WG[..., None]
        fails = there & (rng.random(there.shape) < rate_WG[..., None])
        sure = rng.random(there.shape)
        return cls(there, fails, there & np.where(fails, sure < judge[0], sure > judge[1]))

    def by_design(self, rng, sample):
        """Which rows are drawn, as ``by_design`` draws them, WGM."""
        failing = self.said.sum(axis=(1, 2))
        keeping = self.there.sum(axis=(1, 2)) - failing
        n_failing = np.minimum(failing, np.maximum(sample // 2, sample - keeping))
        kept = _first_of_each(rng, self.there & ~self.said, np.minimum(keeping, sample - n_failing))
        return kept | _first_of_each(rng, self.said, n_failing)

    def bounds(self, drawn, limits):
        """``failure_share`` of each world, lower and upper, W: 0 and 1 where it gives no number."""
        mass_WG = 1 / self.there.sum(axis=2)
        strata = [_masses(mass_WG, rows, rows & drawn, self.fails) for rows in (self.said, self.there & ~self.said)]
        return joined(strata, limits)


def _first_of_each(rng, rows_WGM, number_W):
    """``number_W`` of the rows: one of each group, in an order by chance, before a second of any."""
    key = np.where(rows_WGM, rng.random(rows_WGM.shape), np.inf)
    first = np.isfinite(key) & (key == key.min(axis=2, keepdims=True))
    # anew: the least key of a group of many rows is smaller than that of a group of few
    key = np.where(first, rng.random(key.shape), key + 1).reshape(len(key), -1)
    in_order = np.concatenate([np.full((len(key), 1), -np.inf), np.sort(key, axis=1)], axis=1)
    last_W = np.take_along_axis(in_order, number_W[:, None], axis=1)
    return (key <= last_W).reshape(rows_WGM.shape)


def _masses(mass_WG, rows, known, fails):
    """Mass of a stratum, of what is labelled of it, and of the failures among that, W."""
    n_WG, known_WG = rows.sum(axis=2) * mass_WG, known.sum(axis=2)
    failed_WG = (known & fails).sum(axis=2) / np.maximum(known_WG, 1)
    return n_WG.sum(axis=1), (n_WG * (known_WG > 0)).sum(axis=1), (n_WG * failed_WG).sum(axis=1)


def joined(strata, limits):
    """The formula of ``stats/post_stratified.py`` for arrays of worlds: lower and upper, W."""
    groups = sum(mass for mass, *_ in strata)
    weights = [mass / groups for mass, *_ in strata]
    shares = [np.minimum(1.0, failed / np.maximum(labelled, 1e-12)) for _, labelled, failed in strata]
    theta = np.minimum(1.0, sum(w * p for w, p in zip(weights, shares, strict=True)))
    down = up = np.zeros(len(theta))
    for weight, share, (_, labelled, _) in zip(weights, shares, strata, strict=True):
        low, high = limits(share, np.maximum(labelled, 1e-9))
        down, up = down + (weight * (share - low)) ** 2, up + (weight * (high - share)) ** 2
    between = sum(w * p**2 for w, p in zip(weights, shares, strict=True)) - theta**2
    some = between > 1e-12
    low, high = limits(theta, np.where(some, theta * (1 - theta) * groups / np.where(some, between, 1.0), 1.0))
    down, up = down + some * (theta - low) ** 2, up + some * (high - theta) ** 2
    unknown = np.any([(mass > 0) & (labelled == 0) for mass, labelled, _ in strata], axis=0)
    low_W = np.where(unknown, 0.0, np.maximum(0.0, theta - np.sqrt(down)))
    high_W = np.where(unknown, 1.0, np.minimum(1.0, theta + np.sqrt(up)))
    return low_W, high_W


def exact_limits(share, n, quantile=0.95):
    """``clopper_pearson`` of arrays."""
    x = share * n
    low = np.where(x <= 0, 0.0, special.betaincinv(np.maximum(x, 1e-12), n - x + 1, 1 - quantile))
    high = np.where(x >= n, 1.0, special.betaincinv(x + 1, np.maximum(n - x, 1e-12), quantile))
    return np.minimum(low, share), np.maximum(high, share)


def mid_p_limits(share, n):
    """``mid_p`` of arrays."""
    return _mid_p_low(share, n), 1 - _mid_p_low(1 - share, n)


def _mid_p_low(share, n):
    low, high = exact_limits(share, n, TWO_SIDED)[0], share
    x, rest = np.maximum(share * n, 1e-12), np.maximum(n - share * n, 1e-12)
    high = special.betaincinv(x, rest + 1, TWO_SIDED)
    for _ in range(40):
        middle = (low + high) / 2
        above = np.where(share < 1, special.betainc(x + 1, rest, middle), 0.0)
        over = special.betainc(x, rest + 1, middle) + above < 2 * (1 - TWO_SIDED)
        low, high = np.where(over, middle, low), np.where(over, high, middle)
    return np.where(share <= 0, 0.0, np.minimum(low, share))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("limits", "of_one"), [(exact_limits, BOUNDS), (mid_p_limits, mid_p)])
def test_many_worlds_at_once_are_each_world_alone(shape, limits, of_one):
    rng, (groups, icc, size) = np.random.default_rng(0), SHAPES[shape]
    many = Worlds.drawn_by(rng, 6, (groups // 6, 0.1, (0.8, 0.9), icc, size))
    drawn = many.by_design(rng, 40)
    bounds = np.array(many.bounds(drawn, limits)).T
    for w, (low, high) in enumerate(bounds):
        group = np.nonzero(many.there[w])[0]
        fails, said, rows = (some[w][many.there[w]] for some in (many.fails, many.said, drawn))
        assert rows.sum() == min(40, len(group))
        found = estimate(group, fails, said, np.flatnonzero(rows), of_one)
        assert (low, high) == pytest.approx((found.interval.low, found.interval.high), abs=1e-7)
        for stratum in (said, ~said):  # one of each group before a second
            times = np.bincount(group[rows & stratum], minlength=groups // 6)
            assert times.max() <= 1 or set(group[stratum]) == set(group[rows & stratum])


def test_great_groups_are_drawn_no_earlier_than_small_ones():
    rng = np.random.default_rng(0)
    many = Worlds.drawn_by(rng, 200, (60, 0.0, (0.9, 1.0), 0.0, 0))
    of_drawn = many.there.sum(axis=2)[many.by_design(rng, 30).any(axis=2)]
    assert of_drawn.mean() == pytest.approx(many.there.sum(axis=2).mean(), rel=0.03)


@pytest.mark.prove
@pytest.mark.parametrize("theta", [0.02, 0.05, 0.1, 0.4])
@pytest.mark.parametrize("judge", JUDGES)
def test_labels_by_design_hold_what_they_promise(theta, judge, evidence):
    rng = np.random.default_rng(7)
    for name, (groups, icc, size) in SHAPES.items():
        cell, blocks = (groups, theta, judge, icc, size), []
        for _ in range(WORLDS // BLOCK):
            many = Worlds.drawn_by(rng, BLOCK, cell)
            blocks.append(many.bounds(many.by_design(rng, 150), exact_limits))
        low_W, high_W = np.concatenate(blocks, axis=1)
        upper, lower = np.mean(theta <= high_W), np.mean(low_W <= theta)
        evidence["coverage: labelled rates"].append(
            {
                "groups": name,
                "truth": theta,
                "judge sees": judge[0],
                "judge passes": judge[1],
                "upper bound holds": f"{upper:.4f}",
                "lower bound holds": f"{lower:.4f}",
                "mean width": f"{np.mean(high_W - low_W):.3f}",
                "worlds": WORLDS,
            }
        )
        assert min(upper, lower) >= 0.945


@cache
def theirs(said_fails, said_keeps, unsaid_fails, unsaid_keeps, rest_said):
    """truescore's interval for 150 labelled rows of these counts, of 600; ``rest_said``: of those without a label."""
    counts = (said_fails, said_keeps, unsaid_fails, unsaid_keeps, rest_said)
    labelled = sum(counts[:4])
    said = np.repeat([1.0, 1.0, 0.0, 0.0, 1.0, 0.0], [*counts, 600 - labelled - rest_said])
    gold = np.repeat([1.0, 0.0, 1.0, 0.0], counts[:4])
    found = truescore.ppi_estimate(said, gold, np.arange(labelled))
    return found.low, found.high


@pytest.mark.prove
@pytest.mark.parametrize("theta", [0.02, 0.05, 0.1, 0.4])
@pytest.mark.parametrize("judge", JUDGES)
def test_random_labels_stand_beside_prediction_powered_inference(theta, judge, evidence):
    """The same worlds, the same 150 of 600 labels, two-sided at 95 %. Of one answer a group only counts matter."""
    rng = np.random.default_rng(11)
    law = [theta * judge[0], (1 - theta) * (1 - judge[1]), theta * (1 - judge[0]), (1 - theta) * judge[1]]
    all_W4 = rng.multinomial(600, law, size=WORLDS)
    some_W4 = np.array([rng.multivariate_hypergeometric(one, 150) for one in all_W4])
    strata = [
        (all_W4[:, i : i + 2].sum(axis=1), some_W4[:, i : i + 2].sum(axis=1), some_W4[:, i].astype(float))
        for i in (0, 2)
    ]
    ours = joined([tuple(np.asarray(part, dtype=float) for part in stratum) for stratum in strata], mid_p_limits)
    rest_W = (all_W4 - some_W4)[:, :2].sum(axis=1)
    others = np.array([theirs(*some, rest) for some, rest in zip(some_W4.tolist(), rest_W.tolist(), strict=True)]).T
    theirs.cache_clear()
    held, widths = np.zeros((2, 2)), np.zeros(2)
    for i, (low_W, high_W) in enumerate((ours, others)):
        held[i] = np.mean(theta <= high_W), np.mean((low_W <= theta) & (theta <= high_W))
        widths[i] = np.mean(high_W - low_W)
    evidence["decisions: random labels beside truescore"].append(
        {
            "truth": theta,
            "judge sees": judge[0],
            "judge passes": judge[1],
            "ours: upper, both, width": f"{held[0, 0]:.4f}, {held[0, 1]:.4f}, {widths[0]:.3f}",
            "truescore: upper, both, width": f"{held[1, 0]:.4f}, {held[1, 1]:.4f}, {widths[1]:.3f}",
            "width ratio": f"{widths[0] / widths[1]:.2f}",
            "worlds": WORLDS,
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
