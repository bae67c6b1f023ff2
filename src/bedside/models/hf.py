"""A chat model from a folder or the Hugging Face hub, run here: transformers and PEFT.

Weights are safetensors only, code from a model repository is never run, and what was sampled keeps the ids
it was sampled as. ``model: embedded`` is the small model that ships with Bedside.
"""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from bedside.config.plugins import Plugin, register
from bedside.core.errors import ModelError
from bedside.core.hashing import digest, digest_bytes, digest_file, drawn
from bedside.core.protocols import LabelScore, Launch
from bedside.core.types import Checkpoint, Completion, Conversation, Sampling

if TYPE_CHECKING:
    from bedside.training.adapters import Bed
    from bedside.training.chat_template import Renderer
    from bedside.training.logprobs import Exchange

_PACKAGE = Path(__file__).parents[1]
EMBEDDED = {"embedded": _PACKAGE / "clinic" / "tiny_model"}
"""The model that ships with Bedside: it answers, judges, rewrites, soothes and rates."""
ADAPTER, ON_TARGET = "adapter_config.json", "on-target"
FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]


@register("model", "local")
class Local(Plugin):
    """A model folder, a hub id, ``embedded``, or a PEFT folder: its base with the adapter merged in."""

    kind: str = "local"
    model: str = Field(description="Folder, Hugging Face id or 'embedded'.")
    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: bfloat16 on a GPU that does it well, float32 elsewhere."
    )
    chat_template: str | None = Field(None, description="A Jinja file, for a tokenizer that has no template.")
    thinking: bool = Field(
        False, description="Let a template that knows enable_thinking think aloud. Judges cannot: they weigh labels."
    )

    def size(self, launch: Launch) -> int | None:
        """Bytes of the weights as they would be loaded, by the headers of a folder here; None where there is none."""
        folder = EMBEDDED.get(self.model) or Path(self.model).expanduser()
        files = sorted(folder.glob("*.safetensors")) if (folder / "config.json").is_file() else []
        wide = 4 if (launch.dtype if self.dtype == "auto" else self.dtype) == "float32" else 2
        return wide * sum(map(_numbers, files)) or None

    def open(self, launch: Launch, **opened: Any) -> "LocalModel":
        folder = resolve(self.model, self.revision)
        return _load(self, folder, launch)


def resolve(model: str, revision: str | None) -> Path:
    """The folder of ``model``: its own, the embedded one, or a snapshot fetched from the hub."""
    folder = EMBEDDED.get(model) or Path(model).expanduser()
    if folder.exists():
        return folder
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise ModelError(f"{model}: there is no such folder, and it is no hub id (owner/name); correct `model`")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(
            f"{model}: there is no such folder here, and the hub did not give it ({first}); "
            "check the name, log in for gated models, or download it and give its folder"
        ) from None


def _numbers(file: Path) -> int:
    """How many the tensors in the header of a safetensors file hold; 0 where it is no such file."""
    try:
        with file.open("rb") as opened:
            header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
        return sum(math.prod(told["shape"]) for name, told in header.items() if name != "__metadata__")
    except (OSError, ValueError, MemoryError, OverflowError, AttributeError, KeyError, TypeError):
        return 0


def _load(config: Local, folder: Path, launch: Launch) -> "LocalModel":
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from bedside.training.adapters import Bed, check_composable, digest_adapter, merged
    from bedside.training.chat_template import Renderer

    given = folder if (folder / ADAPTER).is_file() and not (folder / "config.json").is_file() else None
    folder = _base_of(given) if given else folder
    _check_files(folder)
    dtype = launch.dtype if config.dtype == "auto" else config.dtype
    try:
        if given:
            check_composable(given)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype="auto" if dtype == "auto" else getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
        )
        model = merged(model, given) if given else model
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"{folder}: transformers cannot load it: {first}") from None
    if config.chat_template is not None:
        tokenizer.chat_template = Path(config.chat_template).read_text(encoding="utf-8")
    model.to(launch.device).requires_grad_(False)
    made_of = [_digest(folder, tokenizer.chat_template), *([digest_adapter(given)] if given else [])]
    base = Checkpoint(base=made_of[0] if not (given or config.thinking) else digest(made_of, config.thinking))
    renderer = Renderer(tokenizer, _stop_ids(model, tokenizer), thinking=config.thinking)
    return LocalModel(base, renderer, Bed(model, config.model), None, given)


