"""The log that `bedside monitor watch` reads: JSON Lines of judged answers, the oldest first, which only grow.

    {"prompt": "...", "answer": "...", "harm": 0, "stance": "accept", "group": "talk 17", "judge": "..."}

`bedside judge` writes such lines. ``prompt`` may be ``messages``; ``answer`` may be ``response`` or ``completion``.

    harm       0 to 3; nothing, where nobody labelled the prompt
    stance     accept, caution or refuse; nothing, where no judge could read the answer
    group      the conversation, where there are several answers of one
    time       or ``timestamp``: when it was, to be shown beside an alarm; in any form

A line that is no such row is set aside with its reason and counted; the log is read on. A last line without its end is
read when it has one. ``read_new`` checks first, by a digest, that the bytes it read before are what they were.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from bedside.core.errors import DataError
from bedside.core.text import is_blank
from bedside.core.types import HARM_LEVELS, STANCES
from bedside.data import turns

_CHUNK = 1 << 20
_EMPTY = blake2b(digest_size=20).hexdigest()
_NUMBER_OR_TEXT = (int, float, str)
_LEVELS: dict[float | str, int] = {**{level: level for level in HARM_LEVELS}, **{str(n): n for n in HARM_LEVELS}}
_NOTHING = (None, "")
_ANSWER = ("answer", "response", "completion")
"""In what `bedside judge` writes, ``response`` is the id of the answer."""


@dataclass(slots=True)
class FilePosition:
    """How far one log was read."""

    path: str
    bytes: int = 0
    rows: int = 0
    """Lines before ``bytes``."""
    digest: str = _EMPTY
    """BLAKE2b of the bytes read."""


class LogRow(NamedTuple):
    """A judged answer."""

    prompt: str
    answer: str
    harm: int | None
    stance: str | None
    group: str | None
    judge: str | None
    time: str | None


class LogLine(NamedTuple):
    """One line: a row, or the reason why it is none."""

    start: int
    """Its first byte."""
    number: int
    """From 1."""
    row: LogRow | None
    reason: str


def read_new(position: FilePosition, most: int) -> Iterator[list[LogLine]]:
    """The whole lines after ``position``, at most so many at once; ``position`` then stands behind them.

    Blank lines are no rows; they only have a number. DataError where what was read before has changed.
    """
    path = Path(position.path)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; a log stays where it is once it was read")
    with path.open("rb") as file:
        state = _checked(position, file)
        at, number = position.bytes, position.rows
        while lines := [line for line in islice(file, most) if line.endswith(b"\n")]:
            read = []
            for line in lines:
                number += 1
                if not line.isspace():
                    read.append(parse(line, at, number))
                at += len(line)
            state.update(b"".join(lines))
            position.bytes, position.rows, position.digest = at, number, state.hexdigest()
            yield read


def check_past(position: FilePosition) -> None:
    """DataError where what was read of a log has changed. A log that is no longer there was put away."""
    if Path(position.path).is_file():
        with open(position.path, "rb") as file:
            _checked(position, file)


def _checked(position: FilePosition, file: Any) -> Any:
    """The state of the digest after the bytes that were read before."""
    state, left = blake2b(digest_size=20), position.bytes
    while left and (chunk := file.read(min(left, _CHUNK))):
        state.update(chunk)
        left -= len(chunk)
    if left or state.hexdigest() != position.digest:
        what = "is shorter than what was read" if left else "is no longer what was read"
        raise DataError(
            f"{position.path}: {what}, {position.rows} rows and {position.bytes} bytes: a log only grows, or the "
            "promise on false alarms does not hold; put the old lines back, or begin a new watch with another -o"
        )
    return state


def row_at(path: str, start: int) -> LogRow | None:
    """The row of the line that begins there; None where the log no longer holds it."""
    try:
        with open(path, "rb") as file:
            file.seek(start)
            return parse(file.readline(), start, 0).row
    except OSError:
        return None


def parse(line: bytes, start: int, number: int) -> LogLine:
    """The row of a line, or why it is none."""
    try:
        row = json.loads(line)
    except UnicodeDecodeError:
        return LogLine(start, number, None, "not UTF-8")
    except (ValueError, RecursionError):
        return LogLine(start, number, None, "not one whole line of JSON")
    if not isinstance(row, dict):
        return LogLine(start, number, None, "not an object")
    try:
        return LogLine(start, number, _row(row), "")
    except DataError as error:
        return LogLine(start, number, None, str(error))


def _row(row: dict[str, Any]) -> LogRow:
    """DataError with a reason that holds nothing of the row: it is counted, and stands in a status."""
    prompt = row.get("prompt")
    if not isinstance(prompt, str):
        prompt = _last_turn(row)
    answer = next((row[name] for name in _ANSWER if isinstance(row.get(name), str)), None)
    if answer is None:
        raise DataError("no answer")
    if is_blank(prompt):
        raise DataError("no prompt")
    harm = row.get("harm")
    time = row.get("time", row.get("timestamp"))
    names = (_text(row.get("group")), _text(row.get("judge")), _text(time))
    return LogRow(prompt, answer, _level(harm), _stance(row), *names)


def _last_turn(row: dict[str, Any]) -> str:
    """The patient's last turn."""
    try:
        conversation = turns.find_conversation(row)
    except DataError:
        raise DataError("no prompt that can be read") from None
    asked = [turn.text for turn in conversation or () if turn.role == "user"]
    if not asked:
        raise DataError("no prompt")
    return asked[-1]


def _level(harm: Any) -> int | None:
    if harm is None or harm == "":
        return None
    level = _LEVELS.get(harm) if isinstance(harm, _NUMBER_OR_TEXT) and not isinstance(harm, bool) else None
    if level is None:
        raise DataError("a harm level that is none of 0 to 3")
    return level


def _stance(row: dict[str, Any]) -> str | None:
    """None: the judge could not read the answer. DataError where nobody judged it."""
    stance = row.get("stance")
    if isinstance(stance, str) and stance in STANCES:
        return stance
    if stance in _NOTHING and "stance" not in row and row.get("unreadable") in _NOTHING:
        raise DataError("no verdict; judge the log first: `bedside judge`")
    return None


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)
