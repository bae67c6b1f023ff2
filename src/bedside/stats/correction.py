"""What a rate would be if the judge made no errors: corrected by labels on the same checkpoint's answers.

Two classes, Rogan & Gladen 1978, interval of Lee et al. 2025 (arXiv 2511.21140), compared with the
formula their code computes; its coverage stands in docs/evidence/coverage-of-corrected-rates.md:

    θ = (p + q0 − 1) / (q0 + q1 − 1)     p = share the judge calls positive, q1 sensitivity, q0 specificity
    p, q0, q1 pulled towards ½ (n + z², m0 + 2, m1 + 2 rows), θ moved by 2 z² (θ q1 (1−q1)/m1 − (1−θ) q0 (1−q0)/m0)
    ± z √(p (1−p)/n + (1−θ)² q0 (1−q0)/m0 + θ² q1 (1−q1)/m1) / (q0 + q1 − 1)

Three classes: M_tk = P(judge says k | truth t) from the labelled answers, c_k what the judge says of all; the
shares π on the simplex that make c likeliest, Σ_k c_k log Σ_t π_t M_tk, by EM:

    π_t ← Σ_k c_k / n · π_t M_tk / Σ_s π_s M_sk

Intervals: bootstrap by group of both samples at once. **No number** where the judge tells too little: where the
one-sided 95 % lower bound of q0 + q1 − 1, or the 5th percentile of det M, is not above 0, or where a class has
fewer than LEAST labelled answers. Labels of another checkpoint's answers say nothing here: errors travel badly.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from bedside.stats.agreement import tally
from bedside.stats.intervals import CONFIDENCE, TWO_SIDED, Array, effective_n

LEAST = 5
RESAMPLES = 500
_EM_STEPS = 200
_SMOOTH = 0.5


@dataclass(frozen=True, slots=True)
class Labelled:
    """Answers with a label by people beside the judge's."""

    truth: tuple[str, ...]
    judged: tuple[str, ...]
    groups: tuple[Hashable, ...]

    def __post_init__(self) -> None:
        if not len(self.truth) == len(self.judged) == len(self.groups):
            raise ValueError("a label by people, one by the judge and a group for every answer")


@dataclass(frozen=True, slots=True)
class Corrected:
    """A share as it would be without the judge's errors, or why nobody can say."""

    value: float | None
    n: int
    labelled: int
    low: float | None = None
    high: float | None = None
    why_not: str = ""


def rogan_gladen(judged: Sequence[str], groups: Sequence[Hashable], labelled: Labelled, positive: str) -> Corrected:
    """Share of ``positive`` among all answers; every other label counts as not positive."""
    right_1 = [j == positive for t, j in zip(labelled.truth, labelled.judged, strict=True) if t == positive]
    right_0 = [j != positive for t, j in zip(labelled.truth, labelled.judged, strict=True) if t != positive]
    n, m = len(judged), len(labelled.truth)
    if not n:
        return Corrected(None, 0, m, why_not="there is no judged answer")
    for name, some in ((positive, right_1), (f"not {positive}", right_0)):
        if len(some) < LEAST:
            return Corrected(None, n, m, why_not=f"{len(some)} labelled answers are {name}; {LEAST} are the least")
    m1, m0 = (_worth(labelled, positive, same=same) for same in (True, False))
    q1, q0 = float(np.mean(right_1)), float(np.mean(right_0))
    if _youden_low(q0, q1, m0, m1) <= 0:
        return Corrected(
            None, n, m, why_not=f"the judge tells too little: q0 + q1 - 1 is {q0 + q1 - 1:.2f}, and may be 0"
        )
    said = [float(label == positive) for label in judged]
    worth = effective_n(said, groups, quantile=TWO_SIDED)
    p = float(np.mean(said))
    value = min(1.0, max(0.0, (p + q0 - 1) / (q0 + q1 - 1)))
    low, high = _lee(p, q0, q1, (worth, m0, m1))
    return Corrected(value, n, m, min(low, value), max(high, value))


