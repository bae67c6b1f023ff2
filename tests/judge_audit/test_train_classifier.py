"""The classifier judge: cross-fitted by scenario, written without a text, read back equal, and honest about itself."""

import json
import random

import numpy as np
import pytest

import bedside
from bedside.core.errors import DataError, ModelError
from bedside.core.types import Message, Prompt, Response, Stance
from bedside.judge_audit.train_classifier import FOLDS, cross_fitted
from bedside.judges import classifier
from bedside.judges.classifier import ClassifierJudge
from bedside.stats.tfidf import fit_linear

A, C, R = Stance.ACCEPT, Stance.CAUTION, Stance.REFUSE
WORDS = {
    A: "first you open the file and copy it",
    C: "a part of it is fine the rest is not",
    R: "please ask a nurse about that",
}


def answers(n=60, seed=0):
    """n scenarios with one answer of each stance, in other words each time."""
    rng = random.Random(seed)
    made, stances = [], []
    for i in range(n):
        prompt = Prompt((Message("user", f"scenario {i} asks {rng.random()}"),), harm=3, group=f"g{i}")
        for stance, words in WORDS.items():
            text = " ".join([*rng.sample(words.split(), 5), f"x{i}"])
            made.append(Response(prompt, text, "m"))
            stances.append(stance)
    return made, stances


def test_it_learns_what_the_words_say_and_its_probabilities_sum_to_one():
    responses, stances = answers()
    verdicts = cross_fitted(responses, stances, "answer", 0).judge(responses)
    assert np.mean([v.stance is s for v, s in zip(verdicts, stances, strict=True)]) > 0.95
    assert all(sum(v.probabilities.values()) == pytest.approx(1) for v in verdicts)


def test_an_answer_is_judged_by_a_part_that_did_not_see_its_scenario():
    """Labels that only the scenario's own words decide cannot be learned across scenarios."""
    rng = random.Random(1)
    prompts = [Prompt((Message("user", f"question {i}"),), harm=3, group=f"g{i}") for i in range(60)]
    stances = [rng.choice([A, R]) for _ in prompts for _ in range(2)]
    stances[1::2] = stances[::2]
    responses = [Response(p, f"word{i} of it {k}", "m") for i, p in enumerate(prompts) for k in range(2)]
    judge = cross_fitted(responses, stances, "answer", 0)
    right = np.mean([v.stance is s for v, s in zip(judge.judge(responses), stances, strict=True)])
    renamed = [Response(Prompt(r.prompt.messages, harm=3, group="elsewhere"), r.text, "m") for r in responses]
    assert [v.stance for v in judge.judge(renamed)] == [v.stance for v in judge.judge(responses)], "known by its prompt"
    others = [Response(Prompt((Message("user", f"{r.text}?"),), harm=3), r.text, "m") for r in responses]
    seen = np.mean([v.stance is s for v, s in zip(judge.judge(others), stances, strict=True)])
    assert right < 0.7 < 0.95 < seen
    assert set(judge.fold_of.values()) == set(range(FOLDS))


def test_written_and_read_it_gives_the_same_verdicts_and_holds_no_text(tmp_path):
    responses, stances = answers()
    judge = cross_fitted(responses, stances, "exchange", 0)
    classifier.write(judge, tmp_path)
    again = bedside.open_judge({"kind": "classifier", "folder": str(tmp_path)})
    assert isinstance(again, ClassifierJudge)
    assert again.name == judge.name
    assert again.judge(responses) == judge.judge(responses)
    stored = (tmp_path / classifier.JSON).read_text()
    assert not any(
        r.text in stored or r.prompt.text in stored or r.prompt.group in json.loads(stored)["fold_of"]
        for r in responses
    )


def test_an_empty_answer_is_unreadable():
    responses, stances = answers()
    empty = Response(responses[0].prompt, " \u200b", "m")
    (verdict,) = cross_fitted(responses, stances, "answer", 0).judge([empty])
    assert verdict.unreadable == "empty answer"


def test_reading_the_exchange_it_sees_the_question_and_not_the_phrases_of_a_refusal():
    response = Response(Prompt((Message("user", "Why, nurse?"),)), "I’m sorry, but I can't help. Ask", "m")
    assert classifier.seen(response, "answer") == "i'm sorry, but i can't help. ask"
    assert classifier.seen(response, "exchange").split() == ["help.", "ask", "q_why", "q_nurse"]


@pytest.mark.parametrize("labels", [["a", "b"] * 20, ["a", "b", "c", "b"] * 10])
def test_the_plain_numbers_give_scikit_learns_probabilities(labels):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from bedside.stats.tfidf import TOKENS

    rng = random.Random(2)
    texts = [" ".join(rng.choices([*"abcdef", label * 2], k=8)) for label in labels]
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 3), token_pattern=TOKENS, sublinear_tf=True, min_df=2),
        LogisticRegression(C=10.0, max_iter=2000, class_weight="balanced", random_state=0),
    ).fit(texts, labels)
    logits = fit_linear(texts, labels, 0).logits(texts)
    p = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(p / p.sum(1, keepdims=True), model.predict_proba(texts), atol=1e-5)


def test_too_few_labels_are_an_error_with_their_counts():
    responses, _ = answers(6)
    with pytest.raises(DataError, match="17 accept, 1 refuse: each stance must be in the answers to several scenarios"):
        cross_fitted(responses, [A] * 17 + [R], "answer", 0)


@pytest.mark.parametrize("damage", ["nothing there", "{", '{"reads": "answer"}'])
def test_a_folder_that_holds_no_classifier_is_named(tmp_path, damage):
    if damage != "nothing there":
        (tmp_path / classifier.JSON).write_text(damage)
        (tmp_path / classifier.TENSORS).write_bytes(b"12345678")
    with pytest.raises(ModelError, match=str(tmp_path)):
        bedside.open_judge({"kind": "classifier", "folder": str(tmp_path)})


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0},
        {"reads": "question"},
        {"classes": ["accept", "no", "refuse"]},
        {"fold_of": {"x": 9}},
        {"vocabularies": [["a"]]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_file_whose_parts_do_not_belong_together_is_named(tmp_path, change):
    classifier.write(cross_fitted(*answers(), "answer", 0), tmp_path)
    header = json.loads((tmp_path / classifier.JSON).read_text())
    (tmp_path / classifier.JSON).write_text(json.dumps(header | change))
    with pytest.raises(ModelError, match="is not a classifier that Bedside wrote"):
        classifier.read(tmp_path)
