"""Answers side by side, by hand: who was chosen, how far people agree, and whether the judge says the same."""

from dataclasses import replace

import pytest
from tests.support.prompts import ask

from bedside.comfort import human_ab
from bedside.comfort.human_ab import PAIRS, RaterChoice, build_pairs, compare_choices
from bedside.core.errors import DataError
from bedside.core.gates import Constraint, GateState
from bedside.core.types import JudgedResponse, Response, Verdict
from bedside.data import io

LIMIT = Constraint.parse("kappa >= 0.4")


def answered(arm, index, comfort):
    response = Response(ask(f"question {index}"), f"{arm} {index}", arm)
    scores = {} if comfort is None else dict.fromkeys(("empathetic", "comforting", "reassuring"), comfort)
    return JudgedResponse(
        response, Verdict(response.id, "judge", scores=scores, unreadable=None if scores else "silence")
    )


def read(n=40, better=0.9):
    """The target's answers are rated 0.1, sft's ``better``, dpo's 0.1."""
    worth = {"target": 0.1, "sft": better, "dpo": 0.1}
    return {arm: [answered(arm, i, worth[arm]) for i in range(n)] for arm in worth}


def chosen(pair, arm, person="anna"):
    return RaterChoice(pair.id, person, "ab"[pair.arms.index(arm)], None)


def other(pair):
    return next(arm for arm in pair.arms if arm != "target")


def test_arms_take_turns_and_the_order_is_drawn():
    found = build_pairs(read(100), seed=3)
    assert len(found) == PAIRS
    assert [other(pair) for pair in found[:4]] == ["sft", "dpo", "sft", "dpo"]
    assert 0.3 < sum(pair.arms[0] == "target" for pair in found) / PAIRS < 0.7
    assert found == build_pairs(read(100), seed=3)
    assert all(pair.rows[pair.arms.index("target")].response.text.startswith("target") for pair in found)


def test_a_tie_counts_half():
    first, second, third, *_ = (pair for pair in build_pairs(read(), 0) if other(pair) == "sft")
    told = compare_choices(
        build_pairs(read(), 0),
        [chosen(first, "sft"), chosen(second, "target"), RaterChoice(third.id, "anna", "same", "same")],
        "target",
        LIMIT,
    )
    sft, dpo = told.preferred
    assert (sft.kinder.value, sft.kinder.n) == (0.5, 3)
    assert (sft.more_correct.value, sft.more_correct.n, sft.more_correct.unreadable) == (0.5, 1, 0)
    assert (dpo.kinder.value, dpo.kinder.n) == (None, 0)
    assert (told.persons, told.alpha) == (1, None)


def test_nothing_said_is_nothing_told():
    one = build_pairs(read(), 0)[0]
    assert compare_choices(build_pairs(read(), 0), [RaterChoice(one.id, "anna", None, None)], "target", LIMIT) is None
    assert compare_choices(build_pairs(read(), 0), [], "target", LIMIT) is None


@pytest.mark.parametrize(("favourite", "state", "kappa"), [("sft", GateState.PASS, 1), ("target", GateState.FAIL, -1)])
def test_the_judge_is_held_against_people(favourite, state, kappa):
    of_sft = [pair for pair in build_pairs(read(60), 0) if other(pair) == "sft"]
    gate = compare_choices(of_sft, [chosen(pair, favourite) for pair in of_sft], "target", LIMIT).judge
    assert gate.state is state
    assert gate.measure.value == pytest.approx(kappa, abs=0.15)
    assert gate.measure.n == 30


def test_a_judge_that_rated_nothing_is_not_checked():
    blind = {arm: [answered(arm, i, None) for i in range(8)] for arm in ("target", "sft")}
    found = build_pairs(blind, 0)
    told = compare_choices(found, [chosen(pair, "sft") for pair in found], "target", LIMIT)
    assert told.judge.state is GateState.NOT_CHECKED
    told = compare_choices(found, [chosen(found[0], "sft")], "target", None)
    assert told.judge.state is GateState.NOT_CHECKED