def _base_of(adapter: Path) -> Path:
    """The model that ``adapter`` was trained on, as its own config names it."""
    try:
        told = json.loads((adapter / ADAPTER).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{adapter / ADAPTER}: is not JSON ({error}); copy the adapter again") from None
    if not isinstance(told, dict) or not told.get("base_model_name_or_path"):
        raise ModelError(f"{adapter / ADAPTER}: no base_model_name_or_path, so its base is not known; add it")
    base = resolve(str(told["base_model_name_or_path"]), told.get("revision"))
    if (base / ADAPTER).is_file():
        raise ModelError(f"{base}: the base of {adapter} is an adapter itself; merge that one into its base first")
    return base


def _check_files(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: no config.json, so this is no Hugging Face model folder; correct `model`")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder}: no safetensors weights; other formats can run code when loaded and are not read. "
            "Convert with model.save_pretrained(folder, safe_serialization=True)"
        )


def _digest(folder: Path, chat_template: str | None) -> str:
    """What the model computes: weights, config, tokenizer, template. Readmes and paths stay out."""
    names = sorted(p for p in folder.iterdir() if p.suffix in (".json", ".safetensors", ".model") and p.is_file())
    template = digest_bytes((chat_template or "").encode())
    return digest([[p.name, digest_file(p)] for p in names], template)


def _stop_ids(model: Any, tokenizer: Any) -> list[int]:
    named = model.generation_config.eos_token_id
    several = named if isinstance(named, list) else [named]
    return sorted({token for token in [*several, tokenizer.eos_token_id] if token is not None})


@dataclass
class LocalModel:
    """A base under one adapter, or bare. Views made by ``with_adapter`` share the base's memory."""

    checkpoint: Checkpoint
    renderer: "Renderer"
    bed: "Bed"
    folder: Path | None
    given: Path | None = None
    """The adapter that is worked into the base, where the target is a PEFT folder."""

    @property
    def context(self) -> int:
        return int(getattr(self.bed.bare_config(), "max_position_embeddings", 1 << 20))

    def with_adapter(self, folder: Path | None, checkpoint: Checkpoint) -> "LocalModel":
        """The base under ``folder``; of what ``export`` wrote beside a given adapter, the part trained here."""
        part = folder / ON_TARGET if folder and self.given else None
        return replace(self, folder=part if part and part.is_dir() else folder, checkpoint=checkpoint)

    def module(self) -> Any:
        return self.bed.wearing(self.folder)

    def trainable(self, lora: Mapping[str, Any], seed: int) -> Any:
        return self.bed.training(self.folder, lora, seed)

    def save_adapter(self, folder: Path) -> str:
        return self.bed.save(folder)

    def export(self, folder: Path, to: Path) -> None:
        """The adapter in ``folder`` as a PEFT folder that loads on what the user has.

        Where the target is an adapter itself, that is its base: ``to`` holds the sum of both adapters, and
        ``to/on-target`` what was trained here.
        """
        from bedside.training.adapters import compose

        shutil.copytree(folder, to / ON_TARGET if self.given else to, dirs_exist_ok=True)
        if self.given:
            compose(self.given, folder, to)

    def kl_to_target(self, exchanges: Sequence["Exchange"]) -> list[float]:
        from bedside.training.logprobs import kl_to

        return kl_to(self.module(), self.bed.lifted(), exchanges, self.renderer.pad_id)

    def lengths(self, conversations: Sequence[Conversation]) -> list[int]:
        return [len(self.renderer.prompt_ids(c)) for c in conversations]

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        """One completion a conversation, all in one batch. Equal inputs and seed give equal answers."""
        from bedside.training.generation import Draw, decode

        if not conversations:
            return []
        prompts = [self.renderer.prompt_ids(c) for c in conversations]
        draw = Draw(sampling.temperature, sampling.top_p, drawn(sampling, prompts))
        limits = [sampling.max_new_tokens] * len(prompts)
        answers = decode(self.module(), prompts, limits, self.renderer.stop_ids, draw)
        return [self._completion(ids) for ids in answers or self._by_generate(prompts, sampling, draw.seed)]

    def _by_generate(self, prompts: list[list[int]], sampling: Sampling, seed: int) -> list[list[int]]:
        """For models that our own decoding does not know."""
        import torch

        ids_BT, mask_BT = self._left_padded(prompts)
        torch.manual_seed(seed)
        with torch.no_grad():
            out_BT = self.module().generate(
                input_ids=ids_BT, attention_mask=mask_BT, generation_config=self._decoding(sampling)
            )
        answers: list[list[int]] = out_BT[:, ids_BT.shape[1] :].tolist()
        return answers

    def score(self, conversations: Sequence[Conversation], labels: Sequence[str]) -> list[LabelScore]:
        """Labels weighed by their first tokens at the place where the answer begins."""
        from bedside.training.logprobs import last_logprobs

        if not conversations:
            return []
        prompts = [self.renderer.prompt_ids(c) for c in conversations]
        raw_BL = last_logprobs(self.module(), prompts, self.renderer.first_ids(labels), self.renderer.pad_id)
        mass_B = raw_BL.logsumexp(-1)
        renormed_BL = (raw_BL - mass_B[:, None]).tolist()
        return [LabelScore(tuple(row), mass) for row, mass in zip(renormed_BL, mass_B.exp().tolist(), strict=True)]

    def _left_padded(self, prompts: list[list[int]]) -> tuple[Any, Any]:
        import torch

        width = max(map(len, prompts))
        ids = [[self.renderer.pad_id] * (width - len(p)) + p for p in prompts]
        mask = [[0] * (width - len(p)) + [1] * len(p) for p in prompts]
        device = self.bed.device
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    def _decoding(self, sampling: Sampling) -> Any:
        """Our sampling and nothing of the model's own defaults."""
        from transformers import GenerationConfig

        greedy = sampling.temperature == 0
        drawn = {} if greedy else {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        return GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=not greedy,
            num_beams=1,
            repetition_penalty=1.0,
            eos_token_id=sorted(self.renderer.stop_ids),
            pad_token_id=self.renderer.pad_id,
            **drawn,
        )

    def _completion(self, ids: list[int]) -> Completion:
        """Cut after the first end of turn: what follows in the row is padding."""
        for place, token in enumerate(ids):
            if token in self.renderer.stop_ids:
                kept = tuple(ids[: place + 1])
                return Completion(self.renderer.text(kept), kept, finished=True)
        return Completion(self.renderer.text(ids), tuple(ids), finished=False)
