"""A share as a measure: unreadable rows are counted, and in a decision they count against the model."""

import pytest

from bedside.stats.measures import share


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
