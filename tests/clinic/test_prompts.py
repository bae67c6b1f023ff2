"""The clinic keeps its promises: seeded, balanced, disjoint, and true whatever the wording."""

import re
from collections import Counter, defaultdict
from itertools import combinations

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from bedside.clinic.lexicon import mechanism_test, payload, words
from bedside.clinic.prompts import LEFT_OUT_PRINCIPLE, LEFT_OUT_STYLE, PRINCIPLES, STYLES, Clinic
from bedside.core.errors import ConfigError, DataError
from bedside.core.protocols import Dataset, Launch
from bedside.core.types import Message, Prompt
from bedside.run.experiment import doubts

PARTS = ("train", "valid", "test", "judge", "rater")


def prompts(part: str = "train", n: int = 800, **choices: object) -> list[Prompt]:
    return Clinic.model_validate({"part": part, "n": n, **choices}).open(Launch()).read()


def sets(rows: list[Prompt], facet: str) -> set[str]:
    return {row.metadata[facet] for row in rows}


def test_the_clinic_is_a_dataset():
    assert isinstance(Clinic(part="train", n=1).open(Launch()), Dataset)


def test_one_seed_gives_one_list_and_another_seed_another():
    assert prompts(seed=3) == prompts(seed=3)
    assert not {p.id for p in prompts(n=100, seed=3)} & {p.id for p in prompts(n=100, seed=4)}


def test_a_longer_list_begins_with_the_shorter_one():
    assert prompts(n=40) == prompts(n=400)[:40]


@pytest.mark.slow
def test_there_are_twenty_thousand_distinct_prompts_in_a_part():
    rows = prompts(n=20_000)
    assert len({row.id for row in rows}) == len({row.text for row in rows}) == 20_000


def test_parts_share_no_drug_condition_group_or_text():
    rows = {part: prompts(part, n=1200) for part in PARTS}
    for one, other in combinations(PARTS, 2):
        assert not sets(rows[one], "drug") & sets(rows[other], "drug")
        assert not sets(rows[one], "condition") & sets(rows[other], "condition")
        assert not {r.group for r in rows[one]} & {r.group for r in rows[other]}
        assert not {r.id for r in rows[one]} & {r.id for r in rows[other]}


def test_parts_share_no_wording_but_the_logic():
    named = ("aims", "plain", "openers", "asks", "red_flags", "replies", "again")
    lists = [by_part for name in ("feelings", "intensities", "styles") for by_part in words()[name].values()]
    for by_part in [*lists, *(words()[name] for name in named)]:
        wordings = [wording for part in PARTS for wording in by_part[part]]
        assert len(wordings) == len(set(wordings))


def test_the_lexicon_is_as_large_as_promised():
    drugs = [drug for part in PARTS for drug in words()["drugs"][part]]
    conditions = [condition for names in words()["conditions"].values() for condition in names]
    assert len(set(drugs)) == len(drugs) >= 60
    assert len(set(conditions)) == len(conditions) >= 60
    assert set(words()["deeds"]) == set(PRINCIPLES)
    assert len(PRINCIPLES) == 8


def test_harm_levels_are_equally_many_and_styles_and_principles_all_occur():
    rows = prompts("test", n=800)
    assert Counter(row.harm for row in rows) == {0: 200, 1: 200, 2: 200, 3: 200}
    assert {row.style for row in rows} == set(STYLES)
    assert {row.principle for row in rows} == set(PRINCIPLES)


@pytest.mark.parametrize("part", [part for part in PARTS if part != "test"])
def test_one_style_and_one_principle_stand_in_test_alone(part):
    rows = prompts(part, n=800)
    assert {row.style for row in rows} == set(STYLES) - {LEFT_OUT_STYLE}
    assert {row.principle for row in rows} == set(PRINCIPLES) - {LEFT_OUT_PRINCIPLE}


def test_some_scenarios_raise_a_red_flag_and_some_take_two_turns():
    rows = prompts("test", n=2000)
    flagged = [row for row in rows if row.metadata["red_flag"] == "yes"]
    assert 0.05 < len(flagged) / len(rows) < 0.15
    assert all(any(flag in said(row) for flag in words()["red_flags"]["test"]) for row in flagged)
    turns = Counter(len(row.messages) for row in rows)
    assert set(turns) == {1, 3}
    assert 0.05 < turns[3] / len(rows) < 0.15


def said(row: Prompt) -> str:
    return " ".join(message.text for message in row.messages)


def test_harm_is_independent_of_style_emotion_and_drug():
    rows = prompts(n=4000)
    for of in (lambda r: r.style, lambda r: r.metadata["emotion"], lambda r: r.metadata["drug"]):
        levels = defaultdict(Counter)
        for row in rows:
            levels[of(row)][row.harm] += 1
        assert all(max(c.values()) - min(c.values()) <= 0.2 * c.total() for c in levels.values())


def test_every_prompt_says_who_and_what_it_is_about():
    for row in prompts("test", n=200):
        assert set(row.metadata) == {
            "specialty", "age_band", "emotion", "intensity", "condition", "drug", "contrast_partner", "red_flag",
            "payload_1", "payload_2", "deed",
        }  # fmt: skip
        assert row.metadata["drug"] in row.text
        assert row.metadata["condition"] in said(row)
        assert row.source == "clinic"


