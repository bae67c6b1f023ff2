"""A bag-of-words classifier: TF-IDF of words and word pairs, then logistic regression (scikit-learn).

It sees no meaning and no word order beyond pairs. As a baseline it shows how much of a label can be read off the words
alone. In ``data/labelling.py`` it proposes labels; its agreement with people is estimated first.
"""

from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

TOKENS = r"(?u)\w+|[^\w\s]"
"""Words and single punctuation marks, so that every text that is not blank has a token."""

_BLOCK = 64


class TextClassifier(Protocol):
    """The part of scikit-learn's classifier interface that is used here."""

    classes_: NDArray[Any]

    def predict(self, texts: Sequence[str]) -> NDArray[Any]:
        """The most likely label of each of B texts, shape (B,)."""

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The probability of each label, shape (B, classes); rows sum to 1."""


def greatest_similarity(texts: Sequence[str], others: Sequence[str]) -> NDArray[np.float64]:
    """The greatest cosine, 0 to 1, of each of B texts with one of ``others``, shape (B,). Rare words weigh more."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    rows = TfidfVectorizer(token_pattern=TOKENS).fit_transform([*others, *texts])
    known = rows[: len(others)].T.tocsc()
    blocks = (rows[start : start + _BLOCK] @ known for start in range(len(others), rows.shape[0], _BLOCK))
    return np.concatenate([block.max(axis=1).toarray().ravel() for block in blocks])


def fit_classifier(texts: Sequence[str], labels: Sequence[Any], seed: int) -> TextClassifier:
    """A classifier fitted to ``texts`` and their ``labels``, classes weighted equally.

    ``labels`` must hold at least two classes, else scikit-learn raises ValueError.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), token_pattern=TOKENS),
        LogisticRegression(max_iter=1000, class_weight="balanced", random_state=seed),
    )
    return cast("TextClassifier", model.fit(list(texts), list(labels)))
