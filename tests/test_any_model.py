"""Models as people have them: other shapes, templates, adapters, shards and dtypes work, or say what to do."""

import json
import shutil

import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import bedside
from bedside.core.errors import ModelError
from bedside.core.protocols import Launch
from bedside.core.types import Message, Sampling
from bedside.models.local import Local
from conftest import make_tiny
from test_align import coin, write_config  # noqa: F401

ASK = (Message("user", "How much is safe?"),)
SHORT = Sampling(max_new_tokens=4)
THINKS = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% if not enable_thinking %}<think></think>{% endif %}{% endif %}"
)


def works(folder, **more):
    """Answers, weighs labels, and has a digest of its own."""
    model = Local(model=str(folder), **more).open(Launch())
    (said,) = model.generate([ASK], SHORT)
    (score,) = model.score([ASK], ["accept", "caution", "refuse"])
    assert len(said.ids) <= 4
    assert sum(map(float, torch.tensor(score.logprobs).exp())) == pytest.approx(1)
    return model


@pytest.fixture
def llama(tiny, tmp_path):
    return shutil.copytree(tiny["llama"], tmp_path / "llama")


def edited(folder, file, **changes):
    path = folder / file
    told = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in told.items() if value is not None}))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["gemma", "phi"])
def test_softcapped_and_fused_shapes_go_through_align(shape, tmp_path, coin):  # noqa: F811
    run = bedside.align(bedside.load(write_config(tmp_path, make_tiny(tmp_path / shape, shape))))
    assert [c.name for c in run.summary.cycles[0].candidates][:2] == ["target", "cycle-1/kto"]


def test_a_template_that_thinks_is_told_not_to_unless_asked(llama):
    (llama / "chat_template.jinja").write_text(THINKS)
    quiet, aloud = works(llama), works(llama, thinking=True)
    assert quiet.renderer.prompt_ids(ASK) != aloud.renderer.prompt_ids(ASK)
    assert quiet.checkpoint.id != aloud.checkpoint.id


def test_no_template_says_what_to_do_and_a_file_helps(llama, tmp_path):
    (llama / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match=r"target\.chat_template: FILE\.jinja"):
        works(llama)
    (tmp_path / "chat.jinja").write_text(THINKS)
    works(llama, chat_template=str(tmp_path / "chat.jinja"))


def test_no_pad_token(llama):
    edited(llama, "tokenizer_config.json", pad_token=None)
    edited(llama, "config.json", pad_token_id=None)
    model = works(llama)
    assert len(model.generate([ASK, (Message("user", "a" * 50),)], SHORT)) == 2


def test_sharded_safetensors_compute_the_same(llama, tmp_path):
    AutoModelForCausalLM.from_pretrained(llama).save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    AutoTokenizer.from_pretrained(llama).save_pretrained(tmp_path / "shards")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert works(tmp_path / "shards").generate([ASK], SHORT) == works(llama).generate([ASK], SHORT)


def test_half_precision_weights_are_computed_in_float32_on_a_cpu(llama, tmp_path):
    AutoModelForCausalLM.from_pretrained(llama, dtype=torch.bfloat16).save_pretrained(tmp_path / "half")
    AutoTokenizer.from_pretrained(llama).save_pretrained(tmp_path / "half")
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    assert works(tmp_path / "half").module().dtype == torch.float32


def test_an_adapter_as_target_is_the_target_as_given(llama, tmp_path):
    made = Local(model=str(llama)).open(Launch())
    module = made.trainable({"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}, 0)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2)
    made.save_adapter(tmp_path / "given")
    edited(tmp_path / "given", "adapter_config.json", base_model_name_or_path=str(llama))
    worn = made.with_adapter(tmp_path / "given", made.checkpoint)
    target = works(tmp_path / "given")
    for a, b in zip(target.score([ASK], ["accept", "refuse"]), worn.score([ASK], ["accept", "refuse"]), strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
    assert target.checkpoint.id != Local(model=str(llama)).open(Launch()).checkpoint.id


def test_an_adapter_whose_base_is_not_named_says_so(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="base_model_name_or_path"):
        works(tmp_path)


def test_a_prompt_longer_than_the_context_is_named(tiny, tmp_path, coin):  # noqa: F811
    config = write_config(tmp_path, tiny["llama"])
    text = (tmp_path / "prompts.jsonl").read_text()
    (tmp_path / "prompts.jsonl").write_text(text.replace("aspirin0 is", "aspirin0 " + "is " * 2000, 1))
    with pytest.raises(bedside.core.errors.DataError, match="tokens; the model reads 1024"):
        bedside.align(bedside.load(config))


def test_an_adapter_of_another_model_is_refused(tiny, tmp_path):
    other = Local(model=str(tiny["qwen"])).open(Launch())
    other.trainable({"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}, 0)
    other.save_adapter(tmp_path / "adapter")
    wide = make_tiny(tmp_path / "wide", "llama", hidden=64)
    model = Local(model=str(wide)).open(Launch())
    with pytest.raises(ModelError, match="does not fit the model"):
        model.with_adapter(tmp_path / "adapter", model.checkpoint).module()


def test_half_an_adapter_config_says_so(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match="is not JSON"):
        works(tmp_path)


def test_saving_an_adapter_asks_no_hub_for_its_base(llama, tmp_path, monkeypatch):
    from peft.utils import other

    monkeypatch.setattr(other, "file_exists", lambda *a, **k: pytest.fail("the hub was asked"))
    lora = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    model = Local(model=str(llama)).open(Launch())
    model.bed._target = "owner/name"
    model.trainable(lora, 0)
    model.save_adapter(tmp_path / "first")
    model.with_adapter(tmp_path / "first", model.checkpoint).trainable(lora, 0)
    model.save_adapter(tmp_path / "second")
    told = json.loads((tmp_path / "second" / "adapter_config.json").read_text())
    assert told["base_model_name_or_path"] == "owner/name"
