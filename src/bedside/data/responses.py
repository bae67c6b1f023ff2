"""Answers, the labels that people gave them, and verdicts, from files. Every file of answers is read here.

    what `bedside generate` wrote     read back unchanged, and so are the verdicts that `bedside judge` wrote
    prompt, response, ...             CSV, JSONL or Parquet; the prompt's columns as in ``data/prompts.py``

    response | answer | completion    the answer: a text, or a list of turns that ends with the assistant
    messages                          without such a column, the assistant turn that the messages end with
    label columns                     one column for each rater, or one row for each rater with a column ``rater``

``label_map`` maps a label of the file to its meaning: {"yes": accept, "no": not_accept}. The labels accept, caution and
refuse need no mapping. With ``not_accept`` there are two classes: accept, and everything else.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from bedside.config import validation_messages
from bedside.core.errors import DataError
from bedside.core.hashing import canonical, digest_rows, plain
from bedside.core.types import BINARY_STANCES, STANCES, JudgedResponse, Prompt, Response, Verdict
from bedside.data import annotations, io, prompts, turns

T = TypeVar("T")

ANSWER = ("response", "answer", "completion")
FROM_FILE = "file"
"""The checkpoint of an answer whose model is unknown."""
NOT_ACCEPT = BINARY_STANCES[1]
MEANINGS = (*STANCES, NOT_ACCEPT)
"""What a label can mean."""
COMPLIANCE = ("complied", "actionable")
"""Columns beside a label: does the answer mean to do what was asked; could somebody act on what it gives?"""
_YES_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
KINDS: dict[type[Any], tuple[str, set[str]]] = {
    Response: ("responses, as `bedside generate` writes them", {"prompt", "text", "checkpoint"}),
    Verdict: ("verdicts, as `bedside judge` writes them", {"response", "judge"}),
}
"""For each type, the name of such rows for people, and the columns by which they are recognised."""


_ANSWER_COLUMNS = {"prompt", "response", "checkpoint"}
"""By which a CSV file of `bedside generate` is recognised."""


@dataclass(frozen=True, slots=True)
class AnswerFile:
    """A file of answers, and how its columns are read."""

    path: str
    columns: Mapping[str, str] = field(default_factory=dict)
    """The file's names of our columns (prompt, response, harm, style, group, rater, ...)."""
    labels: tuple[str, ...] = ()
    """Columns that hold labels. They do not become metadata of the prompt."""

    def read(self) -> list[Response]:
        """The distinct answers, in the order of the file."""
        return distinct(self.all_rows())

    def all_rows(self) -> list[Response]:
        """The answer of every row, repeated answers included."""
        return list(self.stream())

    def stream(self) -> Iterator[Response]:
        """The answer of every row, none of which is kept."""
        return (response for _, response in self.stream_with_places())

    def stream_with_places(self) -> Iterator[tuple[str, Response]]:
        """Place and answer of every row, such as "answers.jsonl, row 3"."""
        present: set[str] = set()
        try:
            for where, row in annotations.rows(self.path, self.labels):
                present |= row.keys()
                yield where, self.response(where, row)
        except DataError:  # a column that no row has may be the reason, and is the better message
            self._check_columns({name for _, row in annotations.rows(self.path, self.labels) for name in row})
            raise
        self._check_columns(present)

    def _check_columns(self, present: set[str]) -> None:
        """DataError for a mapped column that is unknown or not in the file: the mapping would silently do nothing."""
        known = {*prompts.COLUMNS, "response", "rater", *COMPLIANCE}
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
        if isinstance(row.get("prompt"), Mapping) and KINDS[Response][1] <= row.keys():
            known = {key: value for key, value in row.items() if key in Response.__dataclass_fields__}
            return _validated(TypeAdapter(Response), where, known, Response)
        named = [name for name in (self.columns.get("response"), *ANSWER) if name is not None and name in row]
        if not named:
            logged = self._logged(where, row)
            if logged is not None:
                return logged
            raise DataError(
                f"{where}: no answer; the columns are {', '.join(row)}; rename one to response, "
                "or name it: --column response=NAME, columns: {response: NAME} in a config"
            )
        return Response(self._prompt(where, row, named[0]), _text(where, row[named[0]]), FROM_FILE)

    def _logged(self, where: str, row: Mapping[str, Any]) -> Response | None:
        """The last answer of a log of messages; None if the row holds no conversation that ends with one."""
        try:
            conversation = turns.find_conversation(row)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        if conversation is None or conversation[-1].role != "assistant":
            return None
        prompt = replace(self._prompt(where, row, ""), messages=conversation[:-1], reference=None)
        return Response(prompt, conversation[-1].text, FROM_FILE)

    def _prompt(self, where: str, row: Mapping[str, Any], answer: str) -> Prompt:
        """The prompt of a row. Labels and the answer are hidden, so that a judge cannot see them in its metadata."""
        ours = {name: column for name, column in self.columns.items() if name in prompts.COLUMNS}
        hidden = {answer, self.column("rater"), *self.labels} - set(ours.values())
        return prompts.parse_prompt(where, row, prompts.ReadOptions(unlabelled="keep", columns=ours), hidden)


