"""A linear layer under LoRA in one step: PEFT's to the last bits, its sum formed once while no weight changes."""

import pytest

torch = pytest.importorskip("torch")

from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear

from bedside.training import lora_linear


@pytest.mark.parametrize("bias", [True, False])
def test_a_lora_layer_is_pefts_to_the_last_bits_and_leaves_the_rest_to_it(bias):
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(6, 9, bias=bias)).requires_grad_(False)
    model = get_peft_model(plain, LoraConfig(r=3, lora_alpha=6, target_modules=["0"], lora_dropout=0.5))
    (layer,) = [m for m in model.modules() if isinstance(m, Linear)]
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    x = torch.randn(2, 5, 6, requires_grad=True)
    ends = []
    for forward in (lambda: layer.eval()(x), lambda: lora_linear._forward(layer.eval(), x)):
        y = forward()
        parts = [x, layer.lora_A["default"].weight, layer.lora_B["default"].weight]
        ends.append([y, *torch.autograd.grad((y**2).sum(), parts)])
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    torch.manual_seed(1)
    dropped = layer.train()(x)
    torch.manual_seed(1)
    assert torch.equal(lora_linear._forward(layer, x), dropped), "dropout is PEFT's"
    with model.disable_adapter():
        assert torch.equal(lora_linear._forward(layer, x), plain[0].base_layer(x))


def added_to(x, W, A, B):
    return lora_linear.MixedPrecisionLoraLinear.apply(
        x.bfloat16(), W.bfloat16(), None, A, B, 2.0, *(lora_linear.cast_weight(w, torch.bfloat16) for w in (A, B))
    )


def test_casts_are_cached_while_no_weight_changes():
    weight = torch.nn.Parameter(torch.randn(3, 5))
    with lora_linear.lora_weight_cache():
        first = lora_linear.cast_weight(weight, torch.bfloat16)
        assert lora_linear.cast_weight(weight, torch.bfloat16) is first
    with torch.no_grad():
        weight.data.add_(1)  # as a fused optimizer does: no version tells of it
    assert torch.equal(lora_linear.cast_weight(weight, torch.bfloat16), weight.bfloat16())
    with lora_linear.lora_weight_cache():
        assert torch.equal(lora_linear.cast_weight(weight, torch.bfloat16), weight.bfloat16())


def adapted_layer():
    plain = torch.nn.Sequential(torch.nn.Linear(6, 9)).requires_grad_(False)
    model = get_peft_model(plain, LoraConfig(r=3, target_modules=["0"]))
    (layer,) = [m for m in model.modules() if isinstance(m, Linear)]
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    return layer.eval()


def test_merged_weights_are_computed_once_while_nobody_trains_and_anew_afterwards(monkeypatch):
    layer, formed, real = adapted_layer(), [], lora_linear._merge
    monkeypatch.setattr(lora_linear, "_merge", lambda *arguments: formed.append(1) or real(*arguments))
    x, B = torch.randn(5, 6, requires_grad=True), layer.lora_B["default"].weight

    def step():
        y = lora_linear._forward(layer, x)
        return [y, *torch.autograd.grad((y**2).sum(), [x, layer.lora_A["default"].weight, B])]

    alone = step()
    assert len(formed) == 2, "forward and backward"
    with lora_linear.lora_weight_cache():
        kept = [step(), step()]
        with lora_linear.lora_weight_cache():
            kept.append(step())
    assert len(formed) == 3
    assert all(torch.equal(a, b) for ends in kept for a, b in zip(alone, ends, strict=True))
    B.data.add_(1)  # as a fused optimizer does: no version tells of it
    with lora_linear.lora_weight_cache():
        torch.testing.assert_close(lora_linear._forward(layer, x), layer(x))


def test_merged_weights_beyond_the_limit_are_computed_each_time(monkeypatch):
    layer, formed, real = adapted_layer(), [], lora_linear._merge
    monkeypatch.setattr(lora_linear, "_merge", lambda *arguments: formed.append(1) or real(*arguments))
    monkeypatch.setattr(lora_linear, "CACHE_BYTES", 4 * 6 * 9 - 1)
    with torch.no_grad(), lora_linear.lora_weight_cache():
        lora_linear._forward(layer, torch.randn(5, 6))
        lora_linear._forward(layer, torch.randn(5, 6))
    assert len(formed) == 2


def test_the_cache_is_cleared_when_its_reference_count_is_zero():
    """Two threads may open the cache at once and close it in the order in which they opened it."""
    layer, x = adapted_layer(), torch.randn(5, 6)
    first, second = lora_linear.lora_weight_cache(), lora_linear.lora_weight_cache()
    first.__enter__()
    second.__enter__()
    lora_linear._forward(layer, x)
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    layer.lora_B["default"].weight.data.add_(1)
    with lora_linear.lora_weight_cache():
        torch.testing.assert_close(lora_linear._forward(layer, x), layer(x))


def test_in_half_precision_a_lora_layer_is_as_near_to_fp32_as_pefts():
    torch.manual_seed(0)
    x, W, A, B = torch.randn(40, 32), torch.randn(24, 32), torch.randn(4, 32), 0.05 * torch.randn(24, 4)
    exact = x @ (W + 2 * B @ A).t()
    plain = (x.bfloat16() @ W.bfloat16().t() + x.bfloat16().float() @ A.t() @ B.t() * 2).bfloat16()
    added = added_to(x, W, A, B)
    assert added.dtype == torch.bfloat16
    assert (added - exact).norm() < 1.5 * (plain - exact).norm()
    A.requires_grad_(), B.requires_grad_()
    exact_A, exact_B = torch.autograd.grad((x @ (W + 2 * B @ A).t()).sum(), (A, B))
    grad_A, grad_B = torch.autograd.grad(added_to(x, W, A, B).sum(), (A, B))
    for gradient, expected in ((grad_A, exact_A), (grad_B, exact_B)):
        assert gradient.dtype == torch.float32
        torch.testing.assert_close(gradient, expected, atol=0.05 * float(expected.norm()), rtol=0.05)
