"""Ratings on an ordered scale, from a file: integers or named levels.

    anna, ben, ...        one column per rater
    rater, rating         one row per rater: rows that are otherwise equal are one item, and a later row corrects
    score                 a judge's scores, from 0 to MOST, laid on the scale at score / MOST · (K − 1) of K levels

The scale is declared, lowest level first. Levels that nobody used also count. Without a declared scale, labels are
integers, and the scale is every integer from the smallest to the greatest. Intervals count groups: the column
``group``, else equal prompts, else rows.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from bedside.config.validation_messages import did_you_mean, short
from bedside.core.errors import DataError
from bedside.data import annotations, io
from bedside.data.responses import normalized_label

MOST_LEVELS = 101
"""The largest number of levels of a scale that nobody declared."""
COPY = 20
"""With at least this many ratings, two raters without a difference count as one rater, copied."""


@dataclass(frozen=True, slots=True)
class RatingFile:
    """A file of ratings, and how it is read."""

    path: str
    raters: tuple[str, ...]
    """Columns of labels. A single one with a column ``rater`` beside it has one row per rater."""
    levels: tuple[str, ...] = ()
    """The scale, lowest level first. Empty: integers."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """The greatest possible score, by column of a judge's scores."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """The file's names of our columns (prompt, response, group, rater)."""
    label_map: Mapping[str, str] = field(default_factory=dict)
    """Level of each label in the file."""

    def read(self) -> "RatingSheet":
        """The ratings. DataError with file, row and column for a label that is not a level, and for a rater named
        twice."""
        self._check()
        items = self._items()
        levels = tuple(map(normalized_label, self.levels)) or self._integers(items)
        names = dict.fromkeys(name for item in items for name in item.cells)
        places = {name: tuple(self._place(item, name, levels) for item in items) for name in names}
        refuse_copies(self.path, places)
        return RatingSheet(
            levels=levels,
            inferred=not self.levels,
            rows=tuple((item.where, item.row) for item in items),
            groups=tuple(self._group(item) for item in items),
            raters=places,
            scores={name: tuple(self._score(item, name, levels) for item in items) for name in self.scores},
        )

    def _check(self) -> None:
        for names, what in ((self.raters, "column"), (self.levels, "level")):
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise DataError(f"{self.path}: {what} {twice[0]} is named twice; name it once")
        if len(self.levels) == 1:
            raise DataError(f"{self.path}: a scale has two levels or more: --levels {self.levels[0]},...")

    def _items(self) -> "list[_Item]":
        """The items. Rows of the long form that differ in rater and rating alone are one."""
        rows, rater = list(annotations.rows(self.path, self.raters)), self.columns.get("rater", "rater")
        present = {name for _, row in rows for name in row}
        for name in (*self.raters, *self.scores, *self.columns.values()):
            if name not in present:
                hint = did_you_mean(name, present, otherwise="the columns are")
                raise DataError(f"{self.path}: no column {name!r}; {hint}")
        items: dict[str, _Item] = {}
        for number, (where, row) in enumerate(rows):
            if len(self.raters) == 1 and row.get(rater) is not None:
                rest = {name: cell for name, cell in row.items() if name not in (self.raters[0], rater)}
                item = items.setdefault(json.dumps(rest, sort_keys=True, default=str), _Item(where, row, {}))
                item.cells[str(row[rater])] = row.get(self.raters[0])
            else:
                items[str(number)] = _Item(where, row, {name: row.get(name) for name in self.raters})
        return list(items.values())

    def _level(self, cell: Any) -> str:
        label = normalized_label(cell)
        meanings = {normalized_label(label): level for label, level in self.label_map.items()}
        return normalized_label(meanings.get(label, label))

    def _integers(self, items: "Sequence[_Item]") -> tuple[str, ...]:
        """Every integer from the least label to the greatest. DataError for a label that is not an integer."""
        used = {label: item.where for item in items for cell in item.cells.values() if (label := self._level(cell))}
        named = next((label for label in used if not re.fullmatch(r"-?\d+", label)), None)
        if named is not None or not used:
            what = (
                f"{self.path}: nobody rated anything" if named is None else f"{used[named]}: a label is {short(named)}"
            )
            raise DataError(f"{what}; name the scale, least level first: --levels none,mild,severe")
        least, greatest = min(map(int, used)), max(map(int, used))
        if greatest - least >= MOST_LEVELS:
            raise DataError(f"{self.path}: labels from {least} to {greatest}; name the scale: --levels 0,1,2,3,4")
        return tuple(map(str, range(least, greatest + 1)))

    def _place(self, item: "_Item", rater: str, levels: Sequence[str]) -> float | None:
        label = self._level(item.cells.get(rater))
        if label and label not in levels:
            raise DataError(
                f"{item.where}: {rater} is {short(label)}, and the scale is {', '.join(levels)}; add it to --levels, "
                f"say what it means: --label-map {label}={levels[-1]}, or name a judge's scores: --score {rater}=MOST"
            )
        return float(levels.index(label)) if label else None

    def _score(self, item: "_Item", name: str, levels: Sequence[str]) -> float:
        """The place of a judge's score; nan for an empty cell."""
        cell, most = item.row.get(name), self.scores[name]
        try:
            score = float(str(cell)) if normalized_label(cell) else math.nan
        except (TypeError, ValueError):
            score = -1.0
        if score < 0 or score > most:
            raise DataError(
                f"{item.where}: {name} is {short(cell)}; it is a score from 0 to {most:g}: --score {name}=MOST"
            )
        return score / most * (len(levels) - 1)

    def _group(self, item: "_Item") -> str:
        cells = (item.row.get(self.columns.get(name, name)) for name in ("group", "prompt"))
        return next((str(cell) for cell in cells if cell is not None), item.where)


@dataclass(frozen=True, slots=True)
class _Item:
    """One rated item: its first place in the file, its cells, and the cell of each rater."""

    where: str
    row: dict[str, Any]
    cells: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RatingSheet:
    """Ratings of raters and judges on the same items. A place is a number from 0, the lowest level, to K − 1."""

    levels: tuple[str, ...]
    inferred: bool
    """True if nobody declared the scale, and it was taken from the labels."""
    rows: tuple[io.Row, ...]
    """Each item's place in the file, and its cells."""
    groups: tuple[str, ...]
    raters: Mapping[str, tuple[float | None, ...]]
    """The place of each item, by rater; None: not rated."""
    scores: Mapping[str, tuple[float | None, ...]]
    """The place of each item, by judge, not always whole; nan: unreadable, None: not judged."""


def refuse_copies(path: str, columns: Mapping[str, Sequence[float | str | None]]) -> None:
    """DataError for two raters with the same labels in all rows, gaps included, because a copy agrees with
    everything."""
    for (first, ours), (second, theirs) in combinations(columns.items(), 2):
        rated = sum(label is not None for label in ours)
        if ours == theirs and rated >= COPY:
            raise DataError(
                f"{path}: {first} and {second} give the same {rated} ratings; a copy does not count as a second rater: "
                "leave one out"
            )
