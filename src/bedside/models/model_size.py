"""How many weights a model has, without loading it and without the network: from headers, else from its name.

meta-llama/Llama-3.2-3B-Instruct    3 billion, by its name
models/ours                         what the headers of its safetensors files say
"""

import json
import math
import re
from pathlib import Path

from bedside.models import gguf_files, hf, model_files

_NAMED = re.compile(r"(?<![\w.])(?:(\d+)x)?(\d+(?:\.\d+)?)\s?([bm])(?![a-z0-9])", re.IGNORECASE)
_UNITS = {"b": 10**9, "m": 10**6}


def weights(model: str) -> int | None:
    """Of a folder, hub id, GGUF file, ``smollm2`` or ``embedded``; of a PEFT folder those of its base. None: unknown.

    >>> weights("meta-llama/Llama-3.2-3B-Instruct"), weights("our-model")
    (3000000000, None)
    """
    if gguf_files.names_gguf(model):
        return _named("SmolLM2-135M" if model == gguf_files.SMOLLM2 else Path(model).name)
    folder = hf.EMBEDDED.get(model) or Path(model).expanduser()
    try:
        return _counted(folder) or _of_base(folder) or _named(folder.name if folder.is_dir() else model)
    except PermissionError:
        return None


def _counted(folder: Path) -> int | None:
    files = sorted(folder.glob("*.safetensors")) if (folder / model_files.CONFIG).is_file() else []
    return sum(_in_header(file) for file in files) or None


def _of_base(folder: Path) -> int | None:
    adapter = folder / model_files.ADAPTER
    if not adapter.is_file():
        return None
    base = model_files.read_table(adapter).get("base_model_name_or_path")
    return weights(base) if isinstance(base, str) and base else None


def _in_header(file: Path) -> int:
    """Values of a safetensors file; 0 if it is not such a file."""
    try:
        with file.open("rb") as opened:
            header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
        return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    except (OSError, ValueError, MemoryError, OverflowError, AttributeError, KeyError, TypeError):
        return 0


def _named(name: str) -> int | None:
    """The largest size that stands in a name: 3B, 135M, 8x7B."""
    sizes = [int(many or 1) * float(size) * _UNITS[unit.lower()] for many, size, unit in _NAMED.findall(name)]
    return round(max(sizes)) if sizes else None
