"""What a cycle notes beside what it trains, with scripted judges and no model."""

from types import SimpleNamespace

import pytest

pytest.importorskip("torch")

from bedside.alignment import cycle
from bedside.config.schema import AlignConfig, GatesConfig
from bedside.core.gates import Constraint, Gate, GateKind, GateState, Op
from bedside.core.measures import Measure
from bedside.core.types import JudgedResponse, Message, Prompt, Response, Stance, Verdict
from bedside.run.experiment import Experiment

A, R = Stance.ACCEPT, Stance.REFUSE


def judged(number, stance, *, harm=0, steered=None, text=""):
    prompt = Prompt((Message("user", f"question {number}?"),), harm=harm, group=f"g{number}")
    response = Response(prompt, text or f"{stance} {number}", "policy", steered=steered)
    return JudgedResponse(response, Verdict(response.id, "training judge", stance))


def experiment(selecting):
    """Two judges, of which the selecting one says ``selecting(response)``."""

    def read_again(responses, judge, label):
        return [JudgedResponse(r, Verdict(r.id, "selecting judge", selecting(r))) for r in responses]

    run = SimpleNamespace(
        config=SimpleNamespace(align=AlignConfig(), gates=GatesConfig()),
        launch=SimpleNamespace(seed=0),
        stages=SimpleNamespace(judged=read_again),
    )
    return SimpleNamespace(run=run, one_judge=False, selecting_judge=None)


def test_a_cycle_notes_how_much_more_often_the_training_judge_declines_than_the_selecting_one():
    observed = [judged(i, R if i < 6 else A, harm=3 if i % 2 else 0) for i in range(10)]
    steered = [judged(i, A, harm=0, steered=A) for i in range(10)]
    log = cycle._CycleLog()
    cycle._compare_judges(experiment(lambda response: A), observed, steered, "cycle 1", log)
    assert [(m.name, m.value, m.n) for m in log.judge_bias] == [
        ("decline_bias", 0.6, 10),
        ("decline_bias@0", 0.6, 5),
        ("decline_bias@3", 0.6, 5),
    ], "steered answers say nothing of the policy's rates"


def test_kappa_is_on_as_many_answers_of_each_stance():
    rows = [judged(i, A) for i in range(400)] + [judged(1000 + i, R) for i in range(30)]
    rows += [judged(2000 + i, Stance.CAUTION) for i in range(300)]
    balanced = cycle._balanced(rows)
    assert [sum(row.stance is stance for row in balanced) for stance in Stance] == [166, 166, 30]
    assert cycle._balanced(rows[::-1]) == balanced


def built(monkeypatch, gate):
    """Who labels, what stops, and what is noted, where ``gate`` is the two judges' agreement."""
    asked = []
    monkeypatch.setattr(cycle, "_compare_judges", lambda *_: gate)
    monkeypatch.setattr(cycle, "_judged_answers", lambda e, *_: asked.append(e.labelling_judge) or ([], []))
    monkeypatch.setattr(cycle, "_preference_data", lambda *_: None)
    config = SimpleNamespace(align=AlignConfig(), selecting_judge="truth")
    run = SimpleNamespace(config=config, progress=SimpleNamespace(say=lambda line: None))
    log = cycle._CycleLog()
    start = Experiment(run, [], [], "self", "truth", None, [])
    end, _ = cycle._build_preferences(start, 1, None, log)
    return asked, cycle.gates.first_missed(log.gates, *cycle._stopping(end)), log


@pytest.mark.parametrize(("value", "state"), [(0.1, GateState.FAIL), (0.45, GateState.INCONCLUSIVE)])
def test_a_judge_that_agrees_too_little_is_replaced_by_the_selecting_one(monkeypatch, value, state):
    measure = Measure("kappa", value, 90, low=0.0, high=0.9)
    low = Gate(GateKind.JUDGE_AGREEMENT, "self", Constraint("kappa", Op.AT_LEAST, 0.4), state, measure, "too little")
    asked, stopped, log = built(monkeypatch, low)
    assert asked == ["self", "truth"]
    assert stopped is None
    assert log.gates == [low], "the gate stays as it was decided"
    assert log.notes == ["self may not label: too little; truth labels instead."]


def test_a_judge_that_agrees_labels(monkeypatch):
    measure = Measure("kappa", 0.8, 90, low=0.7, high=0.9)
    enough = Gate(GateKind.JUDGE_AGREEMENT, "self", None, GateState.PASS, measure)
    assert built(monkeypatch, enough)[0] == ["self"]
