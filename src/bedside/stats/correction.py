"""Rates corrected for the errors of a judge, by labels from people on a sample of the same checkpoint's answers.

Two classes (Rogan & Gladen 1978), with the interval of Lee et al. 2025 (arXiv 2511.21140), checked against the formula
in their code; its coverage is in docs/evidence/coverage-of-corrected-rates.md:

    θ = (p + q0 − 1) / (q0 + q1 − 1)     p = share that the judge calls positive, q1 = sensitivity, q0 = specificity
    interval: with p, q0, q1 shrunk towards ½ (n + z², m0 + 2, m1 + 2 rows) and
    θ shifted by 2 z² (θ q1 (1 − q1) / m1 − (1 − θ) q0 (1 − q0) / m0)
    ± z √(p (1 − p) / n + (1 − θ)² q0 (1 − q0) / m0 + θ² q1 (1 − q1) / m1) / (q0 + q1 − 1)

Three or more classes: M_tk = P(judge says k | truth is t) from the labelled answers, c_k = number of all answers that
the judge calls k. The estimate is the maximum-likelihood distribution π, argmax Σ_k c_k log Σ_t π_t M_tk, by EM:

    π_t ← Σ_k c_k / n · π_t M_tk / Σ_s π_s M_sk

Interval: percentile bootstrap by group, both samples resampled.

There is **no estimate** if the judge is not informative enough: if the one-sided 95 % lower bound of q0 + q1 − 1, or
the 5th percentile of det M, is not above 0, or if a class has fewer than LEAST_LABELLED labelled answers. Labels on
another checkpoint's answers cannot be used, because the judge's error rates differ between checkpoints.

Axes of arrays: B bootstrap samples, G groups, T true labels, K labels of the judge.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from bedside.stats.agreement import tally
from bedside.stats.intervals import CONFIDENCE, TWO_SIDED, Array, effective_n

LEAST_LABELLED = 5
RESAMPLES = 500
_EM_STEPS = 200
_SMOOTH = 0.5


@dataclass(frozen=True, slots=True)
class LabelledSample:
    """Answers with the label of people (``truth``) and of the judge (``judged``), and the group of each answer."""

    truth: tuple[str, ...]
    judged: tuple[str, ...]
    groups: tuple[Hashable, ...]

    def __post_init__(self) -> None:
        if not len(self.truth) == len(self.judged) == len(self.groups):
            raise ValueError("every answer needs a label by people, a label by the judge and a group")


@dataclass(frozen=True, slots=True)
class CorrectedRate:
    """A share corrected for the judge's errors, with a two-sided 95 % interval, or the reason why there is none."""

    value: float | None
    n: int
    """Judged answers."""
    labelled: int
    """Answers with a label by people."""
    low: float | None = None
    high: float | None = None
    why_not: str = ""
    """Why ``value`` is None; empty otherwise."""


def rogan_gladen(
    judged: Sequence[str], groups: Sequence[Hashable], labelled: LabelledSample, positive: str
) -> CorrectedRate:
    """Corrected share of label ``positive`` among all judged answers, by Rogan & Gladen.

    ``judged`` and ``groups`` give the judge's label and the group of every answer, ``labelled`` the labelled sample.
    Every other label counts as not positive.
    """
    right_1 = [j == positive for t, j in zip(labelled.truth, labelled.judged, strict=True) if t == positive]
    right_0 = [j != positive for t, j in zip(labelled.truth, labelled.judged, strict=True) if t != positive]
    n, m = len(judged), len(labelled.truth)
    if not n:
        return CorrectedRate(None, 0, m, why_not="there is no judged answer")
    for name, some in ((positive, right_1), (f"not {positive}", right_0)):
        if len(some) < LEAST_LABELLED:
            return CorrectedRate(None, n, m, why_not=_too_few(len(some), name))
    m1, m0 = (_effective_labelled(labelled, positive, is_positive=is_positive) for is_positive in (True, False))
    q1, q0 = float(np.mean(right_1)), float(np.mean(right_0))
    if _youden_low(q0, q1, m0, m1) <= 0:
        return CorrectedRate(
            None, n, m, why_not=f"the judge is not informative enough: q0 + q1 - 1 is {q0 + q1 - 1:.2f}, and may be 0"
        )
    is_positive_R = [float(label == positive) for label in judged]
    p = float(np.mean(is_positive_R))
    value = min(1.0, max(0.0, (p + q0 - 1) / (q0 + q1 - 1)))
    low, high = _lee(p, q0, q1, (effective_n(is_positive_R, groups, quantile=TWO_SIDED), m0, m1))
    return CorrectedRate(value, n, m, min(low, value), max(high, value))


