"""Products by oneDNN where the processor is AMD's: the same to the last bits, and never where they would crawl."""

import pytest

torch = pytest.importorskip("torch")

from peft import LoraConfig, get_peft_model
from torch.nn import functional
from transformers import AutoModelForCausalLM

from bedside.engine import products
from bedside.engine.fused import fused
from bedside.engine.logprobs import Exchange, logps

EPYC = {"architecture": "x86_64", "cpu_name": "AMD EPYC"}
OTHERS = [
    {"architecture": "x86_64", "cpu_name": "Intel(R) Xeon(R) Processor"},
    {"architecture": "aarch64", "cpu_name": "AMD of another kind"},
    {},
]


@pytest.fixture
def asked_of(monkeypatch):
    """Which shapes oneDNN is asked for, on a processor that is AMD's, whichever this one is."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        pytest.skip("this torch has no oneDNN")
    seen = []
    fits = products._fits

    def seeing(x, W):
        seen.extend([(tuple(x.shape), tuple(W.shape))] if fits(x, W) else [])
        return fits(x, W)

    monkeypatch.setattr(products, "by_onednn", lambda: True)
    monkeypatch.setattr(products, "_fits", seeing)
    return seen


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("rows", "inner", "outer"), [(33, 7, 5), (64, 160, 96), (700, 16, 3)])
def test_a_product_is_torchs_to_the_last_bits(rows, inner, outer, biased, asked_of):
    torch.manual_seed(rows)
    x, W, bias = torch.randn(rows, inner), torch.randn(outer, inner), torch.randn(outer) if biased else None
    room = {"atol": 1e-4, "rtol": 1e-5}
    torch.testing.assert_close(products.product(x, W, bias), functional.linear(x, W, bias), **room)
    torch.testing.assert_close(products.product(x, W.t().contiguous().t(), bias), functional.linear(x, W, bias), **room)
    assert asked_of == [((rows, inner), (outer, inner))] * 2


@pytest.mark.parametrize(
    ("x", "W"),
    [
        (torch.ones(64, 20)[:, :8], torch.ones(5, 8)),
        (torch.ones(8, 64).t(), torch.ones(5, 8)),
        (torch.ones(64, 8), torch.ones(5, 20)[:, :8]),
        (torch.ones(products.FEW - 1, 8), torch.ones(5, 8)),
        (torch.ones(64, 8).bfloat16(), torch.ones(5, 8).bfloat16()),
        (torch.ones(64, 8).double(), torch.ones(5, 8).double()),
    ],
    ids=["gaps in x", "x transposed", "gaps in W", "few rows", "half", "double"],
)
def test_what_onednn_is_slow_at_or_rounds_otherwise_is_left_to_torch(x, W, asked_of):
    assert torch.equal(products.product(x, W), functional.linear(x, W))
    assert not asked_of


@pytest.mark.parametrize(("told", "answer"), [(EPYC, True), *((other, False) for other in OTHERS)])
def test_the_processor_alone_decides(told, answer, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert products.by_onednn.__wrapped__() == answer


def test_a_gradient_passes_through_a_layer_without_an_adapter(asked_of):
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(8, 5), torch.randn(40, 8, requires_grad=True)
    layer.requires_grad_(False)
    (wanted,) = torch.autograd.grad((layer(x) ** 2).sum(), x)
    (found,) = torch.autograd.grad((fused(layer)(x) ** 2).sum(), x)
    assert torch.equal(found, wanted)
    assert not asked_of
    with torch.no_grad():
        torch.testing.assert_close(layer(x), functional.linear(x, layer.weight, layer.bias), atol=1e-5, rtol=1e-5)
    assert asked_of == [((40, 8), (5, 8))]


def test_training_by_onednn_has_the_gradients_of_training_by_mkl(tiny, asked_of, monkeypatch):
    torch.manual_seed(0)
    model = fused(
        get_peft_model(
            AutoModelForCausalLM.from_pretrained(tiny["llama"]), LoraConfig(r=4, target_modules=["q_proj", "down_proj"])
        )
    )
    weights = [p for name, p in model.named_parameters() if p.requires_grad]
    for weight in weights:
        torch.nn.init.normal_(weight, std=0.1)
    asked = [Exchange(tuple(range(3, 43)), tuple(range(5, 5 + n))) for n in (40, 25)]
    ends = []
    for one in (True, False):
        monkeypatch.setattr(products, "by_onednn", lambda one=one: one)
        values = logps(model, asked, 0)
        ends.append([values, *torch.autograd.grad(values.sum(), weights)])
        assert asked_of, "nothing was asked of oneDNN"
    for one, other in zip(*ends, strict=True):
        assert (one - other).norm() <= 1e-5 * other.norm()