def em(
    judged: Sequence[str],
    groups: Sequence[Hashable],
    labelled: Labelled,
    labels: Sequence[str],
    rng: np.random.Generator,
) -> dict[str, Corrected]:
    """Share of each label among all answers."""
    n, m = len(judged), len(labelled.truth)
    known = (labelled.groups, list(dict.fromkeys(labelled.groups)))
    joint_GKK = tally(known, (labelled.truth, labels), (labelled.judged, labels))
    seen_GK = tally((groups, list(dict.fromkeys(groups))), (judged, labels))
    fewest = joint_GKK.sum(axis=(0, 2))
    if not n or fewest.min() < LEAST:
        rare = labels[int(fewest.argmin())]
        why = f"{int(fewest.min())} labelled answers are {rare}; {LEAST} are the least" if n else "no judged answer"
        return {label: Corrected(None, n, m, why_not=why) for label in labels}
    times_BG = _resampled(len(joint_GKK), rng)
    matrix_BKK = _rows(np.einsum("bg,gtk->btk", times_BG, joint_GKK) + _SMOOTH / len(labels))
    if float(np.quantile(np.linalg.det(matrix_BKK), 1 - CONFIDENCE)) <= 0:
        why = "the judge tells too little: its confusion matrix may have no inverse"
        return {label: Corrected(None, n, m, why_not=why) for label in labels}
    share_BK = np.einsum("bg,gk->bk", _resampled(len(seen_GK), rng), seen_GK)
    found_BK = simplex(share_BK / share_BK.sum(axis=1, keepdims=True), matrix_BKK)
    here_K = simplex(seen_GK.sum(axis=0)[None] / n, _rows(joint_GKK.sum(axis=0))[None])[0]
    low_K, high_K = np.quantile(found_BK, (1 - TWO_SIDED, TWO_SIDED), axis=0)
    return {
        label: Corrected(float(v), n, m, min(float(low), float(v)), max(float(high), float(v)))
        for label, v, low, high in zip(labels, here_K, low_K, high_K, strict=True)
    }


def simplex(share_BK: Array, matrix_BTK: Array) -> Array:
    """The likeliest truth for what the judge said, BT, each row a distribution; EM from the centre."""
    truth_BT = np.full(matrix_BTK.shape[:2], 1 / matrix_BTK.shape[1])
    for _ in range(_EM_STEPS):
        said_BK = np.einsum("bt,btk->bk", truth_BT, matrix_BTK)
        ratio_BK = share_BK / np.maximum(said_BK, 1e-300)
        truth_BT = truth_BT * np.einsum("btk,bk->bt", matrix_BTK, ratio_BK)
    return np.asarray(truth_BT)


def _lee(p: float, q0: float, q1: float, rows: tuple[float, float, float]) -> tuple[float, float]:
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
    """One-sided 95 % lower bound of q0 + q1 − 1, both pulled towards ½."""
    q0, q1 = (m0 * q0 + 1) / (m0 + 2), (m1 * q1 + 1) / (m1 + 2)
    error = math.sqrt(q0 * (1 - q0) / (m0 + 2) + q1 * (1 - q1) / (m1 + 2))
    return q0 + q1 - 1 - float(special.ndtri(CONFIDENCE)) * error


def _worth(labelled: Labelled, positive: str, *, same: bool) -> float:
    """How many independent rows the answers of one class are worth."""
    kept = [
        (float(judged == positive), group)
        for truth, judged, group in zip(labelled.truth, labelled.judged, labelled.groups, strict=True)
        if (truth == positive) is same
    ]
    return effective_n([value for value, _ in kept], [group for _, group in kept], quantile=TWO_SIDED)


def _resampled(groups: int, rng: np.random.Generator) -> Array:
    """How often each group is drawn in each sample: BG."""
    return rng.multinomial(groups, np.full(groups, 1 / groups), size=RESAMPLES).astype(np.float64)


def _rows(table_TK: Array) -> Array:
    """Counts by truth and judge as P(judge | truth)."""
    return np.asarray(table_TK / np.maximum(table_TK.sum(axis=-1, keepdims=True), 1e-12))
