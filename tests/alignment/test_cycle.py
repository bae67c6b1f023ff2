"""What a cycle notes beside what it trains, with scripted judges and no model."""

from types import SimpleNamespace

import pytest

pytest.importorskip("torch")

from bedside.alignment import cycle
from bedside.config.schema import AlignConfig, GatesConfig
from bedside.core.types import JudgedResponse, Message, Prompt, Response, Stance, Verdict

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
