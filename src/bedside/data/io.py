"""Rows of a file or of a hub data set, each with the place a person can find it at; and files written whole.

    for where, row in rows("data/prompts.jsonl"):
        ("prompts.jsonl, row 4183", {"prompt": "...", "harm": 3})

JSONL, CSV, Parquet, a folder of one of them, or a Hugging Face id. The row of a JSONL or CSV file is the
line an editor shows; of Parquet and hub rows it is counted from 1. Parquet needs pyarrow and a hub id needs
datasets: ``pip install 'bedside[hf]'``. Nothing is loaded until a row is asked for.
"""

import codecs
import csv
import io
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from bedside.core.errors import DataError
from bedside.core.hashing import canonical, plain

Format = Literal["jsonl", "csv", "parquet"]
Row = tuple[str, dict[str, Any]]

FORMATS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
}
_INSTALL = "pip install 'bedside[hf]'"
_SHOWN_CHARACTERS = 60


def rows(
    source: str | Path,
    *,
    format: Format | None = None,
    split: str | None = None,
) -> Iterator[Row]:
    """Rows of a file, or of the files of a folder: those named after ``split``, or all if none is.

    A row of a file named after ``split`` says so in its column ``split``, unless that says something else.
    """
    path = Path(source)
    return _folder(path, format, split) if path.is_dir() else _file(path, path.name, format)


def hub_rows(source: str, *, revision: str | None = None, split: str | None = None) -> Iterator[Row]:
    """Rows of a Hugging Face data set, one split of it or all, each with its split in a column."""
    try:
        import datasets
    except ImportError:
        raise DataError(f"{source}: reading from the hub needs datasets; {_INSTALL}") from None
    try:
        found = datasets.load_dataset(source, revision=revision, split=split)
    except (OSError, ValueError, RuntimeError) as error:
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{source}: cannot be read from the hub ({cause}); "
            "correct the id, revision and split, or download it and give its folder as `path`"
        ) from None
    parts: Mapping[str, Any] = found if isinstance(found, Mapping) else {split or "all": found}
    for name, part in parts.items():
        for number, row in enumerate(part, start=1):
            yield f"{source}/{name}, row {number}", {"split": name, **row}


def anywhere(source: str, *, revision: str | None, split: str | None, format: Format | None = None) -> Iterator[Row]:
    """Rows of the file, folder or Hugging Face id ``source``."""
    if is_hub_id(source):
        return hub_rows(source, revision=revision, split=split)
    return rows(source, format=format, split=split)


def is_hub_id(source: str) -> bool:
    """``owner/name`` that is nothing on this disk and does not end like a file of ours."""
    owner, slash, name = source.partition("/")
    plain = bool(owner and slash and name) and "/" not in name and owner not in (".", "..", "~")
    here = Path(source).exists() or Path(owner).is_dir()
    return plain and not here and Path(name).suffix.lower() not in FORMATS


def write_text(path: Path, text: str) -> None:
    """All of the file or none of it: a draft beside it, forced to disk, renamed into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.draft")
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        error.filename = str(path)  # nobody looks for a draft
        raise
    finally:
        draft.unlink(missing_ok=True)
    _remember(path.parent)


def whole_lines(path: Path) -> list[bytes]:
    """Lines of a file that is appended to; none where it is not there. Half a last line, of a crash, is cut off."""
    data = path.read_bytes() if path.is_file() else b""
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        os.truncate(path, len(whole))
    return whole.splitlines()


def write_json(path: Path, value: Any) -> None:
    """One JSON text that a person can read, whole or not at all."""
    write_text(path, json.dumps(plain(value), indent=1, ensure_ascii=False) + "\n")


def csv_signs(path: Path) -> tuple[str, str]:
    """The mark at the start and the delimiter of a CSV, as whoever saved it has them; "" and "," of anything else."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return "", ","
    text = path.read_bytes().decode("utf-8")
    bare = text.removeprefix("\ufeff")
    return text[: len(text) - len(bare)], _delimiter(bare)


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """One canonical line of JSON a row, whole or not at all."""
    write_text(path, "".join(canonical(row) + "\n" for row in rows))


