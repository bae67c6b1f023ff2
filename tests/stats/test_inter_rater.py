"""Agreement of several raters: by hand, and against statsmodels and krippendorff."""

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import fleiss_kappa as theirs_fleiss

from bedside.stats.agreement import (
    Ratings,
    RatingTable,
    fleiss_kappa,
    kappa,
    kappa_difference,
    krippendorff_alpha,
    stratified_kappa,
)

LABELS = ("accept", "caution", "refuse")
label = st.sampled_from(LABELS)
whole = st.integers(2, 5).flatmap(lambda m: st.lists(st.tuples(*[label] * m), min_size=2, max_size=30))
gappy = st.integers(2, 5).flatmap(lambda m: st.lists(st.tuples(*[label | st.none()] * m), min_size=2, max_size=30))


def panel(items, groups=None) -> RatingTable:
    return RatingTable(tuple(items), tuple(groups or range(len(items))), LABELS)


def numbers(items) -> np.ndarray:
    """Raters by items, as krippendorff wants them."""
    return np.array([[np.nan if x is None else LABELS.index(x) for x in row] for row in items]).T


@given(items=whole)
def test_fleiss_equals_statsmodels(items):
    counts = [[row.count(name) for name in LABELS] for row in items]
    if len({x for row in items for x in row}) == 1:
        assert fleiss_kappa(panel(items)).value is None
        return
    assert fleiss_kappa(panel(items)).value == pytest.approx(theirs_fleiss(counts, method="fleiss"))


@given(items=gappy)
@pytest.mark.parametrize("level", ["nominal", "ordinal"])
def test_alpha_equals_krippendorff_with_missing_ratings(level, items):
    found = krippendorff_alpha(panel(items), level)
    rated = [[x for x in row if x is not None] for row in items]
    pairable = [row for row in rated if len(row) >= 2]
    if len({x for row in pairable for x in row}) < 2:
        assert found.value is None
        return
    theirs = krippendorff.alpha(reliability_data=numbers(items), level_of_measurement=level, value_domain=[0, 1, 2])
    assert found.value == pytest.approx(theirs)
    assert found.n == len(pairable)
    assert found.low <= found.lower_bound <= found.value <= found.high


def test_fleiss_by_hand():
    # items aa, ar, rr, rr: D = 1/4; p = 3/8 and 5/8, so E = 1 − 34/64 = 30/64
    a, r = "accept", "refuse"
    found = fleiss_kappa(panel([(a, a), (a, r), (r, r), (r, r)]))
    assert found.value == pytest.approx(1 - (1 / 4) / (30 / 64))
    assert (found.raw, found.chance) == pytest.approx((0.75, 34 / 64))


def test_items_with_one_rating_say_nothing():
    rows = [("accept", "accept"), ("accept", "refuse"), ("refuse", "refuse")]
    more = [*rows, ("refuse", None), (None, None)]
    assert krippendorff_alpha(panel(more)) == krippendorff_alpha(panel(rows))
    assert krippendorff_alpha(panel([("refuse", None)])).value is None


def test_accept_for_caution_is_nearer_than_accept_for_refuse_to_ordinal_alpha():
    common = [(x, x) for x in LABELS] * 5
    near, far = [*common, ("accept", "caution")] * 2, [*common, ("accept", "refuse")] * 2
    assert krippendorff_alpha(panel(near), "ordinal").value > krippendorff_alpha(panel(far), "ordinal").value


def test_perfect_agreement_on_few_items_is_no_proof():
    found = fleiss_kappa(panel([("accept",) * 3] * 5 + [("refuse",) * 3] * 5))
    assert found.value == 1
    assert found.lower_bound < 0.6


def test_items_of_one_group_are_no_further_evidence():
    rng = np.random.default_rng(0)
    rows = [tuple(rng.choice(LABELS, 3).tolist()) if i % 3 else (LABELS[i % 2],) * 3 for i in range(60)]
    alone, copied = fleiss_kappa(panel(rows)), fleiss_kappa(panel(rows * 4, list(range(60)) * 4))
    assert copied.value == pytest.approx(alone.value)
    assert copied.lower_bound == pytest.approx(alone.lower_bound, abs=0.01)
    assert fleiss_kappa(panel(rows * 4)).lower_bound > alone.lower_bound + 0.02


