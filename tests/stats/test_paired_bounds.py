"""Bounds of sums and of paired differences: the bootstrap where it may answer, exact gains and losses elsewhere."""

import math

import numpy as np
import pytest
from scipy import special, stats
from tests.stats.test_intervals import Evidence, apart

from bedside.stats import intervals
from bedside.stats.intervals import (
    CONFIDENCE,
    Cell,
    Interval,
    bootstrap_allowed,
    bootstrap_bounds,
    clopper_pearson,
    mean_interval,
    paired_bounds,
    sum_bounds,
)

LAYOUT = {False: "one row each", True: "all or none over four cells"}


def gains_and_losses(
    generator: np.random.Generator, rows: int, gain: float, loss: float, *, spans: bool = False
) -> tuple[list[Cell], list[Cell]]:
    """Four cells as in overall; the first policy wins a row with probability gain, loses it with loss.

    ``spans``: a group has a row in each cell, and all four go the same way. Else every row is a group of its own.
    """
    first, second = [], []
    u_R = generator.random(rows)
    for name, weight in enumerate((0.4, 0.2, 0.2, 0.2)):
        u_R = u_R if spans else generator.random(rows)
        groups = tuple((0 if spans else name, i) for i in range(rows))
        first.append(Cell(weight, tuple((u_R < gain).astype(float).tolist()), groups))
        lost_R = (gain <= u_R) & (u_R < gain + loss)
        second.append(Cell(weight, tuple(lost_R.astype(float).tolist()), groups))
    return first, second


WEIGHTS = np.array([0.4, 0.2, 0.2, 0.2])
COINS, GRADED = 40_000, 10_000
"""Worlds of a cell: of groups that differ by a whole answer or not at all, and of others."""


def whole_differences(
    generator: np.random.Generator, worlds: int, rows: int, rates: tuple[float, float], *, spans: bool
):
    """Shares of gains and of losses in each cell of each world, WC, with the law of ``gains_and_losses``."""
    shape = (worlds, 1 if spans else len(WEIGHTS))
    gain_WC = generator.binomial(rows, rates[0], shape)
    loss_WC = generator.binomial(rows - gain_WC, rates[1] / (1 - rates[0]))
    return (np.broadcast_to(some_WC / rows, (worlds, len(WEIGHTS))) for some_WC in (gain_WC, loss_WC))


def exact_bounds(gain_WC: np.ndarray, loss_WC: np.ndarray, rows: int, *, spans: bool) -> tuple[np.ndarray, np.ndarray]:
    """``paired_bounds`` of many worlds at once, lower and upper, W."""
    gain, loss = (sum_of_shares(share_WC, rows, spans=spans) for share_WC in (gain_WC, loss_WC))
    odds = [np.minimum(theta_W, 1 - 1e-12) / (1 - np.minimum(theta_W, 1 - 1e-12)) for theta_W, *_ in (gain, loss)]
    correlation = np.minimum(1.0, np.sqrt(odds[0] * odds[1]))
    (theta_W, down_W, up_W), (other_W, other_down_W, other_up_W) = gain, loss
    difference_W = theta_W - other_W
    low_W = difference_W - np.sqrt(down_W**2 + other_up_W**2 + 2 * correlation * down_W * other_up_W)
    high_W = difference_W + np.sqrt(up_W**2 + other_down_W**2 + 2 * correlation * up_W * other_down_W)
    return np.maximum(low_W, -1), np.minimum(high_W, 1)


