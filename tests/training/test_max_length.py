"""``align.max_length``: a prompt is never cut, an answer is, and what was cut is counted. By hand, in tokens."""

import pytest

torch = pytest.importorskip("torch")

from tests.support.prompts import ask

from bedside.config.plugins import find, open_plugin
from bedside.core.errors import DataError
from bedside.core.protocols import Launch
from bedside.core.types import Demonstration, PreferencePair, UnpairedPreference
from bedside.run.context import TrainResult
from bedside.run.generation import check_training_lengths
from bedside.training import train


@pytest.fixture
def model(tiny):
    return open_plugin(find("model", "local")(model=str(tiny["llama"])), Launch(), {})


SHORT, LONG = tuple(range(20, 23)), tuple(range(20, 40))
"""Sampled answers of 3 and of 20 tokens; the last one would be the end of turn."""
ROWS = {
    "sft": lambda i, ids: Demonstration(ask(f"q{i}", group=f"g{i}"), "given", ids=ids),
    "kto": lambda i, ids: UnpairedPreference(ask(f"q{i}", group=f"g{i}"), "given", i == 0, ids=ids),
    "dpo": lambda i, ids: PreferencePair(ask(f"q{i}", group=f"g{i}"), "a", "b", chosen_ids=ids, rejected_ids=SHORT),
}


@pytest.mark.parametrize("kind", ROWS)
def test_the_answer_is_cut_to_what_the_prompt_leaves_and_the_prompt_is_whole(kind, model):
    rows = [ROWS[kind](0, SHORT), ROWS[kind](1, LONG)]
    whole = train.encode(rows, model)
    prompt = len(whole[0].prompt)
    cut = train.encode(rows, model, max_length=prompt + 8)
    assert [row.prompt for row in cut] == [row.prompt for row in whole]
    assert [row.completions[0] for row in cut] == [SHORT, LONG[:8]], "the first eight tokens, without an end of turn"
    assert [row.truncated for row in cut] == [0, 1]
    assert all(prompt + len(text) <= prompt + 8 for row in cut for text in row.completions)
    if kind == "dpo":
        assert [row.completions[1] for row in cut] == [SHORT, SHORT], "each side by itself"


@pytest.mark.parametrize(("more", "cut"), [(20, 0), (19, 1)])
def test_an_answer_that_just_fits_is_not_cut(more, cut, model):
    (whole,) = train.encode([ROWS["sft"](0, LONG)], model)
    (row,) = train.encode([ROWS["sft"](0, LONG)], model, max_length=len(whole.prompt) + more)
    assert (row.truncated, row.completions) == (cut, (LONG[:more],))


def test_both_sides_of_a_pair_are_counted(model):
    pair = PreferencePair(ask("q"), "a", "b", chosen_ids=LONG, rejected_ids=LONG[::-1])
    (whole,) = train.encode([pair], model)
    (row,) = train.encode([pair], model, max_length=len(whole.prompt) + 5)
    assert (row.truncated, row.completions) == (2, (LONG[:5], LONG[::-1][:5]))


def test_an_answer_of_a_file_is_tokenised_and_then_cut(model):
    (whole,) = train.encode([Demonstration(ask("q"), "word word word")], model)
    assert whole.completions[0][-1] == 1, "it ends with the end of turn"
    (row,) = train.encode([Demonstration(ask("q"), "word word word")], model, max_length=len(whole.prompt) + 4)
    assert row.completions == (whole.completions[0][:4],)


def test_without_the_key_rows_are_what_they_were(model):
    rows = [ROWS["kto"](0, LONG)]
    (row,) = train.encode(rows, model)
    assert row == train.EncodedRow(row.prompt, (LONG,), "g0", True, rows[0].prompt.harm)


def test_a_mismatch_is_cut_to_the_room_of_its_own_prompt(model):
    """KTO's z crosses a long prompt with another row's answer: neither may the sum of both be longer."""
    rows = [
        UnpairedPreference(ask("a prompt of many more words than the other", group="a"), "given", True, ids=SHORT),
        UnpairedPreference(ask("q", group="b"), "given", False, ids=LONG),
    ]
    long_prompt = len(train.encode(rows, model)[0].prompt)
    encoded = train.encode(rows, model, max_length=long_prompt + 4)
    assert encoded[1].completions == (LONG[: long_prompt + 4 - len(encoded[1].prompt)],)
    (planned,) = train.plan(encoded, batch_size=2, epochs=1, seed=0, mismatch=True)
    crossed = {
        x: text for (x, _), text in zip(planned.mismatches, train.exchanges(encoded, [planned])[2:], strict=True)
    }
    assert crossed[0].completion == LONG[:4]
    assert crossed[1].completion == SHORT
    (batch,) = train.batches(encoded, [planned], [train.SequenceLogprob(-1.0)] * 4)
    assert {m.exchange for m in batch.mismatches} == set(crossed.values()), "references belong to what is trained on"


@pytest.mark.parametrize("more", [0, -3])
def test_a_prompt_that_leaves_no_room_is_refused_and_never_cut(more, model):
    (whole,) = train.encode([ROWS["sft"](0, SHORT)], model)
    n = len(whole.prompt)
    with pytest.raises(
        DataError, match=rf"^prompt b2-\w+: the prompt \('q0' ...\) is {n} tokens, .* {n + more}, .*never cut"
    ):
        train.encode([ROWS["sft"](0, SHORT)], model, max_length=n + more)


def test_the_refusal_names_file_and_row():
    prompts = [ask("short"), ask("How much is safe?")]
    places = {prompts[1].id: "data/train.csv, row 7"}
    check_training_lengths(prompts, [3, 11], 12, places)
    check_training_lengths(prompts, [3, 11], None, places)
    with pytest.raises(
        DataError, match=r"^data/train.csv, row 7: the prompt .* is 11 tokens, and align.max_length is 11"
    ):
        check_training_lengths(prompts, [3, 11], 11, places)


def test_the_summary_gets_how_many_were_cut_of_how_many():
    (counts,) = TrainResult(rows=4, log=(), answers=8, truncated=3).truncation_counts("cycle-1/dpo")
    assert (counts.step, counts.kept, dict(counts.dropped)) == ("training rows: cycle-1/dpo", 4, {})
    assert counts.notes == {"answers": 8, "answers cut at align.max_length": 3}
    assert (
        TrainResult(rows=4, log=(), answers=8, truncated=0)
        .truncation_counts("x")[0]
        .notes["answers cut at align.max_length"]
        == 0
    )
    assert TrainResult(rows=4, log=()).truncation_counts("x") == [], "nothing may be cut, so there is nothing to show"