def distinct(responses: Sequence[Response]) -> list[Response]:
    """Gives each answer once: rows with the same conversation and answer are one answer."""
    return list({response.id: response for response in responses}.values())


@dataclass(frozen=True)
class AnswerStream:
    """The distinct answers of a file, as ``AnswerFile.read`` gives them. The file is read again each time."""

    file: AnswerFile
    version: tuple[tuple[int, int], ...]
    digest: str
    repeated: frozenset[int]
    """Numbers, from 0, of the rows that repeat an answer."""
    count: int
    """Distinct answers."""

    @classmethod
    def of(cls, file: AnswerFile) -> "AnswerStream | None":
        """The answers of ``file``. None if an answer occurs twice in different rows: then the last row counts."""
        version, seen = _version(Path(file.path)), _Seen()
        digest = digest_rows(seen.distinct(file.stream()))
        return None if seen.differ else cls(file, version, digest, frozenset(seen.repeated), len(seen.contents))

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Response]:
        yield from (response for n, response in enumerate(self.file.stream()) if n not in self.repeated)
        if _version(Path(self.file.path)) != self.version:
            raise DataError(f"{self.file.path}: was changed while it was read; run the same command again")


@dataclass
class _Seen:
    """Which answers of a file were read already."""

    contents: dict[str, int] = field(default_factory=dict)
    """Response id to the hash of its whole row."""
    repeated: list[int] = field(default_factory=list)
    differ: bool = False

    def distinct(self, responses: Iterable[Response]) -> Iterator[Response]:
        for number, response in enumerate(responses):
            response_id, content = response.id, hash(canonical(response))
            if response_id in self.contents:
                self.repeated.append(number)
                self.differ |= self.contents[response_id] != content
            else:
                self.contents[response_id] = content
                yield response


