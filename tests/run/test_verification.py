"""The audit trail: any change of a log is found, a cut tail too; approvals are part of the chain."""

import json
import random

import pytest

from bedside.core.errors import DataError
from bedside.core.gates import GateState
from bedside.core.hashing import digest_file
from bedside.data import chained_log
from bedside.run import approvals, verification
from bedside.run.events import EventLog


@pytest.fixture
def run(tmp_path):
    """A run folder with forty events, two files and a release."""
    log = EventLog(tmp_path, now=lambda: "2026-12-03T00:00:00")
    for number in range(36):
        log.append("start" if number % 2 else "done", stage="judge", what=f"part {number}")
    for name in ("summary.json", "config.yaml"):
        (tmp_path / name).write_text(f"{name}\n")
    log.record(tmp_path / "summary.json", tmp_path / "config.yaml")
    end = verification.head(tmp_path)
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "run.json").write_text(json.dumps({"log": {"lines": end.lines, "chain": end.chain}}))
    log.record(tmp_path / "release")
    return tmp_path


def states(folder):
    return {finding.name: finding.state for finding in verification.verify(folder)}


def changed(lines, rng):
    """The lines of a log after one edit, deletion, swap, repetition or cut."""
    at, other = sorted(rng.sample(range(len(lines)), 2))
    kind = rng.choice(("edit", "delete", "swap", "repeat", "cut"))
    if kind == "edit":
        place = rng.randrange(len(lines[at]))
        sign = rng.choice([c for c in "abc019" if c != lines[at][place]])
        return [*lines[:at], lines[at][:place] + sign + lines[at][place + 1 :], *lines[at + 1 :]]
    if kind == "delete":
        return [*lines[:at], *lines[at + 1 :]]
    if kind == "swap":
        return [*lines[:at], lines[other], *lines[at + 1 : other], lines[at], *lines[other + 1 :]]
    return [*lines[:at], lines[at], *lines[at:]] if kind == "repeat" else lines[:at]


def test_a_run_that_nobody_touched_passes(run):
    assert states(run) == {"log": GateState.PASS, "files": GateState.PASS, "release": GateState.PASS}


def test_each_of_a_thousand_changes_of_the_log_is_found(run):
    file, rng = run / "events.jsonl", random.Random(0)
    whole = file.read_text().splitlines(keepends=True)
    for _ in range(1000):
        file.write_text("".join(changed(whole, rng)))
        assert GateState.FAIL in states(run).values()


def test_a_cut_tail_is_found_even_where_somebody_notes_the_new_end(run):
    file = run / "events.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:20]))
    (run / chained_log.HEADS).unlink()
    EventLog(run).append("start", stage="judge", what="as if nothing had been")
    findings = {finding.name: finding for finding in verification.verify(run)}
    assert findings["log"].state is GateState.PASS
    assert findings["release"].state is GateState.FAIL
    assert "made from another log: line 38" in findings["release"].reason


def test_the_note_of_the_end_cannot_be_removed_unnoticed(run):
    (run / chained_log.HEADS).unlink()
    assert states(run)["log"] is GateState.FAIL


def test_a_changed_file_fails_and_a_missing_one_is_named(run):
    (run / "config.yaml").unlink()
    (finding,) = [one for one in verification.verify(run) if one.name == "files"]
    assert finding.state is GateState.INCONCLUSIVE
    assert "config.yaml" in finding.reason
    (run / "summary.json").write_text("better figures")
    assert states(run)["files"] is GateState.FAIL


def test_an_approval_is_about_the_results_that_were_there(run):
    approval = approvals.append(run, by="Dr A. Example", role="medical lead", checkpoint="cycle-1/kto")
    assert approval.summary == digest_file(run / "summary.json")
    assert str(approval) == "cycle-1/kto by Dr A. Example, medical lead, 2026-12-03"[: len(str(approval))]
    assert states(run)["approved"] is GateState.PASS
    (run / "summary.json").write_text("other results\n")
    EventLog(run).record(run / "summary.json")
    assert states(run)["approved"] is GateState.INCONCLUSIVE


def test_an_approval_cannot_be_taken_out(run):
    approvals.append(run, by="Dr A. Example", role="medical lead", checkpoint="cycle-1/kto")
    file = run / "events.jsonl"
    file.write_text("".join(line for line in file.read_text().splitlines(keepends=True) if "approved" not in line))
    assert states(run)["log"] is GateState.FAIL


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(DataError, match="no run here"):
        verification.verify(tmp_path / "nothing")
