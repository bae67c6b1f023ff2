"""The rows of a run's held-out test, to be filtered, searched and counted: an SQLite table in memory.

    index = RowIndex.of(before, after, metric)
    index.page(RowFilter(level="3", stance="accept"))

Failures come first: severe requests that were answered, then harmless ones that were declined, then the other harmful
ones that were answered, then what the target failed and the selected checkpoint does not.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from bedside.core.types import STANCES, UNREADABLE, JudgedResponse, Prompt
from bedside.safety import quality
from bedside.safety.labelled_sample import FailureMetric
from bedside.web.row_filter import AFTER, BEFORE, NOT_LABELLED, RowFilter

ROWS_A_PAGE = 25
_RANK = {3: 0, 0: 1, 2: 2, 1: 3}
"""Of a failure by its harm level; less comes first."""
_MENDED, _OTHER = 4, 5
_OF_A_SIDE = ("stance", "failed", "fault", "rank")
COLUMNS = (
    *("n", "level", "style", "principle", "changed"),
    *(f"{side}_{name}" for side in (BEFORE, AFTER) for name in _OF_A_SIDE),
)


@dataclass(frozen=True, slots=True)
class RowPair:
    """One prompt with the judged answer before and after training."""

    number: int
    """Place in the test, from 1: what a permalink names."""
    before: JudgedResponse
    after: JudgedResponse
    failed: tuple[bool, bool]
    """Whether each answer is a failure by the run's own metric."""
    fault: tuple[str, str]
    """Why each answer is no answer at all; empty where it is one."""

    @classmethod
    def of(cls, number: int, before: JudgedResponse, after: JudgedResponse, metric: FailureMetric) -> "RowPair":
        """With what the run's metric and the text say of both answers."""
        both = (before, after)
        failed = tuple(any(metric.failures(row).values()) for row in both)
        faults = tuple(quality.fault(row.response) for row in both)
        return cls(number, before, after, (failed[0], failed[1]), (faults[0], faults[1]))

    @property
    def prompt(self) -> Prompt:
        return self.after.prompt


@dataclass(frozen=True, slots=True)
class RowPage:
    """The rows of one page, and how many there are on all pages."""

    rows: tuple[RowPair, ...]
    total: int
    number: int
    pages: int


@dataclass(frozen=True, slots=True)
class MatrixCell:
    """The rows of one harm level and one stance."""

    n: int = 0
    failed: int = 0


Cell = str | int
"""Of the table. What is true is 1, and what is not is 0."""


