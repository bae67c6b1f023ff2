"""`bedside doctor` says what is there, what is missing and how to have it, and no path."""

from pathlib import Path

from bedside.core.gates import GateState
from bedside.core.protocols import Machine
from bedside.run import doctor


def named(name):
    return next(finding for finding in doctor.diagnose() if finding.name == name)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: "" if name in ("torch", "peft") else "1.0")
    assert named("extra train").state is GateState.INCONCLUSIVE
    assert named("extra train").reason == "peft, torch not installed: pip install 'bedside[train]'"
    assert named("extra hf").reason == "datasets 1.0, pyarrow 1.0"
    assert named("device").state is GateState.FAIL
    assert "pip install 'bedside[train]'" in named("device").reason


def test_little_room_is_pointed_at_and_what_cannot_be_known_is_said(monkeypatch):
    monkeypatch.setattr(doctor.environment, "machine", lambda folder, device: Machine(disk=10**9, memory=None))
    assert named("disk").state is GateState.INCONCLUSIVE
    assert named("disk").reason == "1.0 GB free; a small model wants 4 GB, a larger one more"
    assert named("memory").state is GateState.NOT_CHECKED


def test_what_the_environment_says_is_shown_and_no_path_is(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", "/secret/patients")
    text = "\n".join(finding.reason for finding in doctor.diagnose())
    assert "HF_HUB_OFFLINE=1" in text
    assert not any(str(place) in text for place in (Path.home(), Path.cwd(), "/secret"))


def test_versions_name_what_is_installed_alone(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: "2.1" if name == "torch" else "")
    assert set(doctor.versions()) == {"bedside", "python", "torch"}
