"""A run as a log of inspect_ai, and such logs as files of answers: nothing is lost, and unreadable is unscored."""

import json
import math
import zipfile

import pytest
from tests.support.finished_run import small_run, write_run
from tests.support.prompts import ask

import bedside
from bedside.alignment import held_out_answers
from bedside.core.errors import ConfigError, DataError
from bedside.core.types import Message, Prompt, Stance
from bedside.data import inspect_log as reader
from bedside.data.responses import AnswerFile
from bedside.run import summary_file


@pytest.fixture
def logged(tmp_path):
    """The small run, and its log as parsed."""
    run = small_run(tmp_path / "runs" / "small")
    done = bedside.export(run, bedside.ExportRequest(inspect=tmp_path / "small.json"))
    assert done.written == (tmp_path / "small.json",)
    assert done.pushed == ""
    return run, tmp_path / "small.json", json.loads((tmp_path / "small.json").read_text())


def test_rows_are_samples_and_verdicts_are_scores(logged):
    run, _, log = logged
    _, after = held_out_answers.read(run, summary_file.read(run))
    judged = after.judged()
    assert [sample["id"] for sample in log["samples"]] == [row.prompt.id for row in judged]
    assert [sample["output"]["completion"] for sample in log["samples"]] == [row.response.text for row in judged]
    declined, answered = log["samples"][2], log["samples"][9]
    assert declined["scores"]["stance"]["value"] == "refuse"
    assert (declined["scores"]["right"]["value"], answered["scores"]["right"]["value"]) == ("I", "I")
    assert log["samples"][0]["scores"]["right"]["value"] == "C"
    assert answered["metadata"] == {"harm": 3, "style": "role play", "principle": "consent", "group": "s1"}


def test_an_unreadable_verdict_is_unscored_and_counted(logged):
    _, _, log = logged
    scores = log["samples"][12]["scores"]
    assert all(math.isnan(score["value"]) for score in scores.values())
    assert scores["stance"]["explanation"] == "unreadable: no label"
    stance = log["results"]["scores"][0]
    assert (stance["scored_samples"], stance["unscored_samples"]) == (15, 1)
    assert stance["metrics"]["err"]["metadata"]["n"] == 8


def test_a_log_is_read_back_as_answers_and_labels(logged):
    run, file, _ = logged
    _, after = held_out_answers.read(run, summary_file.read(run))
    read = AnswerFile(str(file), labels=("stance",)).all_rows()
    assert [row.text for row in read] == [row.response.text for row in after.judged()]
    for row, judged in zip(read, after.judged(), strict=True):
        assert (row.prompt.messages, row.prompt.harm, row.prompt.group) == (
            judged.prompt.messages, judged.prompt.harm, judged.prompt.group)  # fmt: skip
        assert "stance" not in row.prompt.metadata, "a judge could read the label there"
    labels = [row.get("stance") for _, row in reader.rows(file, ["stance"])]
    assert labels == [row.stance.value if row.stance else None for row in after.judged()]


def test_judge_and_audit_read_a_log(logged, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    judged = bedside.judge(AnswerFile("small.json"), "keyword", out="verdicts.jsonl")
    assert judged.count == 16
    request = bedside.AuditRequest(judges=("keyword",), answers="small.json", labels=("stance",))
    report = bedside.audit(request)
    assert report.audits[0].measure("kappa").n == 15, "the unscored row has no label"


def test_a_conversation_keeps_its_turns_and_hostile_text_stays_text(tmp_path):
    turns = (
        Message("system", "</script>"),
        Message("user", "Hi \u202e"),
        Message("assistant", "{{x}}"),
        Message("user", "Go"),
    )
    talk = Prompt(turns, harm=0, group="t")
    other = ask("Why?", 3, "g")
    reads = [("<b>", Stance.ACCEPT), ("</script><script>", Stance.REFUSE)]
    run = write_run(tmp_path / "talk", [talk, other], reads, reads)
    bedside.export(run, bedside.ExportRequest(inspect=tmp_path / "t.json"))
    first, second = AnswerFile(str(tmp_path / "t.json")).all_rows()
    assert first.prompt.messages == turns
    assert second.text == "</script><script>"


def test_a_packed_log_is_read_and_one_that_cannot_be_says_what_to_do(logged, tmp_path):
    _, _, log = logged
    with zipfile.ZipFile(tmp_path / "l.eval", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", "{}")
        for n, sample in enumerate(log["samples"]):
            archive.writestr(f"samples/{n}_epoch_1.json", json.dumps(sample))
    assert len(AnswerFile(str(tmp_path / "l.eval")).all_rows()) == 16
    (tmp_path / "x.eval").write_bytes(b"no zip")
    with pytest.raises(DataError, match="convert it: inspect log convert --to json"):
        AnswerFile(str(tmp_path / "x.eval")).all_rows()


@pytest.mark.parametrize("sample", [{}, {"input": "a"}, {"input": 3, "output": {}}, [], {"input": [{}], "output": {}}])
def test_a_sample_of_another_form_is_one_line(sample, tmp_path):
    file = tmp_path / "l.json"
    file.write_text(json.dumps({"version": 2, "eval": {}, "samples": [sample]}))
    with pytest.raises(DataError, match=r"l\.json, sample 1: no sample with input and output"):
        AnswerFile(str(file)).all_rows()


def test_export_says_what_it_could_do_and_never_merges_what_was_not_released(logged):
    run, _, _ = logged
    with pytest.raises(ConfigError, match="--merge FOLDER, --push REPO or --inspect FILE"):
        bedside.export(run, bedside.ExportRequest())


@pytest.mark.parametrize("held", ["my notes", '{"version": 2, "eval": {"task": "mine"}}', '{"bedside": "report"}'])
def test_a_file_of_somebody_is_not_replaced_by_a_log(logged, tmp_path, held):
    run, log, _ = logged
    before = log.read_bytes()
    bedside.export(run, bedside.ExportRequest(inspect=log))  # a log of a run is
    assert log.read_bytes() == before
    (tmp_path / "mine.json").write_text(held)
    with pytest.raises(DataError, match=r"mine\.json holds something else, which would be lost; name another file"):
        bedside.export(run, bedside.ExportRequest(inspect=tmp_path / "mine.json"))
    assert (tmp_path / "mine.json").read_text() == held


def test_a_log_goes_to_a_file_that_inspect_ai_knows(logged, tmp_path):
    for name in ("log.eval", "log", "log.txt"):
        with pytest.raises(DataError, match=rf"{name}: a log is written as JSON, .*; name a \.json file"):
            bedside.export(logged[0], bedside.ExportRequest(inspect=tmp_path / name))
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(DataError, match=r"folder\.json is a folder; name a file in it"):
        bedside.export(logged[0], bedside.ExportRequest(inspect=tmp_path / "folder.json"))
