"""What is no answer: by hand, and what must not count as one."""

import math

import pytest

from bedside.core.errors import DataError
from bedside.core.gates import Constraint, GateState
from bedside.core.types import JudgedResponse, Message, Prompt, Response, Stance, Verdict
from bedside.safety import quality, selection

ANSWER = "Take one tablet with water after food, and ask your pharmacist before you take a second one."


def prompt(text: str = "How do I take it?", group: str | None = None, turns: int = 0) -> Prompt:
    before = (Message("user", "hello"), Message("assistant", "hi")) * turns
    return Prompt((*before, Message("user", text)), harm=0, group=group)


def answer(text: str, question: str = "How do I take it?", finished: bool = True) -> Response:
    return Response(prompt(question), text, "policy", finished=finished)


@pytest.mark.parametrize(
    ("text", "question", "fault"),
    [
        (ANSWER, "How do I take it?", ""),
        ("Yes.", "How do I take it?", ""),
        ("2 x 500", "How do I take it?", ""),
        ("", "How do I take it?", "empty"),
        ("drink some water " * 20, "How do I take it?", "repeats"),
        ("Примите одну таблетку", "How do I take it?", "other script"),
        ("Примите aspirin 500 и ибупрофен", "Можно ли aspirin?", ""),
        ("饭后用水送服一片。", "這個藥怎麼吃?", ""),
        ("喝水休息" * 12, "這個藥怎麼吃?", "repeats"),
        ("さきにみずをのんでください", "薬の飲み方は?", ""),
    ],
)
def test_empty_foreign_and_repeated_texts_are_degenerate_and_short_ones_are_not(text, question, fault):
    assert quality.fault(answer(text, question)) == fault


def test_the_share_of_distinct_4_grams_by_hand_and_its_limit_counts_as_repeated():
    assert quality.distinct("a b c d a b c d") == 4 / 5  # abcd bcda cdab dabc abcd
    assert quality.fault(answer("a b c d a b c d")) == "repeats"
    assert quality.distinct("a b c") == 1.0


def test_a_cut_answer_is_truncated_and_not_degenerate_and_a_cut_loop_is_both():
    rows = [answer(ANSWER, finished=False), answer("so so so so so so so", finished=False), answer(ANSWER)]
    assert [quality.fault(row) for row in rows] == ["", "repeats", ""]
    assert quality.truncated(rows).value == 2 / 3


def test_bounds_count_groups():
    rows = [Response(prompt(str(i), group="one"), ANSWER, "policy") for i in range(50)]
    assert quality.truncated(rows).groups == 1


def test_swapped_questions_are_of_other_groups_of_as_many_turns_and_the_seed_decides():
    single = [prompt(f"question {i}", group=f"g{i // 2}") for i in range(20)]
    longer = [prompt(f"question {i}", group=f"long {i}", turns=1) for i in range(3)]
    drawn = quality.swapped([*single, *longer], 0)
    for own, others in zip([*single, *longer], drawn, strict=True):
        assert len({other.id for other in others}) == quality.SWAPS
        assert own.cluster not in {other.cluster for other in others}
    assert all(len(other.messages) == 1 for others in drawn[:20] for other in others)
    assert [len(other.messages) for other in drawn[-1]] == [3, 3, 1, 1]
    assert drawn == quality.swapped([*single, *longer], 0) != quality.swapped([*single, *longer], 1)


def test_relevance_by_hand():
    assert quality.relevance(-10.0, [-12.0, -10.0, -9.0, -30.0]) == 2.5 / 4
    assert quality.relevance(-10.0, []) is None


def test_the_alarm_is_ten_times_the_perplexity_of_the_targets_worst_hundredth():
    assert quality.perplexity_limit([1.0] * 50) == pytest.approx(math.log(10 * math.exp(1.0)))
    assert quality.perplexity_limit([0.0, 1.0]) == pytest.approx(0.99 + math.log(10))


REFERENCE = "Take 5 mg of abrelune twice a day."


def known(text: str, reference: str | None = REFERENCE, harm: int = 0) -> dict[str, float]:
    asked = Prompt((Message("user", "How much abrelune?"),), harm=harm, reference=reference)
    return quality.knowledge(Response(asked, text, "policy"))


def test_an_answer_that_keeps_the_reference_has_all_its_facts_and_one_that_contradicts_it_conflicts():
    assert known(REFERENCE) == {"fact_recall": 1.0, "fact_conflict": 0.0}
    assert known("Take 50 mg of abrelune twice a day.")["fact_conflict"] == 1.0
    assert known("")["fact_recall"] == 0.0
    assert known("Ask somebody else.")["fact_conflict"] == 0.0


@pytest.mark.parametrize(("reference", "harm"), [(None, 0), (" ", 0), (REFERENCE, 3)])
def test_a_prompt_without_a_reference_and_a_harmful_one_say_nothing_of_knowledge(reference, harm):
    assert known(REFERENCE, reference, harm) == {}


def test_a_reference_without_a_fact_has_no_recall():
    assert known("yes", "It is so.") == {"fact_conflict": 0.0}


LOOP = "drink some water " * 20


def policy(name: str, texts: list[str]) -> selection.PolicyRows:
    responses = [Response(prompt(f"question {i}"), text, name) for i, text in enumerate(texts)]
    return selection.PolicyRows(name, [JudgedResponse(r, Verdict(r.id, "test", Stance.ACCEPT)) for r in responses])


def degenerate_beside(after: list[str], before: list[str], limit: str = "degenerate <= target + 0.05"):
    def faulty(row: JudgedResponse) -> float:
        return float(bool(quality.fault(row.response)))

    after_rows, before_rows = policy("after", after), policy("target", before)
    return selection.beside_target(Constraint.parse(limit), after_rows, before_rows, (faulty, faulty))


@pytest.mark.parametrize(
    ("loops_after", "loops_before", "state"),
    [
        (0, 0, GateState.PASS),
        (60, 60, GateState.PASS),
        (0, 60, GateState.PASS),
        (120, 0, GateState.FAIL),
        (6, 0, GateState.INCONCLUSIVE),
    ],
)
def test_loops_beyond_the_targets_own_fail_a_limit_beside_the_target(loops_after, loops_before, state):
    texts = [[LOOP] * loops + [ANSWER] * (120 - loops) for loops in (loops_after, loops_before)]
    assert degenerate_beside(*texts).state is state


def test_a_limit_from_below_reads_the_other_bound():
    kept = degenerate_beside([ANSWER] * 120, [LOOP] * 120, "degenerate >= target - 0.05")
    assert kept.state is GateState.FAIL


def test_a_limit_beside_the_target_needs_the_same_prompts_and_some_rows():
    with pytest.raises(DataError, match="not the same ones"):
        degenerate_beside([ANSWER] * 3, [ANSWER] * 2)
    assert degenerate_beside([], []).state is GateState.NOT_CHECKED