def sum_of_shares(share_WC: np.ndarray, rows: int, *, spans: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The weighted sum, and how far its lower and its upper bound are: ``sum_bounds`` of shares of whole answers."""
    theta_W = share_WC @ WEIGHTS
    low_WC, high_WC = binomial_limits(share_WC, np.full(share_WC.shape, float(rows)))
    down_W = np.sqrt(((share_WC - low_WC) * WEIGHTS) ** 2 @ np.ones(len(WEIGHTS)))
    up_W = np.sqrt(((high_WC - share_WC) * WEIGHTS) ** 2 @ np.ones(len(WEIGHTS)))
    apart_W = share_WC * (1 - share_WC) @ WEIGHTS**2 / rows
    together_W = theta_W * (1 - theta_W) / rows if spans else apart_W
    variance_W, groups = np.maximum(apart_W, together_W), rows if spans else len(WEIGHTS) * rows
    n_W = np.full(len(theta_W), float(groups))
    np.divide(theta_W * (1 - theta_W), variance_W, out=n_W, where=variance_W > 0)
    low_W, high_W = binomial_limits(theta_W, np.minimum(n_W, groups))
    return theta_W, np.maximum(down_W, theta_W - low_W), np.maximum(up_W, high_W - theta_W)


def binomial_limits(share: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``clopper_pearson`` of arrays, one-sided 95 %."""
    x = share * n
    low = np.where(x <= 0, 0.0, special.betaincinv(np.maximum(x, 1e-9), n - x + 1, 1 - CONFIDENCE))
    high = np.where(x >= n, 1.0, special.betaincinv(x + 1, np.maximum(n - x, 1e-9), CONFIDENCE))
    return np.minimum(low, share), np.maximum(high, share)


@pytest.mark.parametrize("spans", [False, True])
@pytest.mark.parametrize(("rows", "gain", "loss"), [(30, 0.1, 0.1), (60, 0.25, 0.0), (45, 0.4, 0.4)])
def test_bounds_of_many_worlds_are_those_of_each_world(rows: int, gain: float, loss: float, spans: bool) -> None:
    for seed in range(3):
        first, second = gains_and_losses(np.random.default_rng(seed), rows, gain, loss, spans=spans)
        shares = (np.array([[cell.mean for cell in cells]]) for cells in (first, second))
        (low,), (high,) = exact_bounds(*shares, rows, spans=spans)
        alone = paired_bounds(first, second, rng())
        assert (alone.low, alone.high) == pytest.approx((low, high), abs=1e-9)


def coverage_row(what: dict[str, object], bounds: tuple[np.ndarray, np.ndarray], truth: float) -> dict[str, object]:
    (low_W, high_W), found = bounds, dict(what)
    shares = {"lower": np.mean(low_W <= truth + 1e-9), "upper": np.mean(truth - 1e-9 <= high_W)}
    found |= {name: f"{value:.4f}" for name, value in (shares | {"mean width": np.mean(high_W - low_W)}).items()}
    return found | {"worlds": len(low_W)}


TITLE = "coverage: paired bounds, one-sided 95 %"


@pytest.mark.prove
@pytest.mark.parametrize("spans", [False, True])
@pytest.mark.parametrize("rows", [30, 40, 60, 150, 400])
@pytest.mark.parametrize(
    ("gain", "loss"),
    [(0.4, 0.4), (0.15, 0.0), (0.0, 0.15), (0.25, 0.0), (0.3, 0.05), (0.1, 0.1), (0.05, 0.02), (0.02, 0.0)],
)
def test_paired_bounds_of_whole_answers_hold(
    rows: int, gain: float, loss: float, spans: bool, evidence: Evidence
) -> None:
    shares = whole_differences(np.random.default_rng(1), COINS, rows, (gain, loss), spans=spans)
    what = {"groups differ by": f"a whole answer, {LAYOUT[spans]}", "groups of a cell": f"{rows:3d}"}
    law = {"law": f"gain {gain}, loss {loss}", "bounds": "exact"}
    row = coverage_row(what | law, exact_bounds(*shares, rows, spans=spans), gain - loss)
    evidence[TITLE].append(row)
    assert min(float(row["lower"]), float(row["upper"])) >= 0.945


def graded_laws() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Values of a group's difference, ascending, and their probabilities."""
    quarters, tenths = np.arange(5) / 4, np.linspace(0, 1, 11)
    skewed = stats.beta.pdf(np.clip(tenths, 0.02, 0.98), 0.5, 3)
    bell = stats.norm.pdf(np.linspace(-0.3, 0.3, 13), 0.02, 0.1)
    return {
        "mean of four rows, gain 0.15, ICC 0": (quarters, stats.binom.pmf(range(5), 4, 0.15)),
        "mean of four rows, gain 0.15, ICC 0.5": (quarters, stats.betabinom.pmf(range(5), 4, 0.15, 0.85)),
        "mean of four rows, loss 0.25, ICC 0.5": (-quarters[::-1], stats.betabinom.pmf(range(5), 4, 0.25, 0.75)[::-1]),
        "quarters, both ways": (np.linspace(-0.5, 0.5, 5), np.array([0.03, 0.1, 0.7, 0.12, 0.05])),
        "a quarter or nothing": (np.array([0, 0.25]), np.array([0.75, 0.25])),
        "a rating that hardly changes": (np.linspace(-0.3, 0.3, 13), bell / bell.sum()),
        "many small gains, few great ones": (tenths, skewed / skewed.sum()),
    }


UNSEEN = "small changes, and 3 % of groups that gain 1"


def graded_bounds(
    law: tuple[np.ndarray, np.ndarray], groups: int, generator: np.random.Generator, worlds: int
) -> tuple[np.ndarray, np.ndarray]:
    """``paired_bounds`` of one cell whose groups differ by the values of ``law``, lower and upper, W.

    A resample counts how often each value is drawn, which is all that its mean depends on.
    """
    values_K, probability_K = law
    known: dict[tuple[int, ...], Interval] = {}
    bounds = []
    for count_K in generator.multinomial(groups, probability_K, size=worlds):
        key = tuple(count_K.tolist())
        if key not in known:
            known[key] = _graded(values_K, count_K, generator)
        bounds.append((known[key].low, known[key].high))
    low_W, high_W = np.array(bounds).T
    return low_W, high_W


def _graded(values_K: np.ndarray, count_K: np.ndarray, generator: np.random.Generator) -> Interval:
    groups, values_G = int(count_K.sum()), np.repeat(values_K, count_K)
    if not bootstrap_allowed(values_G.tolist(), apart(groups)):
        gains = [Cell(1.0, tuple(np.maximum(sign * values_G, 0).tolist()), tuple(apart(groups))) for sign in (1, -1)]
        return paired_bounds([gains[0]], [gains[1]], generator)
    total = float(count_K @ values_K)
    sample_B = generator.multinomial(groups, count_K / groups, size=intervals.RESAMPLES) @ values_K / groups
    reach = intervals.expanded_t(groups - int(count_K.max()), CONFIDENCE)
    return intervals._bca(total / groups, sample_B, (total - values_G) / (groups - 1), reach)


@pytest.mark.prove
@pytest.mark.parametrize("groups", [40, 60, 150])
@pytest.mark.parametrize("name", graded_laws())
def test_paired_bounds_of_graded_differences_hold(name: str, groups: int, evidence: Evidence) -> None:
    law = graded_laws()[name]
    bounds = graded_bounds(law, groups, np.random.default_rng(3), GRADED)
    what = {"groups differ by": "any amount", "groups of a cell": f"{groups:3d}", "law": name, "bounds": "bootstrap"}
    row = coverage_row(what, bounds, float(law[0] @ law[1]))
    evidence[TITLE].append(row)
    assert min(float(row["lower"]), float(row["upper"])) >= 0.945


@pytest.mark.prove
@pytest.mark.parametrize("groups", [40, 60, 150])
def test_a_great_difference_that_no_group_shows_is_beyond_every_bootstrap(groups: int, evidence: Evidence) -> None:
    """Written down, not asserted to hold: the test part is too small for it, whatever the bound."""
    values_K = np.append(np.linspace(-0.1, 0.1, 5), 1.0)
    law = (values_K, np.array([*[0.97 / 5] * 5, 0.03]))
    bounds = graded_bounds(law, groups, np.random.default_rng(3), GRADED)
    what = {"groups differ by": "any amount", "groups of a cell": f"{groups:3d}", "law": UNSEEN, "bounds": "bootstrap"}
    row = coverage_row(what, bounds, float(law[0] @ law[1]))
    evidence[TITLE].append(row)
    assert float(row["lower"]) >= 0.945


def test_a_bootstrap_of_counts_is_a_bootstrap_of_groups() -> None:
    values_K, count_K = np.linspace(-0.5, 0.5, 5), np.array([4, 9, 60, 12, 5])
    found = _graded(values_K, count_K, rng())
    values_G = np.repeat(values_K, count_K)
    again = resampled(values_G, apart(90))
    assert again is not None
    assert (found.low, found.high) == pytest.approx((again.low, again.high), abs=0.006)


@pytest.mark.prove
@pytest.mark.parametrize("share", [0.9, 0.97, 0.98, 0.99])
@pytest.mark.parametrize("rows", [30, 100])
@pytest.mark.parametrize("spans", [False, True])
def test_decision_bounds_of_a_sum_hold(rows: int, share: float, spans: bool, evidence: Evidence) -> None:
    generator, held = np.random.default_rng(2), np.zeros(2)
    for _ in range(4000):
        cells, _ = gains_and_losses(generator, rows, share, 0.0, spans=spans)
        bounds = sum_bounds(cells)
        held += [bounds.low <= share + 1e-9, share - 1e-9 <= bounds.high]
    evidence["coverage: bounds of sums, 4,000 trials"].append(
        {"groups": LAYOUT[spans], "rows of a cell": f"{rows:3d}", "share": share}
        | {"lower": f"{held[0] / 4000:.3f}", "upper": f"{held[1] / 4000:.3f}"}
    )
    assert held.min() / 4000 >= 0.945


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def cell(values: np.ndarray, groups: list[int], weight: float = 1.0) -> Cell:
    return Cell(weight, tuple(values.tolist()), tuple(groups))


def resampled(difference_R: np.ndarray, groups: list[int]) -> Interval | None:
    return bootstrap_bounds([(cell(difference_R, groups), difference_R)], rng())


def test_the_bootstrap_needs_forty_groups_and_ten_in_which_the_policies_differ() -> None:
    assert bootstrap_allowed([1.0] * 10 + [0.0] * 30, apart(40))
    assert not bootstrap_allowed([1.0] * 9 + [0.0] * 31, apart(40))
    assert not bootstrap_allowed([1.0] * 10 + [0.0] * 29, apart(39))
    assert not bootstrap_allowed([1.0] * 10 + [0.0] * 30, [0] * 10 + apart(40)[10:])


def test_the_bootstrap_does_not_answer_where_every_row_differs_alike() -> None:
    assert not bootstrap_allowed([-1.0] * 100, apart(100))


def test_the_bootstrap_of_a_mean_agrees_with_the_t_interval() -> None:
    y_R = rng().normal(0.2, 1.0, size=300)
    found = resampled(y_R, apart(300))
    expected = mean_interval(y_R.tolist(), apart(300), quantile=CONFIDENCE)
    assert found is not None
    assert expected is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)


