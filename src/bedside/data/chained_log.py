"""Logs whose lines are a chain, and the file that records the length of each log.

    {"chain": "b2-…", …}    the digest of the chain of the line before and of this line's other fields
    log_heads.json          {"events.jsonl": {"bytes": 5012, "chain": "b2-…"}, …, "digest": "b2-…"}

A line that is changed, moved or removed breaks the chain from there on. Lines that are cut off the end do not break it.
They are detected by log_heads.json, which is beside the logs and is written with every event of the run. It is written
after the lines that it describes, so after a kill at any time a log may be longer than recorded, but never shorter.
Lines of spend.jsonl since the last event, and the removal of log_heads.json itself, are not detected. A last line
without its end comes from a crash while writing.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bedside.core.errors import DataError
from bedside.core.hashing import digest, plain
from bedside.data.io import append_to, write_text

HEADS = "log_heads.json"
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Head:
    """The length of a log: the bytes of its whole lines, and the chain of the last line."""

    bytes: int
    chain: str


def read_chain(path: Path, remedy: str) -> tuple[list[dict[str, Any]], str]:
    """The lines of a log without their chain, and the last chain. A half-written last line is left out.

    DataError with ``remedy`` names the first line that was changed. A log that does not exist has no lines.
    """
    head = _read_heads(path.parent).get(path.name)  # read before the lines, because another process may be adding some
    data = path.read_bytes() if path.is_file() else b""
    reached = head is None or not path.is_file()
    rows: list[dict[str, Any]] = []
    size, chain = 0, ""
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        row = _parse(line)
        written = row.pop("chain", None)
        chain = digest(chain, row)
        if written != chain:
            why = "it or a line before it was changed, moved or removed"
            raise DataError(f"{path}, line {number}: is not what was written; {why}. {remedy}")
        size += len(line) + 1
        reached = reached or Head(size, chain) == head
        rows.append(row)
    if not reached:
        raise DataError(
            f"{path}, line {len(rows) + 1}: is not what was written; it and the lines after it were removed. {remedy}"
        )
    return rows, chain


def append_rows(path: Path, root: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Adds lines to a log whose last line is whole. ``root``: the run folder around it."""
    chain = _head(path).chain
    with append_to(path, root) as out:
        for row in map(plain, rows):
            chain = digest(chain, row)
            out.write(json.dumps({**row, "chain": chain}, ensure_ascii=False, sort_keys=True) + "\n")


def write_heads(folder: Path, begun_anew: str, *others: str) -> None:
    """Records the lengths of the logs of ``folder``. ``begun_anew``: the log that may be shorter than recorded.

    One of ``others`` that is shorter keeps its record, so that its reader detects it. One that does not exist loses it.
    """
    noted = _read_heads(folder)
    heads = {name: head for name in (begun_anew, *others) if (head := _flushed(folder / name)).bytes}
    for name in others:
        if name in noted and (folder / name).is_file():
            heads[name] = max(noted[name], heads.get(name, noted[name]), key=lambda head: head.bytes)
    if heads != noted:
        _write(folder, heads)


def forget_removed(path: Path) -> None:
    """Drops the record of a log that somebody removed to start again."""
    heads = _read_heads(path.parent)
    if path.name in heads and not path.is_file():
        _write(path.parent, {name: head for name, head in heads.items() if name != path.name})


def _write(folder: Path, heads: Mapping[str, Head]) -> None:
    whole = plain(heads)
    write_text(folder / HEADS, json.dumps({**whole, "digest": digest(whole)}, sort_keys=True) + "\n", folder)


def _read_heads(folder: Path) -> dict[str, Head]:
    """The records of ``write_heads``. DataError if the file was changed."""
    file = folder / HEADS
    try:
        heads = json.loads(file.read_bytes()) if file.is_file() else None
        if heads is None:
            return {}
        if heads.pop("digest") == digest(heads):
            return TypeAdapter(dict[str, Head]).validate_python(heads)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ValidationError):
        pass
    raise DataError(f"{file} is not what was written: remove it, and the next command that writes makes it again")


def _flushed(path: Path) -> Head:
    """The head of a log, flushed to disk so that a crash of the machine does not lose it."""
    if path.is_file():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    return _head(path)


def _head(path: Path) -> Head:
    """The length of a log by its last whole line; no bytes if there is none."""
    if not path.is_file():
        return Head(0, "")
    with path.open("rb") as file:
        start = max(0, file.seek(0, os.SEEK_END) - _LONGEST_LINE)
        file.seek(start)
        end = file.read()
    whole = end[: end.rfind(b"\n") + 1]
    return Head(start + len(whole), str(_parse(whole.splitlines()[-1]).get("chain", ""))) if whole else Head(0, "")


def _parse(line: bytes) -> dict[str, Any]:
    """The row in the line; an empty row, which is never valid, if there is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}
