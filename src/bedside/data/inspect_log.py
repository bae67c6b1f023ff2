"""Logs of inspect_ai as rows of answers: what a model was asked and said, and labels from the log's scores.

    {"version": 2, "eval": {...}, "samples": [{"input": ..., "output": {"completion": ...}, "scores": {...}}]}
    a .eval file is a zip with samples/ID_epoch_1.json, one sample each

A score becomes a column where it is asked for as a label: `bedside audit LOG --label stance`. An unscored one is
missing.
"""

import json
import math
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from bedside.core.errors import DataError
from bedside.data.io import Row

ENDING = ".eval"
MOST_BYTES = 256 << 20
"""Of one sample in a .eval file, unpacked."""
_HEAD = 4096
_METADATA = ("harm", "style", "principle", "group", "source")


def is_log(source: str | Path) -> bool:
    """Whether ``source`` is a log of inspect_ai, by its ending or its first keys."""
    path = Path(source)
    if path.suffix.lower() == ENDING:
        return path.is_file()
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return head.lstrip().startswith(b"{") and b'"eval"' in head and (b'"version"' in head or b'"status"' in head)


def rows(source: str | Path, labels: Collection[str]) -> Iterator[Row]:
    """Place and columns of each sample: messages, response, what its metadata says of the prompt, and ``labels``.

    DataError with the sample.
    """
    path = Path(source)
    samples = _packed(path) if path.suffix.lower() == ENDING else _listed(path)
    for number, sample in enumerate(samples, start=1):
        where = f"{path.name}, sample {number}"
        try:
            yield where, _row(sample, labels)
        except (KeyError, TypeError, AttributeError, IndexError):
            raise DataError(f"{where}: no sample with input and output, as inspect_ai has it; write it again") from None


def _listed(path: Path) -> list[Any]:
    try:
        samples = json.loads(path.read_bytes())["samples"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"{path}: is no log of inspect_ai with samples; write it again, not header-only") from None
    return samples if isinstance(samples, list) else []


def _packed(path: Path) -> Iterator[Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.filename.startswith("samples/") and info.filename.endswith(".json"):
                    if info.file_size > MOST_BYTES:
                        raise DataError(f"{path}: {info.filename} has {info.file_size:,} bytes; leave it out")
                    yield json.loads(archive.read(info))
    except (zipfile.BadZipFile, ValueError, RecursionError, NotImplementedError, RuntimeError) as error:
        raise DataError(
            f"{path}: cannot be read as a log of inspect_ai ({str(error).splitlines()[0]}); convert it: "
            "inspect log convert --to json"
        ) from None


def _row(sample: Mapping[str, Any], labels: Collection[str]) -> dict[str, Any]:
    asked = sample["input"]
    turns = [{"role": "user", "content": asked}] if isinstance(asked, str) else [_turn(turn) for turn in asked]
    metadata = sample.get("metadata") or {}
    known = {name: metadata[name] for name in _METADATA if metadata.get(name) is not None}
    scores = sample.get("scores") or {}
    judged = {name: _value(scores[name].get("value")) for name in labels if name in scores}
    return {"messages": turns, "response": _completion(sample["output"]), **known, **judged}


def _completion(output: Mapping[str, Any]) -> str:
    """The text of the first choice; empty where the model gave none."""
    if isinstance(output.get("completion"), str):
        return str(output["completion"])
    choices = output.get("choices") or []
    return _text(choices[0]["message"]["content"]) if choices else ""


def _turn(turn: Mapping[str, Any]) -> dict[str, str]:
    return {"role": str(turn["role"]), "content": _text(turn["content"])}


def _text(content: Any) -> str:
    """The text of a message, which may be a list of parts; pictures and tools are left out."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")


def _value(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
