"""A person's words can be erased from runs and caches, and what learned from them is named."""

import json

import pytest
from typer.testing import CliRunner

from bedside.cli.main import app
from bedside.core.errors import ConfigError, DataError
from bedside.core.types import Message, Prompt
from bedside.data.io import write_jsonl, write_text
from bedside.run.erasure import erase
from bedside.run.events import EventLog
from bedside.run.owner import owned
from bedside.run.stage_cache import LEARNED_FROM, StageCache, StageDir

SECRET = "My neighbour Ottilie\nBergmann has gout"


@pytest.fixture
def runs(tmp_path):
    """A run in which one of two patients is to be forgotten."""
    run = tmp_path / "runs" / "one"
    store = StageCache(run)
    prompts = [Prompt((Message("user", text),), 0) for text in (SECRET, "Is tea safe with iron?")]
    store.map("generate", None, prompts, list, Prompt)
    store.map("judge", None, [Prompt((Message("user", "Is tea safe with iron?"),), 0)], list, Prompt)
    for cycle in (1, 2):
        told = [{"prompt": [{"role": "user", "content": text}]} for text in (SECRET, "tea")][cycle - 1 :]
        write_jsonl(run / f"cycle-{cycle}" / "kto.jsonl", told)
        write_text(run / f"cycle-{cycle}" / "kto" / "adapter_config.json", "{}")
    write_text(run / "summary.json", json.dumps({"examples": [{"prompt": SECRET}, {"prompt": "tea"}]}))
    write_text(run / "report.html", f"<p>{SECRET}")
    return tmp_path / "runs"


def everything(folder):
    return " ".join(" ".join(p.read_text().replace("\\n", " ").split()) for p in folder.rglob("*") if p.is_file())


def test_nothing_of_the_text_is_left_and_a_tombstone_says_so(runs):
    assert "Ottilie Bergmann" in everything(runs)
    (erased,) = erase(runs, "ottilie bergmann", adapters=False)
    assert "ottilie" not in everything(runs).lower()
    assert (erased.stages, erased.rows) == (1, 2)
    last = StageCache(runs / "one").events()[-1]
    assert last["event"] == "forgotten"
    assert last["rows"] == 2
    assert "what" not in last, "not even a digest: a telephone number is found from one"


def test_a_dry_run_says_the_same_and_touches_nothing(runs, capsys):
    before = {p: p.read_bytes() for p in runs.rglob("*") if p.is_file()}
    would = erase(runs, "Ottilie Bergmann", adapters=True, dry_run=True)
    assert {p: p.read_bytes() for p in runs.rglob("*") if p.is_file()} == before
    said = CliRunner().invoke(app, ["erase", "Ottilie Bergmann", "--runs", str(runs), "--dry-run"]).output
    assert "one: would be erased: cached stages 1, rows 2" in " ".join(said.split())
    assert "Nothing was changed" in said
    assert erase(runs, "Ottilie Bergmann", adapters=True) == would


def test_what_was_erased_from_is_known_as_written_and_what_was_damaged_before_stays_known_as_damaged(runs):
    run = runs / "one"
    damaged, whole = run / "cycle-1" / "kto.jsonl", run / "summary.json"
    log = EventLog(run)
    log.record(damaged, whole)
    with damaged.open("a") as out:
        out.write(json.dumps({"prompt": SECRET}) + "\n")
    erase(runs, "Ottilie Bergmann", adapters=False)
    assert log.intact(whole)
    assert log.intact(damaged) is False
    assert "ottilie" not in everything(runs).lower()


def test_a_run_that_another_process_works_in_is_not_erased_from(runs):
    with owned(runs / "one"), pytest.raises(ConfigError, match="one is in use by process"):
        erase(runs, "Ottilie Bergmann", adapters=False)
    assert "Ottilie Bergmann" in everything(runs)


def test_other_patients_rows_and_stages_stay(runs):
    erase(runs, "Ottilie Bergmann", adapters=False)
    assert len(list((runs / "one" / "store").glob("judge/*/rows.jsonl"))) == 1
    assert "Is tea safe with iron?" in everything(runs)
    assert json.loads((runs / "one" / "summary.json").read_text())["examples"] == [{"prompt": "tea"}]


def test_adapters_of_that_cycle_and_later_ones_are_named_and_removed_only_if_asked(runs):
    (named,) = erase(runs, "Ottilie Bergmann", adapters=False)
    assert named.adapters == ("cycle-1/kto", "cycle-2/kto")
    assert (runs / "one" / "cycle-1" / "kto").is_dir()


def test_adapters_go_when_asked(runs):
    (gone,) = erase(runs, "Ottilie Bergmann", adapters=True)
    assert gone.adapters_removed
    assert not (runs / "one" / "cycle-2" / "kto").exists()


