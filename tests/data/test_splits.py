"""No group and no text ever stands in two parts."""

import random
import time
from collections import defaultdict
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.paths import REAL_DATA
from tests.support.prompts import ask

from bedside.core.errors import DataError
from bedside.core.hashing import digest
from bedside.core.types import Message, Prompt
from bedside.data.io import rows
from bedside.data.splits import PartSource, group, near_duplicates, parts


def test_six_words_of_ten_are_near_and_five_are_not():
    # {a..h} and {c..j} share 6 of 10 words: 0.6. {a..h} and {d..k} share 5 of 11.
    assert near_duplicates(["a b c d e f g h", "c d e f g h i j"]) == [0, 0]
    assert near_duplicates(["a b c d e f g h", "d e f g h i j k"]) == [0, 1]


def test_nearness_ignores_case_order_punctuation_and_repetition():
    assert near_duplicates(["Is codeine SAFE?", "safe, is codeine; is codeine!"]) == [0, 0]


def test_a_chain_of_near_texts_is_one_component():
    assert near_duplicates(["a b c d", "b c d e", "z", "c d e f", "d e f g"]) == [0, 0, 2, 0, 0]


def test_texts_without_words_are_near_only_to_themselves():
    assert near_duplicates(["?!", "🙂", "?!", "", " "]) == [0, 1, 0, 3, 3]


def slow_components(texts: list[str]) -> list[int]:
    sets = [set(text.split()) for text in texts]
    labels = list(range(len(texts)))
    for i, one in enumerate(sets):
        for j, other in enumerate(sets[:i]):
            if Fraction(len(one & other), len(one | other)) >= Fraction(3, 5):
                low, high = sorted((labels[i], labels[j]))
                labels = [low if label == high else label for label in labels]
    return labels


words_of_a_text = st.lists(st.sampled_from("abcdefghijk"), min_size=1, max_size=9).map(" ".join)


@given(st.lists(words_of_a_text, max_size=25))
def test_components_are_those_of_comparing_every_pair(texts):
    assert near_duplicates(texts) == slow_components(texts)


@pytest.mark.slow
def test_twenty_thousand_prompts_take_well_under_a_minute():
    draw = random.Random(0)
    common, rare = [f"c{i}" for i in range(200)], [f"r{i}" for i in range(20_000)]
    texts = [" ".join(draw.choices(common, k=14) + draw.choices(rare, k=12)) for _ in range(20_000)]
    start = time.perf_counter()
    near_duplicates(texts)
    assert time.perf_counter() - start < 30


def test_a_group_the_data_names_is_kept_and_near_duplicates_join_it():
    rows = [ask("a b c d", group="mine"), ask("a b c d e"), ask("x y z"), ask("x y z w"), ask("alone")]
    made = group(rows)
    pair = f"nd:{digest(min(rows[2].id, rows[3].id))}"
    assert [p.group for p in made] == ["mine", "mine", pair, pair, f"nd:{digest(rows[4].id)}"]
    assert [p.id for p in made] == [p.id for p in rows]
    assert [p.group for p in group(rows[::-1])] == [p.group for p in made[::-1]]


def test_a_shared_system_prompt_makes_no_near_duplicates():
    system = Message("system", " ".join(f"rule{i}" for i in range(50)))
    made = group([Prompt((system, Message("user", text))) for text in ("is codeine safe", "may we meet today")])
    assert made[0].group != made[1].group


def cases(n: int, name: str = "g") -> list[Prompt]:
    return [ask(f"{name}{i // 2} version {i}", group=f"{name}{i // 2}") for i in range(n)]


def test_valid_takes_its_share_of_groups_out_of_train():
    rows = cases(200)
    made = parts(train=PartSource(rows), valid=PartSource(rows, share=0.15), test=PartSource(cases(20, "t")), seed=0)
    assert [len(part) for part in (made.train, made.valid, made.test)] == [170, 30, 20]
    train, valid, test = made.filter_counts
    assert (train.step, train.kept, dict(train.dropped)) == ("split: train", 170, {"group stands in valid": 30})
    assert (valid.kept, dict(valid.dropped), dict(valid.notes)) == (30, {"not drawn": 170}, {"groups": 15})
    assert (test.kept, dict(test.dropped)) == (20, {})


def test_a_draw_depends_on_the_seed_and_not_on_the_order():
    rows = cases(200)

    def valid(rows, seed):
        made = parts(train=PartSource(rows), valid=PartSource(rows, 0.2), test=PartSource(cases(4, "t")), seed=seed)
        return {p.id for p in made.valid}

    assert valid(rows, 1) == valid(rows[::-1], 1)
    assert valid(rows, 1) != valid(rows, 2)


def test_two_shares_of_the_same_rows_are_apart():
    rows = cases(200)
    made = parts(train=PartSource(rows), valid=PartSource(rows, 0.2), test=PartSource(rows, 0.2), seed=0)
    assert [len(part) for part in (made.train, made.valid, made.test)] == [120, 40, 40]
    without_test = parts(train=PartSource(rows), valid=PartSource(rows, 0.2), test=PartSource(cases(4, "t")), seed=0)
    assert (
        len({p.id for p in made.valid} & {p.id for p in without_test.valid}) > 20
    )  # each part has an order of its own


