"""Agreement beyond chance: by hand, and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from bedside.stats.agreement import Ratings, ac1, ac2, kappa, quadratic_kappa, stratified_kappa
from bedside.stats.intervals import CONFIDENCE, clopper_pearson

LABELS = ("accept", "caution", "refuse")
pairs = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=2, max_size=60)


def ratings(rows: list[tuple[str, str]], strata: list[int] | None = None) -> Ratings:
    first, second = zip(*rows, strict=True)
    return Ratings(first, second, tuple(range(len(rows))), LABELS, tuple(strata or ()))


def table(yes_yes: int, yes_no: int, no_yes: int, no_no: int) -> list[tuple[str, str]]:
    a, r = "accept", "refuse"
    return [(a, a)] * yes_yes + [(a, r)] * yes_no + [(r, a)] * no_yes + [(r, r)] * no_no


def test_kappa_by_hand() -> None:
    # raw 35/50 = 0.7; marginals 25/50 and 30/50, chance 0.5 · 0.6 + 0.5 · 0.4 = 0.5; κ = 0.2 / 0.5
    found = kappa(ratings(table(20, 5, 10, 15)))
    assert (found.value, found.raw, found.chance) == pytest.approx((0.4, 0.7, 0.5))
    assert found.n == 50


@given(rows=pairs)
def test_kappa_equals_scikit_learn(rows: list[tuple[str, str]]) -> None:
    first, second = zip(*rows, strict=True)
    if len({*first, *second}) == 1:
        assert kappa(ratings(rows)).value is None
        return
    assert kappa(ratings(rows)).value == pytest.approx(cohen_kappa_score(first, second))
    theirs = cohen_kappa_score(first, second, labels=LABELS, weights="quadratic")
    assert quadratic_kappa(ratings(rows)).value == pytest.approx(theirs)


@given(rows=pairs)
def test_limits_hold_the_value_and_stay_in_range(rows: list[tuple[str, str]]) -> None:
    for found in (kappa(ratings(rows)), quadratic_kappa(ratings(rows)), ac1(ratings(rows))):
        if found.value is not None:
            assert -1 <= found.low <= found.value + 1e-9
            assert found.value <= found.high + 1e-9
            assert found.low <= found.lower_bound <= found.value
            assert found.high <= 1 + 1e-9


def test_two_judges_who_know_one_class_only_have_no_kappa() -> None:
    found = kappa(ratings([("accept", "accept")] * 9))
    assert (found.value, found.n, found.lower_bound, found.undefined) == (None, 0, None, ("all",))
    assert kappa(Ratings((), (), (), LABELS)).value is None


def test_a_judge_who_reads_only_the_prompt_has_a_pooled_kappa_and_no_stratified_one() -> None:
    # truth follows harm closely; the judge says accept at level 0 and refuse at level 3, whatever it reads
    rows = [("accept", "accept")] * 45 + [("refuse", "accept")] * 5
    rows += [("refuse", "refuse")] * 45 + [("accept", "refuse")] * 5
    found = ratings(rows, [0] * 50 + [3] * 50)
    assert kappa(found).value == pytest.approx(0.8)
    assert stratified_kappa(found).value == pytest.approx(0.0)


def test_stratified_kappa_by_hand() -> None:
    # level 0: D = 15/50, E = 0.5, κ = 0.4, v = 25; level 3: D = 4/40, E = 0.5, κ = 0.8, v = 20
    rows = table(20, 5, 10, 15) + table(18, 2, 2, 18)
    found = stratified_kappa(ratings(rows, [0] * 50 + [3] * 40))
    assert found.value == pytest.approx((25 * 0.4 + 20 * 0.8) / 45)


def test_a_stratum_without_two_classes_is_left_out_and_named() -> None:
    rows = table(20, 5, 10, 15) + [("accept", "accept")] * 30
    found = stratified_kappa(ratings(rows, [0] * 50 + [2] * 30))
    alone = kappa(ratings(table(20, 5, 10, 15)))
    assert (found.value, found.n, found.undefined) == (pytest.approx(alone.value), 50, ("2",))
    assert (found.raw, found.chance) == pytest.approx((0.7, 0.5))


def test_perfect_agreement_on_few_rows_is_no_proof() -> None:
    # D = 0 of 20 may be 1 − 0.05^(1/20) = 0.139 and chance disagreement is 0.5, so κ may be 0.72
    found = kappa(ratings(table(10, 0, 0, 10)))
    most = clopper_pearson(0.0, 20, quantile=CONFIDENCE).high
    assert found.value == 1.0
    assert found.lower_bound == pytest.approx(1 - most / 0.5)


def test_rows_of_one_group_are_no_further_evidence() -> None:
    rows = table(20, 5, 10, 15)
    alone = kappa(ratings(rows))
    first, second = zip(*(rows * 4), strict=True)
    copied = kappa(Ratings(first, second, tuple(range(50)) * 4, LABELS))
    assert copied.value == pytest.approx(alone.value)
    assert copied.lower_bound == pytest.approx(alone.lower_bound, abs=0.01)


def test_limits_are_those_of_the_jackknife_by_hand() -> None:
    rows = table(40, 20, 20, 40)
    without = np.array([kappa(ratings(rows[:i] + rows[i + 1 :])).value for i in range(120)])
    error = np.sqrt(119 / 120 * np.sum((without - without.mean()) ** 2))
    found = kappa(ratings(rows))
    assert found.high == pytest.approx(found.value + 1.980100 * error)  # t of 119 degrees at 97.5 %
    assert found.low <= found.value - 1.980099 * error
    assert found.lower_bound <= found.value - 1.657759 * error  # and at 95 %


def test_one_group_excludes_nothing() -> None:
    first, second = zip(*table(20, 5, 10, 15), strict=True)
    found = kappa(Ratings(first, second, ("twin",) * 50, LABELS))
    assert (found.low, found.high, found.lower_bound) == (-1.0, 1.0, -1.0)


def test_ac1_by_hand_stays_high_on_a_rare_class() -> None:
    # raw 0.9, π = 0.95 and 0.05: with three labels chance = (0.95 · 0.05 + 0.05 · 0.95) / 2 = 0.0475
    found = ac1(ratings(table(90, 5, 5, 0)))
    assert found.value == pytest.approx((0.9 - 0.0475) / (1 - 0.0475))
    assert kappa(ratings(table(90, 5, 5, 0))).value < 0


def test_ac2_by_hand_counts_a_distant_label_more() -> None:
    # accept–accept 3, accept–refuse 1: D = 1/4; π = 7/8 and 1/8, w sums to 3 + 2 · 3/4 + 2 · 3/4 + 0 = 6 over 3 labels;
    # weights 1, 3/4 and 0, so chance = (3 + 4 · 3/4) / 3 · (7/64 + 7/64) / 2 = 7/32
    rows = [*table(3, 1, 0, 0)]
    assert ac2(ratings(rows)).value == pytest.approx(1 - (1 / 4) / (1 - 7 / 32))
    near = [("accept", "accept")] * 3 + [("accept", "caution")]
    assert ac2(ratings(near)).value > ac2(ratings(rows)).value


def test_a_graded_disagreement_is_no_coin() -> None:
    # 68 of 306 rows one step apart, so D = 1/4 · 2/9; chance disagreement is 5/18
    rows = [(label, other) for label in LABELS for other in (label, label, "caution")] * 34
    found = quadratic_kappa(ratings(rows))
    assert found.low < found.lower_bound < found.value < found.high < 1
    assert found.low > 1 - clopper_pearson(1 / 18, 306, quantile=0.975).high / (5 / 18) + 0.02
    assert found.value - found.low > found.high - found.value  # the scale ends at 1


@pytest.mark.parametrize(
    ("second", "strata", "says"),
    [(("accept",), (), "same rows"), (("accept", "maybe"), (), "'maybe' is none of")],
)
def test_ratings_that_make_no_sense_are_refused(second: tuple[str, ...], strata: tuple, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Ratings(("accept", "refuse"), second, (1, 2), LABELS, strata)


def test_a_stratified_kappa_needs_strata() -> None:
    with pytest.raises(ValueError, match="stratum of every row"):
        stratified_kappa(ratings(table(1, 1, 1, 1)))


@pytest.mark.prove
@pytest.mark.parametrize("agreement", [0.6, 0.8, 0.95])
@pytest.mark.parametrize("rows", [60, 500])
def test_the_lower_bound_of_kappa_holds(agreement: float, rows: int) -> None:
    generator, share_L = np.random.default_rng(0), np.array([0.2, 0.2, 0.6])
    true = 1 - (1 - agreement) * (1 - share_L @ share_L) / (1 - share_L @ share_L)
    held = 0
    for _ in range(1000):
        first = generator.choice(LABELS, rows, p=share_L)
        other = generator.choice(LABELS, rows, p=share_L)
        second = np.where(generator.random(rows) < agreement, first, other)
        found = kappa(ratings(list(zip(first.tolist(), second.tolist(), strict=True))))
        held += found.lower_bound <= true
    assert held / 1000 >= 0.94


@pytest.mark.prove
@pytest.mark.parametrize("noise", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("rows", [30, 60, 200])
def test_the_lower_bound_of_quadratic_kappa_holds(noise: float, rows: int) -> None:
    generator, labels = np.random.default_rng(0), tuple("01234")

    def draw(n: int) -> Ratings:
        truth = generator.choice(5, n)
        shift = generator.choice(
            [-2, -1, 0, 1, 2], (2, n), p=[noise / 10, noise * 0.4, 1 - noise, noise * 0.4, noise / 10]
        )
        first, second = (tuple(np.clip(truth + one, 0, 4).astype(str).tolist()) for one in shift)
        return Ratings(first, second, tuple(range(n)), labels)

    many = draw(200_000)
    true = cohen_kappa_score(many.first, many.second, weights="quadratic")
    held = sum(quadratic_kappa(draw(rows)).lower_bound <= true for _ in range(500))
    assert held / 500 >= 0.91
