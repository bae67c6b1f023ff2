"""From answers to a file that people fill in, and from their labels to a decision: by the command line alone."""

import csv
import json
from types import SimpleNamespace

import pytest
from tests.cli.test_cli import bedside
from tests.safety.test_labelled_sample import ACCEPT, REFUSE, judged

from bedside.core.hashing import plain
from bedside.core.types import JudgedResponse, Verdict
from bedside.data.io import write_jsonl
from bedside.judge_audit import answer_labels
from bedside.judges.human_labels import Labels


@pytest.fixture
def answers(tmp_path, monkeypatch):
    """150 severe answers, and a judge that takes five of them for unsafe."""
    monkeypatch.chdir(tmp_path)
    rows = judged([REFUSE] * 2 + [ACCEPT] * 5 + [REFUSE] * 143)
    write_jsonl(tmp_path / "a.jsonl", [plain(row.response) for row in rows])
    write_jsonl(tmp_path / "v.jsonl", [plain(row.verdict) for row in rows])
    (tmp_path / "bedside.yaml").write_text(
        "target: {model: embedded}\ndata:\n"
        + "".join(f"  {part}: {{kind: clinic, part: {part}, n: 4}}\n" for part in ("train", "valid", "test"))
        + "judges: {people: {kind: labels, path: labels.csv}}\n"
    )
    return tmp_path


def filled(path, stance_of, columns_of=lambda row: {}):
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(row | {"label": stance_of(row)} | columns_of(row) for row in rows)
    return rows


def gate(capsys):
    return json.loads(capsys.readouterr().out)["gates"]["unsafe_accept@3"]


def test_labels_that_were_drawn_decide_and_the_judge_does_not(answers, monkeypatch, capsys):
    assert bedside("evaluate", "a.jsonl", "v.jsonl", "--json", monkeypatch=monkeypatch) == 3
    told = gate(capsys)
    assert told["state"] == "INCONCLUSIVE"
    assert "`bedside review --sample 150 -o labels.csv`" in told["reason"]
    assert bedside("review", "a.jsonl", "v.jsonl", "--sample", "120", monkeypatch=monkeypatch) == 0
    assert "To label: 120 answers" in capsys.readouterr().out
    rows = filled(answers / "labels.csv", lambda row: "refuse")
    assert list(rows[0]) == ["prompt", "response", "label", "complied", "actionable", "answer_id"]
    assert len(rows) == 120
    assert bedside("evaluate", "a.jsonl", "v.jsonl", "--labels", "people", "--json", monkeypatch=monkeypatch) == 0
    told = gate(capsys)
    assert told["state"] == "PASS"
    assert told["reason"].endswith("by labels of 120 answers")


def test_labels_that_say_unsafe_fail_it_though_the_judge_saw_nothing(answers, monkeypatch, capsys):
    bedside("review", "a.jsonl", "v.jsonl", "--sample", "120", monkeypatch=monkeypatch)
    filled(answers / "labels.csv", lambda row: "accept" if int(row["response"][1:]) % 5 == 0 else "refuse")
    capsys.readouterr()
    assert bedside("evaluate", "a.jsonl", "v.jsonl", "--labels", "people", "--json", monkeypatch=monkeypatch) == 3
    assert gate(capsys)["state"] == "FAIL"


def test_who_complies_and_what_is_of_use_stand_beside_the_stance_that_decides(answers, monkeypatch, capsys):
    bedside("review", "a.jsonl", "v.jsonl", "--sample", "120", monkeypatch=monkeypatch)

    def said(row):
        complied = int(row["response"][1:]) % 2
        return {"complied": ("no", "Yes")[complied], "actionable": "0"}

    filled(answers / "labels.csv", lambda row: "refuse", said)
    capsys.readouterr()
    assert bedside("evaluate", "a.jsonl", "v.jsonl", "--labels", "people", "--json", monkeypatch=monkeypatch) == 0
    measures = json.loads(capsys.readouterr().out)["measures"]
    assert measures["complied@3"]["n"] == measures["actionable@3"]["n"] == 120
    assert measures["complied@3"]["low"] < 0.5 < measures["complied@3"]["high"]
    assert measures["complied@3"]["low"] > 0.3
    assert (measures["actionable@3"]["value"], measures["actionable@3"]["low"]) == (0.0, 0.0)
    assert measures["actionable@3"]["high"] < 0.05


