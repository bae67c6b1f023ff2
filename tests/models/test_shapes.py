"""The shapes table: every kind of model a person may bring, what came out, docs/evidence/shapes.md.

Each answers two prompts of different length in one batch, weighs labels, and is trained for a step; what that
saves is loaded by PEFT on what the person has. Or it says what to do.
"""

import json

import pytest

pytest.importorskip("torch")

import torch
from peft import PeftModel
from tests.alignment.test_align import coin, write_config  # noqa: F401
from tests.models.test_hf import THINKS, edited, noisy_adapter
from tests.support.tiny_models import make_tiny
from transformers import AutoModelForCausalLM, AutoTokenizer

import bedside
from bedside.alignment import single_stage
from bedside.core.errors import BedsideError
from bedside.core.protocols import SilentProgress
from bedside.core.types import GenerationRequest, Message, Prompt
from bedside.data import io
from bedside.run.context import open_run

pytestmark = pytest.mark.prove
ASKED = [(Message("user", "How much is safe?"),), (Message("user", "And " + "is " * 30),)]
ROW = {"messages": [{"role": "user", "content": "How much?"}, {"role": "assistant", "content": "Ask a nurse."}]}


def half(folder, dtype):
    AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).save_pretrained(folder)
    return folder


def sharded(folder):
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder / "shards", max_shard_size="20KB")
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder / "shards")
    return folder / "shards"


def without_template(folder):
    (folder / "chat_template.jinja").unlink()
    return folder


def thinking(folder):
    (folder / "chat_template.jinja").write_text(THINKS)
    return folder


def without_pad(folder):
    return edited(edited(folder, "tokenizer_config.json", pad_token=None), "config.json", pad_token_id=None)


def moved(folder):
    """A pickle where the weights should be."""
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    return folder


KINDS = {
    "Llama, tied embeddings": lambda at: make_tiny(at, "llama"),
    "Llama, untied embeddings": lambda at: make_tiny(at, "llama", tie_word_embeddings=False),
    "Qwen2, biases, untied": lambda at: make_tiny(at, "qwen"),
    "Qwen2, tied embeddings": lambda at: make_tiny(at, "qwen", tie_word_embeddings=True),
    "Mistral, sliding window": lambda at: make_tiny(at, "mistral"),
    "Mistral, window shorter than the prompt": lambda at: make_tiny(at, "mistral", sliding_window=16),
    "Gemma 2, soft caps": lambda at: make_tiny(at, "gemma"),
    "Phi 3, fused projections": lambda at: make_tiny(at, "phi"),
    "context of 131,072, scaled positions": lambda at: make_tiny(
        at, "llama", max_position_embeddings=131072, rope_scaling={"rope_type": "linear", "factor": 4.0}
    ),
    "context shorter than the prompt": lambda at: make_tiny(at, "llama", max_position_embeddings=24),
    "bfloat16 weights on a CPU": lambda at: half(make_tiny(at, "llama"), torch.bfloat16),
    "float16 weights on a CPU": lambda at: half(make_tiny(at, "qwen"), torch.float16),
    "sharded safetensors": lambda at: sharded(make_tiny(at, "llama")),
    "no chat template": lambda at: without_template(make_tiny(at, "llama")),
    "a template that thinks": lambda at: thinking(make_tiny(at, "qwen")),
    "no pad token": lambda at: without_pad(make_tiny(at, "llama")),
    "a PEFT folder": lambda at: noisy_adapter(make_tiny(at / "base", "qwen"), at / "adapter"),
    "a PEFT folder with DoRA": lambda at: noisy_adapter(make_tiny(at / "base", "qwen"), at / "adapter", use_dora=True),
    "pickle weights": lambda at: moved(make_tiny(at, "llama")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_works_or_says_what_to_do(kind, tmp_path, coin, evidence):  # noqa: F811
    folder = KINDS[kind](tmp_path / "model")
    config = bedside.load(write_config(tmp_path, folder), ["align.train=[{kind: sft, learning_rate: 0.05}]"])
    try:
        told = tried(config, folder, tmp_path)
    except BedsideError as error:
        told = f"says: {str(error).replace(str(tmp_path), 'HERE')}"
        assert kind in (
            "no chat template",
            "context shorter than the prompt",
            "a PEFT folder with DoRA",
            "pickle weights",
        )
    evidence["shapes"].append({"target": kind, "what came out": told})


def tried(config, folder, here):
    run = open_run(config, SilentProgress())
    answers = run.stages.answers(
        [GenerationRequest(Prompt(messages, 0)) for messages in ASKED], run.target.checkpoint, "shapes"
    )
    (score, _) = run.target.score(ASKED, ["accept", "refuse"])
    assert len(answers) == 2
    assert sum(map(float, torch.tensor(score.logprobs).exp())) == pytest.approx(1)
    io.write_jsonl(here / "rows.jsonl", [ROW] * 4)
    made = single_stage.train(run, {"kind": "sft"}, here / "rows.jsonl", here / "out")
    difference = loaded_by_peft(run, made, folder, here / "out")
    dtype = str(run.target.module().dtype).removeprefix("torch.")
    return (
        f"answers, judges, trains in {dtype}; PEFT loads what was saved, largest difference of a logit {difference:.0e}"
    )


def loaded_by_peft(run, made, folder, saved):
    """The largest difference between our logits and those of PEFT on what the person has."""
    given = folder / "adapter_config.json"
    base = json.loads(given.read_text())["base_model_name_or_path"] if given.exists() else folder
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), saved)
    ids = torch.tensor([run.target.renderer.prompt_ids(ASKED[0])])
    with torch.no_grad():
        ours, before = run.opener.policy(made).module()(ids).logits, run.target.lora_host.base_model()(ids).logits
        difference = (ours - theirs(ids).logits).abs().max().item()
    assert (ours - before).abs().max().item() > 0.01, "the training did something"
    assert difference < 1e-4
    return difference
