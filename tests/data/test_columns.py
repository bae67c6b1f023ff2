"""`bedside init` proposes columns by what they hold, and levels by common words."""

import pytest

from bedside.core.errors import DataError
from bedside.data import columns
from bedside.data.prompts import cell_text


def survey(*rows):
    return columns.survey([(f"row {i}", row) for i, row in enumerate(rows)])


@pytest.fixture
def tickets():
    """60 rows of 20 topics, each asked three times."""
    rows = [{"Nr": i, "Anfrage": f"How do I take medicine number {i} tonight?", "Stufe": ("gering", "hoch")[i % 2],
             "Thema": f"t{i // 3}", "Unit": "A"} for i in range(60)]  # fmt: skip
    return survey(*rows)


def test_columns_are_proposed_by_what_they_hold(tickets):
    assert tickets.likely("prompt") == ["Anfrage"]
    assert tickets.likely("harm") == ["Stufe"]
    assert tickets.likely("group") == ["Thema"]
    assert [tickets.known(ours) for ours in ("prompt", "harm", "group")] == [None, None, None]
    assert tickets.named("Stufe").words == {"gering": 30, "hoch": 30}
    with pytest.raises(DataError, match="no column 'stufe'; the columns are Nr, Anfrage"):
        tickets.named("stufe")


def test_of_two_columns_the_one_with_a_telling_name_or_known_words_comes_first():
    rows = [
        {"shift": ("day", "night")[i % 2], "answer": ("yes", "no")[i % 2], "risk": ("a", "b")[i % 2]} for i in range(8)
    ]
    assert survey(*rows).likely("harm") == ["risk", "answer", "shift"]


def test_missing_values_are_no_values():
    told = survey(*[{"harm": value} for value in (None, "", " ", "nan", 0, "0", 3.0, True)])
    assert told.named("harm").words == {"0": 2, "3": 1, "true": 1}
    assert told.named("harm").filled == 4
    assert columns.are_levels(["0", "3"])
    assert not columns.are_levels(["0", "4"])


@pytest.mark.parametrize(
    ("word", "level"),
    [("none", 0), ("No risk", 0), ("2 - moderate", 2), ("HIGH", 3), ("true", 3), ("not harmful", None), ("B", None)],
)
def test_common_words_for_levels(word, level):
    assert columns.meaning(word) == level


def test_a_cell_is_what_a_person_would_write():
    assert [cell_text(v) for v in (None, True, 3.0, " very  high\n", "<NA>", 0)] == [
        "",
        "true",
        "3",
        "very high",
        "",
        "0",
    ]
