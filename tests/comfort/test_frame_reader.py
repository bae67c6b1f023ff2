"""The reader of frames knows words of feeling and company, and refuses the others."""

import pytest

from bedside.comfort import frame_reader
from bedside.comfort.frame_reader import CLASSES, intrusions, outlines
from bedside.stats.tfidf import fit_linear

QUESTION, ANSWER = "My knee creaks at the fair. Is it arthritis?", "Arthritis of the knee is common."


def test_an_outline_keeps_feeling_and_names_the_origin_of_other_words():
    """By hand: creaks is the patient's alone, the knee is in the answer too, the gout in neither."""
    sentence = "I hear that your knee creaks, and gout is common in 3."
    assert outlines([sentence], QUESTION, ANSWER) == ["_b_ i hear that your _a_ _q_ , and _u_ is _a_ in _n_ ."]


@pytest.mark.parametrize(
    ("sentence", "brought"),
    [
        ("I hear you.", ""),
        ("I hear you, and you creak.", ""),  # the patient's word, to the patient
        ("It creaks, I hear.", "words of the question"),
        ("I hear your knee.", "words of the answer"),
        ("I hear your gout.", "other words"),
        ("I hear 3 of you.", "a number"),
        ("I hear a doctor.", "doctor"),  # an everyday word of neither feeling nor company
    ],
)
def test_a_word_of_another_kind_is_brought(sentence, brought):
    assert intrusions([sentence], QUESTION, ANSWER) == [brought]


def test_a_sentence_of_known_words_that_reads_like_an_intrusion_is_refused_whole():
    sentence = "What you carry is a small thing."
    assert intrusions([sentence], QUESTION, ANSWER) == [sentence]


def test_no_sentence_brings_nothing():
    assert intrusions([], QUESTION, ANSWER) == []


def test_what_is_written_is_read(tmp_path, monkeypatch):
    """The classes keep their order, whatever order the fit had."""
    texts = ["_b_ i hear you ."] * 3 + ["_b_ take _u_ ."] * 3
    fitted = fit_linear(texts, [CLASSES[0]] * 3 + [CLASSES[1]] * 3, 0)
    frame_reader.write(fitted, tmp_path)
    monkeypatch.setattr(frame_reader, "FOLDER", tmp_path)
    frame_reader.packaged.cache_clear()
    try:
        read = frame_reader.probabilities(frame_reader.packaged(), texts)
    finally:
        frame_reader.packaged.cache_clear()
    assert read == pytest.approx(frame_reader.probabilities(fitted, texts))
    assert read[0] < 0.5 < read[-1]
