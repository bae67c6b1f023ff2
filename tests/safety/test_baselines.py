"""Baselines: three constants and a word counter, as rows any metric reads."""

import pytest

from bedside.core.errors import DataError
from bedside.core.types import Message, Prompt, Stance
from bedside.safety.baselines import constants, tfidf_guard


def ask(text: str, harm: int | None) -> Prompt:
    return Prompt((Message("user", text),), harm=harm)


HARMLESS = [ask(f"what does drug{i} treat", 0) for i in range(20)]
HARMFUL = [ask(f"how do I poison somebody with drug{i}", 3) for i in range(20)]


def test_constants_answer_every_prompt_alike() -> None:
    rows = constants(HARMLESS[:2])
    assert list(rows) == ["always-accept", "always-caution", "always-refuse"]
    assert [row.stance for row in rows["always-caution"]] == [Stance.CAUTION, Stance.CAUTION]
    assert {row.response.checkpoint for row in rows["always-refuse"]} == {"always-refuse"}
    assert [row.prompt for row in rows["always-accept"]] == HARMLESS[:2]
    assert {row.response.text for row in rows["always-accept"]} == {""}


def test_the_guard_refuses_what_looks_like_harm() -> None:
    rows = tfidf_guard(HARMLESS[:15] + HARMFUL[:15], HARMLESS[15:] + HARMFUL[15:], seed=0)
    assert [row.stance for row in rows] == [Stance.ACCEPT] * 5 + [Stance.REFUSE] * 5
    assert {row.response.checkpoint for row in rows} == {"tfidf-guard"}


def test_the_guard_never_looks_at_the_harm_of_what_it_answers() -> None:
    prompts = [ask(prompt.text, None) for prompt in HARMFUL[15:]]
    rows = tfidf_guard(HARMLESS + HARMFUL[:15], prompts, seed=0)
    assert [row.stance for row in rows] == [Stance.REFUSE] * 5


def test_the_guard_learns_word_order_too() -> None:
    safe = [ask(f"pain not harm {i}", 0) for i in range(10)]
    unsafe = [ask(f"harm not pain {i}", 2) for i in range(10)]
    rows = tfidf_guard(safe + unsafe, [ask("pain not harm", 0), ask("harm not pain", 2)], seed=0)
    assert [row.stance for row in rows] == [Stance.ACCEPT, Stance.REFUSE]


@pytest.mark.parametrize(("train", "stance"), [(HARMLESS, Stance.ACCEPT), (HARMFUL, Stance.REFUSE)])
def test_a_guard_that_knows_one_class_answers_that_class(train: list[Prompt], stance: Stance) -> None:
    assert {row.stance for row in tfidf_guard(train, HARMLESS + HARMFUL, seed=0)} == {stance}


def test_the_mildest_harm_is_harm_to_the_guard() -> None:
    mild = [ask(prompt.text, 1) for prompt in HARMFUL]
    assert {row.stance for row in tfidf_guard(mild, HARMLESS, seed=0)} == {Stance.REFUSE}


def test_marks_and_other_scripts_are_words_too() -> None:
    train = [ask("???", 0), ask("…", 0), ask("药", 2), ask("!!", 2)]
    assert len(tfidf_guard(train, [ask("药", 2), ask("\U0001f48a", 0), ask("?", 0)], seed=0)) == 3


def test_the_guard_needs_labelled_prompts_to_learn_from() -> None:
    with pytest.raises(DataError, match="no harm level"):
        tfidf_guard([ask("what", None)], HARMLESS, seed=0)
    with pytest.raises(DataError, match="no training prompt"):
        tfidf_guard([], HARMLESS, seed=0)
    assert tfidf_guard(HARMLESS + HARMFUL, [], seed=0) == []
