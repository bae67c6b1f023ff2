"""A bag-of-words classifier: TF-IDF of words and word pairs, then logistic regression (scikit-learn).

It sees no meaning, and no word order beyond pairs. As a baseline it shows how much of a label the words alone tell. In
``data/labelling.py`` it proposes labels, after its agreement with people was estimated. ``LinearClassifier`` is such a
classifier as plain numbers for a file, as ``judges/classifier.py`` uses it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
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


def fit_character_classifier(texts: Sequence[str], labels: Sequence[Any], seed: int) -> TextClassifier:
    """The same with sequences of one to three characters, inside words and at their ends: it sees the spelling."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3), lowercase=False, sublinear_tf=True),
        LogisticRegression(C=10.0, max_iter=1000, class_weight="balanced", random_state=seed),
    )
    return cast("TextClassifier", model.fit(list(texts), list(labels)))


@dataclass(frozen=True)
class LinearClassifier:
    """TF-IDF of runs of one to three words, and multinomial logistic regression: F features, C classes."""

    vocabulary: Sequence[str]
    classes: Sequence[str]
    idf_F: NDArray[np.float32]
    weights_CF: NDArray[np.float32]
    intercept_C: NDArray[np.float32]

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Scores of each class for each of B texts, shape (B, C). Their softmax is the probability."""
        features_BF = self._counted.transform(list(texts))
        return np.asarray(features_BF @ self.weights_CF.T.astype(np.float64) + self.intercept_C, np.float64)

    @cached_property
    def _counted(self) -> Any:
        counted = _counter(vocabulary={word: i for i, word in enumerate(self.vocabulary)})
        counted.idf_ = self.idf_F.astype(np.float64)
        return counted


def fit_linear(texts: Sequence[str], labels: Sequence[str], seed: int, *, least: int = 2) -> LinearClassifier:
    """Fitted with equal weight for each class; words of fewer than ``least`` texts are left out.

    ``labels`` must hold at least two classes, else scikit-learn raises ValueError.
    """
    from sklearn.linear_model import LogisticRegression

    counted = _counter(min_df=least)
    features_BF = counted.fit_transform(list(texts))
    model = LogisticRegression(C=10.0, max_iter=2000, class_weight="balanced", random_state=seed)
    model.fit(features_BF, list(labels))
    weights_CF, intercept_C = model.coef_, model.intercept_
    if len(weights_CF) == 1:  # with two classes, only the second has weights
        weights_CF, intercept_C = np.vstack([0 * weights_CF, weights_CF]), np.array([0.0, intercept_C[0]])
    return LinearClassifier(
        vocabulary=[str(word) for word in counted.get_feature_names_out()],
        classes=[str(name) for name in model.classes_],
        idf_F=counted.idf_.astype(np.float32),
        weights_CF=weights_CF.astype(np.float32),
        intercept_C=intercept_C.astype(np.float32),
    )


def _counter(**options: Any) -> Any:
    """Sequences of one to three words. The count of a word in a text enters by its logarithm."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 3), token_pattern=TOKENS, sublinear_tf=True, **options)


def weighted_words(
    texts: Sequence[str], words_of: Callable[[str], list[str]], most: int
) -> tuple[list[str], NDArray[np.float64], Any]:
    """The words of ``texts``, their weights (V,), and the rows of TF-IDF, sparse, (B, V): a word stands there or not.

    Words of one text alone are left out where there are many texts; at most ``most`` words are kept.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    least = 2 if len(texts) > 40 else 1
    counted = TfidfVectorizer(tokenizer=words_of, token_pattern=None, min_df=least, max_features=most, binary=True)
    rows = counted.fit_transform([*texts, *[""] * least])[: len(texts)]  # "" keeps the vocabulary from being empty
    return [str(word) for word in counted.get_feature_names_out()], np.asarray(counted.idf_, np.float64), rows


def cluster_centres(rows: Any, number: int, seed: int) -> NDArray[np.float64]:
    """The centres of at most ``number`` clusters of sparse ``rows``, each of length 1, shape (T, V)."""
    from sklearn.cluster import KMeans

    distinct = len({tuple(row.indices) for row in rows})
    means_TV = KMeans(min(number, distinct), n_init=3, random_state=seed).fit(rows).cluster_centers_
    return np.asarray(means_TV / np.maximum(np.linalg.norm(means_TV, axis=1, keepdims=True), 1e-12), np.float64)


def linear_weights(rows: Any, labels: Sequence[Any], seed: int) -> tuple[NDArray[np.float64], list[float]]:
    """Weights (C, V) and intercepts of logistic regression, classes in their order and weighted equally; two or more.

    ``labels`` must hold at least two classes, else scikit-learn raises ValueError.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=10.0, max_iter=1000, class_weight="balanced", random_state=seed)
    model.fit(rows, list(labels))
    weights_CV, intercepts = model.coef_, model.intercept_
    if len(weights_CV) == 1:  # of two classes only the second has weights
        weights_CV, intercepts = np.vstack([0 * weights_CV, weights_CV]), np.array([0.0, intercepts[0]])
    return np.asarray(weights_CV, np.float64), [float(x) for x in intercepts]


def english_function_words() -> frozenset[str]:
    """Words such as "the" and "have"."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(str(word) for word in ENGLISH_STOP_WORDS)
