"""Typed rows back from a file that Bedside wrote, however it was edited since."""

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from bedside.core.errors import DataError
from bedside.kernel import tables

T = TypeVar("T")


def read(path: Path, of: type[T]) -> list[T]:
    """Every row of ``path`` as ``of``. DataError with file, row and field."""
    adapter = TypeAdapter(of)
    return [_one(adapter, where, row, of.__name__) for where, row in tables.rows(path)]


def one(row: object, of: type[T], where: str) -> T:
    """``row`` as ``of``; DataError that says where it stands."""
    return _one(TypeAdapter(of), where, row, of.__name__)


def _one(adapter: TypeAdapter[T], where: str, row: object, name: str) -> T:
    try:
        return adapter.validate_python(row)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the row"
        raise DataError(f"{where}: {place}: {first['msg']}; a {name} file is what Bedside wrote, unchanged") from None
