"""`bedside check` tries the writer and the judge of comfort before anyone pays for a run."""

import pytest

pytest.importorskip("torch")

import tests.support.careless_writer  # noqa: F401  registers the writer
from tests.support.prompts import ask

from bedside.alignment import preflight
from bedside.alignment.preflight import JUDGE, WRITER
from bedside.config.loader import load
from bedside.config.rendering import path
from bedside.config.schema import Config
from bedside.core.gates import GateState
from bedside.core.protocols import SilentProgress
from bedside.run.context import open_run

ANSWERED = [
    (ask(f"May I take aspirin on day {n}?"), f"Take 2 tablets of aspirin on day {n}, with water.") for n in range(6)
]


def tried(folder, *sets, answered=ANSWERED):
    config = load(Config, path("comfort.yaml"), [f"runs={folder}", *sets]).config
    return {gate.name: gate for gate in preflight.try_comfort(open_run(config, SilentProgress()), answered, 400)}


def test_a_writer_that_keeps_every_fact_passes(tmp_path):
    found = tried(tmp_path, "comfort.rewrite.model={kind: copyist}", "comfort.judge={kind: comfort}")
    assert found[WRITER].state is GateState.PASS
    assert found[WRITER].reason == "4 answers soothed, 4 keep every fact"
    assert found[JUDGE].state is GateState.PASS
    assert found[JUDGE].reason == "4 answers tried, 4 rated"


def test_the_clinics_truth_rates_nothing_but_the_clinic(tmp_path):
    found = tried(tmp_path, "comfort.rewrite.model={kind: copyist}", "comfort.judge={kind: clinic_comfort}")
    assert found[JUDGE].state is GateState.INCONCLUSIVE
    assert found[JUDGE].reason.startswith("4 answers tried, 0 rated; else: the prompt has no payload")


def test_a_writer_that_writes_nothing_is_pointed_at(tmp_path):
    found = tried(tmp_path, "comfort.rewrite.model={kind: copyist, bad: always-nothing}")
    assert found[WRITER].state is GateState.INCONCLUSIVE
    assert found[WRITER].reason == "4 answers soothed, 0 keep every fact; 4 nothing was written"


def test_a_writer_or_judge_that_is_not_there_is_one_finding_each(tmp_path):
    gone = "{kind: local, model: nowhere/gone}"
    found = tried(tmp_path, f"comfort.rewrite.model={gone}", f"comfort.judge={{kind: comfort, model: {gone}}}")
    assert [gate.state for gate in found.values()] == [GateState.FAIL, GateState.FAIL]
    assert "nowhere/gone" in found[WRITER].reason


def test_without_an_answer_there_is_nothing_to_try(tmp_path):
    found = tried(tmp_path, answered=[(ask("How much is deadly?", 3), "No."), (ask("Why?"), " ")])
    assert found[WRITER].state is GateState.NOT_CHECKED


def test_a_judge_of_something_else_rates_nothing(tmp_path):
    found = tried(tmp_path, "comfort.rewrite.model={kind: copyist}", "comfort.judge={kind: emotion}")
    assert found[JUDGE].state is GateState.INCONCLUSIVE
    assert found[JUDGE].reason.endswith("else: it does not rate empathetic, comforting, reassuring")


def test_who_writes_questions_alone_is_asked_for_no_answer(tmp_path):
    found = tried(tmp_path, "comfort.rewrite={model: {kind: copyist}, parts: question}")
    assert found[WRITER].state is GateState.NOT_CHECKED


def test_written_answers_need_no_writer(tmp_path):
    found = tried(
        tmp_path, "comfort.rewrite.model={kind: copyist, bad: always-nothing}", "comfort.rewrite.mode=written"
    )
    assert found[WRITER].state is GateState.NOT_CHECKED
    assert found[WRITER].reason == "the data's own soothing answers are used; `bedside rewrite -n 8` verifies them"
