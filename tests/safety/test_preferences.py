"""What becomes a thumb, what becomes a pair, under which prompt, and what is dropped and counted."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.prompts import ask

from bedside.core.errors import DataError
from bedside.core.types import GenerationRequest, JudgedResponse, Response, Stance, Verdict
from bedside.run.generation import conversation
from bedside.safety import counter_responses, preferences
from bedside.safety.score_table import score

A, C, R = Stance.ACCEPT, Stance.CAUTION, Stance.REFUSE


def judged(harm, stance, text="x", question=None, steered=None, group=None):
    prompt = ask(question or f"question of {harm}", harm, group)
    response = Response(prompt, text, "m", steered=steered, ids=(1, 2))
    return JudgedResponse(response, Verdict(response.id, "j", stance, unreadable="" if stance else "silence"))


@pytest.mark.parametrize(
    ("harm", "stance", "wanted"),
    [
        (0, A, True),
        (0, C, False),
        (0, R, False),
        (1, A, False),
        (1, C, True),
        (1, R, True),
        (2, A, False),
        (2, C, False),
        (2, R, True),
        (3, A, False),
        (3, C, False),
        (3, R, True),
    ],
)
def test_an_answer_is_wanted_when_the_table_gives_it_full_marks(harm, stance, wanted):
    rows, _ = preferences.unpaired([judged(harm, stance)], [])
    assert [row.label for row in rows] == [wanted]


def test_a_half_right_answer_can_be_dropped():
    rows, flow = preferences.unpaired([judged(2, C)], [], half="drop")
    assert rows == []
    assert flow.dropped == {"half right": 1}


def test_the_policys_own_refusals_can_give_way_to_verified_ones():
    stock, wrong, fine = (
        judged(3, R, "As a chatbot, I can't.", "a?"),
        judged(3, A, "Do it.", "b?"),
        judged(0, A, "Yes.", "c?"),
    )
    alone = judged(3, R, "As a chatbot.", "d?")
    observed = [stock, wrong, fine, alone]
    asked = counter_responses.requests(observed, replace_refusals=True)
    assert [request.stance for request in asked] == [R, R, R, R]  # fine gets a worse side, the others a better one
    written = [judged(3, R, f"No. {name}", f"{name}?", steered=R) for name in "ab"]
    learned, others, counts = preferences.without_own_refusals(observed, written)
    assert [row.response.text for row in learned] == ["No. a", "Do it.", "Yes."]
    assert others == [written[1]]
    assert (counts.kept, counts.dropped) == (1, {"own refusal, no other one verified": 1})
    rows, _ = preferences.unpaired(learned, others, least=2)
    assert sorted((row.text, row.label) for row in rows) == [
        ("Do it.", False), ("No. a", True), ("No. b", True), ("Yes.", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("harm", "stance", "asked"),
    [(0, A, R), (0, R, A), (1, A, C), (1, R, A), (2, A, R), (2, C, R), (2, R, A), (3, A, R), (3, R, A)],
)
def test_the_other_side_is_better_where_the_answer_was_wrong_and_worse_where_it_was_right(harm, stance, asked):
    (only,) = counter_responses.requests([judged(harm, stance)])
    assert only.stance is asked


def test_every_wrong_answer_has_its_other_side_asked_for_and_as_many_right_ones_as_wanted():
    rows = [judged(0, A, "one"), judged(3, A, "two"), judged(3, R, "three")]
    assert [ask.stance for ask in counter_responses.requests(rows)] == [R, R, A]
    assert [ask.stance for ask in counter_responses.requests(rows, worse=0)] == [R]
    assert len(counter_responses.requests(rows, worse=1)) == 2


def test_an_unreadable_answer_asks_for_nothing_and_becomes_nothing():
    row = judged(3, None)
    assert counter_responses.requests([row]) == []
    assert preferences.unpaired([row], [])[0] == []
    assert preferences.pairs([row], [])[1].dropped == {"unreadable": 1}


def test_pairs_stand_under_the_original_prompt():
    observed = judged(3, A, "the payload")
    (request,) = counter_responses.requests([observed])
    assert "decline" in conversation(request)[-1].text, "the model is shown the instruction"
    steered = Response(request.prompt, "I will not.", "m", steered=request.stance, ids=(3,))
    other = JudgedResponse(steered, Verdict(steered.id, "j", R))
    (pair,), _ = preferences.pairs([observed], [other])
    assert pair.prompt == observed.prompt
    assert "decline" not in pair.prompt.text
    assert (pair.chosen, pair.rejected) == ("I will not.", "the payload")
    assert (pair.chosen_ids, pair.rejected_ids) == ((3,), (1, 2)), "sampled ids are kept"
    assert (pair.chosen_origin, pair.rejected_origin) == ("conditional", "observed")


def test_only_the_turn_that_asks_is_steered():
    prompt = ask("And how much?", 3)
    shown = conversation(GenerationRequest(prompt, R))
    assert shown[:-1] == prompt.messages[:-1]
    assert shown[-1].text.endswith("And how much?")


def test_an_answer_that_did_not_take_the_stance_asked_for_is_dropped_with_its_reason():
    rows = [judged(3, A, steered=R), judged(3, None, steered=R, question="b"), judged(3, R, steered=R, question="c")]
    kept, dropped = counter_responses.verified(rows)
    assert kept == rows[2:]
    assert dropped == {"asked refuse, judged accept": 1, "unreadable": 1}


def test_verified_answers_fill_empty_cells_only_and_are_marked():
    observed = [judged(3, A, question="a"), judged(0, A, question="b"), judged(0, R, question="c")]
    conditional = [
        judged(3, R, "no", question="a", steered=R),
        judged(0, R, "no", question="b", steered=R),
    ]
    rows, flow = preferences.unpaired(observed, conditional)
    filled = [row for row in rows if row.origin == "conditional"]
    assert [(row.prompt.harm, row.label) for row in filled] == [(3, True)]
    assert flow.notes["conditional"] == 1


def test_a_cell_with_one_stray_row_is_as_good_as_empty():
    observed = [judged(3, R, question="stray"), *(judged(3, A, question=f"q{i}") for i in range(4))]
    conditional = [judged(3, R, f"no {i}", question=f"q{i}", steered=R) for i in range(4)]
    assert Counter(row.label for row in preferences.unpaired(observed, conditional, least=2)[0]) == {True: 5, False: 4}
    assert Counter(row.label for row in preferences.unpaired(observed, conditional, least=1)[0]) == {True: 1, False: 4}


def test_a_tenth_of_misread_rows_does_not_stand_for_a_class():
    """20 harmless answers, 2 of them misread as refusals: without the verified refusals nothing says that refusing is
    unwanted there, and a policy that refuses everything is what is learned."""
    observed = [judged(0, R if i < 2 else A, question=f"q{i}") for i in range(20)]
    conditional = [judged(0, R, f"no {i}", question=f"q{i}", steered=R) for i in range(2, 20)]
    unwanted = {
        s: sum(not r.label for r in preferences.unpaired(observed, conditional, share=s)[0]) for s in (0, 0.1, 0.25)
    }
    assert unwanted == {0: 2, 0.1: 2, 0.25: 20}
    assert preferences.unpaired(observed, conditional, share=0.25)[1].notes["conditional"] == 18


def test_every_right_answer_is_imitated_once_whether_or_not_a_pair_holds_it():
    right, alone, wrong = judged(0, A, "gives", "one"), judged(0, A, "gives too", "two"), judged(3, A, "gives", "three")
    others = [judged(0, R, "declines", "one", steered=R), judged(3, R, "declines", "three", steered=R)]
    unpaired, _ = preferences.unpaired([right, alone, wrong], others)
    pairs, _ = preferences.pairs([right, alone, wrong], others)
    assert [p.chosen for p in pairs] == ["gives", "declines"]
    rows = preferences.demonstrations(unpaired, pairs)
    assert [(row.prompt.text, row.answer) for row in rows] == [
        ("one", "gives"),
        ("three", "declines"),
        ("two", "gives too"),
    ]
    assert rows[2].ids == (1, 2), "sampled ids are kept"


def test_silence_is_never_imitated_even_where_a_judge_calls_it_right():
    unpaired, _ = preferences.unpaired([judged(3, R, " ", "one"), judged(3, R, "declines", "two")], [])
    assert [t.label for t in unpaired] == [True, True]
    assert [row.answer for row in preferences.demonstrations(unpaired, [])] == ["declines"]


def test_equal_texts_and_equal_worth_make_no_pair():
    same = [judged(3, A, "t")], [judged(3, R, "t", steered=R)]
    level = [judged(1, C, "t")], [judged(1, R, "u", steered=R)]
    assert preferences.pairs(*same)[1].dropped == {"equal texts": 1}
    assert preferences.pairs(*level)[1].dropped == {"equal worth": 1}


@pytest.mark.parametrize(
    ("before", "after", "verified", "pair"),
    [
        (A, R, R, ("after", "before")),  # its own right answer, and what it said before
        (A, A, R, ("steered", "after")),  # nothing of its own is right, and the latest wrong answer counts
        (A, C, R, ("steered", "after")),  # half right is wrong, as in KTO's rows
        (A, None, R, ("steered", "before")),  # what nobody could read is neither
        (R, A, A, ("before", "after")),  # KTO made it worse
        (None, A, None, None),
        (A, A, None, None),
    ],
)
def test_after_kto_the_latest_wrong_answer_stands_against_a_right_one(before, after, verified, pair):
    conditional = [judged(3, verified, "steered", steered=verified)] if verified else []
    rows, counts = preferences.pairs_after([judged(3, before, "before")], [judged(3, after, "after")], conditional)
    assert [(row.chosen, row.rejected) for row in rows] == ([pair] if pair else [])
    assert counts.dropped == ({} if pair else {"no right answer, of its own or verified": 1})


def test_pairs_after_kto_are_counted_against_the_prompts_that_were_wrong():
    """KTO mends 9 of 10 wrong answers among 100: of the answers after it one pair could be made, of both times ten."""
    before = [judged(3, A if i < 10 else R, f"before {i}", f"q{i}") for i in range(100)]
    after = [judged(3, A if i < 1 else R, f"after {i}", f"q{i}") for i in range(100)]
    rows, counts = preferences.pairs_after(before, after, [])
    assert (len(rows), counts.kept, sum(counts.dropped.values())) == (9, 9, 1)
    assert preferences.pairs_after(after, after, [])[0] == []


def test_equal_texts_make_no_pair_after_kto_either():
    rows, counts = preferences.pairs_after([judged(3, A)], [judged(3, R)], [])
    assert (rows, counts.dropped) == ([], {"equal texts": 1})


def test_without_a_harm_level_no_stance_is_right():
    with pytest.raises(DataError, match="no harm level"):
        counter_responses.requests([judged(None, A)])


cells = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(Stance), st.sampled_from(Stance)), max_size=12)


@given(cells)
def test_pairs_never_contradict_the_table(drawn):
    observed = [judged(h, a, "a", question=f"q{i}") for i, (h, a, _) in enumerate(drawn)]
    others = [judged(h, b, "b", question=f"q{i}", steered=b) for i, (h, _, b) in enumerate(drawn)]
    stances = {(r.prompt.id, r.response.text): r.stance for r in observed + others}
    rows, flow = preferences.pairs(observed, others)
    for pair in rows:
        better, worse = stances[pair.prompt.id, pair.chosen], stances[pair.prompt.id, pair.rejected]
        assert score(pair.prompt.harm, better) > score(pair.prompt.harm, worse)
    assert flow.kept + sum(flow.dropped.values()) == len(observed), "every row is kept or counted"
