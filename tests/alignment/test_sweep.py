"""What ``align.sweep`` tries, what it takes, and what the run goes on with."""

import pytest
from pydantic import ValidationError

from bedside.config.schema import ComfortConfig, SweepConfig, TrainingStep

KTO = TrainingStep.model_validate({"kind": "kto", "learning_rate": 0.01})


def settings(sweep, step=KTO):
    return [(v.learning_rate, v.num_train_epochs) for v in SweepConfig.model_validate(sweep).variants(step)]


def test_every_combination_is_tried_once_the_smaller_rates_and_fewer_passes_first():
    sweep = {"learning_rate": [2, 0.5, 2], "num_train_epochs": [3, 1]}
    assert settings(sweep) == [(0.005, 1), (0.005, 3), (0.02, 1), (0.02, 3)]


def test_without_a_sweep_a_step_is_what_it_is():
    assert SweepConfig().variants(KTO) == [KTO]
    own = KTO.model_copy(update={"num_train_epochs": 4})
    assert settings({"learning_rate": [1, 2]}, own) == [(0.01, 4), (0.02, 4)]


def test_a_rate_of_0_stays_one_control():
    assert settings({"learning_rate": [1, 2]}, KTO.model_copy(update={"learning_rate": 0.0})) == [(0.0, None)]


def test_comfort_compares_within_one_budget():
    with pytest.raises(
        ValidationError, match=r"num_train_epochs; all have one budget here: set align\.num_train_epochs"
    ):
        ComfortConfig.model_validate({"train": [{"kind": "sft", "num_train_epochs": 2}]})
