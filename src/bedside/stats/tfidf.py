"""The simplest reader of texts: counts of words and word pairs, weighed by rarity, into a logistic regression.

It knows no meaning and no order beyond two words. As a guard it shows how much of harm is in the words alone;
as a proposer of labels it saves typing, and its agreement with people is measured before it is believed.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

TOKENS = r"(?u)\w+|[^\w\s]"
"""Words, and single marks: so no text that is not blank is without a token."""


class Reader(Protocol):
    """What scikit-learn's classifiers can do."""

    classes_: NDArray[Any]

    def predict(self, texts: Sequence[str]) -> NDArray[Any]:
        """A label a text, shape (B,)."""
        ...

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Shape (B, classes), rows sum to 1."""
        ...


def fitted(texts: Sequence[str], labels: Sequence[Any], seed: int) -> Reader:
    """A reader that learned ``labels`` of ``texts``. Needs two classes or more."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=TOKENS)
    reader = make_pipeline(words, LogisticRegression(max_iter=1000, class_weight="balanced", random_state=seed))
    learned: Reader = reader.fit(list(texts), list(labels))
    return learned
