"""Answers, and the labels that people gave them, from a file. Every file of answers is read here.

    what `bedside generate` wrote     read back unchanged
    prompt, response, ...             CSV, JSONL or Parquet; the prompt's columns as in ``data/prompts.py``

    response | answer | completion    the answer: a text, or a list of turns that ends with the assistant
    label columns                     one column for each rater, or one row for each rater with a column ``rater``

``label_map`` maps a label of the file to its meaning: {"yes": accept, "no": not_accept}. The labels accept, caution and
refuse need no mapping. With ``not_accept`` there are two classes: accept, and everything else.
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
"""The checkpoint of an answer whose model is unknown."""
NOT_ACCEPT = "not_accept"
MEANINGS = (*STANCES, NOT_ACCEPT)
"""What a label can mean."""
_GENERATED_COLUMNS = ("prompt", "text", "checkpoint")
"""The columns of a row that `bedside generate` wrote."""


@dataclass(frozen=True, slots=True)
class AnswerFile:
    """A file of answers, and how its columns are read."""

    path: str
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name of a column (prompt, response, harm, style, group, rater, ...) to its name in the file."""
    labels: tuple[str, ...] = ()
    """Columns that hold labels. They do not become metadata of the prompt."""

    def read(self) -> list[Response]:
        """The distinct answers, in the order of the file."""
        return list({response.id: response for response in self.all_rows()}.values())

    def all_rows(self) -> list[Response]:
        """The answer of every row, repeated answers included."""
        rows = list(io.rows(self.path))
        self._check_columns({name for _, row in rows for name in row})
        return [self.response(where, row) for where, row in rows]

    def _check_columns(self, present: set[str]) -> None:
        """DataError for a mapped column that is unknown or not in the file: the mapping would silently do nothing."""
        known = {*prompts.COLUMNS, "response", "rater"}
        for ours, theirs in self.columns.items():
            if ours not in known:
                raise DataError(
                    f"{self.path}: columns: nothing is called {ours!r}; {validation_messages.did_you_mean(ours, known)}"
                )
            if present and theirs not in present:
                hint = validation_messages.did_you_mean(theirs, present, otherwise="the columns are")
                raise DataError(f"{self.path}: no column {theirs!r} to read as {ours}; {hint}")

    def column(self, ours: str) -> str:
        """The file's name of our column ``ours``."""
        return self.columns.get(ours, ours)

    def response(self, where: str, row: dict[str, Any]) -> Response:
        """The answer of one row. DataError with file and row."""
        if isinstance(row.get("prompt"), Mapping) and all(name in row for name in _GENERATED_COLUMNS):
            known = {key: value for key, value in row.items() if key in Response.__dataclass_fields__}
            return typed_io.parse_row(known, Response, where)
        named = [name for name in (self.columns.get("response"), *ANSWER) if name is not None and name in row]
        if not named:
            raise DataError(
                f"{where}: no answer; the columns are {', '.join(row)}; rename one to response, "
                "or name it: --column response=NAME, columns: {response: NAME} in a config"
            )
        return Response(self._prompt(where, row, named[0]), _text(where, row[named[0]]), FROM_FILE)

    def _prompt(self, where: str, row: Mapping[str, Any], answer: str) -> Prompt:
        """The prompt of a row. Labels and the answer are hidden, so that a judge cannot see them in its metadata."""
        ours = {name: column for name, column in self.columns.items() if name in prompts.COLUMNS}
        hidden = {answer, self.column("rater"), *self.labels} - set(ours.values())
        return prompts.parse_prompt(where, row, prompts.ReadOptions(unlabelled="keep", columns=ours), hidden)


def parse_label(where: str, value: Any, label_map: Mapping[str, str]) -> str | None:
    """The meaning of a label, one of MEANINGS; None for an empty cell. DataError for a label without a meaning."""
    label = normalized_label(value)
    if not label:
        return None
    meanings = {name: name for name in MEANINGS} | {normalized_label(key): name for key, name in label_map.items()}
    if label not in meanings:
        raise DataError(
            f"{where}: the label is {validation_messages.short(value)}; say what it means: "
            f"label_map: {{{label!r}: accept}} (one of {', '.join(MEANINGS)})"
        )
    return meanings[label]


def normalized_label(value: Any) -> str:
    """A label as lower-case text that is the same from YAML, JSON, CSV and a spreadsheet: true, 1, jailbroken."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().lower()


def stance_of(meaning: str) -> Stance:
    """The stance of a label's meaning. ``not_accept`` becomes refuse."""
    return Stance.REFUSE if meaning == NOT_ACCEPT else Stance(meaning)


def _text(where: str, value: Any) -> str:
    """The text of an answer cell: the text itself, or the last of a list of turns."""
    if isinstance(value, str):
        return value
    turns = value if isinstance(value, Sequence) else []
    if turns and isinstance(turns[-1], Mapping) and isinstance(turns[-1].get("content"), str):
        return str(turns[-1]["content"])
    if value is None:
        return ""
    raise DataError(f"{where}: the answer is {validation_messages.short(value)}; write text")
