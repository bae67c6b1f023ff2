"""Reads rows of any data file, each with its place for people, and writes files atomically.

    for where, row in rows("data/prompts.jsonl"):
        ("prompts.jsonl, row 4183", {"prompt": "...", "harm": 3})

    rows                 a JSONL, CSV or Parquet file, or a folder of them
    hub_rows             a Hugging Face data set
    rows_or_hub_rows     either of the two
    write_text, write_json, write_jsonl, write_csv, write_rows
    make_private, append_to    folders and files of a run that nobody else may read

A JSON file may also be one array of rows. NaN, and what pandas writes for a missing value, is read as None. 3.0 is read
as 3, because tables with gaps write whole numbers in this way.

In JSONL and CSV the row number is the line number in an editor. In Parquet and on the hub rows are counted from 1.
Parquet needs pyarrow and the hub needs datasets: ``pip install 'bedside[hf]'``. Rows are read lazily. What the columns
mean is in ``data/prompts.py`` and ``data/responses.py``.
"""

import codecs
import csv
import glob
import gzip
import io
import json
import math
import os
import re
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, Literal, TextIO

from bedside.core.errors import DataError
from bedside.core.hashing import canonical, plain

Format = Literal["jsonl", "csv", "parquet"]
Row = tuple[str, dict[str, Any]]
"""The place of a row, such as "prompts.jsonl, row 4183", and its columns."""

FORMATS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
"""Formats by ending. Endings of text may be followed by ``.gz``."""
MISSING = ("nan", "NaN", "NAN", "<NA>", "NaT")
"""What pandas writes for a cell without a value, if it does not leave the cell empty."""
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""Text that a spreadsheet runs as a formula. A space is written in front; reading `bedside label`'s file removes it."""
EVENTS, SPEND = "events.jsonl", "spend.jsonl"
"""The file that every run folder has, and that of a run at endpoints."""
_WHOLE_NUMBER = re.compile(r"-?\d+\.0+")
csv.field_size_limit(1 << 30)
_INSTALL = "pip install 'bedside[hf]'"
_SHOWN_CHARACTERS = 60
_DRAFT = re.compile(r"\..*\.([0-9]{1,10})-[0-9]+\.draft", re.DOTALL)
"""The name of a draft, with the process and the thread that write it."""
_HEAD_BYTES = 4096
_HEAD_LINES = 100
"""How many lines of a CSV file are searched for its header, because a name may have several lines."""


def rows(
    source: str | Path,
    *,
    format: Format | None = None,
    split: str | None = None,
) -> Iterator[Row]:
    """The rows of a file, or of the files of a folder. DataError with file and row.

    Of a folder, only the files named after ``split`` are read, if there are any. Their rows get ``split`` as column
    ``split``, unless they have that column.
    """
    path = Path(source)
    return _folder(path, format, split) if path.is_dir() else _file(path, path.name, format)


def hub_rows(source: str, *, revision: str | None = None, split: str | None = None) -> Iterator[Row]:
    """The rows of a Hugging Face data set, of one split or all, each with its split in a column. DataError."""
    try:
        import datasets
    except ImportError:
        raise DataError(f"{source}: reading from the hub needs datasets; {_INSTALL}") from None
    try:
        loaded = datasets.load_dataset(source, revision=revision, split=split)
    except (OSError, ValueError, RuntimeError) as error:
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{source}: cannot be read from the hub ({cause}); "
            "correct the id, revision and split, or download it and give its folder as `path`"
        ) from None
    parts: Mapping[str, Any] = loaded if isinstance(loaded, Mapping) else {split or "all": loaded}
    yield from (
        (f"{source}/{name}, row {number}", {"split": name, **row})
        for name, part in parts.items()
        for number, row in enumerate(part, start=1)
    )


def rows_or_hub_rows(
    source: str, *, revision: str | None, split: str | None, format: Format | None = None
) -> Iterator[Row]:
    """The rows of the file, folder or Hugging Face id ``source``."""
    if is_hub_id(source):
        return hub_rows(source, revision=revision, split=split)
    return rows(source, format=format, split=split)


def is_hub_id(source: str) -> bool:
    """True for ``owner/name`` that does not exist on this disk and has no ending of a data file."""
    owner, slash, name = source.partition("/")
    return (
        bool(owner and slash and name)
        and "/" not in name
        and owner not in (".", "..", "~")
        and not Path(source).exists()
        and not Path(owner).is_dir()
        and format_of(Path(name)) is None
    )


