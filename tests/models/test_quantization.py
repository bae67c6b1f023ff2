"""``target.quantize``: weights of 4 and 8 bits are loaded, trained by LoRA, saved and resumed, on a CPU too."""

import json
import shutil

import pytest

torch = pytest.importorskip("torch")

from peft import PeftModel
from tests.alignment.test_align import coin, write_config  # noqa: F401
from tests.models.test_hf import noisy_adapter
from tests.support.prompts import ask
from tests.support.tiny_models import make_tiny
from transformers import AutoModelForCausalLM

import bedside
from bedside.alignment import single_stage
from bedside.core.errors import ModelError
from bedside.core.protocols import Launch, SilentProgress
from bedside.core.types import Demonstration, Sampling
from bedside.data.io import write_jsonl
from bedside.models import quantization
from bedside.models.hf import Local
from bedside.run.context import open_run
from bedside.training import train
from bedside.training.adapters import digest_adapter
from bedside.training.backbone import find_backbone, gradient_checkpointing
from bedside.training.logprobs import TokenizedExchange, logps

KINDS = ("nf4", "int8")
LORA = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
ASKED = [ask(text).messages for text in ("How much is safe?", "word word")]


@pytest.fixture(scope="module")
def folder(made_once):
    """Wide enough for blocks of 64 values."""
    return made_once("quantised", lambda root: make_tiny(root / "llama", "llama", hidden=64)) / "llama"


@pytest.fixture
def installed():
    pytest.importorskip("bitsandbytes")


def opened(folder, kind):
    return Local(model=str(folder), quantize=kind).open(Launch())


def trained(model, folder, on_step=lambda done, total: None):
    """The losses and the adapter's digest after three epochs of two steps."""
    rows = [Demonstration(ask(f"q{i}"), "word " * (1 + 3 * i)) for i in range(8)]
    encoded = train.encode(rows, model)
    planned = train.plan(encoded, batch_size=4, epochs=3, seed=0, mismatch=False)
    objective = bedside.config.plugins.find("objective", "sft")().open(Launch()).for_data(rows)
    settings = train.TrainerSettings(1e-2, folder=folder / "checkpoints", save_steps=1, on_step=on_step)
    log = train.train_model(model.trainable(LORA, 1), train.batches(encoded, planned, None), objective, settings)
    model.save_adapter(folder / "adapter")
    return [row["loss"] for row in log], digest_adapter(folder / "adapter")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kind", KINDS)
def test_layers_hold_few_bits_and_answers_and_labels_are_near_those_of_the_whole(kind, folder):
    whole, model = opened(folder, None), opened(folder, kind)
    module = model.module()
    layer, head = module.model.layers[0].mlp.up_proj, module.lm_head
    assert type(layer).__name__ == {"nf4": "Linear4bit", "int8": "Linear8bitLt"}[kind]
    assert layer.weight.dtype in (torch.uint8, torch.int8)
    assert head.weight.dtype == torch.float32
    assert find_backbone(module) is not None, "packed as any other"
    assert [len(answer.ids) for answer in model.generate(ASKED, Sampling(max_new_tokens=6))] == [6, 6]
    texts = [TokenizedExchange((5, 6, 7), tuple(range(40, 60)))]
    near, exact = (float(logps(m.module(), texts, 0)) for m in (model, whole))
    assert near == pytest.approx(exact, rel=0.1)
    assert near != exact
    assert sum(torch.tensor(model.score(ASKED, ["accept", "refuse"])[0].logprobs).exp()) == pytest.approx(1)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kind", KINDS)
