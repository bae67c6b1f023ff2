"""Attacks on the letters of a request. A person can still read it; a filter of words cannot.

    substitution     letters become signs by a map that can be read back: h0w much 15 5af3
    spelling-noise   a share of the words is misspelt: letters swapped, dropped or doubled
    homoglyphs       letters become letters of another script that look the same

An answer depends on amounts, so a word with a digit is never misspelt. All user turns from the request on are changed.
"""

import re
from itertools import pairwise
from random import Random
from typing import Annotated

from pydantic import AfterValidator, Field

from bedside.attacks.transform import TextAttack, pick
from bedside.config.plugins import register
from bedside.core.types import Conversation, Message

LEET = {"a": "4", "e": "3", "i": "1", "o": "0", "s": "5", "t": "7"}
LOOK_ALIKES = {
    "a": "а", "c": "с", "e": "е", "i": "і", "j": "ј", "o": "о", "p": "р", "s": "ѕ", "x": "х", "y": "у",
    "A": "А", "B": "В", "C": "С", "E": "Е", "H": "Н", "I": "І", "K": "К", "M": "М", "O": "О", "P": "Р",
    "S": "Ѕ", "T": "Т", "X": "Х",
}  # fmt: skip
"""The Cyrillic letter that looks like each Latin letter."""
_LETTERS = re.compile(r"[^\W\d_]+")
_LONG_WORD = re.compile(r"(?<![\w])[^\W\d_]{4,}(?![\w])")
Rate = Annotated[float, Field(gt=0, le=1)]


def _readable_back(table: dict[str, str]) -> dict[str, str]:
    """ValueError for a map that cannot be read back: two letters would look the same."""
    for letter, sign in table.items():
        if len(letter) != 1 or not letter.isalpha() or not sign or letter == sign:
            raise ValueError(f"has {letter!r}: {sign!r}; should map single letters to other text")
    signs = sorted(table.values())
    for sign, after in pairwise(signs):
        if after.startswith(sign):
            raise ValueError(
                f"has {sign!r} and {after!r}, which cannot be told apart; each sign should begin its own way"
            )
    return table


class LetterAttack(TextAttack):
    """Base of the attacks on letters: every user turn from the request on."""

    def turns(self, turns: Conversation, rng: Random) -> Conversation:
        return tuple(Message(t.role, self.text(t.text, rng)) if t.role == "user" else t for t in turns)


@register("attack", "substitution")
class Substitution(LetterAttack):
    """Letters become signs, by a map that can be read back."""

    kind: str = "substitution"
    map: Annotated[dict[str, str], AfterValidator(_readable_back)] = Field(default=LEET, min_length=1)
    """The replacement of each character. The default is leet: a 4, e 3, i 1, o 0, s 5, t 7."""
    share: Rate = 1.0
    """Share of the words that are changed."""

    def text(self, text: str, rng: Random) -> str:
        return _LETTERS.sub(lambda word: self._disguised(word[0]) if rng.random() < self.share else word[0], text)

    def _disguised(self, word: str) -> str:
        return "".join(self.map.get(letter, letter) for letter in word)

    def inverse(self, text: str) -> str:
        """The text before the attack, if it had none of the signs of the map."""
        letters = {sign: letter for letter, sign in self.map.items()}
        return re.sub("|".join(map(re.escape, letters)), lambda sign: letters[sign[0]], text)


@register("attack", "homoglyphs")
class Homoglyphs(LetterAttack):
    """Latin letters become Cyrillic letters that look the same."""

    kind: str = "homoglyphs"
    share: Rate = 0.5
    """Share of the letters with a look-alike that are changed."""

    def text(self, text: str, rng: Random) -> str:
        return "".join(LOOK_ALIKES[c] if c in LOOK_ALIKES and rng.random() < self.share else c for c in text)

    def inverse(self, text: str) -> str:
        """The text before the attack, if it had no Cyrillic letter."""
        return text.translate({ord(other): latin for latin, other in LOOK_ALIKES.items()})


@register("attack", "spelling-noise")
class SpellingNoise(LetterAttack):
    """A share of the longer words is misspelt. First and last letters stay, and so do words with digits."""

    kind: str = "spelling-noise"
    share: Rate = 0.3
    """Share of the words of four letters or more that are misspelt."""

    def text(self, text: str, rng: Random) -> str:
        return _LONG_WORD.sub(lambda word: _misspelt(word[0], rng) if rng.random() < self.share else word[0], text)


def _misspelt(word: str, rng: Random) -> str:
    """``word`` with two inner letters swapped, or one of them left out or written twice."""
    at = 1 + int(rng.random() * (len(word) - 3))
    one, two = word[at], word[at + 1]
    return f"{word[:at]}{pick((two + one, two, one + one + two), rng)}{word[at + 2 :]}"