def test_a_text_nobody_said_changes_nothing(runs):
    before = everything(runs)
    assert erase(runs, "somebody else entirely", adapters=True) == []
    assert everything(runs) == before


def test_a_text_too_short_to_mean_somebody_is_refused(runs):
    with pytest.raises(DataError, match="too short"):
        erase(runs, "  gout ", adapters=False)
    with pytest.raises(DataError, match="no run in this folder"):
        erase(runs / "nowhere", "Ottilie Bergmann", adapters=False)


def test_adapters_can_be_removed_later_too(runs):
    erase(runs, "Ottilie Bergmann", adapters=False)
    (gone,) = erase(runs, "Ottilie Bergmann", adapters=True)
    assert gone.adapters == ("cycle-1/kto", "cycle-2/kto")
    assert not (runs / "one" / "cycle-1" / "kto").exists()


def test_other_rows_keep_their_very_bytes_and_strange_separators_hide_nothing(runs):
    file = runs / "one" / "cycle-1" / "kto.jsonl"
    other = '{"prompt":  "other\u2028row"}'
    file.write_text('{"prompt": "I am Ann Smith\u2028and I live in Oslo"}\n' + other + "\n", encoding="utf-8")
    erase(runs, "ann smith and I live", adapters=False)
    assert file.read_text(encoding="utf-8") == other + "\n"


def test_what_ships_goes_only_if_it_learned_from_the_text(runs):
    run = runs / "one"
    write_text(run / "release" / "adapter_config.json", "{}")
    told = {"examples": [], "released": "cycle-1/kto"}
    write_text(run / "summary.json", json.dumps(told))
    (run / "cycle-1" / "kto.jsonl").unlink()
    write_jsonl(run / "cycle-2" / "kto.jsonl", [{"prompt": SECRET}])
    (erased,) = erase(runs, "Ottilie Bergmann", adapters=True)
    assert erased.adapters == ("cycle-2/kto",)
    assert (run / "release").is_dir()
    write_jsonl(run / "cycle-1" / "kto.jsonl", [{"prompt": SECRET}])
    erase(runs, "Ottilie Bergmann", adapters=True)
    assert not (run / "release").exists()
    assert json.loads((run / "summary.json").read_text())["released"] is None


def test_a_folder_a_person_made_is_no_cycle(runs):
    write_jsonl(runs / "one" / "cycle-1-old" / "kto.jsonl", [{"prompt": SECRET}])
    erase(runs, "Ottilie Bergmann", adapters=True)
    assert "ottilie" not in everything(runs).lower()


def trained(run, name, text, start=None):
    """A finished training in the store: its adapter, the rows it learned from, what it started from."""
    stage = StageDir(run / "store" / "train" / name)
    write_text(stage.adapter / "adapter_config.json", "{}")
    if text is not None:
        write_jsonl(stage.path / LEARNED_FROM, [{"prompt": text}])
    stage.finish({"start": start and f"store/train/{start}/adapter"})


def test_an_adapter_is_named_if_it_learned_from_the_text_or_started_from_one_that_did(runs):
    run = runs / "trained"
    StageCache(run).log_event("start")
    trained(run, "first", SECRET)
    trained(run, "second", "tea", start="first")
    trained(run, "third", "tea", start="second")
    trained(run, "apart", "tea")
    StageCache(run).log_event("exported", adapter="store/train/second/adapter", to=str(runs.parent))
    (runs.parent / "apart").mkdir()
    StageCache(run).log_event("exported", adapter="store/train/apart/adapter", to=str(runs.parent / "apart"))
    *_, erased = erase(runs, "Ottilie Bergmann", adapters=False)
    assert erased.adapters == tuple(f"store/train/{name}/adapter" for name in ("first", "second", "third"))
    assert erased.copies == (str(runs.parent),)
    assert "ottilie" not in everything(run).lower()
    *_, later = erase(runs, "Ottilie Bergmann", adapters=True)
    assert later.adapters == erased.adapters
    assert later.copies == erased.copies


def test_a_training_that_does_not_say_what_it_learned_from_may_have_learned_it(runs):
    trained(runs / "one", "old", None)
    (erased,) = erase(runs, "Ottilie Bergmann", adapters=False)
    assert "store/train/old/adapter" in erased.adapters


def test_a_file_that_a_run_needs_as_it_is_and_one_outside_of_any_run_are_named(runs):
    write_text(runs / "one" / "config.yaml", f"system: {json.dumps(SECRET)}")
    write_text(runs / "copies" / "answers.jsonl", json.dumps({"prompt": SECRET}))
    StageCache(runs / "one").log_event("start", what=SECRET)
    one, outside = erase(runs, "Ottilie Bergmann", adapters=False)
    assert one.left == ("config.yaml", "events.jsonl")
    assert SECRET in [event.get("what") for event in StageCache(runs / "one").events()]
    assert (outside.run, outside.left) == (runs, ("copies/answers.jsonl",))
