"""Models and rows of fixed shape and random content: CARES-like lengths, or log-normal ones."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

PAD, END = 0, 1
LORA = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
SIZES = {
    "tiny": {
        "vocab_size": 4096,
        "hidden_size": 256,
        "intermediate_size": 688,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "small": {
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    },
    "1b": {
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "8b": {
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
}
LARGE = ("1b", "8b")
"""Of Llama 3's shapes, in bfloat16: for a GPU."""
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Example:
    """A prompt and two answers, as ids, each answer with its end."""

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    label: bool


def base(size: str) -> Any:
    """About 4 or 135 million weights, 1.2 or 8 billion, frozen."""
    torch.manual_seed(0)
    with torch.device(DEVICE):
        model = AutoModelForCausalLM.from_config(
            _config(size), dtype=torch.bfloat16 if size in LARGE else torch.float32
        )
    return model.eval().requires_grad_(False)


def _config(size: str) -> Any:
    return LlamaConfig(
        **SIZES[size],
        max_position_embeddings=2048,
        tie_word_embeddings=size != "8b",
        initializer_range=0.02 if size in LARGE else 0.05,
        pad_token_id=PAD,
        eos_token_id=END,
        bos_token_id=None,
    )


def weights(size: str) -> int:
    """Weights that every token is multiplied with; embeddings count only where they are also the head."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(_config(size))
    tied = model.config.tie_word_embeddings
    return sum(p.numel() for p in model.parameters()) - (0 if tied else model.get_input_embeddings().weight.numel())


def body_weights(size: str) -> int:
    """Those of ``weights`` that are not the head."""
    return weights(size) - int(SIZES[size]["vocab_size"] * SIZES[size]["hidden_size"])


def adapted(size: str) -> Any:
    """The base with a random adapter: if B were zero, the first gradients of A would be zero too."""
    model = get_peft_model(base(size), LoraConfig(**LORA))
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=draw) * 0.02)
    return model


def trained(model: Any) -> dict[str, torch.Tensor]:
    """The adapter's weights by name, copied."""
    kept = {n: p.detach().clone() for n, p in model.named_parameters() if "lora_" in n and ".ref." not in n}
    return dict(sorted(kept.items()))


def restore(model: Any, weights: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in weights:
                weight.copy_(weights[name])


def examples(n: int, vocabulary: int, *, skewed: bool = False, seed: int = 0) -> list[Example]:
    """Prompts of 60 to 120 tokens, answers of 100 to 300; skewed: log-normal, median 150, at most 600."""
    draw = random.Random(seed)

    def text(length: int) -> tuple[int, ...]:
        return tuple(draw.randrange(2, vocabulary) for _ in range(length))

    def answer() -> tuple[int, ...]:
        return (
            *text(min(600, max(8, round(draw.lognormvariate(5.0, 0.7)))) if skewed else draw.randint(100, 300)),
            END,
        )

    return [Example(text(draw.randint(60, 120)), answer(), answer(), i % 2 == 0) for i in range(n)]


def tokenizer(vocabulary: int) -> Any:
    """One word for each id, so that the texts given to TRL become exactly the ids used here."""
    words = {"<pad>": PAD, "<end>": END, **{f"w{i}": i for i in range(2, vocabulary)}}
    words_only = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    words_only.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words_only, pad_token="<pad>", eos_token="<end>")


def text_of(ids: Sequence[int]) -> str:
    return " ".join(f"w{i}" for i in ids if i != END)
