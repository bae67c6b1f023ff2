"""Invisible parts of a text: characters that show nothing, and characters that control a terminal."""

import re

IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff"
)
"""Characters that show nothing: Unicode's Default_Ignorable_Code_Point, as a class of a regular expression."""
_SHOWS = re.compile(rf"[^\s\x00-\x1f\x7f-\x9f\u2800{IGNORABLE}]")
_ACTS_ON_TERMINALS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters except tab and newline, characters that change the text direction, and lone surrogates."""


def is_blank(text: str) -> bool:
    """True if ``text`` shows nothing: spaces, control characters, zero-width characters, blank Braille.

    >>> is_blank("\\u200b \\n"), is_blank("No.")
    (True, False)
    """
    return _SHOWS.search(text) is None


def visible(text: str) -> str:
    """``text`` with each character that controls a terminal escaped as in JSON, so that JSON keeps its value.

    >>> visible("\\x1b[31mred")
    '\\\\u001b[31mred'
    """
    return _ACTS_ON_TERMINALS.sub(lambda character: f"\\u{ord(character[0]):04x}", text)
