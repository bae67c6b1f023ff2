"""bfloat16 on a CPU trains and answers as float32 does, within its own tolerance, whatever its speed."""

import pytest

torch = pytest.importorskip("torch")

from tests.support.prompts import ask

from bedside.config.plugins import find, open_plugin
from bedside.core.protocols import Launch
from bedside.core.types import Demonstration, Message, PreferencePair, Sampling, UnpairedPreference
from bedside.training import packing, train
from bedside.training.logprobs import TokenizedExchange, logps
from bedside.training.packing import AttentionArguments, PackedAttention, attention, pack

LORA = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
TOLERANCE = 2e-2
"""Of a loss in bfloat16 from the same in float32, relative."""
ROWS = {
    "sft": [Demonstration(ask(f"q{i}"), "word " * (1 + 3 * i)) for i in range(8)],
    "dpo": [PreferencePair(ask(f"q{i}"), "word " * (4 + i), "other " * (1 + 3 * i)) for i in range(8)],
    "kto": [UnpairedPreference(ask(f"q{i}", group=f"g{i}"), "word " * (1 + 3 * i), i % 2 == 0) for i in range(8)],
}


def opened(tiny, dtype):
    return open_plugin(find("model", "local")(model=str(tiny["llama"])), Launch(dtype=dtype), {})


def losses(kind, model, folder):
    """Of two epochs of two steps each, from references to the last step."""
    objective = open_plugin(find("objective", kind)(), Launch(), {}).for_data(ROWS[kind])
    encoded = train.encode(ROWS[kind], model)
    planned = train.plan(encoded, batch_size=4, epochs=2, seed=0, mismatch=objective.needs_mismatch)
    references = None
    if objective.needs_reference:
        references = train.logprobs(train.exchanges(encoded, planned), model)
    log = train.train_model(
        model.trainable(LORA, 1),
        train.batches(encoded, planned, references),
        objective,
        train.TrainerSettings(1e-2, folder=folder),
    )
    return [row["loss"] for row in log]


@pytest.mark.parametrize("kind", ROWS)
def test_the_losses_of_two_epochs_are_those_of_fp32_to_2_percent(kind, tiny, tmp_path):
    expected = losses(kind, opened(tiny, "float32"), tmp_path / "32")
    assert len(expected) == 4
    assert len(set(expected)) > 1, "it learns, or the test shows little"
    half = opened(tiny, "bfloat16")
    assert half.module().dtype == torch.bfloat16
    assert losses(kind, half, tmp_path / "16") == pytest.approx(expected, rel=TOLERANCE)


def test_training_takes_matmuls_for_attention_and_answering_the_fused_kernel(tiny, monkeypatch):
    calls = []
    fused = packing.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        packing.functional, "scaled_dot_product_attention", lambda *args, **kw: calls.append(1) or fused(*args, **kw)
    )
    texts = [TokenizedExchange((5, 6, 7), (8, 9, 1))]
    for dtype, fused_in_training in (("float32", True), ("bfloat16", False)):
        model = opened(tiny, dtype)
        module = model.trainable(LORA, 1)
        with torch.no_grad():
            logps(module, texts, 0)
        assert calls, "without a gradient the fused kernel is the faster one"
        calls.clear()
        logps(module, texts, 0).sum().backward()
        assert bool(calls) is fused_in_training
        calls.clear()


@pytest.mark.parametrize(("keys", "fused"), [(512, False), (513, True)])
def test_a_long_segment_trains_by_the_fused_kernel_whose_memory_does_not_grow_with_its_square(keys, fused):
    q, k, v = (torch.randn(1, 1, keys, 8).bfloat16().requires_grad_() for _ in range(3))
    by = attention(q, k, v, None, AttentionArguments(0.3)).grad_fn.name()
    assert ("Attention" in by) is fused


@pytest.mark.parametrize("rules", [AttentionArguments(0.3), AttentionArguments(0.3, window=7)])
def test_attention_by_matmuls_and_its_gradients_are_those_of_fp32(rules):
    torch.manual_seed(0)
    long = tuple(range(10, 40))
    layout = pack([(*long, 1, 2, 3), (*long, 4, 5), (7, 8)])
    T = len(layout.ids)
    whole = [torch.randn(1, heads, T, 8).bfloat16().float().requires_grad_() for heads in (4, 2, 2)]
    half = [x.detach().bfloat16().requires_grad_() for x in whole]
    outputs = [PackedAttention(layout).attend(0, q, k, v, rules) for q, k, v in (whole, half)]
    assert outputs[1].dtype == torch.bfloat16
    weights = torch.randn_like(outputs[0])
    for output in outputs:
        (output * weights).sum().backward()
    for one, other in zip([outputs[0], *(x.grad for x in whole)], [outputs[1], *(x.grad for x in half)], strict=True):
        assert float((other.float() - one).detach().norm() / one.detach().norm()) < TOLERANCE


def test_answers_are_drawn_and_labels_weigh_what_they_weigh_in_fp32(tiny):
    question = (Message("user", "How much is safe?"),)
    labels = ["accept", "caution", "refuse"]
    whole, half = opened(tiny, "float32"), opened(tiny, "bfloat16")
    (one,), (other,) = (model.score([question], labels) for model in (whole, half))
    assert other.logprobs == pytest.approx(one.logprobs, abs=0.05)
    greedy = Sampling(max_new_tokens=6)
    (expected,), (answer,), (again,) = (model.generate([question], greedy) for model in (whole, half, half))
    assert answer == again
    assert answer.ids[:2] == expected.ids[:2], "until two tokens are nearly as likely"
