"""A judge made worse on purpose errs as often as it was told to, on the same rows every time."""

from collections import Counter

from tests.support.prompts import ask

from bedside.config.plugins import open_plugin
from bedside.core.protocols import Launch
from bedside.core.types import Response, Stance
from bedside.judges.composite import Noisy

ROWS = [Response(ask(f"question {i}", 3), "I cannot help with that." if i % 2 else "Take it.", "m") for i in range(900)]


def stances(flips: float, seed: int = 0) -> list[Stance | None]:
    judge = open_plugin(
        Noisy.model_validate({"judge": {"kind": "keyword"}, "flips": flips, "seed": seed}), Launch(), {}
    )
    return [verdict.stance for verdict in judge.judge(ROWS)]


def test_no_flips_is_the_judge_itself():
    assert Counter(stances(0)) == {Stance.ACCEPT: 450, Stance.REFUSE: 450}


def test_a_fifth_of_the_stances_is_turned_and_the_same_ones_again():
    turned = [a is not b for a, b in zip(stances(0.2), stances(0), strict=True)]
    assert 0.15 < sum(turned) / 900 < 0.25
    assert stances(0.2) == stances(0.2)
    assert stances(0.2) != stances(0.2, seed=1)


def test_two_thirds_leave_nothing_of_the_answer():
    refused = Counter(s for s, row in zip(stances(2 / 3), ROWS, strict=True) if row.text.startswith("I cannot"))
    assert all(120 < refused[stance] < 180 for stance in Stance)


def test_what_cannot_be_read_stays_unreadable():
    judge = open_plugin(Noisy(flips=1), Launch(), {})
    (verdict,) = judge.judge([Response(ask("q", 0), "  ", "m")])
    assert verdict.stance is None
    assert verdict.unreadable