def test_the_bootstrap_draws_groups_and_not_rows() -> None:
    y_G = rng().normal(size=60)
    once = resampled(y_G, apart(60))
    times = np.arange(60) % 7 + 1  # unequal: a group weighs the same, whatever its number of rows
    copied = resampled(np.repeat(y_G, times), np.repeat(np.arange(60), times).tolist())
    assert once is not None
    assert copied is not None
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))


def test_a_sample_without_any_group_of_a_cell_gives_no_bootstrap() -> None:
    y_R = np.r_[np.ones(20), np.zeros(30)]
    one = Cell(0.5, (1.0,), ("alone",))
    assert resampled(y_R, apart(50)) is not None
    assert bootstrap_bounds([(cell(y_R, apart(50), 0.5), y_R), (one, np.ones(1))], rng()) is None


def test_the_bootstrap_draws_a_group_that_spans_cells_whole() -> None:
    y_R = rng().normal(size=80)
    halves = [(cell(y_R, apart(80), 0.5), y_R)] * 2
    both, one = bootstrap_bounds(halves, rng()), resampled(y_R, apart(80))
    assert both is not None
    assert one is not None
    assert (both.low, both.high) == pytest.approx((one.low, one.high))


def test_few_events_fall_back_to_exact_gains_and_losses() -> None:
    ones, zeros = (1.0,) * 30, (0.0,) * 30
    bounds = paired_bounds([Cell(1.0, ones, tuple(range(30)))], [Cell(1.0, zeros, tuple(range(30)))], rng())
    gain = clopper_pearson(1.0, 30, quantile=CONFIDENCE)
    loss = clopper_pearson(0.0, 30, quantile=CONFIDENCE)
    assert bounds.low == pytest.approx(1 - math.hypot(1 - gain.low, loss.high))
    assert bounds.high == pytest.approx(1.0)