def make_private(folder: Path, root: Path | None = None) -> bool:
    """Makes ``root`` and the folders from there down to ``folder``. Only the owner can enter a new one (0700).

    False if others may enter ``root``: somebody opened it to them, and so new files in it are open as well.
    """
    root = root or folder
    root.parent.mkdir(parents=True, exist_ok=True)
    root.mkdir(mode=0o700, exist_ok=True)
    private = root.stat().st_mode & 0o077 == 0
    for below in accumulate(folder.relative_to(root).parts, Path.joinpath, initial=root):
        below.mkdir(mode=0o700 if private else 0o777, exist_ok=True)
    return private


def append_to(path: Path, root: Path) -> TextIO:
    """``path``, opened for appending. Only the owner can read a new file in a private ``root`` (0600)."""
    private = make_private(path.parent, root)
    return open(path, "a", encoding="utf-8", opener=_for_owner if private else None)


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _run_of(path: Path) -> Path | None:
    """The run folder of ``path``."""
    return next((folder for folder in path.parents if (folder / EVENTS).is_file()), None)


def write_text(path: Path, text: str, root: Path | None = None) -> None:
    """Writes a file atomically: to a draft in the same folder, flushed to disk, then renamed.

    In a private ``root``, by default the run folder around it, only the owner can read the file (0600). Elsewhere the
    umask decides.
    """
    write_parts(path, [text], root)


