"""Answers side by side, by hand: who was chosen, how far people agree, and whether the judge says the same."""

import pytest

from bedside.core.reports import GateState
from bedside.core.types import Judged, Response, Verdict
from bedside.stages.beside import PAIRS, Beside, Choice, pairs, said
from conftest import ask


def answered(arm, index, comfort):
    response = Response(ask(f"question {index}"), f"{arm} {index}", arm)
    scores = {} if comfort is None else dict.fromkeys(("empathetic", "comforting", "reassuring"), comfort)
    return Judged(response, Verdict(response.id, "judge", scores=scores, unreadable=None if scores else "silence"))


def read(n=40, better=0.9):
    """The target's answers are rated 0.1, sft's ``better``, dpo's 0.1."""
    worth = {"target": 0.1, "sft": better, "dpo": 0.1}
    return {arm: [answered(arm, i, worth[arm]) for i in range(n)] for arm in worth}


def chosen(pair, arm, person="anna"):
    return Choice(pair.id, person, "ab"[pair.arms.index(arm)], None)


def other(pair):
    return next(arm for arm in pair.arms if arm != "target")


def test_arms_take_turns_and_the_order_is_drawn():
    found = pairs(read(100), seed=3)
    assert len(found) == PAIRS
    assert [other(pair) for pair in found[:4]] == ["sft", "dpo", "sft", "dpo"]
    assert 0.3 < sum(pair.arms[0] == "target" for pair in found) / PAIRS < 0.7
    assert found == pairs(read(100), seed=3)
    assert all(pair.rows[pair.arms.index("target")].response.text.startswith("target") for pair in found)


def test_a_tie_counts_half():
    first, second, third, *_ = (pair for pair in pairs(read(), 0) if other(pair) == "sft")
    told = said(
        pairs(read(), 0), [chosen(first, "sft"), chosen(second, "target"), Choice(third.id, "anna", "same", "same")],
        "target", 0.4,
    )  # fmt: skip
    sft, dpo = told.preferred
    assert (sft.kinder.value, sft.kinder.n) == (0.5, 3)
    assert (sft.more_correct.value, sft.more_correct.n, sft.more_correct.unreadable) == (0.5, 1, 2)
    assert (dpo.kinder.value, dpo.kinder.n) == (None, 0)
    assert (told.persons, told.alpha) == (1, None)


def test_nothing_said_is_nothing_told():
    one = pairs(read(), 0)[0]
    assert said(pairs(read(), 0), [Choice(one.id, "anna", None, None)], "target", 0.4) is None
    assert said(pairs(read(), 0), [], "target", 0.4) is None


@pytest.mark.parametrize(("favourite", "state", "kappa"), [("sft", GateState.PASS, 1), ("target", GateState.FAIL, -1)])
def test_the_judge_is_held_against_people(favourite, state, kappa):
    of_sft = [pair for pair in pairs(read(60), 0) if other(pair) == "sft"]
    gate = said(of_sft, [chosen(pair, favourite) for pair in of_sft], "target", 0.4).judge
    assert gate.state is state
    assert gate.measure.value == pytest.approx(kappa, abs=0.15)
    assert gate.measure.n == 30


def test_a_judge_that_rated_nothing_is_not_checked():
    blind = {arm: [answered(arm, i, None) for i in range(8)] for arm in ("target", "sft")}
    found = pairs(blind, 0)
    told = said(found, [chosen(pair, "sft") for pair in found], "target", 0.4)
    assert told.judge.state is GateState.NOT_CHECKED
    assert said(found, [chosen(found[0], "sft")], "target", None).judge.reason == "switched off"


def test_two_people_agree_by_alpha():
    found = [pair for pair in pairs(read(60), 0) if other(pair) == "sft"]
    favourites = ["sft", "target"] * (len(found) // 2)
    alike = [chosen(pair, arm, who) for pair, arm in zip(found, favourites, strict=True) for who in ("anna", "ben")]
    told = said(found, alike, "target", 0.4)
    assert told.persons == 2
    assert told.alpha.value == 1
    assert told.preferred[0].kinder.value == 0.5
    assert isinstance(found[0], Beside)