def _remember(folder: Path) -> None:
    """Force the folder's own entry to disk, where the system can: a rename lives there."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _file(path: Path, name: str, format: Format | None) -> Iterator[Row]:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file{_from_here(path)}; correct the path")
    format = format or _format_of(path)
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty; give it rows, or name another file")
    read = {"jsonl": _jsonl, "csv": _csv, "parquet": _parquet}[format]
    empty = True
    for row in read(path, name):
        empty = False
        yield row
    if empty:
        raise DataError(f"{path}: has no rows; give it rows, or name another file")


def _from_here(path: Path) -> str:
    """The folder that ``path`` counts from."""
    return "" if path.is_absolute() else f" in {Path.cwd()}, from where paths count"


def _format_of(path: Path) -> Format:
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        offers = ", ".join(FORMATS)
        raise DataError(f"{path}: the ending says no format; rename it to {offers}, or set `format`") from None


def _folder(folder: Path, format: Format | None, split: str | None) -> Iterator[Row]:
    """The files of the folder by name; only those named after ``split``, if there are any."""
    files = [f for f in sorted(folder.rglob("*")) if f.suffix.lower() in FORMATS and f.is_file()]
    named = [file for file in files if split and _is_named(file.relative_to(folder), split)]
    if not files:
        raise DataError(f"{folder}: holds no file that ends in {', '.join(FORMATS)}; correct the path")
    said = {"split": split} if named else {}
    for file in named or files:
        for where, row in _file(file, file.relative_to(folder).as_posix(), format):
            yield where, {**said, **row}


def _is_named(file: Path, split: str) -> bool:
    """``train.jsonl``, ``train-00000-of-00001.parquet`` and ``train/0000.parquet`` are named after train."""
    names = [*file.parts[:-1], file.stem]
    return any(name == split or name.startswith((f"{split}-", f"{split}_", f"{split}.")) for name in names)


def _lines(path: Path, name: str) -> Iterator[tuple[str, str]]:
    """Place and text of every line. An editor breaks lines at \\n alone, and so do we."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"{name}, row {number}"
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            try:
                yield where, line.decode("utf-8")
            except UnicodeDecodeError as error:
                cure = "save the file as UTF-8 (in Excel: Save As, CSV UTF-8)"
                raise DataError(f"{where}: byte {error.start + 1} is not UTF-8; {cure}") from None


def _jsonl(path: Path, name: str) -> Iterator[Row]:
    for where, line in _lines(path, name):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            cause = getattr(error, "msg", "nested too deeply").removesuffix(" at")
            column = getattr(error, "colno", 1)
            raise DataError(
                f"{where}: is not one whole line of JSON ({cause} at column {column}); "
                f"correct or remove it: {_shown(line)}"
            ) from None
        if not isinstance(row, dict):
            raise DataError(f'{where}: is not an object; write {{"prompt": …}}, not {_shown(line)}')
        yield where, row


def _csv(path: Path, name: str) -> Iterator[Row]:
    """Rows under the header line. An empty cell is a value nobody gave: None. A row of them is no row."""
    text = "".join(line for _, line in _lines(path, name))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=_delimiter(text))
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


def _delimiter(text: str) -> str:
    """Comma, semicolon or tab: what parts the header into most cells. Spreadsheets write what their country does."""
    if text.startswith("sep=") and text[4:5] not in ("", "\r", "\n", '"'):
        return text[4]
    return max(",;\t", key=lambda sign: _cells_of_header(text, sign))


def _cells_of_header(text: str, delimiter: str) -> int:
    """0 where it is no CSV: whoever reads on says why."""
    try:
        return len(next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), []))
    except csv.Error:
        return 0


def _header(cells: list[str], where: str) -> list[str]:
    """Names of the columns, without the nameless ones that a spreadsheet leaves at the end."""
    names = [cell.strip() for cell in cells]
    while names[-1] == "":
        names.pop()
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DataError(f"{where}: column {twice[0]!r} stands twice in the header; rename one")
    return names


def _cells(header: list[str], cells: list[str], where: str) -> dict[str, Any]:
    while len(cells) > len(header) and cells[-1] == "":
        cells = cells[:-1]
    if len(cells) != len(header):
        cure = "quote text that holds a comma or semicolon"
        raise DataError(f"{where}: has {len(cells)} cells under {len(header)} columns; {cure}")
    for key, cell in zip(header, cells, strict=True):
        if not key and cell.strip():
            raise DataError(f"{where}: {_shown(cell)} stands in a column without a name; name it in the header")
    return {key: cell or None for key, cell in zip(header, cells, strict=True) if key}


def _parquet(path: Path, name: str) -> Iterator[Row]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(f"{path}: reading Parquet needs pyarrow; {_INSTALL}") from None
    number = 0
    try:
        with parquet.ParquetFile(path) as table:
            for batch in table.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"{name}, row {number}", row
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        if getattr(error, "errno", None):  # the disk's word, not the format's
            raise
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: is not readable Parquet ({cause}); write it again") from None


def _shown(line: str) -> str:
    text = line.strip()
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")
