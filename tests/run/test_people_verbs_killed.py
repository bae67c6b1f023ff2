"""`init`, `card`, `approve`, `view` and `verify`, killed before each change of a file: what is there is whole."""

import shutil

import pytest
from tests.support.finished_run import small_run
from tests.support.killed_call import killed_call

import bedside
from bedside.core.protocols import SilentProgress
from bedside.run import approvals

pytestmark = pytest.mark.slow
LOGS = ("events.jsonl", "log_heads.json", "owner.lock")


@pytest.fixture
def run(tmp_path):
    return small_run(tmp_path / "whole" / "runs" / "clinic")


def files(root):
    kept = (file for file in sorted(root.rglob("*")) if file.is_file() and file.name not in LOGS)
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in kept}


def killed_everywhere(whole, tmp_path, call, step=1):
    """Kill ``call(root)`` before its changes in copies of ``whole``, and call it again. Yields what was left."""
    calm = shutil.copytree(whole, tmp_path / "calm")
    changes = killed_call(calm, 0, lambda: call(calm))
    for at in range(1, changes + 1, step):
        root = shutil.copytree(whole, tmp_path / f"killed-{at}")
        assert killed_call(root, at, lambda root=root: call(root)) is None
        left = files(root)
        assert killed_call(root, 0, lambda root=root: call(root)) is not None
        assert files(root) == files(calm), "the next call ends with the same bytes, and nothing is left over"
        yield root, left, files(calm)


def test_a_killed_card_is_whole_or_not_there(run, tmp_path):
    states = list(killed_everywhere(run.parent.parent, tmp_path, lambda root: bedside.write_card(root / "runs/clinic")))
    assert len(states) > 1
    for _, left, whole in states:
        name = "runs/clinic/card.md"
        assert left.get(name) in (None, whole[name])


def test_a_killed_init_goes_on_and_its_config_comes_last(tmp_path):
    (tmp_path / "whole").mkdir()
    states = list(killed_everywhere(tmp_path / "whole", tmp_path, call_init))
    assert len(states) > 4
    for _, left, whole in states:
        visible = {name: data for name, data in left.items() if not name.endswith(".draft")}
        assert "bedside.yaml" not in visible or visible == whole


def call_init(root):
    """An example config; a person who sees that it is there calls nothing again."""
    if not (root / "bedside.yaml").exists():
        bedside.init(root)


def test_a_killed_approval_leaves_a_log_that_is_whole(run, tmp_path):
    def approve(root):
        folder = root / "runs" / "clinic"
        approvals.append(folder, by="Dr A. Example", role="medical lead", checkpoint="cycle-1/kto")

    states = list(killed_everywhere(run.parent.parent, tmp_path, approve))
    assert len(states) > 1
    for root, _, _ in states:
        assert bedside.verify(root / "runs" / "clinic").passed
        given = approvals.read(root / "runs" / "clinic")
        assert {(one.by, one.role, one.checkpoint) for one in given} == {
            ("Dr A. Example", "medical lead", "cycle-1/kto")
        }
        assert len(given) in (1, 2), "killed after its line was written, it is written once more"


def test_a_killed_view_has_its_index_or_makes_it(run, tmp_path):
    pytest.importorskip("starlette")

    def view(root):
        bedside.view(root / "runs" / "clinic", progress=SilentProgress())

    states = list(killed_everywhere(run.parent.parent, tmp_path, view, step=5))
    assert len(states) > 1
    assert any("store/view/" in name for name in states[0][2])


def test_verifying_changes_no_file(run):
    assert killed_call(run, 1, lambda: bedside.verify(run)) == 0
