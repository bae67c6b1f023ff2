"""Models as people have them: other shapes, templates, adapters, shards and dtypes work, or say what to do."""

import json
import shutil

import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file
from tests.alignment.test_align import coin, write_config  # noqa: F401
from tests.support.tiny_models import make_tiny
from transformers import AutoModelForCausalLM, AutoTokenizer

import bedside
from bedside.core.errors import ModelError
from bedside.core.protocols import Launch
from bedside.core.types import Message, Sampling
from bedside.models.hf import Local

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


def noisy_adapter(base, folder, seed=0, **lora):
    """A PEFT folder beside ``base`` whose every matrix does something."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    chosen = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]} | lora
    worn = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(task_type="CAUSAL_LM", **chosen))
    with torch.no_grad():
        for name, weight in worn.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2)
    worn.save_pretrained(folder)
    return folder


def test_an_adapter_as_target_is_the_target_as_given(llama, tmp_path):
    given = noisy_adapter(llama, tmp_path / "given")
    made = Local(model=str(llama)).open(Launch())
    worn = made.with_adapter(given, made.checkpoint)
    target = works(given)
    for a, b in zip(target.score([ASK], ["accept", "refuse"]), worn.score([ASK], ["accept", "refuse"]), strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
    assert target.checkpoint.id != made.checkpoint.id


@pytest.mark.parametrize(
    "lora",
    [
        {},
        {"use_rslora": True},
        {"alpha_pattern": {"layers.0.self_attn.q_proj": 32}, "rank_pattern": {"down_proj": 2}},
        {"target_modules": "all-linear", "layers_to_transform": None},
    ],
    ids=["plain", "rank-stabilised", "patterns", "all-linear"],
)
def test_what_is_trained_upon_an_adapter_loads_on_its_base(llama, tmp_path, lora):
    """PEFT, the user's base and what was saved, against the original target under what was trained."""
    from peft import PeftModel

    target = works(noisy_adapter(llama, tmp_path / "given", **lora))
    module = target.trainable({"r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "v_proj"]}, 0)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2)
    target.save_adapter(tmp_path / "trained")
    target.export(tmp_path / "trained", tmp_path / "ship")
    ids = torch.tensor([target.renderer.prompt_ids(ASK)])
    with torch.no_grad():
        wanted = target.with_adapter(tmp_path / "trained", target.checkpoint).module()(ids).logits
        again = target.with_adapter(tmp_path / "ship", target.checkpoint).module()(ids).logits
        saved = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(llama), tmp_path / "ship")
        assert not torch.allclose(
            saved.get_base_model()(ids).logits * 0 + target.lora_host.base_model()(ids).logits, wanted
        )
        torch.testing.assert_close(saved(ids).logits, wanted, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(saved.merge_and_unload()(ids).logits, wanted, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(again, wanted)
    told = json.loads((tmp_path / "ship" / "adapter_config.json").read_text())
    assert told["base_model_name_or_path"] == str(llama)


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")  # of PEFT, to whoever saves one
@pytest.mark.parametrize(
    "lora", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"target_modules": ["embed_tokens", "q_proj"]}]
)
def test_an_adapter_that_no_sum_could_hold_says_how_to_merge_it(tiny, tmp_path, lora):
    noisy_adapter(tiny["qwen"], tmp_path / "given", **lora)
    with pytest.raises(ModelError, match="merge_and_unload"):
        works(tmp_path / "given")


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
    model.lora_host._target = "owner/name"
    model.trainable(lora, 0)
    model.save_adapter(tmp_path / "first")
    model.with_adapter(tmp_path / "first", model.checkpoint).trainable(lora, 0)
    model.save_adapter(tmp_path / "second")
    told = json.loads((tmp_path / "second" / "adapter_config.json").read_text())
    assert told["base_model_name_or_path"] == "owner/name"


def test_an_adapter_on_some_layers_by_a_pattern_is_opened_again(llama, tmp_path):
    model = Local(model=str(llama)).open(Launch())
    pattern = r".*layers\.0\..*proj"
    model.trainable({"r": 4, "lora_alpha": 8, "target_modules": pattern}, 0)
    model.save_adapter(tmp_path / "first")
    assert json.loads((tmp_path / "first" / "adapter_config.json").read_text())["target_modules"] == pattern
    model.with_adapter(tmp_path / "first", model.checkpoint).module()
