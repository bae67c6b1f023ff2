"""Reads responses and verdicts back from the files that `bedside generate` and `bedside judge` wrote, with checks."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from bedside.core.errors import DataError
from bedside.core.types import Response, Verdict
from bedside.data import io
from bedside.data.prompts import COLUMNS

T = TypeVar("T")
KINDS: dict[type[Any], tuple[str, set[str]]] = {
    Response: ("responses, as `bedside generate` writes them", {"prompt", "text", "checkpoint"}),
    Verdict: ("verdicts, as `bedside judge` writes them", {"response", "judge"}),
}
"""For each type, the name of such rows for people, and the columns by which they are recognised."""


def read(path: Path, row_type: type[T]) -> list[T]:
    """All rows of ``path`` as ``row_type``. DataError with file, row and field."""
    adapter = TypeAdapter(row_type)
    return [_validated(adapter, where, row, row_type) for where, row in io.rows(path)]


def parse_row(row: Mapping[str, Any], row_type: type[T], where: str) -> T:
    """``row`` as ``row_type``. DataError that starts with ``where``."""
    return _validated(TypeAdapter(row_type), where, row, row_type)


def check_replaceable(path: Path, row_type: type[T]) -> None:
    """DataError if ``path`` holds anything other than rows of ``row_type``: writing there would lose it."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    row: Mapping[str, Any] = {}
    with suppress(DataError):
        _, row = next(io.rows(path, format="jsonl"))
    if not KINDS[row_type][1] <= row.keys():
        raise DataError(f"{path}: {_content(row)}, which would be lost; name another file with -o, or move this one")


def _validated(adapter: TypeAdapter[T], where: str, row: Mapping[str, Any], row_type: type[T]) -> T:
    try:
        return adapter.validate_python(row)
    except ValidationError as error:
        wanted, columns = KINDS[row_type]
        if not columns <= row.keys():
            raise DataError(f"{where}: {_content(row)}; wanted are {wanted}: name that file") from None
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the row"
        cure = f"a {row_type.__name__} file must be as Bedside wrote it"
        raise DataError(f"{where}: {place}: {first['msg']}; {cure}") from None


def _content(row: Mapping[str, Any]) -> str:
    """What kind of rows a file holds, by one of them."""
    for name, columns in KINDS.values():
        if columns <= row.keys():
            return f"this file holds {name}"
    has_prompt = any(column in row for column in COLUMNS["prompt"])
    return f"this file holds {'prompts' if has_prompt else 'something else'}"