def test_one_cell_with_few_events_keeps_the_whole_sum_from_the_bootstrap() -> None:
    groups, generator = tuple(range(60)), rng()
    many, one = (0.5,) * 20 + (0.0,) * 40, (0.5,) + (0.0,) * 59
    first, second = [Cell(0.5, many, groups), Cell(0.5, one, groups)], [Cell(0.5, (0.0,) * 60, groups)] * 2
    paired_bounds(first, second, generator)
    assert generator.random() == rng().random()  # nothing was drawn
    paired_bounds(first[:1], second[:1], generator)
    assert generator.random() != np.random.default_rng(0).random(2)[1]


def test_groups_that_gain_or_lose_a_whole_answer_are_counted_and_not_resampled() -> None:
    groups, generator = tuple(range(60)), rng()
    first, second = [Cell(1.0, (1.0,) * 20 + (0.0,) * 40, groups)], [Cell(1.0, (0.0,) * 60, groups)]
    bounds = paired_bounds(first, second, generator)
    assert generator.random() == rng().random()  # nothing was drawn
    gain, loss = (clopper_pearson(share, 60, quantile=CONFIDENCE) for share in (1 / 3, 0.0))
    assert bounds.low == pytest.approx(1 / 3 - math.hypot(1 / 3 - gain.low, loss.high))
    assert bounds.high == pytest.approx(gain.high)


