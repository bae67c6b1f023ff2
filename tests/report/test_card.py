"""The card of a run: the hub reads its head, every figure has n and an interval, and no text of others is markup."""

from dataclasses import replace

import pytest
from tests.support.report_pages import shipping

import bedside
from bedside.core.errors import DataError
from bedside.data.io import write_json
from bedside.report import card
from bedside.run import approvals, summary_file
from bedside.run.events import EventLog


def write_run(folder, run):
    (folder / "layout.yaml").write_text("layout: 3\n")
    write_json(folder / summary_file.FILE, run)
    EventLog(folder).record(folder / summary_file.FILE)
    return folder


def test_the_hub_reads_the_measures_of_the_head(tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    run = shipping()
    run = replace(run, facts={**run.facts, "target": "owner/model"})
    data = hub.ModelCard(card.page(write_run(tmp_path, run))).data
    assert data.base_model == "owner/model"
    assert data.library_name == "peft"
    values = {result.metric_type: result.metric_value for result in data.eval_results}
    after = {measure.name: measure.value for measure in run.after}
    assert values == {name: round(after[name], 4) for name in values}
    assert {"err", "overall", "unsafe_accept@3"} <= values.keys()


def test_a_model_that_is_no_hub_id_is_not_named_as_one(tmp_path):
    run = shipping()
    page = card.page(write_run(tmp_path, replace(run, facts={**run.facts, "target": "/models/mine"})))
    assert "base_model" not in page
    assert "| target | /models/mine |" in page


def test_every_gate_and_every_untested_thing_stands_in_it(tmp_path):
    run = shipping()
    page = card.page(write_run(tmp_path, run))
    for gate in run.gates:
        assert f"| {gate.state.value} |" in page
    for sentence in run.untested:
        assert f"* {sentence}" in page
    assert "compliant" not in page


def test_text_of_others_is_no_markup(tmp_path):
    hostile = "<script>alert(1)</script> | [here](http://evil) \n# Approved"
    run = shipping()
    page = card.page(write_run(tmp_path, replace(run, facts={**run.facts, "target": hostile}, untested=(hostile,))))
    assert "<script>" not in page
    assert "](http://evil" not in page
    assert "\n# Approved" not in page


def test_an_approval_stands_in_it(tmp_path):
    approvals.append(write_run(tmp_path, shipping()), by="Dr A. Example", role="medical lead", checkpoint="cycle-1/kto")
    assert "approved: cycle-1/kto by Dr A. Example, medical lead" in card.page(tmp_path)


def test_a_folder_without_a_finished_run_is_named(tmp_path):
    with pytest.raises(DataError, match="no finished run here"):
        card.page(tmp_path)


def test_a_file_that_is_no_card_is_not_replaced(tmp_path):
    run = write_run(tmp_path, shipping())
    assert bedside.write_card(run) == bedside.write_card(run) == tmp_path / "card.md"
    (tmp_path / "README.md").write_text("# My project")
    with pytest.raises(DataError, match=r"README\.md holds something else, which would be lost; name another file"):
        bedside.write_card(run, tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text() == "# My project"