def test_rows_of_an_earlier_part_are_removed_and_counted():
    a, b, c = cases(6)[::2]
    made = parts(train=PartSource([a, b, c]), valid=PartSource([b, c]), test=PartSource([c]), seed=0)
    assert (made.train, made.valid, made.test) == ((a,), (b,), (c,))
    assert made.filter_counts[0].dropped == {"group stands in test": 1, "group stands in valid": 1}
    assert made.filter_counts[1].dropped == {"group stands in test": 1}


def test_near_duplicates_in_two_files_are_one_group():
    train = [ask("how much codeine may I take"), ask("who are you")]
    made = parts(
        train=PartSource(train),
        valid=PartSource([ask("z")]),
        test=PartSource([ask("how much codeine may he take")]),
        seed=0,
    )
    assert [p.text for p in made.train] == ["who are you"]


def test_one_text_under_two_groups_stands_in_one_part():
    train = [ask("same", group="a"), ask("other", group="b")]
    made = parts(
        train=PartSource(train),
        valid=PartSource([ask("v", group="v")]),
        test=PartSource([ask("same", group="t")]),
        seed=0,
    )
    assert [p.text for p in made.train] == ["other"]


def test_a_limit_keeps_the_first_rows_and_gives_no_group_back():
    rows = cases(20)
    made = parts(
        train=PartSource(rows, limit=3), valid=PartSource(rows, 0.5, limit=2), test=PartSource(cases(4, "t")), seed=0
    )
    assert (len(made.train), len(made.valid)) == (3, 2)
    assert made.filter_counts[0].dropped == {"group stands in valid": 10, "over the limit": 7}


def test_a_few_rows_of_a_sorted_file_hold_harmless_and_harmful_ones():
    rows = [ask(f"q{i}", harm, group=f"g{i}") for i, harm in enumerate([0] * 10 + [1] * 10 + [2] * 10 + [3] * 10)]

    def few(limit):
        made = parts(
            train=PartSource(cases(4, "t")), valid=PartSource(cases(4, "v")), test=PartSource(rows, limit=limit), seed=0
        )
        return [p.harm for p in made.test]

    assert few(4) == [0, 1, 2, 3]
    assert few(2) == [0, 3]
    assert few(16) == [0] * 10 + [1, 1, 2, 2, 3, 3]
    assert few(40) == few(99) == [p.harm for p in rows]


def test_the_first_rows_of_a_mixed_file_are_the_few():
    rows = [ask(f"q{i}", (0, 3, 0, 1)[i % 4], group=f"g{i}") for i in range(40)]
    made = parts(
        train=PartSource(rows, limit=8), valid=PartSource(cases(4, "v")), test=PartSource(cases(4, "t")), seed=0
    )
    assert [p.text for p in made.train] == [p.text for p in rows[:8]]


def test_a_part_that_is_left_without_rows_says_why():
    rows = cases(4)
    with pytest.raises(DataError, match=r"train: no row is left of 4 \(group stands in test: 4\); give valid and test"):
        parts(train=PartSource(rows), valid=PartSource(cases(2, "v")), test=PartSource(rows), seed=0)
    with pytest.raises(DataError, match=r"test: no row is left of 0 \(there was none\)"):
        parts(train=PartSource(rows), valid=PartSource(rows), test=PartSource([]), seed=0)


shares = st.none() | st.floats(0.05, 0.95)
some_prompts = st.lists(
    st.builds(ask, words_of_a_text, group=st.none() | st.sampled_from(["g1", "g2", "g3"])), max_size=30
)


@given(some_prompts, some_prompts, some_prompts, st.tuples(shares, shares, shares), st.integers(0, 3))
def test_a_group_or_a_text_never_stands_in_two_parts(train, valid, test, share, seed):
    drawn = [PartSource(rows, s) for rows, s in zip((train, valid, test), share, strict=True)]
    try:
        made = parts(train=drawn[0], valid=drawn[1], test=drawn[2], seed=seed)
    except DataError:
        return
    held = [made.train, made.valid, made.test, made.train]
    for one, other in pairwise(held):
        assert not {p.group for p in one} & {p.group for p in other}
        assert not {p.text for p in one} & {p.text for p in other}
    for source, flow in zip(drawn, made.filter_counts, strict=True):
        assert len(source.prompts) == flow.kept + sum(flow.dropped.values())


@pytest.mark.real_data
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"{REAL_DATA} is not here")
def test_our_components_are_those_the_real_data_came_with():
    found = [row for _, row in rows(REAL_DATA / "safety" / "prompts.jsonl")]
    labels = near_duplicates([row["prompt"] for row in found])
    ours = defaultdict(set)
    for row, label in zip(found, labels, strict=True):
        if row["group"].startswith("nd:"):
            ours[row["group"]].add(label)
    assert all(len(components) == 1 for components in ours.values())
