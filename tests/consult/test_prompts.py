"""`consult` is what its card says: parts that share no scenario, no template, no style that gives harm away."""

import json
import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from tests.support.paths import REAL_DATA

from bedside.config.plugins import find, open_plugin
from bedside.consult.prompts import CANARY, LABELS, PROMPTS
from bedside.core.protocols import Launch
from bedside.data.deidentify import find_identifiers

ROWS = [json.loads(line) for line in PROMPTS.read_text(encoding="utf-8").splitlines()]
PRINCIPLES = {"honesty", "consent", "privacy", "fairness", "fraud", "neglect", "unproven", "prescriptions"}


def words(text):
    return re.findall(r"[a-z']+", text.lower())


@pytest.mark.parametrize(
    ("part", "severe", "harmless"), [("train", 180, 130), ("valid", 80, 50), ("test", 150, 150), ("final", 220, 80)]
)
def test_each_part_has_enough_scenarios_and_no_prompt_without_a_level(part, severe, harmless):
    prompts = open_plugin(find("dataset", "consult")(part=part), Launch(), {}).read()
    assert len({p.group for p in prompts if p.harm == 3}) >= severe
    assert len({p.group for p in prompts if p.harm == 0}) >= harmless
    assert {p.source for p in prompts} == {"consult"}


def test_a_part_of_a_part_is_as_many_of_each_level_and_without_partners():
    part = find("dataset", "consult")(part="train", levels=[0, 3], partners=False, per_level=20)
    prompts = open_plugin(part, Launch(), {}).read()
    assert Counter(p.harm for p in prompts) == {0: 20, 3: 20}
    assert {p.metadata["kind"] for p in prompts if p.harm == 0} == {"plain"}
    assert {p.harm for p in open_plugin(find("dataset", "consult")(part="train", levels=[2]), Launch(), {}).read()} == {
        2
    }


def test_each_level_may_have_a_number_of_its_own():
    part = find("dataset", "consult")(part="train", levels=[0, 2, 3], per_level={0: 7, 3: 3})
    assert Counter(p.harm for p in open_plugin(part, Launch(), {}).read()) == {0: 7, 2: 53, 3: 3}


def test_a_scenario_is_in_one_part_and_has_at_most_six_rows():
    parts, sizes = defaultdict(set), Counter(row["group"] for row in ROWS)
    for row in ROWS:
        parts[row["group"]].add(row["split"])
    assert all(len(names) == 1 for names in parts.values())
    assert max(sizes.values()) <= 6


def test_eight_principles_and_four_styles_of_which_some_are_rare_in_train():
    severe = [row for row in ROWS if row["harm"] == 3]
    assert {row["principle"] for row in severe} == PRINCIPLES
    assert {row["style"] for row in severe} == {"direct", "indirect", "obfuscated", "role-play"}
    train = [row for row in severe if row["split"] == "train"]
    assert sum(row["style"] == "role-play" for row in train) < 0.06 * len(train)
    assert sum(row["principle"] == "unproven" for row in train) < 0.06 * len(train)


def test_every_row_carries_the_canary_and_no_text_stands_twice():
    labels = [json.loads(line) for line in LABELS.read_text(encoding="utf-8").splitlines()]
    assert {row["canary"] for row in [*ROWS, *labels]} == {CANARY}
    assert len({row["prompt"] for row in ROWS}) == len({row["id"] for row in ROWS}) == len(ROWS)


def test_every_level_has_a_second_label_and_is_what_two_readers_agree_on():
    given = defaultdict(list)
    for line in LABELS.read_text(encoding="utf-8").splitlines():
        label = json.loads(line)
        assert label["rater_kind"] == "model"
        given[label["id"]].append(label)
    for row in ROWS:
        mine = given[row["id"]]
        assert len({label["rater"] for label in mine}) >= 2, row["id"]
        assert Counter(label["harm"] for label in mine)[row["harm"]] >= 2, row["id"]
        assert all(label.get("publishable", True) for label in mine), row["id"]


def test_no_opening_is_used_more_than_four_times():
    openings = Counter(tuple(words(row["prompt"])[:6]) for row in ROWS)
    assert max(openings.values()) <= 4


def test_style_alone_does_not_tell_a_harmful_request_from_its_contrast_partner():
    """Ten folds of whole scenarios; length, punctuation, case, question form, persons."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    partnered = {row["group"] for row in ROWS if row["kind"] == "partner"}
    rows = [
        row
        for row in ROWS
        if row["group"] in partnered and (row["kind"], row["harm"]) in (("request", 3), ("partner", 0))
    ]
    features = np.array([style(row["prompt"]) for row in rows])
    harmful, groups = np.array([row["harm"] == 3 for row in rows]), [row["group"] for row in rows]
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    p = cross_val_predict(model, features, harmful, groups=groups, cv=GroupKFold(10), method="predict_proba")
    assert roc_auc_score(harmful, p[:, 1]) <= 0.60


def style(text):
    tokens = text.split()
    return [
        len(tokens),
        len(text) / len(tokens),
        *(text.count(mark) for mark in ",.?!;:-"),
        text.count('"') + text.count("'"),
        sum(c.isdigit() for c in text),
        text[0].islower(),
        text.rstrip().endswith("?"),
        bool(re.match(r"(how|what|which|can|could|is|do|does|should|where|when|why|who)\b", text.lower())),
        len(re.findall(r"\b(?:i|my|me|we|our)\b", text.lower())),
        "please" in text.lower(),
    ]


def test_no_row_holds_what_looks_like_an_identifier():
    seen = [(row["id"], find_identifiers(row["prompt"])) for row in ROWS]
    assert [pair for pair in seen if pair[1]] == []


@pytest.mark.real_data
def test_it_shares_no_eight_words_in_a_row_with_public_collections():
    if not REAL_DATA.is_dir():
        pytest.skip("there is no shared/data here")
    mine = {tuple(words(row["prompt"])[i : i + 8]) for row in ROWS for i in range(len(words(row["prompt"])) - 7)}
    for path in sorted(REAL_DATA.rglob("*.jsonl")):
        theirs = words(path.read_text(encoding="utf-8"))
        assert not [run for run in zip(*(theirs[i:] for i in range(8)), strict=False) if run in mine], path.name


def test_a_harmful_prompt_and_its_contrast_partner_are_found_by_the_report():
    marked = {row["group"] for row in ROWS if row["contrast_partner"] == "purpose"}
    for group in marked:
        kinds = {row["kind"] for row in ROWS if row["group"] == group}
        assert {"request", "partner"} <= kinds
    assert len(marked) >= 200


def test_every_published_answer_is_to_a_prompt_that_is_there_and_none_complies_in_clear():
    levels = {row["prompt"]: row for row in ROWS}
    for line in (PROMPTS.with_name("answers.jsonl")).read_text(encoding="utf-8").splitlines():
        answer = json.loads(line)
        prompt = levels[answer["prompt"]]
        assert (int(answer["harm"]), answer["part"]) == (prompt["harm"], prompt["split"])
        assert prompt["harm"] == 0 or "response" not in answer or answer["label"] == "refuse"
