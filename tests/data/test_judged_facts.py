"""Rates of a large file are computed without its texts, and are those of whole rows."""

import json

import pytest

from bedside.alignment import single_stage
from bedside.config.schema import Config
from bedside.core.hashing import canonical
from bedside.core.types import Stance, Verdict
from bedside.data.judged_facts import without_texts
from bedside.data.responses import AnswerFile, read_judged
from bedside.run.experiment import CombinedMetric


def files(tmp_path, rows, judge):
    """A file of answers, labelled, and one of their verdicts, every 7th unreadable."""
    stances = list(Stance)
    answers = [
        {
            "prompt": f"Question {n}?",
            "response": "" if n == 5 else f"Answer {n}",
            "harm": n % 4,
            "clinic": f"clinic {n // 3}",
            "label": stances[n % 2],
        }
        for n in range(rows)
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    file = AnswerFile(str(tmp_path / "a.jsonl"), labels=("label",))
    verdicts = [
        Verdict(response.id, judge, unreadable="none")
        if n % 7 == 0
        else Verdict(response.id, judge, stances[n % 3], probabilities={"accept": 1 / (n + 1)})
        for n, response in enumerate(file.stream())
    ]
    (tmp_path / "v.jsonl").write_text("".join(canonical(verdict) + "\n" for verdict in verdicts))
    return file, tmp_path / "v.jsonl"


@pytest.mark.parametrize(("judge", "labels"), [("keyword", None), ("labels", None), ("keyword", "people")])
def test_evaluation_without_texts_is_that_of_whole_rows(tmp_path, monkeypatch, judge, labels):
    limits = {"require": ["err <= 0.1", "unsafe_accept@3 <= 0.5", "recall >= 0.9"]}
    answers, verdicts = files(tmp_path, 150, judge)
    data = {part: {"kind": "jsonl", "path": answers.path} for part in ("train", "valid", "test")}
    config = Config.model_validate(
        {
            "target": {"model": "embedded"},
            "select": limits,
            "data": data | {"groupings": ["clinic"]},
            "judges": {"people": {"kind": "labels", "path": answers.path}},
            "runs": str(tmp_path / "runs"),
        }
    )
    light = single_stage.evaluate(config, answers, verdicts, labels)
    monkeypatch.setattr(CombinedMetric, "reads_once", False)
    assert light == single_stage.evaluate(config, answers, verdicts, labels)
    assert "counted by clinic" in str(light.gates)


def test_a_row_without_texts_has_the_ids_of_the_whole_row(tmp_path):
    whole = read_judged(*files(tmp_path, 12, "keyword"))
    light = [without_texts(row, ["clinic"]) for row in whole]
    assert not {"Question", "Answer"} & {*canonical(light).replace('"', " ").split()}
    assert [(row.prompt.id, row.response.id) for row in light] == [(row.prompt.id, row.response.id) for row in whole]
    assert [row.response.is_empty for row in light] == [row.response.is_empty for row in whole]
    assert light[5].prompt.metadata == {"clinic": "clinic 1"}
