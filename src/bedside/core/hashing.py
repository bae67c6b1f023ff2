"""Names for content: equal content, equal name, on every machine and in every run.

canonical(value)   the one JSON text of a value: sorted keys, no spaces, no NaN
digest(*values)    "b2-" + 20 hex digits of BLAKE2b over that text
digest_bytes(data) the same, over bytes as they are
"""

import dataclasses
import enum
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20
_AS_THEY_ARE = {str, int, bool, type(None)}  # most values; asked first, because every id walks all of them


def canonical(value: Any) -> str:
    """The one JSON text of ``value``. Raises TypeError or ValueError for what has none."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(*values: Any) -> str:
    """A short name for ``values``. The prefix names the algorithm, so that it can change one day."""
    return digest_bytes(canonical(list(values)).encode("utf-8", "surrogatepass"))


def drawn(*values: Any) -> int:
    """A number below 2^32 that ``values`` decide: a draw that is the same one every time."""
    return int(digest(*values)[3:11], 16)


def digest_bytes(data: bytes) -> str:
    return "b2-" + hashlib.blake2b(data, digest_size=10).hexdigest()


def digest_file(path: Path) -> str:
    """The digest of a file's bytes, read in chunks: weights may be larger than memory."""
    state = hashlib.blake2b(digest_size=10)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            state.update(chunk)
    return "b2-" + state.hexdigest()


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: dataclasses become dicts, enums their values, tuples lists."""
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} has no canonical text; say what is missing in a field of its own")
    if isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"{type(value).__name__} has no canonical text")