def test_columns_that_nobody_filled_in_are_not_shown_and_other_words_are_an_error(answers, monkeypatch, capsys):
    bedside("review", "a.jsonl", "v.jsonl", "--sample", "20", monkeypatch=monkeypatch)
    filled(answers / "labels.csv", lambda row: "refuse")
    words = ("evaluate", "a.jsonl", "v.jsonl", "--labels", "people")
    bedside(*words, monkeypatch=monkeypatch)
    assert "complied" not in capsys.readouterr().out
    filled(answers / "labels.csv", lambda row: "refuse", lambda row: {"actionable": "perhaps"})
    assert bedside(*words, monkeypatch=monkeypatch) == 1
    assert "actionable is 'perhaps'; write yes or no, or leave it empty" in capsys.readouterr().err


def test_a_second_draw_does_not_write_over_somebody_s_work(answers, monkeypatch, capsys):
    assert bedside("review", "a.jsonl", "v.jsonl", "--sample", "20", monkeypatch=monkeypatch) == 0
    assert bedside("review", "a.jsonl", "v.jsonl", "--sample", "30", monkeypatch=monkeypatch) == 1
    assert "may have somebody's work" in capsys.readouterr().err
    assert bedside("review", "a.jsonl", "--sample", "30", monkeypatch=monkeypatch) == 1
    assert "or neither" in capsys.readouterr().err


def test_a_plan_that_was_changed_is_told(answers, monkeypatch, capsys):
    bedside("review", "a.jsonl", "v.jsonl", "--sample", "20", monkeypatch=monkeypatch)
    filled(answers / "labels.csv", lambda row: "refuse")
    plan = json.loads((answers / "labels.plan.json").read_text())
    plan["sample"] = 16
    (answers / "labels.plan.json").write_text(json.dumps(plan))
    assert bedside("evaluate", "a.jsonl", "v.jsonl", "--labels", "people", monkeypatch=monkeypatch) == 1
    assert "drawn from other answers" in capsys.readouterr().err
    (answers / "labels.plan.json").write_text("[]")
    assert bedside("evaluate", "a.jsonl", "v.jsonl", "--labels", "people", monkeypatch=monkeypatch) == 1
    assert "is not a plan" in capsys.readouterr().err


def of_run(labels, rows, **judges):
    lines = []
    run = SimpleNamespace(
        config=SimpleNamespace(select=SimpleNamespace(labels=labels), judges=judges),
        opener=SimpleNamespace(open=lambda plugin: plugin.open(None)),
        progress=SimpleNamespace(say=lines.append),
    )
    return answer_labels.of_run(run, rows), lines


def test_a_run_takes_the_file_that_the_config_names_and_says_so_where_it_is_not_there_yet(answers, monkeypatch):
    rows = judged([REFUSE] * 2 + [ACCEPT] * 5 + [REFUSE] * 143)
    people = Labels(path="labels.csv", rater_kind="model")
    assert of_run("people", rows, people=people) == (
        None,
        ["select.labels: there is no labels.csv yet; `bedside review --sample` writes it"],
    )
    bedside("review", "a.jsonl", "v.jsonl", "--sample", "20", monkeypatch=monkeypatch)
    filled(answers / "labels.csv", lambda row: "refuse")
    labels, _ = of_run("people", rows, people=people)
    assert sum(verdict.stance is not None for verdict in labels.verdicts) == 20
    assert {verdict.rater_kind for verdict in labels.verdicts} == {"model"}
    assert labels.plan.sample == 20


def test_verdicts_are_labels_only_where_people_or_the_clinic_s_rule_gave_them():
    rows = judged([REFUSE] * 3)
    assert of_run(None, rows) == (None, [])
    truth = [JudgedResponse(row.response, Verdict(row.response.id, "truth", REFUSE)) for row in rows]
    labels, _ = of_run(None, truth)
    assert [verdict.rater_kind for verdict in labels.verdicts] == ["rule"] * 3
