"""Weights of 4 or 8 bits, by bitsandbytes, for LoRA training of a model that does not fit otherwise.

    nf4     blocks of 64 values share a scale; each is one of 16 quantiles of a normal distribution   arXiv 2305.14314
    int8    a row shares a scale; inputs are rounded to 8 bits too, except large ones                  arXiv 2208.07339

Embeddings, norms and head are not quantised. The kind is a part of the store's keys and of the base's digest, and the
version of bitsandbytes is a part of the run's numerics, so results of other weights are other results.
"""

import logging
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bedside.core.errors import ModelError
from bedside.core.extras import EXTRAS
from bedside.models import model_files

PACKAGE = "bitsandbytes"
BYTES = {"nf4": 0.5 + 4 / 64, "int8": 1.0}
"""Bytes of one value; nf4 has an fp32 scale for 64 values."""


def check(folder: Path, adapter: Path | None) -> None:
    """ModelError if the model in ``folder`` cannot be quantised here; ``adapter``: one to be merged into it."""
    if find_spec(PACKAGE) is None:
        raise ModelError(
            f"target.quantize needs {PACKAGE}, which is not installed: pip install 'bedside[{EXTRAS[PACKAGE]}]'"
        )
    if adapter is not None:
        raise ModelError(
            f"{adapter}: an adapter is merged into its base, and rounding to a few bits would lose it; merge it "
            "as stored (model.merge_and_unload().save_pretrained(FOLDER)) and name that folder, or leave quantize out"
        )
    if model_files.read_table(folder / model_files.CONFIG).get("quantization_config"):
        raise ModelError(f"{folder}: its weights are stored quantised already; leave quantize out")


def options(kind: str, dtype: str, device: str) -> dict[str, Any]:
    """The argument of ``from_pretrained`` for ``kind``."""
    import torch
    from transformers import BitsAndBytesConfig

    logging.getLogger(PACKAGE).setLevel(logging.ERROR)  # it logs at each product that it rounds its input
    if kind == "int8":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        compute = torch.float32 if dtype == "auto" else getattr(torch, dtype)
        config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_compute_dtype=compute)
    place = f"cuda:{torch.cuda.current_device()}" if device == "cuda" else device  # accelerate compares the numbers
    return {"quantization_config": config, "device_map": {"": place}}


def covers(name: str, dimensions: int) -> bool:
    """Whether this tensor of a model is quantised: the matrix of a layer, and not the embeddings or the head."""
    return dimensions == 2 and "embed" not in name and "lm_head" not in name


def numerics(kind: str | None) -> tuple[str, ...]:
    """What floating-point results depend on here."""
    return (f"{PACKAGE} {version(PACKAGE)}",) if kind and find_spec(PACKAGE) else ()
