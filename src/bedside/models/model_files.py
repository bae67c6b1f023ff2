"""Checks a model folder before anything in it is loaded, and computes the digest of what its output depends on.

Weights are safetensors files of the folder itself. An index that names another file, a link out of the folder, and a
folder that is both model and adapter are refused, because transformers would load files that the digest does not count.
"""

import json
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bedside.core.errors import ModelError
from bedside.core.hashing import digest, digest_bytes, digest_file

CONFIG, ADAPTER, INDEX = "config.json", "adapter_config.json", "*.safetensors.index.json"
UNLOADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError)
"""What transformers raises for files that it cannot load."""
QUANTISED = {
    "bitsandbytes": "bitsandbytes",
    "gptq": "gptqmodel",
    "awq": "gptqmodel",
    "compressed-tensors": "compressed_tensors",
    "quanto": "optimum",
    "aqlm": "aqlm",
    "hqq": "hqq",
    "torchao": "torchao",
}
"""Ways to store weights quantised, and the package that reads each."""
_TABLES = (
    CONFIG,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
)
"""Files that transformers reads, each a JSON object."""
_VOCABULARIES = ("vocab.txt", "merges.txt")
_COUNTED = (".json", ".safetensors", ".model")


def check(folder: Path) -> None:
    """ModelError if ``folder`` is not a model in safetensors, is damaged, or names weights outside itself."""
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder}: no {CONFIG}, so this is not a Hugging Face model folder; correct `model`")
    if (folder / ADAPTER).is_file():
        raise ModelError(
            f"{folder}: holds a model ({CONFIG}) and an adapter ({ADAPTER}), so it is not clear which one is meant; "
            "move the adapter into a folder of its own, and name that folder for the model under the adapter"
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder}: no safetensors weights; other formats can run code when loaded and are not read. "
            "Convert with model.save_pretrained(folder, safe_serialization=True)"
        )
    tables = {name: read_table(folder / name) for name in _TABLES if (folder / name).is_file()}
    weights = {file.name for file in folder.glob("*.safetensors")}
    for file in sorted(folder.glob(INDEX)):
        weights |= _shards(file)
    _check_weights(folder, weights)
    _check_quantisation(folder, tables[CONFIG])


def read_table(file: Path) -> dict[str, Any]:
    """The JSON object in ``file``. ModelError if there is none."""
    try:
        table = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file}: is not JSON ({error}); copy it again") from None
    if not isinstance(table, dict):
        raise ModelError(f"{file}: is no JSON object; copy it again")
    return table


def digest_model(folder: Path, chat_template: str | None, vocabularies: Iterable[str] = ()) -> str:
    """A digest of all that the output depends on: weights, config, tokenizer, template; not readmes or paths.

    ``vocabularies``: further files that the tokenizer reads, where they exist.
    """
    names = {path.name for path in folder.iterdir() if path.suffix in _COUNTED} | {*_VOCABULARIES, *vocabularies}
    files = [folder / name for name in sorted(names) if (folder / name).is_file()]
    return digest([[p.name, digest_file(p)] for p in files], digest_bytes((chat_template or "").encode()))


def _shards(index: Path) -> set[str]:
    shards = read_table(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise ModelError(f"{index}: has no weight_map of names; copy it again")
    for name in shards.values():
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(
                f"{index}: names {name!r}; weights are read from safetensors files in the same folder only: convert "
                "with model.save_pretrained(folder, safe_serialization=True)"
            )
    return set(shards.values())


def _check_weights(folder: Path, names: Iterable[str]) -> None:
    """ModelError for weights that are missing or lie elsewhere. The hub's cache keeps its files in ``blobs``."""
    own = folder.resolve()
    allowed = {own, own.parent.parent / "blobs"} if own.parent.name == "snapshots" else {own}
    for name in sorted(names):
        file = (folder / name).resolve()
        if not file.is_file():
            raise ModelError(f"{folder / name}: there is no such file, and the model needs it; copy the folder again")
        if file.parent not in allowed:
            raise ModelError(f"{folder / name}: is a link to {file}, out of its folder; put the file itself there")


def _check_quantisation(folder: Path, config: dict[str, Any]) -> None:
    """ModelError for weights that are stored quantised, where the package that reads them is missing."""
    settings = config.get("quantization_config")
    method = settings.get("quant_method") if isinstance(settings, dict) else None
    package = QUANTISED.get(str(method))
    if package is not None and find_spec(package) is None:
        raise ModelError(
            f"{folder}: its weights are quantised ({method}), which needs the package {package}; install it, or name "
            "the folder with the weights as they were before"
        )
