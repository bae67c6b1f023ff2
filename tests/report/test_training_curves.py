"""Training curves: every line within its panel, broken where nothing was logged; a long training in few points."""

import pytest

from bedside.core.results import PARTS_OF_A_CURVE, TrainingCurve
from bedside.report import training_curves
from bedside.run.context import TrainResult


def points(piece):
    return [tuple(map(float, point.split(","))) for point in piece.split()]


def test_a_line_runs_from_the_first_to_the_last_step_and_from_the_greatest_to_the_least_value():
    figure = training_curves.figure(TrainingCurve("kto", 3, {"loss": (0.5, 0.3, 0.1), "kl": (0.0, 0.0, 0.0)}))
    loss, kl = figure.panels
    assert points(loss.lines[0][0]) == [(4, 22), (64, 57), (124, 92)]
    assert (loss.least, loss.greatest) == (0.1, 0.5)
    assert {y for _, y in points(kl.lines[0][0])} == {57}, "a line that does not move is in the middle"
    assert figure.rows == (("loss", 0.5, 0.1), ("kl", 0.0, 0.0))


def test_a_line_is_broken_where_no_step_logged_the_value():
    values = {"rewards/chosen": (0.0, None, 0.2, 0.4), "rewards/rejected": (None, None, None, None)}
    (panel,) = training_curves.figure(TrainingCurve("kto", 4, values)).panels
    assert [len(points(piece)) for piece in panel.lines[0]] == [1, 2]
    assert panel.lines[1] == ()


@pytest.mark.parametrize("steps", [1, 59, 60, 61, 1000])
def test_a_curve_has_every_step_in_one_of_its_parts(steps):
    log = tuple({"step": float(n), "loss": float(n)} | ({"z": 1.0} if n == 0 else {}) for n in range(steps))
    curve = TrainResult(8, log).curve("kto")
    parts = min(steps, PARTS_OF_A_CURVE)
    assert (curve.steps, len(curve.values["loss"]), set(curve.values)) == (steps, parts, {"loss", "z"})
    assert curve.values["z"] == (1.0, *[None] * (parts - 1))
    assert curve.values["loss"][-1] == pytest.approx(steps - 1, abs=steps / parts / 2 + 0.5)
    if steps % parts == 0:
        assert sum(curve.values["loss"]) / parts == pytest.approx((steps - 1) / 2)


def test_a_training_of_nothing_is_no_curve():
    assert TrainResult(0, ()).curve("kto") == TrainingCurve("kto", 0, {})
    assert training_curves.figure(TrainingCurve("kto", 0, {})).panels == ()
