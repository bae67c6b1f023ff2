"""`bedside evaluate --labels`, and what the report says of the judge beside the rates."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from tests.cli.test_cli import bedside
from tests.support.prompts import ask
from tests.support.report_pages import ReportPage
from tests.support.report_pages import shipping as run_summary

from bedside.core.audit_results import AuditReport
from bedside.core.errors import DataError
from bedside.core.hashing import plain
from bedside.core.protocols import Launch
from bedside.core.types import JudgedResponse, Response, Stance, Verdict
from bedside.data.io import write_jsonl
from bedside.judge_audit.correct import correct_rates, read_report
from bedside.report.html import html
from bedside.safety.labelled_sample import AnswerLabels
from bedside.safety.metrics import Safety

MATRIX = {"accept": (0.85, 0.1, 0.05), "caution": (0.1, 0.8, 0.1), "refuse": (0.05, 0.1, 0.85)}


def rows(n=800, labelled=300, seed=0, matrix=MATRIX, checkpoint="m"):
    """Severe and harmless answers, a judge with known errors, and experts on the first of them."""
    rng = np.random.default_rng(seed)
    judged, truth = [], []
    for i in range(n):
        level, mix = (3, (0.3, 0.3, 0.4)) if i % 2 else (0, (0.6, 0.2, 0.2))
        is_ = tuple(Stance)[rng.choice(3, p=mix)]
        says = tuple(Stance)[rng.choice(3, p=matrix[is_.value])]
        response = Response(ask(f"q{i}", level, f"g{i}"), f"a{i}", checkpoint)
        judged.append(JudgedResponse(response, Verdict(response.id, "j", says)))
        told = Verdict(response.id, "e", is_) if i < labelled else Verdict(response.id, "e", unreadable="not labelled")
        truth.append(told)
    return judged, truth


def corrected(judged, truth):
    metric = Safety().open(Launch())
    return {one.level: one for one in correct_rates(judged, metric.measure(judged), AnswerLabels(truth), metric)}


def test_rates_are_given_level_by_level_beside_the_judge_s():
    told = corrected(*rows())
    assert {level: one.label for level, one in told.items()} == {0: "err", 3: "unsafe_accept@3"}
    assert (told[3].raw.n, told[3].labelled) == (400, 150)
    assert told[3].corrected.low < 0.3 < told[3].corrected.high
    assert told[0].corrected.low < 0.4 < told[0].corrected.high
    assert "no plan says which were drawn" in told[3].method


def test_labels_of_a_level_count_for_that_level_only():
    judged, truth = rows()
    harmless = [
        t if row.prompt.harm == 0 else Verdict(t.response, "e", unreadable="not labelled")
        for row, t in zip(judged, truth, strict=True)
    ]
    told = corrected(judged, harmless)
    assert told[0].corrected.value is not None
    assert told[3].corrected.value is None
    assert told[3].reason == "no label of an answer that the judge passes, or none of one that it fails"


def test_an_uninformative_judge_costs_width_and_no_more():
    told = corrected(*rows(matrix=dict.fromkeys(MATRIX, (0.4, 0.3, 0.3))))[3].corrected
    sharp = corrected(*rows())[3].corrected
    assert told.low < 0.3 < told.high
    assert told.high - told.low > sharp.high - sharp.low


def test_answers_of_two_checkpoints_are_not_corrected_together():
    one, other = rows(20), rows(20, checkpoint="n")
    with pytest.raises(DataError, match="2 checkpoints"):
        corrected(one[0] + other[0], one[1] + other[1])


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    judged, truth = rows()
    write_jsonl(tmp_path / "a.jsonl", [plain(row.response) for row in judged])
    write_jsonl(tmp_path / "v.jsonl", [plain(row.verdict) for row in judged])
    write_jsonl(tmp_path / "l.jsonl", [plain(verdict) for verdict in truth if verdict.stance])
    (tmp_path / "bedside.yaml").write_text(
        "target: {model: embedded}\ndata:\n"
        + "".join(f"  {part}: {{kind: clinic, part: {part}, n: 4}}\n" for part in ("train", "valid", "test"))
        + "judges: {experts: {kind: labels, path: l.jsonl}}\n"
    )
    return tmp_path


@pytest.mark.slow
def test_evaluate_prints_corrected_rates_and_keeps_them_for_the_report(project, monkeypatch, capsys):
    Path("runs/run").mkdir(parents=True)
    words = ["evaluate", "a.jsonl", "v.jsonl", "--labels", "experts"]
    assert bedside(*words, "--json", monkeypatch=monkeypatch) == 3
    told = json.loads(capsys.readouterr().out)["corrected"]
    assert [(one["level"], one["label"]) for one in told] == [(0, "err"), (3, "unsafe_accept@3")]
    assert read_report(Path("runs/run")).corrections[0].level == 0
    assert bedside(*words, monkeypatch=monkeypatch) == 3
    assert "unsafe_accept@3" in capsys.readouterr().out
    assert bedside("evaluate", "a.jsonl", "v.jsonl", "--labels", "self", monkeypatch=monkeypatch) == 1
    assert "name a judge of kind labels" in capsys.readouterr().err


def test_the_report_has_a_section_on_the_judge_where_an_audit_was_made(project, monkeypatch, capsys):
    (project / "h.jsonl").write_text(
        "".join(
            json.dumps({"prompt": f"w{i} x{i} <b>", "response": f"a {i}", "harm": i % 4, "label": s, "other": s}) + "\n"
            for i in range(120)
            for s in [("accept", "refuse", "caution")[i % 3]]
        )
    )
    words = ["--set", "judges.other={kind: labels, path: h.jsonl, label: other}", "--set", "run=r"]
    assert bedside("audit", "h.jsonl", "--label", "label", "--judge", "other", *words, monkeypatch=monkeypatch) == 0
    audits = read_report(Path("runs/r"))
    assert isinstance(audits, AuditReport)
    page = html([run_summary()], [audits])
    parsed = ReportPage(page)
    assert parsed.stack == []
    assert parsed.tags.count("table") == parsed.tags.count("caption")
    assert re.search(r"\d+\. The judge", page)
    assert "kappa within harm levels" in page
    without = html([run_summary()])
    assert "`bedside audit` has not been run for it" in without
    assert "`bedside audit` has not been run for it" not in page
    assert read_report(Path("runs/none")) is None
