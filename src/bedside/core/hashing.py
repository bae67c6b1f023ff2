"""Content digests: equal content has an equal digest on every machine and in every run.

canonical(value)     the canonical JSON text of a value: sorted keys, no spaces, no NaN
digest(*values)      "b2-" + 20 hex digits of BLAKE2b (80 bits) over that text
digest_rows(rows)    digest(list(rows)), without the text of all rows in memory
digest_bytes(data)   the same over bytes
digest_file(path)    the same over the bytes of a file
seed_from(*values)   an integer in [0, 2^32) from the digest, for reproducible draws
"""

import dataclasses
import enum
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
_JSON_TYPES = {str, int, bool, type(None)}  # most values; checked first because ids are computed very often


def canonical(value: Any) -> str:
    """The canonical JSON text of ``value``. TypeError or ValueError for a value that JSON cannot hold."""
    return _encode(plain(value))


def digest(*values: Any) -> str:
    """The digest of ``values``. The prefix names the algorithm."""
    return digest_bytes(canonical(list(values)).encode("utf-8", "surrogatepass"))


def digest_rows(rows: Iterable[Any]) -> str:
    """``digest(list(rows))``, row by row, because a file of answers may be larger than the memory."""
    state = hashlib.blake2b(b"[[", digest_size=10)
    for number, row in enumerate(rows):
        state.update(f"{',' if number else ''}{canonical(row)}".encode("utf-8", "surrogatepass"))
    state.update(b"]]")
    return "b2-" + state.hexdigest()


def seed_from(*values: Any) -> int:
    """An integer in [0, 2^32) computed from ``values``: the same values always give the same integer."""
    return int(digest(*values)[3:11], 16)


def digest_bytes(data: bytes) -> str:
    return "b2-" + hashlib.blake2b(data, digest_size=10).hexdigest()


def digest_file(path: Path) -> str:
    """The digest of a file's bytes. The file is read in chunks, because weights may be larger than memory."""
    state = hashlib.blake2b(digest_size=10)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            state.update(chunk)
    return "b2-" + state.hexdigest()


def plain(value: Any) -> Any:
    """``value`` in JSON types: dataclasses become dicts, enums their values, tuples lists.

    ValueError for NaN and infinity, TypeError for any other type.
    """
    kind: Any = type(value)
    if kind in _JSON_TYPES:
        return value
    if kind is tuple or kind is list:
        return [plain(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    if (names := _field_names(kind)) is not None:
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} has no canonical text; use None and say the reason in another field")
    if isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"{type(value).__name__} has no canonical text")


@cache
def _field_names(kind: Any) -> tuple[str, ...] | None:
    """The names of the fields of a dataclass; None for any other type."""
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None
