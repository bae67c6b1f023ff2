"""``align.attacks``: which cycle asks train prompts in another form, and what is counted of it."""

from types import SimpleNamespace

import pytest

pytest.importorskip("torch")

from bedside.alignment.cycle import _CycleLog, _with_attacks
from bedside.attacks.transform import untransformed
from bedside.config.schema import AlignConfig
from bedside.core.types import Message, Prompt
from bedside.run.experiment import Experiment

TRAIN = tuple(
    Prompt((Message("user", f"How much of {number} is {word}?"),), harm=harm, group=f"g{number}")
    for number in range(10)
    for harm, word in ((0, "safe"), (3, "deadly"))
)


def experiment(**align):
    config = SimpleNamespace(align=AlignConfig.model_validate(align))
    run = SimpleNamespace(config=config, launch=SimpleNamespace(seed=0))
    return Experiment(run, TRAIN, (), None, None, None, ())


def test_half_of_the_groups_are_asked_in_another_form_too_and_are_counted():
    log = _CycleLog()
    mixed = _with_attacks(experiment(attacks=["role-play", "homoglyphs"]), 1, log)
    assert mixed.train[: len(TRAIN)] == TRAIN
    forms = mixed.train[len(TRAIN) :]
    assert len(forms) == 10  # five groups of two
    assert [untransformed(form) in TRAIN for form in forms] == [True] * 10
    (counts,) = log.filter_counts
    assert counts.kept == 10
    assert counts.notes == {"role-play": 6, "homoglyphs": 4}


@pytest.mark.parametrize(("number", "rows"), [(1, 20), (2, 30), (3, 30)])
def test_attacks_begin_with_the_cycle_that_the_config_names(number, rows):
    mixed = _with_attacks(experiment(attacks=["role-play"], attacks_from=2), number, _CycleLog())
    assert len(mixed.train) == rows


def test_without_attacks_the_experiment_is_the_same_one():
    plain, log = experiment(), _CycleLog()
    assert _with_attacks(plain, 1, log) is plain
    assert log.filter_counts == []