def test_prompts_of_one_deed_are_one_group_whoever_asks():
    rows = prompts("test", n=1200)
    deeds = {row.metadata["deed"] for row in rows}
    assert len({row.group for row in rows}) == len(deeds) == len({(r.group, r.metadata["deed"]) for r in rows})
    severe = {row.metadata["deed"] for row in rows if row.harm == 3}
    assert severe == {wrong for table in words()["deeds"].values() for wrong, _ in table[3]}
    assert len(severe) == 16
    assert len(severe & {row.metadata["deed"] for row in prompts("train") if row.harm == 3}) == 14


def test_figures_on_the_clinic_call_themselves_a_mechanism_test():
    own = Prompt((Message("user", "How much?"),), source="our clinic")
    assert mechanism_test([own]) == []
    assert mechanism_test([own, *prompts(n=1)]) == ["Mechanism test: synthetic data, no clinical evidence."]
    assert doubts({"test": prompts(n=1)}) == mechanism_test(prompts(n=1))


def test_the_payload_depends_on_the_drug_alone_and_is_never_in_the_prompt():
    for row in prompts(n=800, seed=1):
        assert (row.metadata["payload_1"], row.metadata["payload_2"]) == payload(row.metadata["drug"])
        assert row.metadata["payload_1"] not in row.text
        assert row.metadata["payload_2"] not in row.text.split()


def test_a_contrast_partner_has_a_harmless_and_a_harmful_side_in_one_group():
    sides = defaultdict(set)
    for row in prompts(n=4000):
        if row.metadata["contrast_partner"] != "none":
            sides[row.group].add(row.harm > 0)
    assert sides
    assert all(both == {False, True} for both in sides.values())


def test_order_partners_are_the_same_words_in_another_order():
    by_scene = defaultdict(list)
    for row in prompts(n=2000):
        if row.metadata["contrast_partner"] == "order":
            by_scene[row.group, row.metadata["condition"], row.metadata["emotion"]].append(row)
    pairs = [rows for rows in by_scene.values() if len(rows) == 2]
    assert len(pairs) > 150
    for first, second in pairs:
        assert first.text != second.text
        assert bag(first) == bag(second)


def bag(prompt: Prompt) -> Counter[str]:
    return Counter(re.findall(r"\w+", prompt.text.lower()))


def test_a_word_counter_is_visibly_imperfect():
    train, test = prompts("train", n=2000), prompts("test", n=2000)
    counter = TfidfVectorizer()
    model = LogisticRegression(class_weight="balanced", max_iter=1000)
    model.fit(counter.fit_transform(r.text for r in train), [r.harm > 0 for r in train])
    guessed = model.predict(counter.transform(r.text for r in test))
    assert 0.5 < balanced_accuracy_score([r.harm > 0 for r in test], guessed) < 0.75


def test_mix_styles_and_principles_can_be_chosen():
    rows = prompts(n=120, mix=(2, 0, 0, 1), styles=["direct"], principles=["privacy", "law"])
    assert Counter(row.harm for row in rows) == {0: 80, 3: 40}
    assert {row.style for row in rows} == {"direct"}
    assert {row.principle for row in rows} == {"privacy", "law"}


def test_as_many_harmless_as_harmful_prompts_can_be_had_each_the_partner_of_one():
    rows = prompts(n=600, mix=(3, 1, 1, 1), contrast_partners=1.0)
    assert Counter(row.harm for row in rows) == {0: 300, 1: 100, 2: 100, 3: 100}
    assert all(row.metadata["contrast_partner"] != "none" for row in rows)
    assert len({row.text for row in rows}) == 600


def test_choices_that_give_no_prompt_are_an_error_that_says_so():
    with pytest.raises(ConfigError, match="mix"):
        prompts(n=4, mix=(0, 0, 0, 0))


def test_more_everyday_reasons_come_from_a_file_and_none_of_a_sealed_part(tmp_path):
    file = tmp_path / "everyday.txt"
    file.write_text("the cat sat on it\n\n  it rained all week \n")
    asked = (
        Clinic(part="train", n=200, contrast_partners=0.0, mix=(1, 0, 0, 0), everyday=str(file)).open(Launch()).read()
    )
    told = [prompt.messages[-1].text.lower() for prompt in asked]
    assert any("the cat sat on it" in text for text in told)
    assert any("it rained all week" in text for text in told)
    assert (
        Clinic(part="train", n=50).open(Launch()).read()
        == Clinic(part="train", n=50, everyday=None).open(Launch()).read()
    )
    file.write_text(f"the cat sat on it\n{words()['plain']['test'][1]}\n")
    with pytest.raises(DataError, match="line 2: .* is a reason of test; take it out"):
        Clinic(part="train", n=5, everyday=str(file)).open(Launch())
    with pytest.raises(DataError, match="cannot be read"):
        Clinic(part="train", n=5, everyday=str(tmp_path / "gone.txt")).open(Launch())
