"""``align.gradient_checkpointing``: fewer tensors are kept for the backward pass, and no bit of a gradient differs."""

import contextlib

import pytest

torch = pytest.importorskip("torch")

from tests.support.prompts import ask
from transformers import LlamaConfig, LlamaForCausalLM

from bedside.config.plugins import find, open_plugin
from bedside.core.errors import ModelError
from bedside.core.protocols import Launch
from bedside.core.types import Demonstration, PreferencePair, UnpairedPreference
from bedside.training import backbone, train
from bedside.training.adapters import LoraHost, digest_adapter
from bedside.training.backbone import find_backbone, gradient_checkpointing, microbatch_bytes
from bedside.training.logprobs import TokenizedExchange, logps
from bedside.training.lora_linear import lora_weight_cache

PROMPT = tuple(range(2, 42))
EXCHANGES = [
    TokenizedExchange(PROMPT, (*tuple(range(50, 60)), 1)),
    TokenizedExchange(PROMPT, (*tuple(range(70, 95)), 1)),
    TokenizedExchange(PROMPT[7:20], (*tuple(range(100, 140)), 1)),
]
"""Two answers to one prompt, which a pack holds once, and another."""
LAYERS = 4


def llama_shaped(seed=0, **changed):
    """A Llama of four layers with grouped heads, made from a config, with an adapter that does something."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": LAYERS, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=200, num_key_value_heads=2, pad_token_id=0, eos_token_id=1, **sizes | changed)
    return LoraHost(LlamaForCausalLM(config).requires_grad_(False), "llama")


def trainable(host, dropout=0.0):
    model = host.trainable(
        None, {"r": 4, "lora_alpha": 8, "lora_dropout": dropout, "target_modules": "all-linear"}, seed=1
    )
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    return model


def gradients(model, checkpointing, exchanges=EXCHANGES):
    """Loss and gradients of one micro-batch, and the state of the random numbers after it."""
    model.zero_grad()
    torch.manual_seed(7)
    with gradient_checkpointing(model) if checkpointing else contextlib.nullcontext(), lora_weight_cache():
        loss = -logps(model.train(), exchanges, 0).mean()
        loss.backward()
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return loss.detach(), found, torch.get_rng_state()


def kept_bytes(model, checkpointing):
    """Bytes of the tensors that the forward pass keeps for the backward pass, each once, weights left out."""
    weights = {weight.data_ptr() for weight in model.parameters()}
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = max(kept.get(tensor.data_ptr(), 0), tensor.nbytes)
        return tensor

    context = gradient_checkpointing(model) if checkpointing else contextlib.nullcontext()
    with context, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = logps(model.train(), EXCHANGES, 0).sum()
    held = sum(size for address, size in kept.items() if address not in weights)
    del loss
    return held


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_are_equal_bit_for_bit(dropout):
    model = trainable(llama_shaped(), dropout)
    assert find_backbone(model) is not None, "packed, with this package's attention"
    loss, plain, state = gradients(model, checkpointing=False)
    again, checkpointed, state_after = gradients(model, checkpointing=True)
    assert torch.equal(loss, again)
    assert len(plain) == LAYERS * 7 * 2
    assert all(torch.equal(plain[name], checkpointed[name]) for name in plain)
    assert any(gradient.abs().max() > 0 for gradient in plain.values())
    assert torch.equal(state, state_after), "what is drawn next is the same too"


def test_dropout_draws_or_the_test_above_shows_little():
    model = trainable(llama_shaped(), 0.3)
    torch.manual_seed(7)
    one = logps(model.train(), EXCHANGES, 0)
    assert not torch.equal(one, logps(model.train(), EXCHANGES, 0))


def test_a_model_that_runs_padded_is_checkpointed_too(monkeypatch):
    model = trainable(llama_shaped(), 0.3)
    monkeypatch.setitem(backbone._CAN_PACK, model.get_base_model(), False)
    assert find_backbone(model) is None
    loss, plain, _ = gradients(model, checkpointing=False)
    again, checkpointed, _ = gradients(model, checkpointing=True)
    assert torch.equal(loss, again)
    assert all(torch.equal(plain[name], checkpointed[name]) for name in plain)


def test_a_layer_keeps_its_input_and_nothing_else():
    """By count: of T tokens one hidden row a layer is kept instead of the 12 hidden and 5 intermediate rows."""
    model = trainable(llama_shaped())
    find_backbone(model)
    plain, checkpointed = kept_bytes(model, False), kept_bytes(model, True)
    T = len(PROMPT) + 11 + 26 + 13 + 41
    inputs = T * 64 * 4
    assert checkpointed < plain / 4
    assert plain - checkpointed > LAYERS * 8 * inputs, "at least eight hidden rows a token and layer are saved"
    head = sum(len(e.completion) for e in EXCHANGES) * 64 * 4
    assert checkpointed < (LAYERS + 4) * inputs + 4 * head, "what is left: inputs of layers, last norm, head"


def test_the_estimate_of_check_counts_one_layer_and_the_inputs_of_the_others():
    model = llama_shaped().base_model()
    row, logits = (12 * 64 + 5 * 160) * 4, 3 * 4 * 1024 * 200
    assert microbatch_bytes(model, 1024) == 1024 * LAYERS * row + logits
    assert microbatch_bytes(model, 1024, checkpointing=True) == 1024 * (row + LAYERS * 64 * 4) + logits


def test_the_layers_are_as_before_once_the_context_is_left():
    model = trainable(llama_shaped())
    layers = model.get_base_model().model.layers
    with gradient_checkpointing(model):
        assert all(layer.gradient_checkpointing for layer in layers)
    assert not any(layer.gradient_checkpointing for layer in layers)


def test_a_model_that_cannot_is_one_line(monkeypatch):
    model = trainable(llama_shaped())
    monkeypatch.setattr(backbone, "GradientCheckpointingLayer", torch.nn.Conv1d)
    with pytest.raises(ModelError, match=r"align.gradient_checkpointing: .* set it to false"):
        gradients(model, checkpointing=True)


ROWS = {
    "sft": [Demonstration(ask(f"q{i}"), "word " * (1 + 3 * i)) for i in range(8)],
    "dpo": [PreferencePair(ask(f"q{i}"), "word " * (4 + i), "other " * (1 + 3 * i)) for i in range(8)],
    "kto": [UnpairedPreference(ask(f"q{i}", group=f"g{i}"), "word " * (1 + 3 * i), i % 2 == 0) for i in range(8)],
}


def adapter_of(kind, tiny, folder, **settings):
    """Digest of the adapter after two epochs of ``ROWS[kind]``, in steps of several micro-batches, with dropout."""
    model = open_plugin(find("model", "local")(model=str(tiny["llama"])), Launch(), {})
    objective = open_plugin(find("objective", kind)(), Launch(), {}).for_data(ROWS[kind])
    encoded = train.encode(ROWS[kind], model)
    planned = train.plan(encoded, batch_size=4, epochs=2, seed=0, mismatch=objective.needs_mismatch)
    texts = train.exchanges(encoded, planned)
    references = [train.SequenceLogprob(-2.0 * len(t.completion)) for t in texts] if objective.needs_reference else None
    train.train_model(
        model.trainable({"r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "target_modules": "all-linear"}, 1),
        train.batches(encoded, planned, references),
        objective,
        train.TrainerSettings(1e-2, folder=folder / "checkpoints", max_tokens_per_microbatch=60, **settings),
    )
    model.save_adapter(folder / "adapter")
    return digest_adapter(folder / "adapter")


@pytest.mark.parametrize("kind", ROWS)
def test_a_whole_training_ends_in_the_same_adapter(kind, tiny, tmp_path):
    plain = adapter_of(kind, tiny, tmp_path / "plain")
    assert adapter_of(kind, tiny, tmp_path / "checkpointed", gradient_checkpointing=True) == plain
