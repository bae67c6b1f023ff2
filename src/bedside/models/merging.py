"""An adapter worked into the weights of its base: a model folder that needs no PEFT."""

from pathlib import Path

from bedside.core.errors import ModelError
from bedside.core.hashing import digest
from bedside.core.protocols import Launch
from bedside.models import hf, model_files


def merge(adapter: Path, to: Path, base_digest: str | None) -> None:
    """Write the base of ``adapter`` with the adapter merged in to the empty folder ``to``, as safetensors.

    Sums are made in float32 and stored as the base is. ``base_digest``: what the adapter was trained on; ModelError
    where its base is another model by now. None: not compared.
    """
    import torch
    from transformers import AutoTokenizer, GenerationConfig

    from bedside.training.adapters import digest_adapter

    opened = hf.Local(model=str(adapter), dtype="float32").open(Launch())
    if base_digest and opened.checkpoint.base != digest([base_digest, digest_adapter(adapter)], False):
        raise ModelError(f"{adapter}: its base is not what it was trained on, digest {base_digest}; put that back")
    model = opened.lora_host.base
    model.to(getattr(torch, _stored_dtype(adapter)))
    model.save_pretrained(to)
    AutoTokenizer.from_pretrained(adapter, trust_remote_code=False).save_pretrained(to)
    GenerationConfig.from_pretrained(adapter).save_pretrained(to)


def _stored_dtype(adapter: Path) -> str:
    """The dtype in which the base is stored; float32 where its config.json does not say."""
    table = model_files.read_table(hf.base_of(adapter) / model_files.CONFIG)
    return str(table.get("dtype") or table.get("torch_dtype") or "float32")