@pytest.mark.parametrize(
    ("items", "groups", "says"),
    [([("accept",)], (1, 2), "every item needs a group"), ([("maybe", "accept")], (1,), "'maybe' is none of")],
)
def test_ratings_that_make_no_sense_are_refused(items, groups, says):
    with pytest.raises(ValueError, match=says):
        RatingTable(tuple(items), groups, LABELS)


def truth_and_two(rng, rows: int, good: float, bad: float):
    """A reference and two judges who copy it with probability ``good`` and ``bad``."""
    truth = rng.choice(LABELS, rows)
    return [truth, *(np.where(rng.random(rows) < share, truth, rng.choice(LABELS, rows)) for share in (good, bad))]


def compared(truth, judge) -> Ratings:
    strata = tuple(i % 2 for i in range(len(truth)))
    return Ratings(tuple(truth.tolist()), tuple(judge.tolist()), tuple(range(len(truth))), LABELS, strata)


def test_the_difference_of_two_kappas_is_paired():
    truth, good, bad = truth_and_two(np.random.default_rng(1), 400, 0.9, 0.6)
    one, other = compared(truth, good), compared(truth, bad)
    found = kappa_difference(one, other)
    apart = stratified_kappa(one), stratified_kappa(other)
    assert found.value == pytest.approx(apart[0].value - apart[1].value)
    assert 0 < found.low < found.lower_bound < found.value < found.high
    same = kappa_difference(one, one)
    assert same.value == 0
    assert same.low < -0.005 < 0.005 < same.high, "judges that never differed may differ yet"
    with pytest.raises(ValueError, match="same reference"):
        kappa_difference(one, compared(good, bad))


def test_a_judge_who_says_one_thing_only_is_compared_too():
    truth, good, _ = truth_and_two(np.random.default_rng(1), 100, 0.9, 0.6)
    found = kappa_difference(compared(truth, good), compared(truth, np.full(100, "accept")))
    assert found.low > 0.5


@pytest.mark.prove
@pytest.mark.parametrize("agreement", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("rows", [40, 200])
def test_the_lower_bounds_of_several_raters_and_of_differences_hold(agreement, rows, evidence):
    rng, share, repeats = np.random.default_rng(0), [0.2, 0.2, 0.6], 500
    held = dict.fromkeys(("fleiss", "alpha nominal", "alpha ordinal", "difference"), 0)
    big = RatingTable(tuple(_rated(rng, 60_000, agreement, share)), tuple(range(60_000)), LABELS)
    true = {"alpha ordinal": _value_only(big, "ordinal"), "fleiss": _value_only(big, "nominal")}
    for _ in range(repeats):
        rated = panel(_rated(rng, rows, agreement, share))
        held["fleiss"] += fleiss_kappa(rated).lower_bound <= true["fleiss"]
        held["alpha nominal"] += krippendorff_alpha(rated).lower_bound <= true["fleiss"]
        held["alpha ordinal"] += krippendorff_alpha(rated, "ordinal").lower_bound <= true["alpha ordinal"]
        truth, one, other = truth_and_two(rng, rows, agreement, 0.4)
        held["difference"] += kappa_difference(compared(truth, one), compared(truth, other)).lower_bound <= (
            agreement - 0.4
        )
    evidence["coverage: agreement bounds"].append(
        {"items": rows, "copying": agreement, **{name: f"{count / repeats:.3f}" for name, count in held.items()}}
    )
    assert all(count / repeats >= 0.92 for count in held.values())


def _rated(rng, rows, agreement, share):
    truth = rng.choice(LABELS, rows, p=share)
    three = [np.where(rng.random(rows) < agreement, truth, rng.choice(LABELS, rows, p=share)) for _ in range(3)]
    return [tuple(row) for row in np.array(three).T.tolist()]


def _value_only(big, level):
    return krippendorff.alpha(reliability_data=numbers(big.items), level_of_measurement=level, value_domain=[0, 1, 2])


def test_two_raters_without_gaps_are_close_to_cohen():
    rows = [("accept", "accept")] * 30 + [("accept", "refuse")] * 5 + [("refuse", "refuse")] * 25
    first, second = zip(*rows, strict=True)
    cohen = kappa(Ratings(first, second, tuple(range(60)), LABELS)).value
    assert fleiss_kappa(panel(rows)).value == pytest.approx(cohen, abs=0.01)
