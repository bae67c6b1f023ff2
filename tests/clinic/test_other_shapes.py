"""The recipe for models of other architectures: the embedded model's weights, another class, and says so."""

import importlib.util

import pytest
from tests.support.paths import ROOT
from tests.support.tiny_models import make_tiny

torch = pytest.importorskip("torch")

from transformers import AutoConfig, AutoModelForCausalLM


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("other_shapes", ROOT / "recipes" / "other_shapes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("source") / "llama", "llama")


def logits(folder):
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder)(torch.arange(2, 40)[None]).logits


@pytest.mark.parametrize("shape", ["qwen2", "mistral"])
def test_without_noise_the_other_architecture_gives_the_same_logits(shape, recipe, source, tmp_path):
    folder = recipe.build(shape, source, tmp_path / shape, noise=0)
    assert AutoConfig.from_pretrained(folder).model_type == shape
    torch.testing.assert_close(logits(folder), logits(source))


@pytest.mark.parametrize("shape", ["qwen2", "mistral"])
def test_with_noise_it_is_another_model_always_the_same_one_and_its_card_says_mechanism(
    shape, recipe, source, tmp_path
):
    first, again = (recipe.build(shape, source, tmp_path / name) for name in ("first", "again"))
    assert (first / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
    assert not torch.allclose(logits(first), logits(source))
    assert "Mechanism only" in (first / "README.md").read_text()