def expectation_maximization(
    judged: Sequence[str],
    groups: Sequence[Hashable],
    labelled: LabelledSample,
    labels: Sequence[str],
    rng: np.random.Generator,
) -> dict[str, CorrectedRate]:
    """Corrected share of each of ``labels`` among all judged answers, by maximum likelihood (EM).

    Inputs as for ``rogan_gladen``; ``rng`` draws the bootstrap samples. If there is no estimate, every label gets the
    same ``why_not``.
    """
    n, m = len(judged), len(labelled.truth)
    joint_GTK = tally(
        (labelled.groups, list(dict.fromkeys(labelled.groups))), (labelled.truth, labels), (labelled.judged, labels)
    )
    judged_GK = tally((groups, list(dict.fromkeys(groups))), (judged, labels))
    labelled_T = joint_GTK.sum(axis=(0, 2))
    if not n or labelled_T.min() < LEAST_LABELLED:
        rarest = int(labelled_T.argmin())
        why = _too_few(int(labelled_T[rarest]), labels[rarest]) if n else "no judged answer"
        return {label: CorrectedRate(None, n, m, why_not=why) for label in labels}
    matrix_BTK = _confusion(
        np.einsum("bg,gtk->btk", _resampled(len(joint_GTK), rng), joint_GTK) + _SMOOTH / len(labels)
    )
    if float(np.quantile(np.linalg.det(matrix_BTK), 1 - CONFIDENCE)) <= 0:
        why = "the judge is not informative enough: its confusion matrix may have no inverse"
        return {label: CorrectedRate(None, n, m, why_not=why) for label in labels}
    share_BK = np.einsum("bg,gk->bk", _resampled(len(judged_GK), rng), judged_GK)
    truth_BT = likeliest_truth(share_BK / share_BK.sum(axis=1, keepdims=True), matrix_BTK)
    estimate_T = likeliest_truth(judged_GK.sum(axis=0)[None] / n, _confusion(joint_GTK.sum(axis=0))[None])[0]
    low_T, high_T = np.quantile(truth_BT, (1 - TWO_SIDED, TWO_SIDED), axis=0)
    return {
        label: CorrectedRate(float(v), n, m, min(float(low), float(v)), max(float(high), float(v)))
        for label, v, low, high in zip(labels, estimate_T, low_T, high_T, strict=True)
    }


def likeliest_truth(share_BK: Array, matrix_BTK: Array) -> Array:
    """Maximum-likelihood distribution of the true labels, BT, by EM from the uniform distribution.

    ``share_BK`` are the shares of the judge's labels, ``matrix_BTK`` is P(judge says k | truth is t).
    """
    truth_BT = np.full(matrix_BTK.shape[:2], 1 / matrix_BTK.shape[1])
    for _ in range(_EM_STEPS):
        ratio_BK = share_BK / np.maximum(np.einsum("bt,btk->bk", truth_BT, matrix_BTK), 1e-300)
        truth_BT = truth_BT * np.einsum("btk,bk->bt", matrix_BTK, ratio_BK)
    return np.asarray(truth_BT)


def _lee(p: float, q0: float, q1: float, rows: tuple[float, float, float]) -> tuple[float, float]:
    """Two-sided 95 % interval of θ; ``rows`` are n, m0 and m1."""
    n, m0, m1 = rows
    z = float(special.ndtri(TWO_SIDED))
    p, q0, q1 = (n * p + z * z / 2) / (n + z * z), (m0 * q0 + 1) / (m0 + 2), (m1 * q1 + 1) / (m1 + 2)
    n, m0, m1, youden = n + z * z, m0 + 2, m1 + 2, q0 + q1 - 1
    if youden <= 0:
        return 0.0, 1.0
    theta = (p + q0 - 1) / youden
    v0, v1 = q0 * (1 - q0) / m0, q1 * (1 - q1) / m1
    middle = theta + 2 * z * z * (theta * v1 - (1 - theta) * v0)
    reach = z * math.sqrt(p * (1 - p) / n + (1 - theta) ** 2 * v0 + theta**2 * v1) / youden
    return min(1.0, max(0.0, middle - reach)), min(1.0, max(0.0, middle + reach))


def _youden_low(q0: float, q1: float, m0: float, m1: float) -> float:
    """One-sided 95 % lower bound of Youden's index q0 + q1 − 1, both shrunk towards ½."""
    q0, q1 = (m0 * q0 + 1) / (m0 + 2), (m1 * q1 + 1) / (m1 + 2)
    error = math.sqrt(q0 * (1 - q0) / (m0 + 2) + q1 * (1 - q1) / (m1 + 2))
    return q0 + q1 - 1 - float(special.ndtri(CONFIDENCE)) * error


def _effective_labelled(labelled: LabelledSample, positive: str, *, is_positive: bool) -> float:
    """Effective number of labelled answers whose truth is ``positive``, or is not."""
    rows = [
        (float(judged == positive), group)
        for truth, judged, group in zip(labelled.truth, labelled.judged, labelled.groups, strict=True)
        if (truth == positive) is is_positive
    ]
    return effective_n([value for value, _ in rows], [group for _, group in rows], quantile=TWO_SIDED)


def _resampled(groups: int, rng: np.random.Generator) -> Array:
    """How often each group is drawn in each bootstrap sample, BG."""
    return rng.multinomial(groups, np.full(groups, 1 / groups), size=RESAMPLES).astype(np.float64)


def _too_few(n: int, name: str) -> str:
    return f"{n} labelled answers are {name}; at least {LEAST_LABELLED} are needed"


def _confusion(table_TK: Array) -> Array:
    """P(judge says k | truth is t), from counts …TK."""
    return np.asarray(table_TK / np.maximum(table_TK.sum(axis=-1, keepdims=True), 1e-12))
