"""What a run leaves trains in TRL as it is, and loads and merges in plain transformers and PEFT."""

import pytest

torch = pytest.importorskip("torch")
trl = pytest.importorskip("trl")

from datasets import load_dataset
from peft import AutoPeftModelForCausalLM, LoraConfig
from transformers import AutoTokenizer

import bedside
from bedside.core.protocols import Silent
from bedside.core.types import Lesson, Message
from bedside.faces import api
from bedside.flows import exports, single
from test_align import coin, write_config  # noqa: F401
from test_trl_parity import ROWS

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
TRAINERS = {
    "kto": (trl.KTOConfig, trl.KTOTrainer, "kto.jsonl"),
    "dpo": (trl.DPOConfig, trl.DPOTrainer, "dpo.jsonl"),
    "sft": (trl.SFTConfig, trl.SFTTrainer, "sft.jsonl"),
}
LESSON = Lesson(ROWS["sft"], ROWS["dpo"], ROWS["kto"])


@pytest.mark.parametrize("kind", TRAINERS)
def test_the_rows_of_a_run_train_a_step_in_trl_as_they_are(kind, tiny, tmp_path):
    exports.preferences(tmp_path, LESSON)
    config, trainer, file = TRAINERS[kind]
    rows = load_dataset("json", data_files=str(tmp_path / file), cache_dir=str(tmp_path / "cache"))["train"]
    more = {"use_cpu": True, "report_to": "none", "max_steps": 1, "learning_rate": 0.1, "disable_tqdm": True}
    made = trainer(
        model=str(tiny["llama"]),
        args=config(output_dir=str(tmp_path / "out"), per_device_train_batch_size=2, bf16=False, **more),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(tiny["llama"]),
        peft_config=LoraConfig(r=4, target_modules="all-linear"),
    )
    if kind == "sft":
        learned = made.train_dataset[0]["labels"]
        answer = made.processing_class.decode([t for t in learned if t >= 0], skip_special_tokens=True)
        assert answer == LESSON.dialogues[0].answer
    before = {name: weight.clone() for name, weight in made.model.named_parameters() if "lora_B" in name}
    made.train()
    assert made.state.global_step == 1
    after = dict(made.model.named_parameters())
    assert any(not torch.equal(after[name], weight) for name, weight in before.items())


def test_what_ships_loads_in_plain_peft_and_merges_to_the_same_logits(tiny, tmp_path, coin):  # noqa: F811
    session = api.session(bedside.load(write_config(tmp_path, tiny["llama"]), ["device=cpu"]), Silent())
    exports.preferences(tmp_path, LESSON)
    root = session.store.root
    checkpoint = single.train(session, "kto", tmp_path / "kto.jsonl", root / "cycle-1" / "kto")
    exports.shipped(root, "cycle-1/kto")
    ids = torch.tensor([session.target.renderer.prompt_ids((Message("user", "How much is safe?"),))])
    with torch.no_grad():
        given = session.target.module()(input_ids=ids).logits
        ours = session.policy(checkpoint).module()(input_ids=ids).logits
        worn = AutoPeftModelForCausalLM.from_pretrained(root / "ship")  # its config names the base
        theirs = worn(input_ids=ids).logits
        merged = worn.merge_and_unload()(input_ids=ids).logits
    assert not torch.allclose(ours, given, atol=1e-3), "a training that changes nothing would prove nothing"
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(merged, ours, atol=1e-4, rtol=1e-4)
