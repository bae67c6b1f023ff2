"""Damaged files of a run: each verb that reads it gives its result or one line of error, and changes nothing of it.

A digest shows most damage. Here the log agrees with the damaged file, as it does with that of another version.
"""

import json
import shutil
from collections import Counter
from dataclasses import replace

import pytest
from tests.support.finished_run import small_run
from tests.web.test_review_fuzzed import Damage, dumped, outcome

pytest.importorskip("starlette")

import bedside
from bedside.core.errors import BedsideError, DataError
from bedside.core.gates import GateState
from bedside.core.protocols import SilentProgress
from bedside.data.chained_log import append_rows, write_heads
from bedside.data.io import write_json
from bedside.report import card
from bedside.run import approvals, summary_file
from bedside.run.events import EventLog

FEWER = {"sample": 4, "controls": 1, "repeats": 1}
VERBS = {
    "verify": bedside.verify,
    "approve": lambda run: bedside.approve(run, by="Dr A. Example", role="medical lead"),
    "card": lambda run: bedside.write_card(run, run.parent / "card.md"),
    "export": lambda run: bedside.export(run, bedside.ExportRequest(inspect=run.parent / "log.json")),
    "view": lambda run: bedside.view(run, progress=SilentProgress()),
    "review pack": lambda run: bedside.pack_review(run, run.parent / "review", ["anna"], "expert-100", FEWER),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run that released something, and was approved."""
    run = small_run(tmp_path_factory.mktemp("fuzz") / "clinic")
    write_json(run / "summary.json", replace(summary_file.read(run), released="cycle-1/kto"))
    EventLog(run).record(run / "summary.json")
    (run / "release").mkdir()
    card.complete_release(run)
    EventLog(run).record(run / "release")
    approvals.append(run, by="Dr A. Example", role="medical lead", checkpoint="cycle-1/kto")
    return run


def damaged(damage, value):
    """``value`` with one part, at any depth, gone or another."""
    whole = json.loads(json.dumps(value))
    inside = whole
    while True:
        name = damage.rng.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
        if not isinstance(inside[name], dict | list) or not inside[name] or damage.rng.random() < 0.3:
            break
        inside = inside[name]
    if damage.rng.random() < 0.3:
        del inside[name]
    else:
        inside[name] = damage.value()
    return whole


def of_summary(run, damage):
    whole = json.loads((run / "summary.json").read_bytes())
    (run / "summary.json").write_bytes(damage.text(dumped(damaged(damage, whole))))
    EventLog(run).record(run / "summary.json")


def of_release(run, damage):
    whole = json.loads((run / "release" / "run.json").read_bytes())
    (run / "release" / "run.json").write_bytes(damage.text(dumped(damaged(damage, whole))))
    EventLog(run).record(run / "release")


def of_log(run, damage):
    row = damage.table(damage.rng.choice(EventLog(run).read()))
    try:
        append_rows(run / "events.jsonl", run, [row])
    except (ValueError, TypeError):  # no log holds this
        shutil.copy(run.parent / "events.jsonl", run / "events.jsonl")
    write_heads(run, "events.jsonl")


def of_layout(run, damage):
    (run / "layout.yaml").write_bytes(damage.text("layout: 3\n"))


def try_all(whole, root, damage_of, times):
    """How often each outcome came."""
    damage, outcomes = Damage(damage_of.__name__), Counter()
    for number in range(times):
        run = shutil.copytree(whole, root / f"{number}" / "clinic")
        shutil.copy(run / "events.jsonl", run.parent)
        damage_of(run, damage)
        before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
        for name, verb in VERBS.items():
            outcomes[name, outcome(lambda run=run, verb=verb: verb(run))] += 1
        for file, data in before.items():  # the log grows and is a log of what it was
            now = file.read_bytes()
            assert now == data or (file.name in ("events.jsonl", "log_heads.json", "owner.lock"))
            assert file.name != "events.jsonl" or now.startswith(data)
        shutil.rmtree(run.parent)
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize("damage_of", [of_summary, of_release, of_log, of_layout])
def test_no_damaged_file_gives_a_traceback_or_is_changed(whole, tmp_path, damage_of):
    outcomes = try_all(whole, tmp_path, damage_of, 12)
    assert sum(n for (_, result), n in outcomes.items() if result == "read") > 12
    assert sum(n for (_, result), n in outcomes.items() if result == "refused") > 0


@pytest.mark.prove
@pytest.mark.parametrize("damage_of", [of_summary, of_release, of_log])
def test_500_damaged_files_give_no_traceback_and_are_not_changed(whole, tmp_path, damage_of):
    assert try_all(whole, tmp_path, damage_of, 500).total() == 500 * len(VERBS)


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "clinic")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rehearsal": 7}, r"summary.json is no summary that .* reads \(rehearsal: .*\); the same `bedside align`"),
        (
            {"cycles": []},
            "does not say which checkpoints it compared and selected; the same `bedside align`",
        ),
        ({"mix": {}}, "does not say which prompts its held-out test has"),
        ({"facts": {}}, "does not say how failures were counted"),
    ],
)
def test_a_summary_of_another_form_is_named_with_what_is_wrong(run, change, said):
    file = run / "summary.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | change))
    EventLog(run).record(file)
    with pytest.raises(DataError, match=said):
        bedside.view(run, progress=SilentProgress())


@pytest.mark.parametrize("row", [{"what": "x"}, {"event": 3}, {"event": "wrote", "file": 3}, {"event": "approved"}])
def test_an_event_of_another_form_is_named_by_its_line(run, row):
    append_rows(run / "events.jsonl", run, [row])
    write_heads(run, "events.jsonl")
    lines = (run / "events.jsonl").read_bytes().count(b"\n")
    with pytest.raises(BedsideError, match=rf"events\.jsonl, line {lines}: is no event that Bedside writes, without "):
        approvals.read(run)
    assert bedside.verify(run).findings[0].state is GateState.FAIL


@pytest.mark.parametrize("text", ['{"log": {"lines": "x", "chain": "b2-"}}', '{"log": 3}', "[1]", "[" * 9000])
def test_a_release_that_does_not_say_what_it_was_made_from_fails(run, text):
    (run / "release" / "run.json").write_text(text)
    findings = {finding.name: finding for finding in bedside.verify(run).findings}
    assert findings["release"].state is GateState.FAIL
    assert findings["release"].reason.endswith("release/run.json is not what was written")
