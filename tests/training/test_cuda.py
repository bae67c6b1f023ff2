"""What a GPU computes is what a CPU does: varlen attention, block mask, captured steps, LoRA layers."""

import math

import pytest

torch = pytest.importorskip("torch")

from tests.training.test_decoding import PROMPTS, by_generate
from tests.training.test_packing import SHAPES, close, folders, gradients, load, rows_of  # noqa: F401

from bedside.config.plugins import find, open_plugin
from bedside.core.protocols import Launch
from bedside.core.types import Message, Sampling
from bedside.training import decoding, logprobs, lora_linear
from bedside.training.decoding import TokenSampler, decode, eager_step
from bedside.training.logprobs import logps

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]


def nats(model, rows):
    return logps(model, rows, 0).detach().cpu()


@pytest.mark.parametrize("shape", SHAPES)
def test_block_mask_in_fp32_is_the_cpu_to_1e_5_and_its_gradients_to_1e_4(shape, load):  # noqa: F811
    model, rows = load(shape), rows_of(2)
    on_cpu, expected = nats(model, rows), gradients(model, logps(model, rows, 0).sum())
    on_gpu = model.to("cuda")
    assert float((nats(on_gpu, rows) - on_cpu).abs().max()) < 1e-4
    actual = gradients(on_gpu, logps(on_gpu, rows, 0).sum())
    close({n: g.cpu() for n, g in actual.items()}, expected, 1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_varlen_in_bf16_is_no_further_from_fp32_than_the_padded_way(shape, load):  # noqa: F811
    rows = rows_of(2)
    exact = nats(load(shape), rows)
    model = load(shape).to("cuda", torch.bfloat16)
    packed, padded = nats(model, rows), logprobs._padded_logps(model, rows, 0).detach().cpu()
    errors = [float((way - exact).norm()) for way in (packed, padded)]
    assert errors[0] < 2 * errors[1] + 0.1, errors


@pytest.mark.parametrize("shape", SHAPES)
def test_captured_steps_are_generate_token_for_token(shape, load, monkeypatch, caplog):  # noqa: F811
    model = load(shape).eval()
    expected = by_generate(model, [1], 36)
    model = model.to("cuda")
    assert decode(model, PROMPTS, [36] * 6, frozenset([1]), TokenSampler(), slots=4) == expected
    assert "without a CUDA graph" not in caplog.text
    drawn = decode(model, PROMPTS, [36] * 6, frozenset([1]), TokenSampler(1.0, 0.9, seed=3))
    monkeypatch.setattr(
        decoding, "step_function", lambda *arguments: lambda ids: eager_step(*arguments[:2], ids, arguments[2])
    )
    assert decode(model, PROMPTS, [36] * 6, frozenset([1]), TokenSampler(1.0, 0.9, seed=3)) == drawn


def test_lora_layers_in_bf16_are_no_further_from_fp32_than_pefts(load):  # noqa: F811
    model, rows = load("llama"), rows_of(2)
    expected = gradients(model, logps(model, rows, 0).sum())
    half = load("llama").to("cuda")
    for name, weight in half.named_parameters():
        weight.data = weight.data if "lora_" in name else weight.data.bfloat16()
    errors = []
    for _ in range(2):
        actual = gradients(half, logps(half, rows, 0).sum())
        errors.append(sum(float((actual[n].float().cpu() - expected[n]).norm()) for n in expected))
        lora_linear.use_lora_linear(half)
    assert errors[0] != errors[1], "both ways round differently"
    assert errors[1] < 2 * errors[0]


def test_a_model_folder_answers_and_weighs_labels_on_the_card(folders):  # noqa: F811
    model = open_plugin(
        find("model", "local")(model=str(folders["llama"])), Launch(device="cuda", dtype="bfloat16"), {}
    )
    conversations = [(Message("user", "word " * n),) for n in (1, 9, 4)]
    assert all(answer.ids for answer in model.generate(conversations, Sampling(max_new_tokens=12)))
    assert [sum(math.exp(x) for x in s.logprobs) for s in model.score(conversations, ["a", "b"])] == pytest.approx(
        [1] * 3
    )
