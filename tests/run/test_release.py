"""A release opens in pipeline and TRL as it is; merged, it answers the same without PEFT; pushed only if asked."""

import json
import shutil

import pytest

torch = pytest.importorskip("torch")
trl = pytest.importorskip("trl")

from datasets import Dataset
from huggingface_hub.errors import OfflineModeIsEnabled
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file
from tests.alignment.test_align import coin, write_config  # noqa: F401
from tests.training.test_trl_parity import ROWS
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

import bedside
from bedside.alignment import single_stage
from bedside.core.errors import ConfigError, ModelError
from bedside.core.protocols import SilentProgress
from bedside.core.types import Message, PreferenceData, Sampling
from bedside.models import merging
from bedside.run import exports, publishing
from bedside.run.context import open_run
from bedside.run.events import EventLog

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
ASKED = "How much is safe?"
CHAT = [{"role": "user", "content": ASKED}]


@pytest.fixture
def released(tiny, tmp_path, coin, monkeypatch):  # noqa: F811
    """The release of a run, copied to a folder of its own; what the run answers; the digest of its target."""
    run = open_run(bedside.load(write_config(tmp_path, tiny["llama"]), ["device=cpu"]), SilentProgress())
    exports.preferences(tmp_path, PreferenceData(ROWS["sft"], ROWS["dpo"], ROWS["kto"]))
    checkpoint = single_stage.train(run, {"kind": "kto"}, tmp_path / "kto.jsonl", run.folder / "cycle-1" / "kto")
    exports.release(run, "cycle-1/kto")
    policy = run.opener.policy(checkpoint)
    sampling = Sampling(max_new_tokens=12)
    answer, given = (p.generate([(Message("user", ASKED),)], sampling)[0].text for p in (policy, run.target))
    assert answer != given, "a training that changes nothing would prove nothing"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shutil.copytree(run.folder / "release", tmp_path / "elsewhere")
    return tmp_path / "elsewhere", answer, run.target.checkpoint.base


def test_pipeline_opens_a_release_and_answers_as_the_run_does(released):
    folder, answer, _ = released
    said = pipeline("text-generation", model=str(folder))(CHAT, max_new_tokens=12, do_sample=False)
    assert said[0]["generated_text"][-1]["content"] == answer