class RowIndex:
    """Rows with the table that finds them. One thread at a time may ask."""

    def __init__(
        self, row: Callable[[int], RowPair], table: Iterable[Sequence[Cell]], words: Callable[[], Sequence[str]]
    ) -> None:
        """``row``: gives the row of a number, from 1. ``table``: the cells of each row, in the order of ``COLUMNS``.

        ``words``: gives what a search looks through, row by row; the first search asks for it.
        """
        self.row, self._read_words, self._sought = row, words, ""
        self._table = sqlite3.connect(":memory:", check_same_thread=False)
        self._table.execute(f"create table rows (n integer primary key, {', '.join(COLUMNS[1:])})")
        self._table.execute("create table hits (n integer primary key)")
        self._table.executemany(f"insert into rows values ({', '.join('?' * len(COLUMNS))})", table)

    @classmethod
    def of(cls, before: Sequence[JudgedResponse], after: Sequence[JudgedResponse], metric: FailureMetric) -> "RowIndex":
        """Of the same prompts in the same order."""
        rows = [RowPair.of(n, *pair, metric) for n, pair in enumerate(zip(before, after, strict=True), start=1)]
        return cls(lambda number: rows[number - 1], map(cells, rows), lambda: list(map(searched, rows)))

    def __len__(self) -> int:
        return self._one("select count(*) from rows", {})

    @cached_property
    def _words(self) -> Sequence[str]:
        return self._read_words()

    def page(self, chosen: RowFilter) -> RowPage:
        """A page past the last one is the last one."""
        where, values = self._where(chosen)
        total = self._one(f"select count(*) from rows where {where}", values)
        pages = max(1, -(-total // ROWS_A_PAGE))
        number = min(max(chosen.page, 1), pages)
        order = f"order by {chosen.of}_rank, n limit {ROWS_A_PAGE} offset {(number - 1) * ROWS_A_PAGE}"
        rows = self._table.execute(f"select n from rows where {where} {order}", values)
        return RowPage(tuple(self.row(n) for (n,) in rows), total, number, pages)

    def matrix(self, chosen: RowFilter) -> dict[str, dict[str, MatrixCell]]:
        """Level to stance to how many rows there are, by every filter but those on level and stance."""
        where, values = self._where(chosen.without("level", "stance"))
        columns = f"level, {chosen.of}_stance, count(*), sum({chosen.of}_failed)"
        counted = self._table.execute(f"select {columns} from rows where {where} group by 1, 2", values)
        cells = {level: dict.fromkeys((*STANCES, UNREADABLE), MatrixCell()) for level in self.values("level")}
        for level, stance, n, failed in counted:
            cells[level][stance] = MatrixCell(n, failed)
        return cells

    def values(self, column: str) -> list[str]:
        """What occurs in ``level``, ``style`` or ``principle``."""
        rows = self._table.execute(f"select distinct {column} from rows where {column} <> '' order by 1")
        return [value for (value,) in rows]

    def neighbours(self, number: int, chosen: RowFilter) -> tuple[int | None, int | None]:
        """The rows before and after row ``number`` among those that the filter leaves; None at an end."""
        where, values = self._where(chosen)
        rank = f"{chosen.of}_rank"
        own = self.rank(number, chosen)
        ids = []
        for sign, order in (("<", "desc"), (">", "asc")):
            beside = f"({rank}, n) {sign} ({own}, {number})"
            query = f"select n from rows where {where} and {beside} order by {rank} {order}, n {order} limit 1"
            ids.append(next((n for (n,) in self._table.execute(query, values)), None))
        return ids[0], ids[1]

    def rank(self, number: int, chosen: RowFilter) -> int:
        """Place of the row's kind in the order, 0 first."""
        return self._one(f"select {chosen.of}_rank from rows where n = {number:d}", {})

    def _where(self, chosen: RowFilter) -> tuple[str, dict[str, str]]:
        """A condition of fixed text, and the values that the user gave, which never stand in it."""
        self._search(folded(chosen.words))
        equal = {"level": "level", "stance": f"{chosen.of}_stance", "style": "style", "principle": "principle"}
        values = {name: str(getattr(chosen, name)) for name in equal if getattr(chosen, name)}
        flags = {
            "changed": "changed",
            "failed": f"{chosen.of}_failed",
            "unreadable": f"{chosen.of}_stance = '{UNREADABLE}'",
            "degenerate": f"{chosen.of}_fault",
        }
        conditions = [f"{equal[name]} = :{name}" for name in values]
        conditions += [condition for name, condition in flags.items() if getattr(chosen, name)]
        conditions += ["n in (select n from hits)"] if self._sought else []
        return " and ".join(conditions) or "1", values

    def _search(self, words: str) -> None:
        """Fill ``hits`` with the rows that hold ``words``; pages of one search ask once."""
        if words == self._sought:
            return
        self._sought = words
        self._table.execute("delete from hits")
        hits = ((n,) for n, text in enumerate(self._words, start=1) if words in text) if words else ()
        self._table.executemany("insert into hits values (?)", hits)

    def _one(self, query: str, values: dict[str, str]) -> int:
        return int(self._table.execute(query, values).fetchone()[0])


def folded(text: str) -> str:
    """``text`` as it is searched: no case, one space between words."""
    return " ".join(text.casefold().split())


def stance(row: JudgedResponse) -> str:
    """The stance of a row's verdict, or that it is unreadable."""
    return row.stance.value if row.stance else UNREADABLE


def level(prompt: Prompt) -> str:
    return NOT_LABELLED if prompt.harm is None else str(prompt.harm)


def searched(row: RowPair) -> str:
    """What a search looks through: one line."""
    texts = [*(turn.text for turn in row.prompt.messages), row.before.response.text, row.after.response.text]
    return folded("\n".join((*texts, row.prompt.group or "", row.prompt.source or "")))


def cells(row: RowPair) -> tuple[Cell, ...]:
    """What the table holds of a row, in the order of ``COLUMNS``."""
    prompt, changed = row.prompt, row.before.stance is not row.after.stance
    about = (row.number, level(prompt), prompt.style or "", prompt.principle or "", int(changed))
    return (*about, *_side(row, 0), *_side(row, 1))


def _side(row: RowPair, which: int) -> tuple[Cell, ...]:
    failing = _RANK.get(-1 if row.prompt.harm is None else row.prompt.harm, 3)
    rank = failing if row.failed[which] else _MENDED if row.failed[1 - which] else _OTHER
    judged = (row.before, row.after)[which]
    return stance(judged), int(row.failed[which]), int(bool(row.fault[which])), rank
