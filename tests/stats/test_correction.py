"""A judge's errors taken out of a rate: by hand, against an optimiser, by coverage, and refused where it is a guess."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from bedside.stats.correction import LabelledSample, _lee, expectation_maximization, likeliest_truth, rogan_gladen

LABELS = ("accept", "caution", "refuse")
GOOD = np.array([[0.85, 0.1, 0.05], [0.15, 0.7, 0.15], [0.05, 0.1, 0.85]])
WEAK = np.array([[0.6, 0.25, 0.15], [0.25, 0.5, 0.25], [0.1, 0.3, 0.6]])


def two(hits: int, misses: int, alarms: int, rejections: int) -> LabelledSample:
    truth = ("yes",) * (hits + misses) + ("no",) * (alarms + rejections)
    judged = ("yes",) * hits + ("no",) * misses + ("yes",) * alarms + ("no",) * rejections
    return LabelledSample(truth, judged, tuple(range(len(truth))))


def test_two_classes_by_hand():
    # q1 = 45/50, q0 = 40/50, p = 0.4: (0.4 + 0.8 − 1) / (0.9 + 0.8 − 1) = 2/7
    judged = ["yes"] * 80 + ["no"] * 120
    found = rogan_gladen(judged, range(200), two(45, 5, 10, 40), "yes")
    assert found.value == pytest.approx(2 / 7)
    assert found.low < 2 / 7 < found.high
    assert (found.n, found.labelled) == (200, 100)


def test_lee_s_interval_by_hand():
    """p = 120/200, q0 = 32/40, q1 = 54/60, z^2 = 3.8415, each pulled towards a half:

    p = 121.921/203.841 = 0.59812    q0 = 33/42 = 0.78571    q1 = 55/62 = 0.88710
    theta = 0.38383/0.67281 = 0.57049      q0(1-q0)/42 = 0.0040088      q1(1-q1)/62 = 0.0016154
    moved by 2 z^2 (0.57049 * 0.0016154 - 0.42951 * 0.0040088) = -0.00615
    reach 1.95996 * sqrt(0.0011792 + 0.42951^2 * 0.0040088 + 0.57049^2 * 0.0016154) / 0.67281 = 0.14403
    """
    assert _lee(0.6, 0.8, 0.9, (200, 40, 60)) == pytest.approx((0.42031, 0.70837), abs=2e-5)


def test_a_perfect_judge_is_left_as_it_is():
    found = rogan_gladen(["yes"] * 30 + ["no"] * 70, range(100), two(50, 0, 0, 50), "yes")
    assert found.value == pytest.approx(0.3)
    assert found.low > 0.15
    assert found.high < 0.45


@pytest.mark.parametrize(
    ("labelled", "why"),
    [
        (two(25, 25, 25, 25), "not informative enough"),
        (two(28, 22, 22, 28), "not informative enough"),
        (two(3, 0, 1, 40), "3 labelled answers are yes; at least 5 are needed"),
        (two(40, 1, 0, 0), "0 labelled answers are not yes"),
    ],
)
def test_a_judge_that_tells_nothing_gives_no_number(labelled, why):
    found = rogan_gladen(["yes"] * 30 + ["no"] * 70, range(100), labelled, "yes")
    assert (found.value, found.low, found.high) == (None, None, None)
    assert why in found.why_not


def test_copies_of_one_group_narrow_nothing():
    judged, labelled = ["yes"] * 30 + ["no"] * 70, two(40, 10, 10, 40)
    alone = rogan_gladen(judged, range(100), labelled, "yes")
    copied = LabelledSample(labelled.truth * 4, labelled.judged * 4, labelled.groups * 4)
    four = rogan_gladen(judged * 4, list(range(100)) * 4, copied, "yes")
    assert four.value == pytest.approx(alone.value)
    assert four.high - four.low == pytest.approx(alone.high - alone.low, rel=0.12)


@settings(max_examples=40)
@given(
    truth=st.tuples(*[st.floats(0.02, 1)] * 3),
    counts=st.tuples(*[st.integers(0, 200)] * 3).filter(lambda c: sum(c) > 20),
)
def test_em_finds_the_likeliest_truth(truth, counts):
    share_K = np.array(counts) / sum(counts)
    found_K = likeliest_truth(share_K[None], GOOD[None])[0]
    assert found_K.sum() == pytest.approx(1)
    assert (found_K >= 0).all()

    def loss(free):
        weights = np.exp(np.append(free, 0) - max(*free, 0))
        return -share_K @ np.log(weights / weights.sum() @ GOOD)

    best = min(optimize.minimize(loss, start, method="Nelder-Mead").fun for start in ([0, 0], [3, -3], [-3, 3]))
    assert -share_K @ np.log(found_K @ GOOD) <= best + 1e-4


def test_em_with_exact_counts_gives_the_truth_back():
    truth_K = np.array([0.2, 0.3, 0.5])
    assert likeliest_truth((truth_K @ GOOD)[None], GOOD[None])[0] == pytest.approx(truth_K, abs=1e-3)


def drawn(rng, matrix, truth_K, n, m):
    """``n`` answers, the first ``m`` of them labelled by people."""
    truth = rng.choice(3, n, p=truth_K)
    judged = np.array([rng.choice(3, p=matrix[t]) for t in truth])
    said = [LABELS[k] for k in judged]
    groups = list(range(n))
    labelled = LabelledSample(tuple(LABELS[t] for t in truth[:m]), tuple(said[:m]), tuple(groups[:m]))
    return said, groups, labelled


def test_three_classes_come_back_towards_the_truth():
    rng = np.random.default_rng(0)
    said, groups, labelled = drawn(rng, GOOD, [0.2, 0.3, 0.5], 2000, 400)
    found = expectation_maximization(said, groups, labelled, LABELS, rng)
    raw = said.count("accept") / 2000
    assert abs(found["accept"].value - 0.2) < abs(raw - 0.2)
    assert sum(found[label].value for label in LABELS) == pytest.approx(1)
    assert found["accept"].low < 0.2 < found["accept"].high


def test_an_uninformative_judge_gives_no_number_for_three_classes():
    rng = np.random.default_rng(0)
    said, groups, labelled = drawn(rng, np.full((3, 3), 1 / 3), [0.3, 0.3, 0.4], 600, 200)
    assert {c.value for c in expectation_maximization(said, groups, labelled, LABELS, rng).values()} == {None}
    assert "no inverse" in expectation_maximization(said, groups, labelled, LABELS, rng)["accept"].why_not
    said, groups, labelled = drawn(rng, GOOD, [0.5, 0.0, 0.5], 600, 200)
    assert (
        "0 labelled answers are caution"
        in expectation_maximization(said, groups, labelled, LABELS, rng)["accept"].why_not
    )


@pytest.mark.prove
@pytest.mark.parametrize(("name", "matrix"), [("good", GOOD), ("weak", WEAK)])
@pytest.mark.parametrize(("n", "m"), [(300, 60), (300, 150), (1000, 200)])
@pytest.mark.parametrize("truth", [(0.1, 0.3, 0.6), (0.4, 0.3, 0.3)])
def test_corrected_rates_hold_what_they_promise(name, matrix, n, m, truth, evidence):
    rng, repeats = np.random.default_rng(1), 300
    held, told, width, naive = dict.fromkeys(("two", "three"), 0), dict.fromkeys(("two", "three"), 0), [], 0
    for _ in range(repeats):
        said, groups, labelled = drawn(rng, matrix, truth, n, m)
        raw = said.count("accept") / n
        naive += abs(raw - truth[0]) <= 1.96 * (raw * (1 - raw) / n) ** 0.5
        two_, three = (
            rogan_gladen(said, groups, labelled, "accept"),
            expectation_maximization(said, groups, labelled, LABELS, rng)["accept"],
        )
        for kind, found in (("two", two_), ("three", three)):
            if found.value is not None:
                told[kind] += 1
                held[kind] += found.low <= truth[0] <= found.high
        width += [two_.high - two_.low] if two_.value is not None else []
    shown = {kind: f"{held[kind] / told[kind]:.3f} of {told[kind]}" if told[kind] else "no number" for kind in held}
    evidence["coverage of corrected rates"].append(
        {
            "judge": name,
            "answers": n,
            "labelled": m,
            "truth accept": truth[0],
            "two classes (Lee)": shown["two"],
            "three classes (EM)": shown["three"],
            "width, two": f"{np.mean(width):.2f}" if width else "-",
            "uncorrected": f"{naive / repeats:.3f}",
        }
    )
    assert all(held[kind] / told[kind] >= 0.9 for kind in held if told[kind] >= 100)
