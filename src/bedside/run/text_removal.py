"""Removes a text from files: rows with the text are removed, and every other row keeps exactly its bytes.

    .jsonl         a line with the text is removed, and so is a half-written line, which cannot be read
    .csv .tsv      a row with the text is removed
    .json          the innermost list item with the text is removed; in any other place the text becomes [ERASED]
    .html .md      the whole file is removed, because Bedside writes it again
    other files    stay as they are, and so do broken ones; ``holds`` says whether they have the text

The text is found in any case, with any white space, in any Unicode form, and with any escapes of JSON or HTML.
"""

import csv
import gzip
import html
import io
import json
import re
import unicodedata
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.data.io import csv_dialect, write_text

ERASED = "[ERASED]"
WEIGHTS = (".safetensors", ".pt", ".pth", ".bin")
"""Files of numbers. They are not searched."""
_JSON_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\[nrt]")


def normalised(text: str) -> str:
    """``text`` casefolded, in Unicode NFKC, with single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).split()).casefold()


def contains(value: Any, text: str) -> bool:
    """Whether a string in the JSON ``value`` contains the normalised ``text``."""
    if isinstance(value, str):
        return text in normalised(value)
    if isinstance(value, dict):
        return any(contains(item, text) for pair in value.items() for item in pair)
    return isinstance(value, list) and any(contains(item, text) for item in value)


@dataclass(frozen=True, slots=True)
class Remainder:
    """A file without the text."""

    content: str | None
    """None if nothing is left."""
    removed: int
    """How many rows or places had it."""

    def write(self, file: Path) -> None:
        if self.content is None:
            file.unlink()
        else:
            write_text(file, self.content)


def without(file: Path, text: str) -> Remainder | None:
    """``file`` without the normalised ``text``; None for another kind of file, and for a broken one."""
    remainder = _WITHOUT.get(file.suffix.lower())
    try:
        return remainder(file, file.read_bytes().decode("utf-8"), text) if remainder else None
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError):
        return None


def holds(file: Path, text: str) -> bool:
    """Whether a file of any kind has the normalised ``text``, packed with gzip or not."""
    data = file.read_bytes()
    if file.suffix.lower() == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            return True  # it cannot be read, so it counts as having the text
    encodings = ("utf-16",) if data.startswith((b"\xff\xfe", b"\xfe\xff")) else ("utf-8",)
    readable = data.decode(*encodings, errors="replace")
    spellings = (readable, html.unescape(readable), _JSON_ESCAPE.sub(_character, readable))
    return any(text in normalised(spelling) for spelling in spellings)


def _character(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16)) if escape[1] else " "


def _without_lines(file: Path, content: str, text: str) -> Remainder:
    """Lines end at \\n only, because other separators occur inside texts."""
    lines = [line for line in content.split("\n") if line.strip()]
    kept = [line for line in lines if not _line_holds(line, text)]
    return Remainder("".join(f"{line}\n" for line in kept), len(lines) - len(kept))


def _line_holds(line: str, text: str) -> bool:
    """Whether a string of this row contains the text. A half-written line cannot be read, so it counts too."""
    try:
        return contains(json.loads(line), text)
    except json.JSONDecodeError:
        return True


def _without_table_rows(file: Path, content: str, text: str) -> Remainder:
    delimiter = "\t" if file.suffix.lower() == ".tsv" else csv_dialect(file)[1]
    lines = list(io.StringIO(content, newline=""))
    reader = csv.reader(lines, delimiter=delimiter)
    kept: list[str] = []
    start, removed = 0, 0
    for cells in reader:
        holds_it = contains(cells, text)
        kept += [] if holds_it else lines[start : reader.line_num]
        start, removed = reader.line_num, removed + holds_it
    return Remainder("".join(kept), removed)


def _without_items(file: Path, content: str, text: str) -> Remainder:
    value, places = _value_without(json.loads(content), text)
    return Remainder(json.dumps(value, indent=1, ensure_ascii=False) + "\n" if places else content, places)


def _value_without(value: Any, text: str) -> tuple[Any, int]:
    """``value`` without the text, and in how many places it was."""
    if isinstance(value, list):
        items = [_value_without(item, text) for item in value if not _itself_holds(item, text)]
        return [item for item, _ in items], len(value) - len(items) + sum(places for _, places in items)
    if isinstance(value, dict):
        table = {key: _value_without(item, text) for key, item in value.items() if not contains(key, text)}
        places = len(value) - len(table) + sum(places for _, places in table.values())
        return {key: item for key, (item, _) in table.items()}, places
    return (ERASED, 1) if contains(value, text) else (value, 0)


def _itself_holds(item: Any, text: str) -> bool:
    """Whether ``item`` has the text outside of any list."""
    if isinstance(item, dict):
        return any(contains(key, text) or _itself_holds(value, text) for key, value in item.items())
    return isinstance(item, str) and contains(item, text)


def _without_page(file: Path, content: str, text: str) -> Remainder:
    holds_it = any(contains(page, text) for page in (content, html.unescape(content)))
    return Remainder(None if holds_it else content, int(holds_it))


_WITHOUT: dict[str, Callable[[Path, str, str], Remainder]] = {
    ".jsonl": _without_lines,
    ".csv": _without_table_rows,
    ".tsv": _without_table_rows,
    ".json": _without_items,
    ".html": _without_page,
    ".md": _without_page,
}
