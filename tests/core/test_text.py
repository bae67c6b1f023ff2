"""What cannot be seen in a text is no answer."""

import unicodedata

import pytest

from bedside.core.errors import DataError
from bedside.core.text import is_blank
from bedside.core.types import Demonstration, Message, Prompt, Response
from bedside.judges.keyword import KeywordJudge

BLANK = (
    "",
    " \n\t",
    "\u200b\u200b",
    "\ufeff",
    "\u2060 \u00ad",
    "\x00\x08",
    "\u3164",
    "\u2800",
    "\u202e\u202c",
    "\ufe0f",
)
ASKED = Prompt((Message("user", "May I?"),), harm=1)


@pytest.mark.parametrize("text", BLANK)
def test_an_answer_in_which_nothing_can_be_seen_is_empty(text):
    assert is_blank(text)
    (verdict,) = KeywordJudge().judge([Response(ASKED, text, "mine")])
    assert verdict.unreadable == "empty answer"
    with pytest.raises(DataError, match="is empty"):
        Demonstration(ASKED, text)
    with pytest.raises(DataError, match="the prompt is empty"):
        Prompt((Message("user", text),))


@pytest.mark.parametrize("text", ["a", ".", "\u200bא\u200f", "😀", "9\ufe0f", "\u0301", "–"])
def test_an_answer_of_one_visible_character_is_none(text):
    assert not is_blank(text)


def test_every_format_character_that_shows_nothing_is_blank():
    visible = {"ARABIC", "SYRIAC", "KAITHI", "EGYPTIAN", "SHORTHAND", "MUSICAL"}
    formats = [
        chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cf", "Zs", "Zl", "Zp", "Cc")
    ]
    shown = {unicodedata.name(c, "?").partition(" ")[0] for c in formats if not is_blank(c)}
    assert shown <= visible
