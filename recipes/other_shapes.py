"""Builds models of other architectures from a Llama model, to show a list of targets without a download.

    python recipes/other_shapes.py OUT                   OUT/qwen2 and OUT/mistral from the embedded model, each with
                                                         a README.md that says what it is
    python recipes/other_shapes.py OUT --of smollm2      the same from SmolLM2 (or from a folder)
    bedside align --targets embedded,OUT/qwen2,OUT/mistral

MECHANISM ONLY. No weight of Qwen or Mistral is in them: they are the given model's weights and tokenizer under
another architecture of transformers, with noise, so that the models differ. They show that a list runs over
architectures, and nothing about the models of those names.

    qwen2      with biases of 0 in the attention      noise 0: the same logits as the model given
    mistral    with a sliding window                  noise 0: the same, as far as the window reaches
"""

import argparse
from pathlib import Path

import torch
from transformers import (
    AutoTokenizer,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from bedside.models.gguf_files import folder_of, names_gguf
from bedside.models.hf import EMBEDDED

NOISE, SEED, WINDOW = 0.02, 7, 512
SHAPES: dict[str, tuple[type, type[PreTrainedModel], dict[str, int]]] = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "mistral": (MistralConfig, MistralForCausalLM, {"sliding_window": WINDOW}),
}
KEPT = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "max_position_embeddings", "tie_word_embeddings", "rms_norm_eps", "rope_parameters"),
    *("hidden_act", "bos_token_id", "eos_token_id", "pad_token_id", "dtype"),
)
"""Of the given model's config."""
CARD = """# {source} in the shape of {shape}

Mechanism only: these are the weights and the tokenizer of {source} under another architecture, each matrix
with noise of {noise:g} of its standard deviation (seed {seed}). Nothing here comes from, or says anything about, the
published models of that architecture.
"""


def build(shape: str, source: Path, out: Path, noise: float = NOISE) -> Path:
    """The Llama model in ``source`` as a model of ``shape`` in the folder ``out``. The same bytes for the same inputs.

    ``noise``: standard deviation of what is added to each matrix, as a share of the matrix's own.
    """
    given = LlamaForCausalLM.from_pretrained(source, dtype="auto")
    config, model_class, more = SHAPES[shape]
    model = model_class(config(**{key: getattr(given.config, key) for key in KEPT}, **more)).to(given.dtype)
    left = model.load_state_dict(given.state_dict(), strict=False)
    if left.unexpected_keys or not all(key.endswith("_proj.bias") for key in left.missing_keys):
        raise ValueError(f"{source}: its weights do not fit {shape}: {left}")
    _add_noise(model, noise)
    model.generation_config = given.generation_config
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(source).save_pretrained(out)
    card = CARD.format(source=source.name, shape=shape, noise=noise, seed=SEED)
    (out / "README.md").write_text(card, encoding="utf-8")
    return out


@torch.no_grad()
def _add_noise(model: PreTrainedModel, noise: float) -> None:
    """To each matrix; a bias stays 0, as the architecture begins."""
    drawn = torch.Generator().manual_seed(SEED)
    for name, weights in model.named_parameters():
        if name.endswith("_proj.bias"):
            weights.zero_()
        elif weights.ndim > 1:
            added = torch.randn(weights.shape, generator=drawn) * weights.float().std() * noise
            weights.add_(added.to(weights.dtype))


def main() -> None:
    parser = argparse.ArgumentParser(description="Models of other architectures from a Llama model: mechanism only.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--of", default="embedded", help="embedded, smollm2 or a folder; default: embedded")
    parser.add_argument("--noise", type=float, default=NOISE)
    given = parser.parse_args()
    source = folder_of(given.of) if names_gguf(given.of) else EMBEDDED.get(given.of, Path(given.of))
    for shape in SHAPES:
        print(f"wrote {build(shape, source, given.out / shape, given.noise)}: mechanism only")


if __name__ == "__main__":
    main()
