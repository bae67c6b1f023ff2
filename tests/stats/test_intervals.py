"""Intervals: by hand, against statsmodels, and by counting how often they hold."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from bedside.stats.intervals import (
    CONFIDENCE,
    TWO_SIDED,
    Cell,
    Interval,
    Part,
    clean_groups_needed,
    clopper_pearson,
    effective_n,
    mean_interval,
    mid_p,
    share_bounds,
    share_interval,
    sum_bounds,
    sum_interval,
    weighted_sum,
)

shares = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=40)

Evidence = dict[str, list[dict[str, object]]]


def apart(n: int) -> list[int]:
    return list(range(n))


def coverage(sizes: list[int], points: int) -> np.ndarray:
    """Probability that mid-P contains p, by exact enumeration, for sizes × p from 0.01 to 0.5."""
    p_P = np.linspace(0.01, 0.5, points)
    rows = []
    for n in sizes:
        limits = [mid_p(x / n, n) for x in range(n + 1)]
        low_X, high_X = np.array([(i.low, i.high) for i in limits]).T
        inside_PX = (low_X <= p_P[:, None]) & (p_P[:, None] <= high_X)
        rows.append((stats.binom.pmf(np.arange(n + 1), n, p_P[:, None]) * inside_PX).sum(axis=1))
    return np.array(rows)


def test_intervals_hold_as_often_as_they_say_on_a_small_grid() -> None:
    coverage_NP = coverage([20, 50, 150], points=99)
    assert 0.94 <= coverage_NP.mean() <= 0.97
    assert coverage_NP.min() >= 0.90


@pytest.mark.prove
def test_intervals_hold_as_often_as_they_say(evidence: Evidence) -> None:
    sizes = [20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 1500, 2000]
    coverage_NP = coverage(sizes, points=491)
    by_n = {
        n: {"n": n, "mean": f"{row.mean():.4f}", "least": f"{row.min():.4f}"}
        for n, row in zip(sizes, coverage_NP, strict=False)
    }
    evidence["coverage: share intervals, exact, p from 0.01 to 0.5"] += by_n.values()
    assert coverage_NP.mean() == pytest.approx(0.9525, abs=0.0005)
    assert coverage_NP.min() == pytest.approx(0.918, abs=0.001)


def test_a_limit_of_two_percent_needs_149_clean_groups_and_five_percent_59() -> None:
    assert (clean_groups_needed(0.02), clean_groups_needed(0.05)) == (149, 59)
    assert share_bounds([0] * 149, apart(149)).high <= 0.02 < share_bounds([0] * 148, apart(148)).high
    assert share_bounds([0] * 59, apart(59)).high <= 0.05 < share_bounds([0] * 58, apart(58)).high


def test_rows_of_one_group_are_no_further_evidence_where_nothing_happened() -> None:
    groups = [i // 10 for i in range(590)]
    assert share_bounds([0] * 590, groups) == share_bounds([0] * 59, apart(59))


def test_a_scenario_weighs_the_same_whatever_the_number_of_its_rows() -> None:
    # 40 groups of 1 row, the last with 9 more: Σ of the means is 1 + 3 / 10 of 40, though 4 of 49 rows fail
    values, groups = [1.0] + [0.0] * 38 + [1.0] * 3 + [0.0] * 7, [*range(39), *[39] * 10]
    expected = clopper_pearson(1.3 / 40, 40, quantile=CONFIDENCE)
    bounds = share_bounds(values, groups)
    assert (bounds.low, bounds.high) == pytest.approx((expected.low, expected.high))
    assert bounds.high == pytest.approx(stats.beta.ppf(0.95, 2.3, 38.7))
    many = [*groups, *[39] * 90]
    assert share_bounds([*values, *([0.3] * 90)], many).high == pytest.approx(bounds.high)


def test_sizes_that_go_with_the_rate_do_not_move_the_bound() -> None:
    # the failing scenario has 50 rows, the others one: 63 % of the rows fail, 1 of 30 scenarios does
    groups = [*[0] * 50, *range(1, 30)]
    assert share_bounds([1.0] * 50 + [0.0] * 29, groups) == share_bounds([1.0] + [0.0] * 29, apart(30))


def test_an_event_is_no_better_news_than_none() -> None:
    groups = [i // 5 for i in range(300)]
    for limits in (share_bounds, share_interval):
        clean, one = limits([0] * 300, groups), limits([1] + [0] * 299, groups)
        assert one.high >= clean.high
        assert limits([1] * 299 + [0], groups).low <= limits([1] * 300, groups).low


@pytest.mark.parametrize("limit", [0.0, 1.0, -0.1])
def test_no_number_of_clean_groups_proves_an_impossible_limit(limit: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        clean_groups_needed(limit)


@given(limit=st.floats(0.001, 0.99))
def test_one_clean_group_less_would_not_be_enough(limit: float) -> None:
    n = clean_groups_needed(limit)
    assert clopper_pearson(0.0, n, quantile=CONFIDENCE).high <= limit * (1 + 1e-6)
    assert n == 1 or clopper_pearson(0.0, n - 1, quantile=CONFIDENCE).high > limit * (1 - 1e-6)


@given(n=st.integers(1, 500), data=st.data())
def test_clopper_pearson_equals_statsmodels(n: int, data: st.DataObject) -> None:
    x = data.draw(st.integers(0, n))
    ours = clopper_pearson(x / n, n, quantile=TWO_SIDED)
    assert (ours.low, ours.high) == pytest.approx(proportion_confint(x, n, method="beta"), abs=1e-9)


@given(n=st.integers(2, 300), data=st.data())
def test_mid_p_leaves_half_of_what_was_seen_and_all_beyond_it_at_each_limit(n: int, data: st.DataObject) -> None:
    x = data.draw(st.integers(1, n - 1))
    limits = mid_p(x / n, n)
    above = stats.binom.sf(x, n, limits.low) + stats.binom.pmf(x, n, limits.low) / 2
    below = stats.binom.cdf(x - 1, n, limits.high) + stats.binom.pmf(x, n, limits.high) / 2
    assert (above, below) == pytest.approx((0.025, 0.025), abs=1e-6)


def test_mid_p_of_no_event_ends_where_half_of_no_event_has_two_and_a_half_percent() -> None:
    limits = mid_p(0.0, 100)
    assert limits.low == 0.0
    assert (1 - limits.high) ** 100 / 2 == pytest.approx(0.025)


def test_single_rows_are_worth_their_number_and_one_group_is_worth_one() -> None:
    assert effective_n([0, 1, 1, 0, 1], apart(5), quantile=0.975) == pytest.approx(5)
    assert effective_n([0, 1, 1, 0, 1], [7] * 5, quantile=0.975) == 1


def test_effective_n_by_hand() -> None:
    # 4 groups of 3 rows, totals 3, 3, 0, 0: p = ½, residuals ±1.5, variance 4/3 · 9 / 144 = 1/12;
    # simple variance ¼ / 11, design effect 11/3; t(0.975, 11) = 2.201, t(0.975, 3) = 3.182
    values = [1] * 6 + [0] * 6
    expected = 12 / (11 / 3) * (2.200985 / 3.182446) ** 2
    assert effective_n(values, [i // 3 for i in range(12)], quantile=0.975) == pytest.approx(expected, rel=1e-5)


@given(values=shares, data=st.data())
def test_effective_n_is_never_above_the_rows_and_limits_always_hold_the_mean_over_groups(
    values: list[float], data: st.DataObject
) -> None:
    groups = data.draw(st.lists(st.integers(0, 5), min_size=len(values), max_size=len(values)))
    assert 1 <= effective_n(values, groups, quantile=0.975) <= len(values)
    by_group = {g: [v for v, h in zip(values, groups, strict=True) if h == g] for g in groups}
    mean = float(np.mean([np.mean(some) for some in by_group.values()]))
    for limits in (share_interval(values, groups), share_bounds(values, groups)):
        assert 0 <= limits.low <= mean + 1e-12
        assert mean - 1e-12 <= limits.high <= 1


@given(values=shares)
def test_limits_of_the_complement_are_the_complement_of_the_limits(values: list[float]) -> None:
    limits = share_interval(values, apart(len(values)))
    other = share_interval([1 - v for v in values], apart(len(values)))
    assert (other.low, other.high) == pytest.approx((1 - limits.high, 1 - limits.low), abs=1e-9)


def test_half_values_get_the_wider_clopper_pearson_limits() -> None:
    values = [0.5] * 10 + [1.0] * 10 + [0.0] * 20
    assert share_interval(values, apart(40)) == clopper_pearson(0.375, 40, quantile=TWO_SIDED)
    whole = [1.0] * 15 + [0.0] * 25
    assert share_interval(whole, apart(40)).high < share_interval(values, apart(40)).high


def test_clopper_pearson_of_half_values_misses_the_mean_of_rounded_coins_no_more_often() -> None:
    # three values with mean 0.45, all ways of drawing 12 of them, by exact enumeration
    p_V, misses = np.array([0.4, 0.3, 0.3]), [0.0, 0.0]
    for halves in range(13):
        for ones in range(13 - halves):
            probability = stats.multinomial.pmf([12 - halves - ones, halves, ones], 12, p_V)
            bounds = clopper_pearson((halves / 2 + ones) / 12, 12, quantile=CONFIDENCE)
            misses[0] += probability * (bounds.low > 0.45)
            misses[1] += probability * (bounds.high < 0.45)
    assert max(misses) <= 0.05


def test_mover_by_hand() -> None:
    # θ = 0.6 · 0.9 + 0.4 · 0.8 = 0.86; down sqrt((0.6 · 0.1)² + (0.4 · 0.2)²) = 0.1
    parts = [Part(0.6, 0.9, Interval(0.8, 0.95)), Part(0.4, 0.8, Interval(0.6, 0.9))]
    limits = weighted_sum(parts)
    assert limits.low == pytest.approx(0.76)
    assert limits.high == pytest.approx(0.86 + math.hypot(0.03, 0.04))


def test_mover_of_a_difference_takes_the_far_limit_of_what_is_subtracted() -> None:
    parts = [Part(1, 0.5, Interval(0.4, 0.7)), Part(-1, 0.2, Interval(0.15, 0.3))]
    limits = weighted_sum(parts)
    assert limits.low == pytest.approx(0.3 - math.hypot(0.1, 0.1))
    assert limits.high == pytest.approx(0.3 + math.hypot(0.2, 0.05))


def test_a_weighted_sum_stays_within_what_is_possible() -> None:
    most = Part(0.5, 0.9, Interval(0.0, 1.3))
    least = Part(0.5, 0.1, Interval(-0.3, 1.0))
    assert weighted_sum([most, most]).high == 1.0
    assert weighted_sum([least, least]).low == 0.0


def test_the_sum_of_one_cell_is_its_share() -> None:
    values = (1.0,) * 7 + (0.0,) * 33
    cell = Cell(1.0, values, tuple(range(40)))
    for whole, one in ((sum_interval, share_interval), (sum_bounds, share_bounds)):
        expected = one(values, apart(40))
        assert (whole([cell]).low, whole([cell]).high) == pytest.approx((expected.low, expected.high))


def test_groups_that_span_cells_widen_the_bounds_of_the_sum() -> None:
    values = (1.0,) * 20 + (0.0,) * 30
    first, twins = Cell(0.5, values, tuple(range(50))), Cell(0.5, values, tuple(range(50)))
    others = Cell(0.5, values, tuple(range(50, 100)))
    assert sum_bounds([first, twins]).low < sum_bounds([first, others]).low
    alone = share_bounds(values, apart(50))
    assert sum_bounds([first, twins]).low == pytest.approx(alone.low, abs=0.005)
    some = (1.0,) * 5 + (0.0,) * 5  # 10 of the 50 groups, as they answered in the first cell, and 10 others
    few, strange = Cell(0.5, some, tuple(range(15, 25))), Cell(0.5, some, tuple(range(50, 60)))
    assert sum_bounds([first, few]).low < sum_bounds([first, strange]).low - 0.01


def test_groups_without_an_event_that_span_cells_are_worth_their_number_and_no_more() -> None:
    cells = [Cell(0.25, (0.0,) * 40, tuple(range(40)))] * 4
    assert sum_bounds(cells).high == pytest.approx(clopper_pearson(0.0, 40, quantile=CONFIDENCE).high)
    apart_cells = [Cell(0.25, (0.0,) * 40, tuple((name, i) for i in range(40))) for name in "abcd"]
    assert sum_bounds(apart_cells).high < sum_bounds(cells).high


def test_mean_interval_of_single_rows_is_the_t_interval() -> None:
    values = [0.1, 0.4, 0.2, 0.9, -0.3]
    ours = mean_interval(values, apart(5))
    assert ours is not None
    theirs = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert (ours.low, ours.high) == pytest.approx(theirs)


def test_copies_of_a_row_in_its_group_narrow_no_mean() -> None:
    once = mean_interval([1.0, 2.0, 4.0], [0, 1, 2])
    thrice = mean_interval([1.0] * 3 + [2.0] * 3 + [4.0] * 3, [0] * 3 + [1] * 3 + [2] * 3)
    assert once is not None
    assert thrice is not None
    assert (once.low, once.high) == pytest.approx((thrice.low, thrice.high))
    assert mean_interval([1.0, 2.0], ["a", "a"]) is None


def test_values_without_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="every row needs a group"):
        share_interval([1.0], [])
