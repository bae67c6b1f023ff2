"""Answers, and what people made of them, from a file.

    what `bedside generate` wrote     read back as it is
    prompt, response, ...             CSV, JSONL or Parquet; the prompt's columns as in ``prompts``

    response | answer | completion    the answer; a list of turns that ends with the assistant, or a text
    label columns                     named by whoever asks: one column a rater, or one row a rater with ``rater``

A label says what it means by ``values``: {"yes": accept, "no": not_accept}. Accept, caution and refuse need no
translation. ``not_accept`` makes the set one of two classes: accept against everything else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bedside.config import validation_messages
from bedside.core.errors import DataError
from bedside.core.types import STANCES, Prompt, Response, Stance
from bedside.data import io, prompts, typed_io

ANSWER = ("response", "answer", "completion")
FROM_FILE = "file"
"""Checkpoint of an answer of which nobody knows who gave it."""
NOT_ACCEPT = "not_accept"
MEANINGS = (*STANCES, NOT_ACCEPT)
_OWN_COLUMNS = ("prompt", "text", "checkpoint")
"""What a row has that `bedside generate` wrote."""


@dataclass(frozen=True, slots=True)
class Answers:
    """How a file of answers is understood."""

    path: str
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name of a column (prompt, response, harm, style, group, rater ...) to the file's name of it."""
    labels: tuple[str, ...] = ()
    """Columns that hold labels: not part of the prompt."""

    def read(self) -> list[Response]:
        """Every answer once, in the order of the file."""
        return list({response.id: response for response in self.every()}.values())

    def every(self) -> list[Response]:
        """Every row, also where it says what another has said."""
        found = list(io.rows(self.path))
        self._check_columns({name for _, row in found for name in row})
        return [self.response(where, row) for where, row in found]

    def _check_columns(self, there: set[str]) -> None:
        """DataError for a name that nothing has: what it was to be would silently be something else."""
        known = {*prompts.COLUMNS, "response", "rater"}
        for ours, theirs in self.columns.items():
            if ours not in known:
                raise DataError(
                    f"{self.path}: columns: nothing is called {ours!r}; {validation_messages.nearest(ours, known)}"
                )
            if there and theirs not in there:
                hint = validation_messages.nearest(theirs, there, there="the columns are")
                raise DataError(f"{self.path}: no column {theirs!r} to read as {ours}; {hint}")

    def column(self, ours: str) -> str:
        return self.columns.get(ours, ours)

    def response(self, where: str, row: dict[str, Any]) -> Response:
        """The answer of one row. DataError with file and row."""
        if isinstance(row.get("prompt"), Mapping) and all(name in row for name in _OWN_COLUMNS):
            known = {key: value for key, value in row.items() if key in Response.__dataclass_fields__}
            return typed_io.one(known, Response, where)
        named = [name for name in (self.columns.get("response"), *ANSWER) if name is not None and name in row]
        if not named:
            raise DataError(
                f"{where}: no answer; the columns are {', '.join(row)}; rename one to response, "
                "or name it: --column response=NAME, columns: {response: NAME} in a config"
            )
        return Response(self._prompt(where, row, named[0]), _text(where, row[named[0]]), FROM_FILE)

    def _prompt(self, where: str, row: Mapping[str, Any], answer: str) -> Prompt:
        """Labels and the answer stay out of the prompt's facets: a judge must not see them there."""
        ours = {name: column for name, column in self.columns.items() if name in prompts.COLUMNS}
        hidden = {answer, self.column("rater"), *self.labels} - set(ours.values())
        return prompts.one(where, row, prompts.Reading(unlabelled="keep", columns=ours), hidden)


def meaning(where: str, value: Any, values: Mapping[str, str]) -> str | None:
    """One of MEANINGS; None for a cell that says nothing. DataError for a word nobody translated."""
    said = plain(value)
    if not said:
        return None
    known = {name: name for name in MEANINGS} | {plain(key): told for key, told in values.items()}
    if said not in known:
        raise DataError(
            f"{where}: the label is {validation_messages.shown(value)}; say what it means: "
            f"values: {{{said!r}: accept}} (one of {', '.join(MEANINGS)})"
        )
    return known[said]


def plain(value: Any) -> str:
    """A label as text that is equal however YAML, JSON, CSV or a spreadsheet wrote it: true, 1, jailbroken."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().lower()


def stance(meaning: str) -> Stance:
    """The stance of a label; refuse stands for not accept."""
    return Stance.REFUSE if meaning == NOT_ACCEPT else Stance(meaning)


def _text(where: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    turns = value if isinstance(value, Sequence) else []
    if turns and isinstance(turns[-1], Mapping) and isinstance(turns[-1].get("content"), str):
        return str(turns[-1]["content"])
    if value is None:
        return ""
    raise DataError(f"{where}: the answer is {validation_messages.shown(value)}; write text")