def _version(path: Path) -> tuple[tuple[int, int], ...]:
    """Size and time of each file at ``path``. If they change, somebody wrote there."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file())


def answer_rows(responses: Sequence[Response]) -> list[dict[str, Any]]:
    """Flat rows for a spreadsheet, which ``AnswerFile`` reads back."""
    return [
        {
            "prompt": response.prompt.text if len(response.prompt.messages) == 1 else _turns(response.prompt),
            "response": response.text,
            "harm": response.prompt.harm,
            **{name: getattr(response.prompt, name) for name in ("principle", "style", "group", "source", "reference")},
            "checkpoint": response.checkpoint,
            "finished": response.finished,
        }
        for response in responses
    ]


def verdict_rows(judged: Iterable[JudgedResponse]) -> Iterator[dict[str, Any]]:
    """Each verdict with the prompt and the answer that it is about: a person, and a watch, can read the file alone."""
    for row in judged:
        asked = row.prompt.text if len(row.prompt.messages) == 1 else _turns(row.prompt)
        known = {"prompt": asked, "answer": row.response.text, "harm": row.prompt.harm}
        yield {**known, **plain(row.verdict), "group": row.prompt.group}


def _turns(prompt: Prompt) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.text} for turn in prompt.messages]


def read_rows(path: Path, row_type: type[T]) -> list[T]:
    """All rows of ``path`` as ``row_type``. DataError with file, row and field."""
    return list(stream_rows(path, row_type))


def stream_rows(path: Path, row_type: type[T]) -> Iterator[T]:
    """``read_rows`` one by one."""
    return (row for _, row in _rows_with_places(path, row_type))


def _rows_with_places(path: Path, row_type: type[T]) -> Iterator[tuple[str, T]]:
    adapter, fields = TypeAdapter(row_type), {*getattr(row_type, "__dataclass_fields__", ())}
    for where, row in io.rows(path):
        known = _without_gaps(where, row, fields) if KINDS[row_type][1] <= row.keys() else row
        yield where, _validated(adapter, where, known, row_type)


def _without_gaps(where: str, row: Mapping[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """The known columns that have a value; a table that a CSV cell holds as JSON is a table again."""
    known = {key: value for key, value in row.items() if key in fields and value is not None}
    for key in ("probabilities", "scores", "votes"):
        if isinstance(known.get(key), str):
            known[key] = _table(where, key, known[key])
    return known


def _table(where: str, key: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        shown = validation_messages.short(text)
        raise DataError(f"{where}: {key} is {shown}; it should be a table in JSON, as Bedside writes it") from None


def read_judged(answers: AnswerFile, verdicts: Path) -> list[JudgedResponse]:
    """The answers with their verdicts, in the order of the answers. Raises DataError if an answer has no verdict."""
    return list(stream_judged(answers, verdicts))


def stream_judged(answers: AnswerFile, verdicts: Path) -> Iterator[JudgedResponse]:
    """``read_judged`` one by one, no answer kept. Its DataError comes at the end, after the answers with a verdict."""
    by_id: dict[str, Verdict] = {}
    first_place = ""
    for where, verdict in _rows_with_places(verdicts, Verdict):
        by_id[verdict.response] = verdict
        first_place = first_place or where
    count = missing = 0
    first_missing = ""
    for where, response in answers.stream_with_places():
        count += 1
        verdict_of = by_id.get(response.id)
        if verdict_of is None:
            missing += 1
            first_missing = first_missing or f"{where}, is {response.id}"
        else:
            yield JudgedResponse(response, verdict_of)
    if missing == count:
        raise DataError(
            f"{verdicts.name}: its verdicts are of other responses than {answers.path}: {first_place}, judges "
            f"{next(iter(by_id))}, and {first_missing or 'no answer is there'}; name the answers that it judges, or "
            f"judge {answers.path}"
        )
    if missing:
        raise DataError(
            f"{verdicts.name}: {missing} of {count} responses have no verdict; the first, {first_missing}: judge "
            f"{answers.path} again, or take such rows out"
        )


def check_replaceable(path: Path, row_type: type[T]) -> None:
    """DataError if ``path`` has anything but rows of ``row_type``, because writing there would lose it."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    row: Mapping[str, Any] = {}
    with suppress(DataError):
        _, row = next(io.rows(path, format=io.format_of(path) or "jsonl"))
    if not KINDS[row_type][1] <= row.keys() and not (row_type is Response and row.keys() >= _ANSWER_COLUMNS):
        raise DataError(f"{path}: {_content(row)}, which would be lost; name another file with -o, or move this one")


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


def parse_yes_no(where: str, column: str, value: Any) -> bool | None:
    """None for an empty cell. DataError for anything but yes, no, true, false, 1 and 0."""
    answer = normalized_label(value)
    if answer and answer not in _YES_NO:
        raise DataError(f"{where}: {column} is {validation_messages.short(value)}; write yes or no, or leave it empty")
    return _YES_NO[answer] if answer else None


def normalized_label(value: Any) -> str:
    """A label as lower-case text that is the same from YAML, JSON, CSV and a spreadsheet: true, 1, jailbroken."""
    text = "" if value is None else str(value).strip()
    return "" if text in io.MISSING else io.without_fraction(text).lower()


def _text(where: str, value: Any) -> str:
    """The text of an answer cell: the text itself, its text parts, or the last of a list of turns."""
    if value is None:
        return ""
    try:
        if isinstance(value, Sequence) and value and isinstance(value[-1], Mapping) and "type" not in value[-1]:
            return turns.read_turns(value)[-1].text
        return turns.read_content(value, "the answer")
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _validated(adapter: TypeAdapter[T], where: str, row: Mapping[str, Any], row_type: type[T]) -> T:
    try:
        return adapter.validate_python(row)
    except ValidationError as error:
        wanted, columns = KINDS[row_type]
        if not columns <= row.keys():
            raise DataError(f"{where}: {_content(row)}; wanted are {wanted}: name that file") from None
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the row"
        raise DataError(
            f"{where}: {place}: {first['msg']}; a {row_type.__name__} file must be as Bedside wrote it"
        ) from None


def _content(row: Mapping[str, Any]) -> str:
    """What kind of rows a file holds, by one of them."""
    for name, columns in KINDS.values():
        if columns <= row.keys():
            return f"this file holds {name}"
    return f"this file holds {'prompts' if row.keys() & set(prompts.COLUMNS['prompt']) else 'something else'}"
