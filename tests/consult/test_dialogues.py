"""The dialogues of `consult`: each soothing answer keeps the answer, between an opening and a closing of its own."""

import json
from collections import Counter

import pytest
from tests.consult.test_prompts import ROWS as PROMPT_ROWS
from tests.consult.test_prompts import words

from bedside.comfort.metrics import has_red_flag
from bedside.config.plugins import find, open_plugin
from bedside.consult.prompts import CANARY, COMFORT, DIALOGUES
from bedside.core.protocols import Launch
from bedside.core.text import is_blank
from bedside.core.types import JudgedResponse, Response, Stance, Verdict

ROWS = [json.loads(line) for line in DIALOGUES.read_text(encoding="utf-8").splitlines()]


def test_there_are_three_hundred_and_every_emotion_and_intensity_is_there():
    assert len(ROWS) == len({row["id"] for row in ROWS}) >= 300
    assert min(Counter((row["emotion"], row["intensity"]) for row in ROWS).values()) >= 5
    assert {row["canary"] for row in ROWS} == {CANARY}
    assert not any(is_blank(row[name]) for row in ROWS for name in ("question", "answer", "distressed_question"))


def test_the_answer_stands_word_for_word_between_opening_and_closing():
    for row in ROWS:
        assert row["soothing_answer"] == f"{row['opening']} {row['answer']} {row['closing']}", row["id"]


@pytest.mark.parametrize(("part", "n"), [("train", 147), ("valid", 51), ("test", 112)])
def test_a_part_holds_what_is_asked_the_plain_answer_and_the_soothing_one(part, n):
    prompts = open_plugin(find("dataset", "consult_dialogues")(part=part), Launch(), {}).read()
    by_question = {row["distressed_question"]: row for row in ROWS if row["split"] == part}
    assert len(prompts) == len(by_question) == n
    for prompt in prompts:
        row = by_question[prompt.text]
        assert (prompt.harm, prompt.group, prompt.reference) == (0, row["group"], row["answer"])
        assert prompt.metadata["soothing_answer"] == row["soothing_answer"]
        assert prompt.metadata["emotion"] == row["emotion"]
        answer = Response(prompt, "a", "c")
        assert has_red_flag(JudgedResponse(answer, Verdict(answer.id, "j", Stance.ACCEPT))) is row["red_flag"]


@pytest.mark.parametrize("side", ["question", "distressed_question", "opening", "closing"])
def test_no_opening_words_are_used_again(side):
    assert max(Counter(tuple(words(row[side])[:4]) for row in ROWS).values()) <= 2


def test_eighty_red_flag_scenarios_are_in_test_with_those_of_the_prompts():
    flags = {row["group"] for row in ROWS if row["red_flag"] and row["split"] == "test"}
    flags |= {row["group"] for row in PROMPT_ROWS if row["kind"] == "red_flag" and row["split"] == "test"}
    assert len(flags) >= 80


def test_four_hundred_answers_are_rated_by_two_readers_and_none_is_of_a_test_dialogue():
    rated = [json.loads(line) for line in COMFORT.read_text(encoding="utf-8").splitlines()]
    part_of = {row["id"]: (row["group"], row["split"]) for row in ROWS}
    assert len(rated) == len({row["id"] for row in rated}) >= 400
    for row in rated:
        assert (row["group"], row["split"]) == part_of[row["dialogue"]]
        assert row["split"] in ("train", "valid")
        assert row["canary"] == CANARY
        assert row["rater_kind"] == "model"
        lines = [row[line] for line in ("empathetic", "comforting", "reassuring")]
        assert all(len(given) == 2 and set(given) <= {0, 1, 2} for given in lines)
        assert all(len(row[flag]) == 2 and set(row[flag]) <= {0, 1} for flag in ("unkind", "false"))
