"""Whatever a file calls a conversation, it becomes messages, or the turn that cannot is named."""

import json

import pytest

from bedside.core.errors import DataError
from bedside.core.types import Message
from bedside.data.turns import read_content, read_turns, split_answer

ASKED, ANSWERED = Message("user", "How much is safe?"), Message("assistant", "Two a day.")
OPENAI = [{"role": "user", "content": "How much is safe?"}, {"role": "assistant", "content": "Two a day."}]
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
TOOL = {"role": "tool", "content": "{}", "tool_call_id": "1"}


@pytest.mark.parametrize(
    "value",
    [
        OPENAI,
        [{"from": "human", "value": "How much is safe?"}, {"from": "gpt", "value": "Two a day."}],
        [
            {"role": "user", "content": [{"type": "text", "text": "How much "}, {"type": "text", "text": "is safe?"}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"text": "Two a day."}]},
        ],
        json.dumps(OPENAI),
        repr(OPENAI),
        " " + json.dumps(OPENAI, indent=2),
        "\n\nHuman: How much is safe?\n\nAssistant: Two a day.",
        [OPENAI[0], CALL, TOOL, OPENAI[1]],
    ],
    ids=["openai", "sharegpt", "parts", "json text", "python text", "indented", "transcript", "tool"],
)  # fmt: skip
def test_every_way_to_write_a_conversation_gives_the_same_messages(value):
    assert read_turns(value) == (ASKED, ANSWERED)


def test_a_text_is_one_turn_of_the_user_kept_as_it_is():
    for text in ("How much?", " [1] how much? ", "He said\n\nHuman: do it\n\nAssistant: Sure", "['a', 'b']", ""):
        assert read_turns(text) == (Message("user", text),)


def test_developer_is_system_and_names_are_read_in_any_case():
    turns = read_turns([{"role": "developer", "content": "Be brief."}, {"role": "Human", "content": "?"}])
    assert [turn.role for turn in turns] == ["system", "user"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([{"role": "user", "content": None}], "the content of turn 1 (user) is null"),
        ([OPENAI[0], {"role": "assistant"}], "the content of turn 2 (assistant) is missing; the turn has role"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "a part of type 'image_url'"),
        ([{"role": "user", "content": 3}], "the content of turn 1 (user) is 3; write text"),
        ([{"role": "narrator", "content": "x"}], "the role of turn 1 is 'narrator'"),
        ([OPENAI[0], CALL], "turn 2 belongs to a tool and no answer follows it"),
        ([OPENAI[0], CALL, TOOL, OPENAI[0]], "turn 2 belongs to a tool and no answer follows it"),
        (["How?"], "turn 1 is 'How?'"),
        ([], "the conversation is a list"),
        (3, "the conversation is 3"),
        ("[{'role': 'user', 'content': 'How", "looks like a list of turns and is not one whole list"),
    ],
)
def test_what_is_no_conversation_is_named_by_its_turn(value, reason):
    with pytest.raises(DataError) as refused:
        read_turns(value)
    assert reason in str(refused.value)
    assert "None" not in str(refused.value)


def test_the_answer_is_the_last_one_after_the_last_question():
    assert split_answer((ASKED, ANSWERED)) == ((ASKED,), "Two a day.")
    assert split_answer((ASKED, ANSWERED, ASKED)) == ((ASKED, ANSWERED, ASKED), None)
    assert split_answer((ASKED, Message("assistant", "Let me see."), ANSWERED)) == ((ASKED,), "Two a day.")


def test_thinking_is_no_part_of_a_content():
    assert read_content([{"type": "reasoning", "text": "hm"}, "Two."]) == "Two."
