"""Reads a sentence of a frame: does it keep company, or does it state a fact, advise, order, promise?

    sentence ─outline─▶ foreign words?  ─▶ TF-IDF of runs of one to three words ─▶ p(intrudes), logistic regression

In the outline, words of grammar, feeling and company (``frame_words.WORDS``) stay. Each other word becomes what it is:
``_q_`` the patient's own, ``_a_`` the answer's, ``_n_`` a number; other everyday words stay, the rest is ``_u_``. A
sentence is refused if it holds a word of another kind than grammar, feeling and company; one that speaks of *you* or of
*I* may use the patient's own words. Of the others the classifier refuses those that read like an intrusion made of
such words ("your brother finds his way back to you").

Learned from the frames of `consult` (train and valid), the sentences of its factual answers, and written sentences, by
``recipes/frame_verifier.py``. It reads English.
"""

import json
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bedside.comfort.frame_words import WORDS
from bedside.factuality import extraction
from bedside.factuality.common_words import FUNCTION, ORDINARY
from bedside.stats.tfidf import LinearClassifier

FOLDER = Path(__file__).parents[1] / "consult" / "judges" / "frames"
JSON, TENSORS = "frames.json", "frames.safetensors"
CLASSES = ("company", "intrudes")
MOST = 0.15
"""Probability of ``intrudes`` from which a sentence is refused; chosen on sentences that its figures are not of."""
_SPEAKS_TO = re.compile(r"_b_ (?:you|i|no wonder|of course|nobody)\b")
_FOREIGN = {"_n_": "a number", "_a_": "words of the answer", "_q_": "words of the question", "_u_": "other words"}
_COMPANY = frozenset(extraction.stem(word) for word in WORDS)
_EVERYDAY = frozenset(extraction.stem(word) for word in ORDINARY | FUNCTION) | _COMPANY


def intrusions(sentences: Sequence[str], question: str, answer: str) -> list[str]:
    """Of each sentence round ``answer``, what it brings that a frame may not; empty if nothing."""
    if not sentences:
        return []
    outlined = outlines(sentences, question, answer)
    scores = probabilities(packaged(), outlined)
    return [
        _foreign(o) or (sentence if p >= MOST else "")
        for sentence, o, p in zip(sentences, outlined, scores, strict=True)
    ]


def _foreign(outline: str) -> str:
    """The first word that is of no kind which a frame may hold."""
    for word in outline.split()[1:]:
        if word == "_q_" and _SPEAKS_TO.match(outline):
            continue
        if word in _FOREIGN:
            return _FOREIGN[word]
        if word[0].isalpha() and word not in FUNCTION and extraction.stem(word) not in _COMPANY:
            return word
    return ""


def outlines(sentences: Sequence[str], question: str, answer: str) -> list[str]:
    """What the classifier reads of each sentence."""
    asked, answered = stems(question), stems(answer)
    return [_outline(sentence, asked, answered) for sentence in sentences]


def probabilities(classifier: LinearClassifier, outlined: Sequence[str]) -> list[float]:
    """Of ``intrudes``, for each outline."""
    company, intrudes = (classifier.classes.index(name) for name in CLASSES)
    logits_BC = classifier.logits(outlined)
    margin_B: NDArray[np.float64] = logits_BC[:, intrudes] - logits_BC[:, company]
    return [float(p) for p in 1 / (1 + np.exp(-margin_B))]


@lru_cache(maxsize=256)
def stems(text: str) -> frozenset[str]:
    """Of the content words of ``text``."""
    parsed = extraction.extract_facts(text)
    return frozenset(token.stem for sentence in parsed.sentences for token in sentence if token.content)


def _outline(sentence: str, asked: frozenset[str], answered: frozenset[str]) -> str:
    tokens = [token for part in extraction.extract_facts(sentence).sentences for token in part]
    return " ".join(["_b_", *(_kind(token, asked, answered) for token in tokens)])


def _kind(token: extraction.FactToken, asked: frozenset[str], answered: frozenset[str]) -> str:
    if token.text[0].isdigit():
        return "_n_"
    if not token.content or token.stem in _COMPANY:
        return token.text
    if token.stem in answered:
        return "_a_"
    if token.stem in _EVERYDAY:
        return token.text
    return "_q_" if token.stem in asked else "_u_"


@cache
def packaged() -> LinearClassifier:
    """The classifier that comes with Bedside."""
    from safetensors.numpy import load

    vocabulary = json.loads((FOLDER / JSON).read_text(encoding="utf-8"))
    arrays = load((FOLDER / TENSORS).read_bytes())
    return LinearClassifier(vocabulary, CLASSES, *(arrays[part] for part in ("idf", "weights", "intercept")))


def write(classifier: LinearClassifier, folder: Path = FOLDER) -> None:
    """Write what ``packaged`` reads."""
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    order = [classifier.classes.index(name) for name in CLASSES]
    arrays = {
        "idf": classifier.idf_F,
        "weights": np.ascontiguousarray(classifier.weights_CF[order]),
        "intercept": np.ascontiguousarray(classifier.intercept_C[order]),
    }
    (folder / TENSORS).write_bytes(save(arrays))
    (folder / JSON).write_text(json.dumps(list(classifier.vocabulary), ensure_ascii=False), encoding="utf-8")
