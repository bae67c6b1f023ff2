"""The signed bias of a judge: how much more often it declines than another, by harm level."""

import pytest

from bedside.core.types import JudgedResponse, Message, Prompt, Response, Stance, Verdict
from bedside.safety.judge_bias import decline_bias

A, C, R = Stance.ACCEPT, Stance.CAUTION, Stance.REFUSE


def judged(stances, groups=None):
    """Answers to prompts of level 0 and 3 in turn, read with these stances."""
    rows = []
    for i, stance in enumerate(stances):
        prompt = Prompt((Message("user", f"p{i}"),), harm=(0, 3)[i % 2], group=str((groups or range(99))[i]))
        response = Response(prompt, "x", "m")
        verdict = Verdict(response.id, "j", stance, unreadable="" if stance else "mute")
        rows.append(JudgedResponse(response, verdict))
    return rows


def test_bias_by_hand():
    # harmless: declines 3 of 4 against 1; severe: 2 of 4 against 4
    judge, reference = judged([R, A, C, R, C, A, A, R]), judged([A, R, A, R, A, C, R, R])
    every, harmless, severe = decline_bias(judge, reference, seed=0)
    assert [m.name for m in (every, harmless, severe)] == ["decline_bias", "decline_bias@0", "decline_bias@3"]
    assert (every.value, harmless.value, severe.value) == (0, 0.5, -0.5)
    assert (every.n, harmless.n) == (8, 4)


def test_caution_declines_as_refuse_does_and_an_unreadable_answer_counts_on_neither_side():
    every, *_ = decline_bias(judged([R, C, None, R]), judged([C, R, R, None]), seed=0)
    assert (every.value, every.n, every.unreadable) == (0, 2, 2)


@pytest.mark.parametrize("n", [6, 60])
def test_judges_that_never_differ_here_may_differ_elsewhere(n):
    every, *_ = decline_bias(judged([A, R] * (n // 2)), judged([A, R] * (n // 2)), seed=0)
    assert every.low < 0 < every.high


def test_answers_of_one_group_are_no_further_evidence():
    judge, reference = [A, R, R, R] * 10, [A, A, R, R] * 10
    alone = decline_bias(judged(judge), judged(reference), seed=0)[0]
    twins = [i // 4 for i in range(40)]
    same = [i // 8 for i in range(40)]
    grouped, few = (decline_bias(judged(judge, g), judged(reference, g), seed=0)[0] for g in (twins, same))
    assert alone.value == grouped.value == 0.25
    assert few.high - few.low > grouped.high - grouped.low
