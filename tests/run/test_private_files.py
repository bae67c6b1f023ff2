"""What a run keeps is its owner's alone, whatever the umask; a file that a user names follows the umask."""

import os
import stat

import pytest

from bedside.config.schema import Config
from bedside.core.types import Message, Prompt
from bedside.data import io
from bedside.judges.cache import JudgementFiles
from bedside.models.budget import Budget, Usage
from bedside.run import exports, folder
from bedside.run.stage_cache import StageCache

QUESTION = Prompt((Message("user", "May I rest?"),), 0)


@pytest.fixture(autouse=True)
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def modes(root):
    """(of folders, of files), ``root`` among them."""
    below = [root, *root.rglob("*")]
    return {mode(p) for p in below if p.is_dir()}, {mode(p) for p in below if p.is_file()}


def fill(run):
    data = {part: {"kind": "jsonl", "path": "p.jsonl"} for part in ("train", "valid", "test")}
    cache = StageCache(run)
    folder.write_config(cache, Config.model_validate({"target": "embedded", "data": data}))
    cache.map("generate", None, [QUESTION], list, Prompt)
    cache.log_event("done")
    budget, usage = Budget(file=run / "spend.jsonl"), Usage("host m", 1, 1, None)
    budget.settle(budget.reserve(usage), usage, "answered")
    io.write_json(run / "cycle-1" / "report.json", {})
    exports.preferences(run / "cycle-2", exports.PreferenceData([], [], []))


def test_a_run_and_its_stages_are_private_and_runs_is_not(tmp_path):
    run = tmp_path / "runs" / "one"
    fill(run)
    assert modes(run) == ({0o700}, {0o600})
    assert mode(tmp_path / "runs") == 0o777


def test_a_run_that_its_owner_opened_stays_open(tmp_path):
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    fill(run)
    assert modes(run) == ({0o777}, {0o666})


def test_the_judgement_cache_is_private(tmp_path):
    cache = JudgementFiles(tmp_path / "cache")
    cache.keep("judge", QUESTION.messages, "Yes.", {"stance": "accept"})
    assert modes(tmp_path / "cache") == ({0o700}, {0o600})
    assert cache.recall("judge", QUESTION.messages, "Yes.") == {"stance": "accept"}


def test_a_file_that_a_user_names_follows_the_umask(tmp_path):
    io.write_text(tmp_path / "out" / "answers.jsonl", "")
    assert (mode(tmp_path / "out"), mode(tmp_path / "out" / "answers.jsonl")) == (0o777, 0o666)