def write_parts(path: Path, parts: Iterable[str], root: Path | None = None) -> None:
    """``write_text`` of texts one after another, none of which is kept."""
    private = False
    if root := root or _run_of(path):
        private = make_private(path.parent, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(path)
    try:
        with open(draft, "w", encoding="utf-8", newline="\n", opener=_for_owner if private else None) as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except UnicodeEncodeError as error:
        raise DataError(
            f"{path}: a row contains a lone surrogate (\\u{ord(error.object[error.start]):04x}), which no file can "
            "hold; correct that text where it comes from"
        ) from None
    except OSError as error:
        error.filename = str(path)  # the draft's name would mean nothing to the user
        raise
    finally:
        draft.unlink(missing_ok=True)
    for dead in dead_drafts(path):
        dead.unlink(missing_ok=True)
    sync_folder(path.parent)


def draft_of(path: Path) -> Path:
    """Where this process writes ``path`` before it takes its place."""
    return path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.draft")


def dead_drafts(path: Path) -> Iterator[Path]:
    """Drafts of ``path`` whose processes were killed."""
    for draft in path.parent.glob(f".{glob.escape(path.name)}.*.draft"):
        writer = _DRAFT.fullmatch(draft.name)
        if writer and not _is_running(int(writer[1])):
            yield draft


def is_draft(path: Path) -> bool:
    """Whether ``path`` has the name of a draft, of a file or of a folder."""
    return _DRAFT.fullmatch(path.name) is not None


def require_replaceable(path: Path, mark: bytes) -> None:
    """DataError where ``path`` is a file without ``mark`` near its begin, because writing there would lose it."""
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a file in it")
    if not path.is_file() or path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        if mark not in file.read(_HEAD_BYTES):
            raise DataError(f"{path} holds something else, which would be lost; name another file, or move this one")


def _is_running(pid: int) -> bool:
    """Whether there is a process ``pid`` on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def whole_lines(path: Path) -> Iterator[bytes]:
    """The complete lines of a file that is appended to, if there is one. A half-written last line is cut off."""
    if not path.is_file():
        return
    whole = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                os.truncate(path, whole)
                return
            whole += len(line)
            yield line[:-1]


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON atomically."""
    write_text(path, json.dumps(plain(value), indent=1, ensure_ascii=False) + "\n")


def csv_dialect(path: Path) -> tuple[str, str]:
    """The byte order mark and the delimiter of a CSV file; "" and "," if ``path`` is not one."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return "", ","
    text = path.read_bytes().decode("utf-8")
    bare = text.removeprefix("\ufeff")
    return text[: len(text) - len(bare)], _delimiter(bare)


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Writes one line of canonical JSON for each row, atomically."""
    write_parts(path, (canonical(row) + "\n" for row in rows))


def write_rows(path: Path, table: Iterable[Mapping[str, Any]]) -> None:
    """Writes CSV if ``path`` ends in .csv, else JSONL; atomically. Rows of JSONL are taken one by one."""
    if format_of(path) != "csv":
        write_jsonl(path, table)
        return
    write_csv(path, list(table), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")


def write_csv(path: Path, table: Sequence[Mapping[str, Any]], *, start: str = "", delimiter: str = ",") -> None:
    """Writes quoted cells, atomically. A list or a table becomes JSON; ``start`` is a byte order mark, or empty.

    A space is put before text that a spreadsheet would run as a formula.
    """
    text = io.StringIO()
    columns = list(dict.fromkeys(column for row in table for column in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="", quoting=csv.QUOTE_ALL, delimiter=delimiter)
    writer.writeheader()
    writer.writerows({column: _cell(value) for column, value in row.items()} for row in table)
    write_text(path, start + text.getvalue())


def _cell(value: Any) -> Any:
    value = json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value
    return f" {value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def sync_folder(folder: Path) -> None:
    """Flushes the folder's entries to disk, if the system can: this makes a rename durable."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _file(path: Path, name: str, format: Format | None) -> Iterator[Row]:
    if not path.is_file():
        folder = "" if path.is_absolute() else f" in {Path.cwd()}, the folder that paths are relative to"
        raise DataError(f"{path}: there is no such file{folder}; correct the path")
    format = format or format_of(path)
    if format is None:
        raise DataError(f"{path}: the ending says no format; save it as {', '.join(FORMATS)}, or set `format`")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty; give it rows, or name another file")
    read = {"jsonl": _jsonl, "csv": _csv, "parquet": _parquet}[format]
    file_rows = ((where, _given(row)) for where, row in read(path, name))
    first = next(file_rows, None)
    if first is None:
        raise DataError(f"{path}: has no rows; give it rows, or name another file")
    yield first
    yield from file_rows


def format_of(path: Path) -> Format | None:
    """The format by the ending of ``path``, without ``.gz``; None if the ending is unknown."""
    name = Path(path.stem) if path.suffix.lower() == ".gz" else path
    return FORMATS.get(name.suffix.lower())


def without_fraction(text: str) -> str:
    """``3`` for ``3.0``, which is how a table with gaps writes a whole number; any other text as it is."""
    return text.partition(".")[0] if _WHOLE_NUMBER.fullmatch(text) else text


def _given(row: Mapping[str, Any]) -> dict[str, Any]:
    """``row`` with None for a value that is not a number, and whole numbers without a fraction."""
    return {key: _given_value(value) if isinstance(value, float) else value for key, value in row.items()}


def _given_value(value: float) -> float | int | None:
    if math.isnan(value):
        return None
    return int(value) if value.is_integer() and abs(value) < 1 << 53 else value


def _folder(folder: Path, format: Format | None, split: str | None) -> Iterator[Row]:
    """The rows of the files in ``folder``, by name; only those named after ``split``, if there are any."""
    files = [f for f in sorted(folder.rglob("*")) if format_of(f) and f.is_file()]
    named = [file for file in files if split and _is_named(file.relative_to(folder), split)]
    if not files:
        raise DataError(f"{folder}: holds no file that ends in {', '.join(FORMATS)}; correct the path")
    for file in named or files:
        for where, row in _file(file, file.relative_to(folder).as_posix(), format):
            yield where, {"split": split, **row} if named else row


def _is_named(file: Path, split: str) -> bool:
    """``train.jsonl``, ``train-00000-of-00001.parquet`` and ``train/0000.parquet`` are named after train."""
    return any(
        name == split or name.startswith((f"{split}-", f"{split}_", f"{split}."))
        for name in (*file.parts[:-1], file.stem)
    )


def _lines(path: Path, name: str) -> Iterator[tuple[str, str]]:
    """Place and text of every line. Lines end at \\n only, as in an editor. DataError if a line is not UTF-8."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                where = f"{name}, row {number}"
                line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                try:
                    yield where, line.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"{where}: byte {error.start + 1} is not UTF-8{_encoding(line)}; save the file as UTF-8 "
                        "(in Excel: Save As, CSV UTF-8)"
                    ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: is not a whole gzip file ({error}); write it again") from None


def _encoding(line: bytes) -> str:
    """The probable encoding of a line that is not UTF-8."""
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return " but UTF-16"
    with suppress(UnicodeDecodeError):
        line.decode("cp1252")
        return ", and looks like Windows-1252"
    return ""


def _jsonl(path: Path, name: str) -> Iterator[Row]:
    lines = _lines(path, name)
    for where, line in lines:
        if not line.strip():
            continue
        if line.lstrip().startswith("[") and not line.rstrip().endswith("]"):
            yield from _array("".join([line, *(rest for _, rest in lines)]), name)
            return
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            if where.endswith("row 1") and line.strip().startswith("{"):
                yield from _wrapped("".join([line, *(rest for _, rest in lines)]), where, name)
                return
            raise DataError(
                f"{where}: is not one whole line of JSON ({_cause(error)} at column {getattr(error, 'colno', 1)}); "
                f"correct or remove it: {_shown(line)}"
            ) from None
        if isinstance(row, list) and where.endswith("row 1"):
            yield from _items(row, name)
        elif not isinstance(row, dict):
            raise DataError(f'{where}: is not an object; write {{"prompt": …}}, not {_shown(line)}')
        else:
            yield where, row


def _array(text: str, name: str) -> Iterator[Row]:
    """The rows of a file that is one JSON array."""
    try:
        return _items(json.loads(text), name)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise DataError(
            f"{name}, line {line}: is not JSON ({_cause(error)}); correct it, or write a row a line"
        ) from None


def _wrapped(text: str, where: str, name: str) -> Iterator[Row]:
    """The rows of a file that is one object with a list of rows under one of its keys, such as {"data": [...]}."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{where}: is not one whole line of JSON, nor is the file one object ({_cause(error)} at line "
            f"{getattr(error, 'lineno', 1)}); correct it, or write a row a line: {_shown(text[:200])}"
        ) from None
    lists = [value for value in whole.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if len(lists) != 1:
        raise DataError(
            f"{name}: is one object with {', '.join(map(str, whole))} and no single list of rows; write a row a line"
        )
    return _items(lists[0], name)


def _cause(error: Exception) -> str:
    """Why ``json.loads`` refuses a text: its grammar, its depth, or a number that is too long for Python."""
    if isinstance(error, json.JSONDecodeError):
        return error.msg.removesuffix(" at")
    return "nested too deeply" if isinstance(error, RecursionError) else "a number of thousands of digits"


def _items(array: list[Any], name: str) -> Iterator[Row]:
    for number, item in enumerate(array, start=1):
        if not isinstance(item, dict):
            raise DataError(f'{name}, item {number}: is not an object; write {{"prompt": …}}, not {_shown(str(item))}')
        yield f"{name}, item {number}", item


def _csv(path: Path, name: str) -> Iterator[Row]:
    """The rows below the header line. An empty cell is None, and a row of empty cells is skipped."""
    head = "".join(islice(_csv_lines(path, name), _HEAD_LINES))
    reader = csv.reader(_csv_lines(path, name), strict=True, delimiter=_delimiter(head))
    header: list[str] = []
    line = 1
    try:
        for cells in reader:
            where, line = f"{name}, row {line}", reader.line_num + 1
            if not any(cells) or (line == 2 and cells[0].startswith("sep=")):
                continue
            if not header:
                header = _header(cells, where)
            else:
                yield where, _cells(header, cells, where)
    except csv.Error as error:
        raise DataError(f"{name}, row {line}: is not CSV ({error}); correct its quotes") from None


def _csv_lines(path: Path, name: str) -> Iterator[str]:
    """The lines of a CSV file. They may end at \\r, as a spreadsheet of an old Mac writes them."""
    return (piece for _, line in _lines(path, name) for piece in io.StringIO(line, newline=""))


def _delimiter(text: str) -> str:
    """Comma, semicolon or tab: what splits the header into most cells. Spreadsheets follow their locale."""
    if text.startswith("sep=") and text[4:5] not in ("", "\r", "\n", '"'):
        return text[4]
    return max(",;\t", key=lambda delimiter: _header_cells(text, delimiter))


def _header_cells(text: str, delimiter: str) -> int:
    """Number of cells in the header; 0 if it is not valid CSV, which is reported later."""
    try:
        return len(next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), []))
    except csv.Error:
        return 0


def _header(cells: list[str], where: str) -> list[str]:
    """The names of the columns, without the nameless columns that a spreadsheet leaves at the end."""
    names = [cell.strip() for cell in cells]
    while names and names[-1] == "":
        names.pop()
    if not names:
        raise DataError(f"{where}: the header has no name in it; name the columns, prompt and harm for example")
    duplicates = sorted({name for name in names if name and names.count(name) > 1})
    if duplicates:
        raise DataError(f"{where}: column {duplicates[0]!r} is twice in the header; rename one")
    return names


def _cells(header: list[str], cells: list[str], where: str) -> dict[str, Any]:
    while len(cells) > len(header) and cells[-1] == "":
        cells = cells[:-1]
    if len(cells) != len(header):
        raise DataError(
            f"{where}: has {len(cells)} cells under {len(header)} columns; quote text that holds a comma or semicolon"
        )
    for key, cell in zip(header, cells, strict=True):
        if not key and cell.strip():
            raise DataError(f"{where}: {_shown(cell)} is in a column without a name; name it in the header")
    return {key: None if cell in ("", *MISSING) else cell for key, cell in zip(header, cells, strict=True) if key}


def _parquet(path: Path, name: str) -> Iterator[Row]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(f"{path}: reading Parquet needs pyarrow; {_INSTALL}") from None
    try:
        with parquet.ParquetFile(path) as table:
            table_rows = (row for batch in table.iter_batches() for row in batch.to_pylist())
            yield from ((f"{name}, row {number}", row) for number, row in enumerate(table_rows, start=1))
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        if getattr(error, "errno", None):  # a disk error, not a format error
            raise
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: is not readable Parquet ({cause}); write it again") from None


def _shown(line: str) -> str:
    text = line.strip()
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")