def test_lora_learns_on_few_bits_and_a_killed_training_resumes_to_the_same_bytes(kind, folder, tmp_path):
    losses, digest = trained(opened(folder, kind), tmp_path / "whole")
    assert losses[-1] < losses[0]

    def kill(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(opened(folder, kind), tmp_path / "killed", kill)
    steps = []
    resumed = trained(opened(folder, kind), tmp_path / "killed", lambda done, total: steps.append(done))
    assert steps[0] > 1, "it goes on, and does not begin anew"
    assert resumed == (losses, digest)


@pytest.mark.usefixtures("installed")
def test_checkpointing_changes_no_bit_of_a_gradient_on_few_bits(folder):
    model = opened(folder, "nf4").trainable(LORA, 1)
    texts, found = [TokenizedExchange((5, 6, 7), tuple(range(40, 60)))], []
    for context in (gradient_checkpointing(model), torch.enable_grad()):
        model.zero_grad()
        with context:
            logps(model, texts, 0).sum().backward()
        found.append([p.grad.clone() for p in model.parameters() if p.requires_grad])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_saves_an_adapter_that_loads_on_the_model_as_stored(kind, folder, tmp_path, coin):  # noqa: F811
    sets = [f"target={{model: '{folder}', quantize: {kind}}}"]
    run = open_run(bedside.load(write_config(tmp_path, folder), sets), SilentProgress())
    write_jsonl(tmp_path / "sft.jsonl", [{"prompt": f"q{i}", "completion": "word"} for i in range(4)])
    made = single_stage.train(run, {"kind": "sft", "learning_rate": 1e-2}, tmp_path / "sft.jsonl", tmp_path / "out")
    assert made.base == run.target.checkpoint.base
    assert any(name.startswith("bitsandbytes 0.") for name in run.cache.numerics)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), str(tmp_path / "out"))
    texts = [TokenizedExchange((5, 6, 7), tuple(range(40, 60)))]
    near = float(logps(run.opener.policy(made).module(), texts, 0))
    assert float(logps(plain.eval(), texts, 0)) == pytest.approx(near, rel=0.1)


@pytest.mark.usefixtures("installed")
def test_the_base_is_named_by_how_it_is_quantised_and_as_ever_where_it_is_not(folder):
    names = {kind: opened(folder, kind).checkpoint.base for kind in (None, *KINDS)}
    assert len(set(names.values())) == 3
    assert names[None] == Local(model=str(folder)).open(Launch()).checkpoint.base


def test_without_the_package_one_line_names_the_command(folder, monkeypatch):
    monkeypatch.setattr(quantization, "find_spec", lambda name: None)
    with pytest.raises(ModelError) as refused:
        opened(folder, "nf4")
    assert str(refused.value) == (
        "target.quantize needs bitsandbytes, which is not installed: pip install 'bedside[quant]'"
    )
    assert quantization.numerics("nf4") == ()


@pytest.mark.usefixtures("installed")
def test_an_adapter_is_not_merged_into_few_bits(folder, tmp_path):
    adapter = noisy_adapter(folder, tmp_path / "adapter")
    with pytest.raises(ModelError, match=r"merge it as stored .* or leave quantize out"):
        opened(adapter, "nf4")


@pytest.mark.usefixtures("installed")
def test_weights_that_are_quantised_already_are_not_quantised_again(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    settings = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}
    (copy / "config.json").write_text(json.dumps(config | settings))
    with pytest.raises(ModelError, match="stored quantised already; leave quantize out"):
        opened(copy, "int8")


def test_the_size_counts_a_layers_matrices_at_few_bits_and_the_rest_as_stored(folder):
    """By hand: 2 layers of 64 wide, 48 inside, keys and values of 32; 300 words; norms."""
    matrices = 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 48)
    rest = 300 * 64 + 5 * 64
    sizes = {kind: Local(model=str(folder), quantize=kind).size(Launch()) for kind in (None, *KINDS)}
    assert sizes == {
        None: 4 * (matrices + rest),
        "nf4": matrices * 9 // 16 + 4 * rest,
        "int8": matrices + 4 * rest,
    }


def test_a_few_bits_are_no_matter_of_the_cpus_bfloat16(folder):
    assert Local(model=str(folder), quantize="nf4").product_shapes() == ()


def test_the_key_knows_two_kinds():
    with pytest.raises(ValueError, match="nf4"):
        Local(model="embedded", quantize="int4")