def test_what_stands_for_z_is_wider_the_fewer_groups_differ() -> None:
    assert intervals.expanded_t(10, 0.95) == pytest.approx(math.sqrt(10 / 9) * 1.833, abs=1e-3)
    assert intervals.expanded_t(10_000, 0.95) == pytest.approx(1.645, abs=1e-3)


def test_gains_and_losses_of_one_cell_correlate() -> None:
    # 12 gains and 12 losses in 30 rows: correlation −0.4 / 0.6, too few rows to resample
    first = Cell(1.0, (1.0,) * 12 + (0.0,) * 18, tuple(range(30)))
    second = Cell(1.0, (0.0,) * 18 + (1.0,) * 12, tuple(range(30)))
    share = clopper_pearson(0.4, 30, quantile=CONFIDENCE)
    down, up = 0.4 - share.low, share.high - 0.4
    expected = math.sqrt(down**2 + up**2 + 2 * (0.4 / 0.6) * down * up)
    bounds = paired_bounds([first], [second], rng())
    assert (bounds.low, bounds.high) == pytest.approx((-expected, expected), rel=1e-3)


def test_the_bootstrap_of_rare_losses_knows_that_they_are_skewed() -> None:
    # 12 losses in 200 rows: exact 0.0350 and 0.0955; plain percentiles say 0.035 and 0.09
    y_R = np.r_[-np.ones(12), np.zeros(188)]
    found = resampled(y_R, apart(200))
    assert found is not None
    assert found.low <= -0.095


def test_a_group_of_many_rows_weighs_no_more_than_a_group_of_one_in_a_comparison() -> None:
    groups = (*[0] * 50, *range(1, 31))
    first = Cell(1.0, (1.0,) * 50 + (0.0,) * 30, groups)
    bounds = paired_bounds([first], [Cell(1.0, (0.0,) * 80, groups)], rng())
    alone = paired_bounds(
        [Cell(1.0, (1.0,) + (0.0,) * 30, tuple(range(31)))], [Cell(1.0, (0.0,) * 31, tuple(range(31)))], rng()
    )
    assert (bounds.low, bounds.high) == pytest.approx((alone.low, alone.high))


def test_more_equal_answers_bring_paired_bounds_nearer_to_zero() -> None:
    def low(n: int) -> float:
        groups = tuple(range(n))
        first = Cell(1.0, (1.0,) * 20 + (0.0,) * (n - 20), groups)
        return paired_bounds([first], [Cell(1.0, (0.0,) * n, groups)], rng()).low

    assert 0 < low(400) < low(100) < 0.2


@pytest.mark.parametrize("great", [1.0, -1.0])
def test_a_bound_asked_for_with_more_confidence_is_never_nearer(great: float) -> None:
    """Few tiny differences and one great one: far out, BCa's own formula comes back at the other end."""
    difference = np.zeros(40)
    difference[:9], difference[9] = np.sign(great) * 0.004, great
    first, second = cell(np.maximum(difference, 0), list(range(40))), cell(np.maximum(-difference, 0), list(range(40)))
    reached = [paired_bounds([first], [second], rng(), c) for c in (0.95, 0.99, 0.9995, 0.9999, 0.99999)]
    assert [b.high for b in reached] == sorted(b.high for b in reached)
    assert [b.low for b in reached] == sorted((b.low for b in reached), reverse=True)
    assert all(b.low <= difference.mean() <= b.high for b in reached)
