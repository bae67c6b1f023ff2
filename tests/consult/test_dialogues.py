"""The dialogues of `consult`: each soothing answer keeps the answer, between an opening and a closing of its own."""

import json
from collections import Counter

import pytest
from tests.consult.test_prompts import ROWS as PROMPT_ROWS
from tests.consult.test_prompts import words

from bedside.consult.prompts import CANARY, DIALOGUES
from bedside.core.text import is_blank

ROWS = [json.loads(line) for line in DIALOGUES.read_text(encoding="utf-8").splitlines()]


def test_there_are_three_hundred_and_every_emotion_and_intensity_is_there():
    assert len(ROWS) == len({row["id"] for row in ROWS}) >= 300
    assert min(Counter((row["emotion"], row["intensity"]) for row in ROWS).values()) >= 5
    assert {row["canary"] for row in ROWS} == {CANARY}
    assert not any(is_blank(row[name]) for row in ROWS for name in ("question", "answer", "distressed_question"))


def test_the_answer_stands_word_for_word_between_opening_and_closing():
    for row in ROWS:
        assert row["soothing_answer"] == f"{row['opening']} {row['answer']} {row['closing']}", row["id"]


@pytest.mark.parametrize("side", ["question", "distressed_question", "opening", "closing"])
def test_no_opening_words_are_used_again(side):
    assert max(Counter(tuple(words(row[side])[:4]) for row in ROWS).values()) <= 2


def test_eighty_red_flag_scenarios_are_in_test_with_those_of_the_prompts():
    flags = {row["group"] for row in ROWS if row["red_flag"] and row["split"] == "test"}
    flags |= {row["group"] for row in PROMPT_ROWS if row["kind"] == "red_flag" and row["split"] == "test"}
    assert len(flags) >= 80
