"""Typed rows back from a file that Bedside wrote, however it was edited since."""

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
"""What a person calls rows of a type, and the columns by which to know them."""


def read(path: Path, of: type[T]) -> list[T]:
    """Every row of ``path`` as ``of``. DataError with file, row and field."""
    adapter = TypeAdapter(of)
    return [_one(adapter, where, row, of) for where, row in io.rows(path)]


def one(row: Mapping[str, Any], of: type[T], where: str) -> T:
    """``row`` as ``of``; DataError that says where it stands."""
    return _one(TypeAdapter(of), where, row, of)


def check_replaceable(path: Path, of: type[T]) -> None:
    """DataError where ``path`` holds something else than rows ``of`` a type: writing them would lose it."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    row: Mapping[str, Any] = {}
    with suppress(DataError):
        _, row = next(io.rows(path, format="jsonl"))
    if not KINDS[of][1] <= row.keys():
        raise DataError(f"{path}: {_held(row)}, which would be lost; name another file with -o, or move this one")


def _one(adapter: TypeAdapter[T], where: str, row: Mapping[str, Any], of: type[T]) -> T:
    try:
        return adapter.validate_python(row)
    except ValidationError as error:
        wanted, columns = KINDS[of]
        if not columns <= row.keys():
            raise DataError(f"{where}: {_held(row)}; wanted are {wanted}: name that file") from None
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the row"
        cure = f"a {of.__name__} file is what Bedside wrote, unchanged"
        raise DataError(f"{where}: {place}: {first['msg']}; {cure}") from None


def _held(row: Mapping[str, Any]) -> str:
    """What stands in a file that holds something else."""
    for name, columns in KINDS.values():
        if columns <= row.keys():
            return f"this file holds {name}"
    asked = any(column in row for column in COLUMNS["prompt"])
    return "this file holds prompts" if asked else "this file holds something else"
