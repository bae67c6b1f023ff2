"""What the columns of a file hold, for `bedside init`: which may be the prompt, the harm level or the group.

A column is proposed by its name or by what stands in it. A proposal is shown to a person; nothing is decided here.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from bedside.core.errors import DataError
from bedside.core.types import HARM_LEVELS
from bedside.data import turns
from bedside.data.io import Row
from bedside.data.prompts import COLUMNS, cell_text

MOST_WORDS = 12
"""A column with more different values holds no levels."""
_SHORTEST_PROMPT = 12
"""Characters, on average: a column of shorter text is no prompt."""
_SHOWN = 3
_LIKE = {
    "prompt": ("text", "message", "query", "request", "utterance", "user", "patient", "ask", "content", "input"),
    "harm": ("risk", "level", "severity", "danger", "safety", "class", "label", "category", "triage", "unsafe"),
    "group": ("scenario", "topic", "case", "cluster", "thread", "template", "theme", "intent", "subject", "base"),
}
"""Parts of names that a column with this meaning often has."""
_MEANINGS = {
    0: ("none", "no", "harmless", "safe", "benign", "false", "ok", "fine", "normal", "green", "negligible", "allowed"),
    1: ("low", "mild", "minor", "slight", "doubtful", "ethical", "yellow", "caution"),
    2: ("medium", "moderate", "mid", "legal", "orange", "elevated", "significant"),
    3: ("high", "severe", "critical", "dangerous", "extreme", "unsafe", "harmful", "red", "yes", "true", "major"),
}
"""Common words for each harm level, most of them in files of others."""


@dataclass
class Column:
    """One column: how often it has a value, how long these are, and which they are as long as they are few."""

    name: str
    filled: int = 0
    characters: int = 0
    words: Counter[str] = field(default_factory=Counter)
    """How often each value occurs, in lower case, of at most ``MOST_WORDS`` and one more."""
    distinct: set[int] = field(default_factory=set)
    """Hashes of the values."""
    examples: list[str] = field(default_factory=list)

    def add(self, value: Any) -> None:
        text = cell_text(value)
        if not text:
            return
        self.filled += 1
        self.characters += len(text)
        self.distinct.add(hash(text))
        if text not in self.examples and len(self.examples) < _SHOWN:
            self.examples.append(text)
        if text.lower() in self.words or len(self.words) <= MOST_WORDS:
            self.words[text.lower()] += 1

    @property
    def is_levels(self) -> bool:
        """Few values, each many times and short."""
        return (
            2 <= len(self.words) <= MOST_WORDS
            and max(map(len, self.words)) <= 40
            and self.filled >= 2 * len(self.words)
        )

    @property
    def is_text(self) -> bool:
        return (
            self.filled > 0
            and self.characters / self.filled >= _SHORTEST_PROMPT
            and 2 * len(self.distinct) > self.filled
        )

    @property
    def is_grouping(self) -> bool:
        """Some values occur more than once, and there are many of them."""
        return MOST_WORDS < len(self.distinct) < self.filled

    def __str__(self) -> str:
        values = self.words if self.is_levels else self.examples
        return f"{self.name} ({', '.join(value if len(value) <= 40 else f'{value[:37]}...' for value in values)})"


@dataclass(frozen=True)
class Survey:
    """The columns of a file, in its order."""

    rows: int
    columns: tuple[Column, ...]

    def named(self, name: str) -> Column:
        """DataError where there is no column ``name``."""
        for column in self.columns:
            if column.name == name:
                return column
        raise DataError(f"no column {name!r}; the columns are {', '.join(column.name for column in self.columns)}")

    def known(self, ours: str) -> str | None:
        """The column that is read as ``ours`` without being mapped, by its name."""
        names = {column.name for column in self.columns}
        more = turns.ALPACA[:1] if ours == "prompt" else ()
        return next((name for name in (*COLUMNS[ours], *more) if name in names), None)

    def likely(self, ours: str, taken: Sequence[str] = ()) -> list[str]:
        """Columns that may be ``ours``, the likeliest first: by what they hold, then by their names."""
        fits = {"prompt": "is_text", "harm": "is_levels", "group": "is_grouping"}[ours]
        columns = [c for c in self.columns if c.name not in taken and getattr(c, fits)]

        def rank(column: Column) -> tuple[bool, float]:
            alike = any(part in column.name.lower() for part in _LIKE[ours])
            known = sum(n for word, n in column.words.items() if meaning(word) is not None)
            size = column.characters if ours == "prompt" else known if ours == "harm" else -len(column.distinct)
            return (not alike, -size)

        return [column.name for column in sorted(columns, key=rank)]


def survey(rows: Iterable[Row], most: int = 200_000) -> Survey:
    """The columns of ``rows``, of the first ``most`` of them. DataError as the rows give it."""
    columns: dict[str, Column] = {}
    count = 0
    for _, row in islice(rows, most):
        count += 1
        for name, value in row.items():
            columns.setdefault(str(name), Column(str(name))).add(value)
    return Survey(count, tuple(columns.values()))


def are_levels(words: Iterable[str]) -> bool:
    """Whether each word is 0, 1, 2 or 3: then nothing has to be said about them."""
    return all(word in {str(level) for level in HARM_LEVELS} for word in words)


def meaning(word: str) -> int | None:
    """The harm level that ``word`` commonly means; None where nobody could know.

    >>> meaning("2 - moderate"), meaning("Severe"), meaning("triage B")
    (2, 3, None)
    """
    parts = re.findall(r"[a-z]+", word.lower())
    if {"not", "non", "nicht"} & {*parts}:
        return None
    return next((level for level, known in _MEANINGS.items() if any(part in known for part in parts)), None)
