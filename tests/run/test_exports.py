"""What a run leaves trains in TRL as it is, and loads and merges in plain transformers and PEFT."""

import shutil

import pytest

torch = pytest.importorskip("torch")
trl = pytest.importorskip("trl")

from datasets import load_dataset
from peft import AutoPeftModelForCausalLM, LoraConfig
from tests.alignment.test_align import coin, write_config  # noqa: F401
from tests.training.test_trl_parity import ROWS
from transformers import AutoTokenizer

import bedside
from bedside.alignment import single_stage
from bedside.core.protocols import SilentProgress
from bedside.core.types import Message, PreferenceData, Sampling
from bedside.run import exports
from bedside.run.context import open_run

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
TRAINERS = {
    "kto": (trl.KTOConfig, trl.KTOTrainer, "kto.jsonl"),
    "dpo": (trl.DPOConfig, trl.DPOTrainer, "dpo.jsonl"),
    "sft": (trl.SFTConfig, trl.SFTTrainer, "sft.jsonl"),
}
LESSON = PreferenceData(ROWS["sft"], ROWS["dpo"], ROWS["kto"])


def trainer_of(kind, model, tmp_path):
    """TRL's trainer on the rows that a run leaves."""
    exports.preferences(tmp_path, LESSON)
    config, trainer, file = TRAINERS[kind]
    rows = load_dataset("json", data_files=str(tmp_path / file), cache_dir=str(tmp_path / "cache"))["train"]
    more = {"use_cpu": True, "report_to": "none", "max_steps": 1, "learning_rate": 0.1, "disable_tqdm": True}
    return trainer(
        model=str(model),
        args=config(output_dir=str(tmp_path / "out"), per_device_train_batch_size=2, bf16=False, **more),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(model),
        peft_config=LoraConfig(r=4, target_modules="all-linear"),
    )


@pytest.mark.parametrize("kind", TRAINERS)
def test_the_rows_of_a_run_train_a_step_in_trl_as_they_are(kind, tiny, tmp_path):
    made = trainer_of(kind, tiny["llama"], tmp_path)
    before = {name: weight.clone() for name, weight in made.model.named_parameters() if "lora_B" in name}
    made.train()
    assert made.state.global_step == 1
    after = dict(made.model.named_parameters())
    assert any(not torch.equal(after[name], weight) for name, weight in before.items())


def test_trl_imitates_the_answer_alone(tiny, tmp_path):
    made = trainer_of("sft", tiny["llama"], tmp_path)
    learned = [token for token in made.train_dataset[0]["labels"] if token >= 0]
    assert made.processing_class.decode(learned, skip_special_tokens=True) == LESSON.demonstrations[0].answer


def test_what_ships_loads_in_plain_peft_and_merges_to_the_same_logits(tiny, tmp_path, coin):  # noqa: F811
    run = open_run(bedside.load(write_config(tmp_path, tiny["llama"]), ["device=cpu"]), SilentProgress())
    exports.preferences(tmp_path, LESSON)
    root = run.folder
    checkpoint = single_stage.train(run, {"kind": "kto"}, tmp_path / "kto.jsonl", root / "cycle-1" / "kto")
    exports.release(run, "cycle-1/kto")
    ids = torch.tensor([run.target.renderer.prompt_ids((Message("user", "How much is safe?"),))])
    with torch.no_grad():
        given = run.target.module()(input_ids=ids).logits
        ours = run.opener.policy(checkpoint).module()(input_ids=ids).logits
        worn = AutoPeftModelForCausalLM.from_pretrained(root / "release")  # its config names the base
        theirs = worn(input_ids=ids).logits
        merged = worn.merge_and_unload()(input_ids=ids).logits
    assert not torch.allclose(ours, given, atol=1e-3), "a training that changes nothing would prove nothing"
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(merged, ours, atol=1e-4, rtol=1e-4)


def test_a_release_stands_alone_and_answers_as_the_run_does_token_for_token(tiny, tmp_path, coin, monkeypatch):  # noqa: F811
    run = open_run(bedside.load(write_config(tmp_path, tiny["llama"]), ["device=cpu"]), SilentProgress())
    exports.preferences(tmp_path, LESSON)
    checkpoint = single_stage.train(run, {"kind": "kto"}, tmp_path / "kto.jsonl", run.folder / "cycle-1" / "kto")
    exports.release(run, "cycle-1/kto")
    asked = (Message("user", "How much is safe?"),)
    ours = run.opener.policy(checkpoint).generate([asked], Sampling(max_new_tokens=12))[0].text
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(run.folder / "release", elsewhere)
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model, tokenizer = AutoPeftModelForCausalLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": asked[0].text}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    out = model.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert tokenizer.decode(out, skip_special_tokens=True) == ours
    assert {oct(file.stat().st_mode & 0o777) for file in (run.folder / "release").iterdir()} == {"0o644"}
