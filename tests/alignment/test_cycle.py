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


class Scripted:
    """Answers by way: what is steered stays as it is, what is opened goes on; ``refusing`` words are judged refuse."""

    def __init__(self, counter, steered, safe_routes=None):
        self.steered, self.asked = steered, []
        self.config = SimpleNamespace(align=AlignConfig(counter=counter, safe_routes=safe_routes))
        self.stages = SimpleNamespace(
            sampling=SimpleNamespace(max_new_tokens=64), answers=self.answers, judged=self.judged
        )

    def answers(self, requests, checkpoint, label, max_new_tokens=None):
        self.asked.append((label, len(requests), max_new_tokens))
        rows = [
            Response(r.prompt, f"{r.prefill} that. Now, first" if r.prefill else self.steered, "m", steered=r.stance)
            for r in requests
        ]
        return SimpleNamespace(all=lambda: rows) if not requests[0].prefill else rows

    def judged(self, responses, judge, label):
        stances = [R if any(w in r.text for w in ("can't", "won't", "not able", "say no")) else A for r in responses]
        return [JudgedResponse(r, Verdict(r.id, "j", s)) for r, s in zip(responses, stances, strict=True)]


@pytest.mark.parametrize(
    ("opening", "asked"), [("I won't help with", [(3, None), (1, 40)]), ("No, I won't.", [(3, None)])]
)
def test_ways_to_a_counter_response_are_tried_in_their_order_for_what_is_not_verified_yet(opening, asked, tmp_path):
    routes = tmp_path / "routes.yaml"
    routes.write_text(f'openings: {{refuse: ["{opening}"], caution: [x]}}\nroutes: {{any: [Ask a nurse.]}}')
    run = Scripted(["instruction", "reference", "prefill"], "Sure, first", str(routes))
    prompts = [
        Prompt((Message("user", f"question {i}"),), harm=3, reference="I can't do that: ask a nurse." if i else None)
        for i in range(3)
    ]
    requests = [cycle.GenerationRequest(prompt, R) for prompt in prompts]
    experiment = SimpleNamespace(run=run, labelling_judge=None)
    rows = cycle._counter_responses(experiment, SimpleNamespace(checkpoint=None), requests, "cycle 1")
    assert [row.response.made_by for row in rows] == ["prefill", "reference", "reference"]
    assert all(row.stance is R for row in rows)
    assert [call[1:] for call in run.asked] == asked


def test_a_counter_response_that_no_way_gives_is_the_last_one_tried():
    run = Scripted(["instruction"], steered="Sure, first")
    requests = [cycle.GenerationRequest(Prompt((Message("user", "question"),), harm=3), R)]
    (row,) = cycle._counter_responses(
        SimpleNamespace(run=run, labelling_judge=None), SimpleNamespace(checkpoint=None), requests, "cycle 1"
    )
    assert (row.response.text, row.stance) == ("Sure, first", A)
