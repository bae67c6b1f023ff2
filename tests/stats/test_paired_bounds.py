"""Bounds of sums and of paired differences: the bootstrap where it may answer, exact gains and losses elsewhere."""

import math

import numpy as np
import pytest
from tests.stats.test_intervals import Evidence, apart

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


@pytest.mark.prove
@pytest.mark.parametrize("spans", [False, True])
@pytest.mark.parametrize("rows", [30, 60, 150])
@pytest.mark.parametrize(("gain", "loss"), [(0.4, 0.4), (0.15, 0.0), (0.0, 0.15), (0.1, 0.1), (0.02, 0.0)])
def test_paired_bounds_hold_with_and_without_the_bootstrap(
    rows: int, gain: float, loss: float, spans: bool, evidence: Evidence
) -> None:
    generator, held = np.random.default_rng(1), np.zeros(2)
    for _ in range(500):
        bounds = paired_bounds(*gains_and_losses(generator, rows, gain, loss, spans=spans), generator)
        held += [bounds.low <= gain - loss + 1e-9, gain - loss - 1e-9 <= bounds.high]
    evidence["coverage of paired bounds, 500 trials"].append(
        {"groups": LAYOUT[spans], "rows of a cell": f"{rows:3d}", "gain": gain, "loss": loss}
        | {"lower": f"{held[0] / 500:.3f}", "upper": f"{held[1] / 500:.3f}"}
    )
    assert held.min() / 500 >= 0.93  # 95 % less two standard errors of 500 trials


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
    evidence["coverage of bounds of sums, 4,000 trials"].append(
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
    many, one = (1.0,) * 20 + (0.0,) * 40, (1.0,) + (0.0,) * 59
    first, second = [Cell(0.5, many, groups), Cell(0.5, one, groups)], [Cell(0.5, (0.0,) * 60, groups)] * 2
    paired_bounds(first, second, generator)
    assert generator.random() == rng().random()  # nothing was drawn
    paired_bounds(first[:1], second[:1], generator)
    assert generator.random() != rng().random()


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
