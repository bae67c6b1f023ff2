"""Trains the judge of kind comfort_classifier on rated answers, cross-fitted by scenario.

    sentences of known kind ─▶ a reader of sentences ─▶ figures of each rated answer ─▶ levels of each line

The cross-fitting is nested. The levels are trained on figures of sentences on which the reader of sentences was not
trained, and a fold's part was trained on no sentence and no rating of that fold. Each reader's rating is a row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bedside.core.errors import DataError
from bedside.core.hashing import digest
from bedside.core.types import Prompt, Response
from bedside.judges.classifier import question, scenario
from bedside.judges.comfort_classifier import (
    FIGURES,
    HEADS,
    SENTENCES,
    ComfortClassifierJudge,
    ComfortReader,
    figures,
    split,
)
from bedside.stats.tfidf import LinearClassifier, fit_linear

FOLDS = 5
_LEAST = 3
"""Answers' sentences that must hold a run of words before it counts."""


@dataclass(frozen=True, slots=True)
class RatedAnswer:
    """An answer with its ratings: for each head, one level per reader."""

    response: Response
    levels: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class KnownSentence:
    """A sentence and its kind. ``group``: its scenario; empty if it belongs to none."""

    text: str
    kind: str
    group: str = ""


def cross_fitted(
    answers: Sequence[RatedAnswer], sentences: Sequence[KnownSentence], seed: int
) -> ComfortClassifierJudge:
    """The judge. DataError if a kind of sentence or all levels but one are missing."""
    fold_of = folds([answer.response.prompt for answer in answers], [s.group for s in sentences], seed)
    parts = [
        _fit(
            [a for a in answers if fold_of[scenario(a.response.prompt)] != fold],
            [s for s in sentences if fold_of.get(_name(s.group)) != fold],
            fold_of,
            seed,
        )
        for fold in range(FOLDS)
    ]
    prompts = {question(a.response.prompt): fold_of[scenario(a.response.prompt)] for a in answers}
    return ComfortClassifierJudge(fold_of | prompts, _fit(answers, sentences, fold_of, seed), parts)


def folds(prompts: Sequence[Prompt], groups: Sequence[str], seed: int) -> dict[str, int]:
    """The fold of each scenario. The order of digests decides it, so that nobody chooses it."""
    names = {scenario(prompt) for prompt in prompts} | {_name(group) for group in groups if group}
    return {name: place % FOLDS for place, name in enumerate(sorted(names, key=lambda name: digest(seed, name)))}


def _name(group: str) -> str:
    return digest("scenario", group)


def _fit(
    answers: Sequence[RatedAnswer], sentences: Sequence[KnownSentence], fold_of: Mapping[str, int], seed: int
) -> ComfortReader:
    """A part that is trained on these answers and sentences only."""
    answer_folds = np.array([fold_of[scenario(a.response.prompt)] for a in answers])
    figures_BF = np.zeros((len(answers), FIGURES))
    for fold in sorted(set(answer_folds.tolist())):
        unseen = _sentence_reader([s for s in sentences if fold_of.get(_name(s.group)) != fold], seed)
        rows = np.flatnonzero(answer_folds == fold).tolist()
        figures_BF[rows], _ = figures([split(answers[row].response.text) for row in rows], unseen)
    weights, intercepts = zip(*(_head(head, answers, figures_BF) for head in HEADS), strict=True)
    return ComfortReader(
        _sentence_reader(sentences, seed),
        np.concatenate(weights).astype(np.float32),
        np.concatenate(intercepts).astype(np.float32),
    )


def _sentence_reader(sentences: Sequence[KnownSentence], seed: int) -> LinearClassifier:
    lacking = sorted(set(SENTENCES) - {sentence.kind for sentence in sentences})
    if lacking:
        raise DataError(f"no sentence is {lacking[0]}; each kind must stand in several scenarios")
    rows = [(part, sentence.kind) for sentence in sentences for part in split(sentence.text)]
    return fit_linear([text for text, _ in rows], [kind for _, kind in rows], seed, least=_LEAST)


def _head(
    head: str, answers: Sequence[RatedAnswer], figures_BF: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights (levels, F) and intercepts (levels,) of one head. A level that nobody gave gets probability 0."""
    from sklearn.linear_model import LogisticRegression

    rows = [(i, level) for i, answer in enumerate(answers) for level in answer.levels[head]]
    given = sorted({level for _, level in rows})
    if len(given) < 2 or not {*given} <= {*range(HEADS[head])}:
        raise DataError(f"{head}: ratings are {given}; they are 0 to {HEADS[head] - 1}, and two must occur; rate more")
    mean_F, scale_F = figures_BF.mean(axis=0), figures_BF.std(axis=0)
    scale_F[scale_F < 1e-9] = 1.0
    scaled_BF = (figures_BF - mean_F) / scale_F
    model = LogisticRegression(C=1.0, max_iter=5000)
    model.fit(scaled_BF[[i for i, _ in rows]], [level for _, level in rows])
    weights_GF, intercept_G = model.coef_, model.intercept_
    if len(weights_GF) == 1:  # with two levels, only the second has weights
        weights_GF, intercept_G = np.vstack([0 * weights_GF, weights_GF]), np.array([0.0, intercept_G[0]])
    weights_KF, intercept_K = np.zeros((HEADS[head], FIGURES)), np.full(HEADS[head], -50.0)
    weights_KF[given] = weights_GF / scale_F
    intercept_K[given] = intercept_G - weights_GF @ (mean_F / scale_F)
    return weights_KF, intercept_K