def test_trl_goes_on_training_a_release(released, tmp_path):
    folder, _, _ = released
    model = AutoPeftModelForCausalLM.from_pretrained(folder, is_trainable=True)
    before = {name: weight.clone() for name, weight in model.named_parameters() if "lora_B" in name}
    rows = Dataset.from_list([{"messages": [*CHAT, {"role": "assistant", "content": "Ask a doctor."}]}] * 4)
    options = {
        "disable_tqdm": True,
        "use_cpu": True,
        "report_to": "none",
        "max_steps": 1,
        "learning_rate": 0.1,
        "bf16": False,
    }
    made = trl.SFTTrainer(
        model=model,
        args=trl.SFTConfig(output_dir=str(tmp_path / "out"), per_device_train_batch_size=2, **options),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    made.train()
    after = dict(model.named_parameters())
    assert before
    assert any(not torch.equal(after[name], weight) for name, weight in before.items())


def test_merged_it_answers_the_same_without_peft(released, tmp_path):
    folder, answer, base = released
    merging.merge(folder, tmp_path / "merged", base)
    names = {file.name for file in (tmp_path / "merged").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json"} <= names
    assert not any("lora" in name for name in load_file(tmp_path / "merged" / "model.safetensors"))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    ids = tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    out = model.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert tokenizer.decode(out, skip_special_tokens=True) == answer
    said = pipeline("text-generation", model=str(tmp_path / "merged"))(CHAT, max_new_tokens=12, do_sample=False)
    assert said[0]["generated_text"][-1]["content"] == answer


def test_a_base_that_was_changed_since_is_not_merged(released, tmp_path):
    folder, _, _ = released
    with pytest.raises(ModelError, match="its base is not what it was trained on, digest b2-other"):
        merging.merge(folder, tmp_path / "merged", "b2-other")
    assert not (tmp_path / "merged").exists()


class FakeHub:
    """What is asked of the hub; ``error`` is raised in place of an upload."""

    def __init__(self, error=None):
        self.calls, self.error = [], error

    def create_repo(self, repo, **options):
        self.calls.append(("create", repo, options))

    def upload_folder(self, **options):
        if self.error:
            raise self.error
        files = sorted(file.name for file in options["folder_path"].iterdir())
        self.calls.append(("upload", options["repo_id"], files))


def test_a_push_makes_a_private_repository_and_uploads_the_folder(tmp_path):
    (tmp_path / "adapter_config.json").touch()
    hub = FakeHub()
    address = publishing.push(tmp_path, "team/kind", "MY_TOKEN", {"MY_TOKEN": "hf_secret"}.get, hub)
    assert address == "https://huggingface.co/team/kind"
    made, uploaded = hub.calls
    assert made == ("create", "team/kind", {"private": True, "exist_ok": True, "token": "hf_secret"})
    assert uploaded == ("upload", "team/kind", ["adapter_config.json"])


@pytest.mark.parametrize(
    "error", [OSError("cannot reach the hub with hf_secret\nmore"), OfflineModeIsEnabled("HF_HUB_OFFLINE is set")]
)
def test_what_the_hub_refuses_is_one_line_without_the_token(error, tmp_path):
    with pytest.raises(ConfigError) as caught:
        publishing.push(tmp_path, "team/kind", "MY_TOKEN", {"MY_TOKEN": "hf_secret"}.get, FakeHub(error))
    assert str(caught.value).startswith("team/kind: the hub refused (")
    assert "hf_secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_token_nothing_is_asked_of_the_hub(tmp_path):
    hub = FakeHub()
    with pytest.raises(ConfigError, match="the environment variable MY_TOKEN is not set"):
        publishing.push(tmp_path, "team/kind", "MY_TOKEN", {}.get, hub)
    assert hub.calls == []


@pytest.fixture
def finished(released, tmp_path, monkeypatch):
    """A run that says it released the adapter."""
    from dataclasses import replace

    from tests.support.finished_run import small_run

    from bedside.run import summary_file

    folder, _, base = released
    run = small_run(tmp_path / "runs" / "done")
    found = summary_file.read(run)
    from bedside.data.io import write_json

    write_json(
        run / "summary.json", replace(found, released="cycle-1/kto", facts={**found.facts, "target digest": base})
    )
    EventLog(run).record(run / "summary.json")
    shutil.copytree(folder, run / "release")
    (run / "release" / "README.md").write_text("---\nlibrary_name: peft\n---\n")
    (run / "release" / "run.json").write_text("{}")
    EventLog(run).record(run / "release")
    shutil.copy(tmp_path / "bedside.yaml", run / "config.yaml")
    monkeypatch.setenv("MY_TOKEN", "hf_secret")
    return run


def test_the_verb_merges_and_pushes_what_was_released(finished, tmp_path, monkeypatch):
    hub = FakeHub()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    with pytest.raises(ConfigError, match="the adapter's base is a folder of this machine"):
        bedside.export(finished, bedside.ExportRequest(push="team/kind", token_env="MY_TOKEN"))
    assert hub.calls == []
    done = bedside.export(finished, bedside.ExportRequest(tmp_path / "merged", "team/kind", token_env="MY_TOKEN"))
    assert done.written == (tmp_path / "merged",)
    copies = [(row["adapter"], row["to"]) for row in EventLog(finished).read() if row["event"] == "exported"]
    assert copies == [("release", str(tmp_path / "merged"))], "erase names it"
    assert "model.safetensors" in hub.calls[1][2]
    assert (tmp_path / "merged" / "README.md").read_text() == "---\nlibrary_name: transformers\n---\n"
    config = json.loads((finished / "release" / "adapter_config.json").read_text())
    (finished / "release" / "adapter_config.json").write_text(json.dumps(config | {"r": 3}))
    with pytest.raises(bedside.DataError, match="adapter_config.json"):
        bedside.export(finished, bedside.ExportRequest(push="team/kind", token_env="MY_TOKEN"))


def test_an_adapter_on_a_hub_model_is_pushed_as_it_is(finished, monkeypatch):
    hub = FakeHub()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    monkeypatch.setattr("bedside.training.adapters.base_name", lambda folder: "owner/model")
    bedside.export(finished, bedside.ExportRequest(push="team/kind", token_env="MY_TOKEN"))
    assert "adapter_model.safetensors" in hub.calls[1][2]