def test_two_people_agree_by_alpha():
    found = [pair for pair in build_pairs(read(60), 0) if other(pair) == "sft"]
    favourites = ["sft", "target"] * (len(found) // 2)
    alike = [chosen(pair, arm, who) for pair, arm in zip(found, favourites, strict=True) for who in ("anna", "ben")]
    told = compare_choices(found, alike, "target", LIMIT)
    assert told.persons == 2
    assert told.alpha.value == 1
    assert told.preferred[0].kinder.value == 0.5


def test_a_few_choices_decide_nothing_and_a_judges_ties_count_against_it():
    of_sft = [pair for pair in build_pairs(read(60), 0) if other(pair) == "sft"]
    few = compare_choices(of_sft, [chosen(pair, "sft") for pair in of_sft[:4]], "target", LIMIT).judge
    assert few.state is GateState.INCONCLUSIVE
    level = build_pairs(read(60, better=0.1), 0)
    gate = compare_choices(level, [chosen(pair, other(pair)) for pair in level], "target", LIMIT).judge
    assert gate.state is GateState.FAIL
    assert gate.measure.n == 60


def test_pairs_of_one_case_are_not_independent():
    """Twenty cases asked thrice, people of two minds on every fourth: alpha is the same, its interval wider."""

    def alpha(a_case):
        def answers(arm):
            rows = [answered(arm, i, 0.5) for i in range(60)]
            group = [replace(row.prompt, group=f"g{i // a_case}") for i, row in enumerate(rows)]
            return [replace(row, response=replace(row.response, prompt=p)) for row, p in zip(rows, group, strict=True)]

        found = build_pairs({arm: answers(arm) for arm in ("target", "sft")}, 0)
        anna = [RaterChoice(pair.id, "anna", "ab"[i % 2], None) for i, pair in enumerate(found)]
        ben = [replace(c, person="ben", kinder=c.kinder if i // 3 % 4 else "same") for i, c in enumerate(anna)]
        return compare_choices(found, [*anna, *ben], "target", LIMIT).alpha

    apart, together = alpha(1), alpha(3)
    assert apart.value == together.value
    assert together.high - together.low > 1.2 * (apart.high - apart.low)


@pytest.fixture
def pack(tmp_path):
    """A folder with a pack and its key, and what tells them."""
    found = build_pairs(read(12), 0)
    human_ab.write_pack(tmp_path, found)
    return tmp_path, found


def as_csv(root, name, found, head="id,Kinder,More correct", said="A,same", mark="\ufeff"):
    (root / "ab" / name).write_text(mark + head + "\n" + "".join(f"{pair.id},{said}\n" for pair in found))


def test_a_spreadsheet_s_csv_is_read_beside_the_empty_pack_it_came_from(pack):
    root, found = pack
    as_csv(root, "pack-anna.CSV", found)
    (root / "ab" / "pack-anna.jsonl").write_bytes((root / "ab" / "pack.jsonl").read_bytes())
    told = human_ab.read_choices(root, found)
    assert {(c.person, c.kinder, c.more_correct) for c in told} == {("pack-anna", "a", "same")}
    assert len(told) == 12


def test_packs_are_known_without_their_key(pack):
    root, found = pack
    as_csv(root, "pack-anna.csv", found)
    (root / "ab" / "key.jsonl").unlink()
    assert len(human_ab.read_choices(root, found)) == 12
    human_ab.write_pack(root, found)
    assert not (root / "ab-1").exists()
    assert human_ab.read_choices(root, build_pairs(read(12, better=0.5), seed=9)) == [], "other pairs, other answers"


@pytest.mark.parametrize(
    ("name", "head", "said_so", "told"),
    [
        ("pack-anna.csv", "id,kinder", "a", "has no column more_correct"),
        ("pack-anna.csv", "id,kinder,more_correct", "left,", "kinder is 'left'; write a, b, same, or nothing"),
        ("pack-anna.csv", "number,kinder,more_correct", "a,", "id None is no pair of this run"),
        ("pack.csv", "id,kinder,more_correct", "b,", "pack has another choice for"),
        ("pack-anna.xlsx", "id", "a", "save it as .jsonl"),
    ],
)
def test_what_cannot_be_read_says_where_and_why(pack, name, head, said_so, told):
    root, found = pack
    filled = [human_ab.pack_line(pair) | {"kinder": "a"} for pair in found]
    io.write_jsonl(root / "ab" / "pack.jsonl", filled)
    as_csv(root, name, found, head, said_so)
    with pytest.raises(DataError, match=told):
        human_ab.read_choices(root, found)
