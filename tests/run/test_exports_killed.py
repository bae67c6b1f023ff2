"""A merge or a log that is killed is whole or not there, its next call writes the same bytes, and no file is lost."""

import random
import shutil
from pathlib import Path

import pytest
from tests.support.killed_call import killed_call
from tests.support.released_run import released_run

pytest.importorskip("peft")

import bedside
from bedside.core.errors import ConfigError, DataError
from bedside.run.events import EventLog
from bedside.run.exports import EXPORTED

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")]
MERGE, INSPECT = {"merge": "merged"}, {"inspect": "log.json"}


@pytest.fixture(scope="module")
def run(made_once, tiny):
    root = made_once("released", lambda root: released_run(root / "runs" / "clinic", tiny["llama"]))
    return root / "runs" / "clinic"


@pytest.fixture
def project(run, tmp_path):
    return fresh(run, tmp_path / "project")


def fresh(run, root):
    """A folder with a copy of the run."""
    shutil.copytree(run.parent, root / "runs")
    return root


def export(root, at, request):
    """None if it was killed before change ``at``, else the number of its changes of files."""
    to = {name: root / file for name, file in request.items()}
    return killed_call(root, at, lambda: bedside.export(root / "runs" / "clinic", bedside.ExportRequest(**to)))


def visible_files(root):
    """What a person sees beside the runs, by path."""
    files = (file for file in sorted(root.rglob("*")) if file.is_file())
    inside = {file.relative_to(root): file for file in files}
    seen = {path: file for path, file in inside.items() if path.parts[0] != "runs"}
    return {path.as_posix(): file.read_bytes() for path, file in seen.items() if ".draft" not in path.as_posix()}


@pytest.mark.parametrize("there", [False, True], ids=["new folder", "empty folder"])
def test_a_killed_merge_leaves_nothing_that_opens_and_the_next_one_the_same_bytes(run, tmp_path, there):
    def start(name):
        root = fresh(run, tmp_path / name)
        (root / "merged").mkdir() if there else None
        return root

    calm = start("calm")
    changes, whole = export(calm, 0, MERGE), visible_files(calm)
    assert "merged/config.json" in whole
    for at in sorted({*random.Random(0).sample(range(1, changes), 3), changes - 1, changes}):
        root = start(f"killed-{at}")
        assert export(root, at, MERGE) is None
        left = visible_files(root)
        assert left in ({}, whole) or (there and "merged/config.json" not in left)
        assert export(root, 0, MERGE) is not None
        assert visible_files(root) == whole
        assert not list(root.rglob("*.draft"))
        assert bedside.verify(root / "runs" / "clinic").passed


def test_a_killed_log_leaves_nothing_and_the_next_one_the_same_bytes(run, tmp_path):
    calm = fresh(run, tmp_path / "calm")
    changes = export(calm, 0, INSPECT)
    assert changes > 1
    for at in range(1, changes + 1):
        root = fresh(run, tmp_path / f"killed-{at}")
        assert export(root, at, INSPECT) is None
        assert visible_files(root) in ({}, visible_files(calm))
        assert export(root, 0, INSPECT)
        assert visible_files(root) == visible_files(calm)
        assert not list(root.rglob("*.draft"))


def merge(root):
    return bedside.export(root / "runs" / "clinic", bedside.ExportRequest(merge=root / "merged"))


def test_the_same_merge_again_writes_nothing_and_logs_nothing(project):
    merge(project)
    before = {file: file.stat().st_mtime_ns for file in project.rglob("*") if file.name != "owner.lock"}
    assert merge(project).written == (project / "merged",)
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_a_folder_with_anything_of_somebody_is_refused_and_stays(project):
    merge(project)
    (project / "merged" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"merged holds files, notes\.txt for one, .*; name a new folder"):
        merge(project)
    (project / "merged" / "notes.txt").unlink()
    (project / "merged" / "README.md").write_text("my own words")
    with pytest.raises(ConfigError, match=r"merged holds files, README\.md for one"):
        merge(project)
    assert (project / "merged" / "README.md").read_text() == "my own words"
    shutil.rmtree(project / "merged")
    (project / "merged").write_text("a file")
    with pytest.raises(ConfigError, match="merged is a file; name a new folder"):
        merge(project)
    assert (project / "merged").read_text() == "a file"


def test_a_merge_of_an_earlier_release_is_not_taken_for_this_one(project):
    merge(project)
    run = project / "runs" / "clinic"
    made_from = run / "release" / "run.json"
    made_from.write_text(made_from.read_text() + "\n")
    EventLog(run).record(made_from)
    with pytest.raises(ConfigError, match="that are not of this release"):
        merge(project)


def test_a_disk_that_is_full_leaves_nothing(project, monkeypatch):
    from bedside.run import merged_release

    def full(released, draft, base_digest):
        (draft / "config.json").write_text("{}")
        raise OSError(28, "No space left on device", str(draft / "model.safetensors"))

    monkeypatch.setattr(merged_release, "_fill", full)
    with pytest.raises(OSError, match=f"No space left on device: '{project}/merged'$"):
        merge(project)
    assert visible_files(project) == {}
    assert not list(project.rglob("*.draft"))


def test_a_run_in_use_is_refused_before_anything_is_written(project):
    from bedside.run.owner import owned

    with owned(project / "runs" / "clinic"), pytest.raises(ConfigError, match="is in use by"):
        merge(project)
    assert visible_files(project) == {}


@pytest.mark.parametrize("name", ["README.md", "run.json"])
def test_a_release_without_its_card_is_named_before_anything_is_written(project, name):
    (project / "runs" / "clinic" / "release" / name).unlink()
    with pytest.raises(DataError, match=rf"release/{name}.*(the same `bedside align` command|run the command)"):
        merge(project)
    assert visible_files(project) == {}


def test_erasure_names_the_folder_that_a_merge_wrote_to(project):
    merge(project)
    (event,) = [row for row in EventLog(project / "runs" / "clinic").read() if row["event"] == EXPORTED]
    assert (event["adapter"], event["to"]) == ("release", str((project / "merged").resolve()))
    assert event["files"].keys() == {file.name for file in Path(event["to"]).iterdir()}


def test_a_file_that_somebody_put_into_a_release_is_not_uploaded(project, monkeypatch):
    monkeypatch.setattr("bedside.training.adapters.base_name", lambda folder: "owner/model")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr("bedside.run.publishing.push", lambda *args: pytest.fail("it was uploaded"))
    (project / "runs" / "clinic" / "release" / "notes.txt").write_text("about Mrs Smith")
    with pytest.raises(DataError, match=r"notes\.txt: this run did not write it, and it would be uploaded; move it"):
        bedside.export(project / "runs" / "clinic", bedside.ExportRequest(push="team/kind"))
