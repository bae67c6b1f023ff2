"""Weights are safetensors of the model's own folder, and every file that decides a result is in the digest."""

import json
import os
import pickle
import shutil

import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file
from tests.alignment.test_align import Recorder, coin, write_config  # noqa: F401
from tests.models.test_hf import noisy_adapter

import bedside
from bedside.core.errors import ModelError
from bedside.core.protocols import Launch
from bedside.models import model_files
from bedside.models.hf import Local


@pytest.fixture
def llama(tiny, tmp_path):
    return shutil.copytree(tiny["llama"], tmp_path / "llama")


def refusal(folder):
    with pytest.raises(ModelError) as refused:
        Local(model=str(folder)).open(Launch())
    assert "\n" not in str(refused.value)
    return str(refused.value)


def indexed(folder, name):
    """The folder with an index that has every weight in the file ``name``."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, name)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return tensors


class Boom:
    def __reduce__(self):
        return os.mkdir, (os.environ["PWNED"],)


def test_an_index_that_names_a_pickle_is_refused_before_anything_is_loaded(llama, tmp_path, monkeypatch):
    monkeypatch.setenv("PWNED", str(tmp_path / "pwned"))
    indexed(llama, "pytorch_model.bin")
    (llama / "pytorch_model.bin").write_bytes(pickle.dumps(Boom()))
    assert "index.json: names 'pytorch_model.bin'" in refusal(llama)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "name", ["../plain/model.safetensors", "/etc/model.safetensors", "sub/model.safetensors", ".."]
)
def test_an_index_that_names_a_file_outside_is_refused(llama, name):
    indexed(llama, name)
    assert f"names {name!r}; weights are read from safetensors files in the same folder only" in refusal(llama)


def test_an_index_whose_file_is_missing_or_that_is_no_index_is_named(llama):
    indexed(llama, "gone.safetensors")
    assert "gone.safetensors: there is no such file, and the model needs it" in refusal(llama)
    (llama / "model.safetensors.index.json").write_text("[1]")
    assert "index.json: is no JSON object" in refusal(llama)
    (llama / "model.safetensors.index.json").write_text('{"weight_map": [1]}')
    assert "has no weight_map" in refusal(llama)


def test_a_link_out_of_the_folder_is_refused_and_the_hubs_own_blobs_are_not(llama, tmp_path):
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "main"
    blobs.mkdir(parents=True)
    shutil.copytree(llama, snapshot)
    (snapshot / "model.safetensors").rename(blobs / "5f3a")
    (snapshot / "model.safetensors").symlink_to("../../blobs/5f3a")
    Local(model=str(snapshot)).open(Launch())
    (llama / "model.safetensors").unlink()
    (llama / "model.safetensors").symlink_to(blobs / "5f3a")
    assert "out of its folder" in refusal(llama)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize("text", ["{", "[1]", ""])
def test_half_a_file_is_named(llama, name, text):
    (llama / name).write_text(text)
    assert refusal(llama).startswith(f"{llama / name}: is no")


def test_half_the_weights_and_weights_in_no_safetensors_are_named(llama):
    data = (llama / "model.safetensors").read_bytes()
    (llama / "model.safetensors").write_bytes(data[: len(data) // 2])
    assert f"{llama}: transformers cannot load it" in refusal(llama)
    (llama / "model.safetensors").rename(llama / "pytorch_model.bin")
    assert "no safetensors weights" in refusal(llama)


def test_a_folder_that_is_model_and_adapter_at_once_is_refused(llama):
    (llama / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "other/base"}')
    torch.save({}, llama / "adapter_model.bin")
    assert "holds a model (config.json) and an adapter (adapter_config.json)" in refusal(llama)


@pytest.mark.parametrize("name", ["vocab.txt", "merges.txt", "vocab.json", "tokenizer.model", "generation_config.json"])
def test_every_file_that_decides_a_result_is_in_the_digest_and_readmes_are_not(llama, name):
    before = model_files.digest_model(llama, None)
    (llama / "README.md").write_text("read me")
    (llama / "LICENSE.txt").write_text("licence")
    assert model_files.digest_model(llama, None) == before
    (llama / name).write_text("{ }")
    assert model_files.digest_model(llama, None) != before


def test_what_only_this_tokenizer_reads_is_in_the_digest_too(llama):
    before = model_files.digest_model(llama, None, ["words.spm"])
    (llama / "words.spm").write_text("a")
    assert model_files.digest_model(llama, None, ["words.spm"]) != before
    assert model_files.digest_model(llama, None) == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"r": "x"}, "r is 'x', which is no rank"),
        ({"r": 0}, "r is 0, which is no rank"),
        ({"peft_type": "NOPE"}, "peft_type 'NOPE' is not known"),
        ({"lora_alpha": 1e308}, "lora_alpha is 1e+308, which is no scale"),
        ({"lora_alpha": None}, "lora_alpha is None, which is no scale"),
        ({"megatron_config": {"a": 1}, "megatron_core": "antigravity"}, "megatron_config imports code"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_an_adapter_with_settings_that_nothing_can_use_is_named(llama, tmp_path, changes, said):
    folder = noisy_adapter(llama, tmp_path / "adapter")
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    model = Local(model=str(llama)).open(Launch())
    with pytest.raises(ModelError) as refused:
        model.with_adapter(folder, model.checkpoint).module()
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_half_an_adapter_is_named(llama, tmp_path):
    folder = noisy_adapter(llama, tmp_path / "adapter")
    model = Local(model=str(llama)).open(Launch())
    data = (folder / "adapter_model.safetensors").read_bytes()
    (folder / "adapter_model.safetensors").write_bytes(data[:200])
    with pytest.raises(ModelError, match="does not fit the model"):
        model.with_adapter(folder, model.checkpoint).module()
    (folder / "adapter_config.json").write_text("[1]")
    with pytest.raises(ModelError, match="adapter_config.json: is no JSON object"):
        model.with_adapter(folder, model.checkpoint).module()


@pytest.mark.slow
def test_an_adapter_of_another_base_is_said_with_both_names(llama, tmp_path, coin, monkeypatch):  # noqa: F811
    folder = noisy_adapter(llama, tmp_path / "adapter")
    config = bedside.load(write_config(tmp_path, llama))
    bedside.generate(config, "valid", adapter=folder, progress=(quiet := Recorder()))
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "owner/other"}))
    bedside.generate(config, "valid", adapter=folder, progress=(telling := Recorder()))
    said = f"{folder} was trained on owner/other, and the target is {llama}"
    assert [said in line for line in quiet.said + telling.said].count(True) == 1
    assert said in telling.said[0]
