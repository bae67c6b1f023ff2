"""A share as a measure: unreadable rows are counted, and in a decision they count against the model."""

import pytest

from bedside.stats.intervals import mean_interval
from bedside.stats.measures import mean, share


def test_unreadable_rows_enter_the_bounds_as_the_worst_and_no_value():
    told = share("helpful", [1.0, 1.0, 0.0, None], list("abcd"))
    assert (told.value, told.n, told.unreadable) == (pytest.approx(2 / 3), 3, 1)
    assert told.worst == 0.5
    assert told.worst_low < 0.5 < told.worst_high
    assert told.low < 2 / 3 < told.high


def test_less_is_better_counts_an_unreadable_row_as_one():
    assert share("harmful", [0.0, None], list("ab"), worst=1.0).worst == 0.5


@pytest.mark.parametrize("values", [[], [None, None]])
def test_what_nobody_read_has_no_value(values):
    told = share("helpful", values, list("ab")[: len(values)])
    assert (told.value, told.n, told.unreadable) == (None, 0, len(values))


def test_the_mean_over_rows_is_shown_and_the_mean_over_groups_is_decided_on():
    for measure in (
        share("harmful", [1.0, 1.0, 0.0], list("aab")),
        mean("kl", [1.0, 1.0, 0.0], list("aab"), mean_interval),
    ):
        assert (measure.value, measure.worst, measure.decided_value) == (pytest.approx(2 / 3), 0.5, 0.5)
        assert measure.low <= 0.5 < 2 / 3 <= measure.high
    assert mean("kl", [1.0, None], list("ab"), mean_interval).worst is None, "no value is the worst of an open scale"
