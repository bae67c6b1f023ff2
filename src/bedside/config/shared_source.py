"""One file for all parts: keys beside ``train``, ``valid`` and ``test`` are those of a source that the parts share.

    data:                                              data:
      path: prompts.csv                                  train: {kind: jsonl, path: prompts.csv, columns: …}
      columns: {prompt: message, harm: risk}     is      valid: {kind: jsonl, path: prompts.csv, …, share: 0.2}
      test: {share: 0.3}                                 test: {kind: jsonl, path: prompts.csv, …, share: 0.3}

valid and test draw whole groups: ``SHARES`` of them, where the part says nothing else. A part with a path or a kind of
its own takes nothing from the shared source.
"""

from collections.abc import Mapping
from typing import Any

from bedside.core.errors import ConfigError

DATA = "data"
PARTS = ("train", "valid", "test")
SHARES = {"valid": 0.2, "test": 0.4}
"""Of the groups of the shared file; train has the rest."""
_NOT_SHARED = (*PARTS, "ledger", "groupings")


def expand(table: dict[str, Any]) -> dict[str, str]:
    """Write the shared source of ``table["data"]`` into its parts.

    Returns the path of each such key in a part, and where it was written: ``{"data.train.path": "data.path"}``.

    ConfigError where no part would read the shared path.
    """
    data = table.get(DATA)
    if not isinstance(data, Mapping) or not {"path", "kind"} & data.keys():
        return {}
    shared = {key: value for key, value in data.items() if key not in _NOT_SHARED}
    parts = {part: data[part] if data.get(part) is not None else {} for part in PARTS}
    readers = [part for part, own in parts.items() if isinstance(own, Mapping) and not {"path", "kind"} & own.keys()]
    if not readers:
        raise ConfigError(
            "train, valid and test each name a source of their own; set it in the part, as in data.test.path"
        )
    table[DATA] = {key: value for key, value in data.items() if key not in shared} | {
        part: {"kind": "jsonl", **shared, **_share(part, own), **own} if part in readers else own
        for part, own in parts.items()
    }
    return {f"{DATA}.{part}.{key}": f"{DATA}.{key}" for part in readers for key in shared if key not in parts[part]}


def _share(part: str, own: Mapping[str, Any]) -> dict[str, float]:
    """What the part draws where it says nothing; a part of a named split is all of that split."""
    return {"share": SHARES[part]} if part in SHARES and "split" not in own else {}
