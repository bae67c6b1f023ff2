"""Sequential test of whether a rate has risen above a tolerated rate, valid after every observation (an e-process).

    M_t = 1/K Σ_λ [ Σ_j w_j Π_{i = s_j + 1 … t} (1 + λ (ℓ_i − ε)) + Σ_{j not yet started} w_j ]

    ℓ_i    loss i, in [0, 1]               ε     the tolerated rate
    s_j    restart times: every BLOCK losses, j = 0, 1, …, with weights w_j = 1 / ((j + 1)(j + 2)), which sum to 1
    λ      the betting fraction: one of K constants, 0 < λ ≤ 0.5 / ε

Null hypothesis: the conditional mean of each loss, given the losses before it, is at most ε. Under it M is a
nonnegative supermartingale with M_0 = 1, so P(M_t ≥ 1/δ for some t) ≤ δ (Ville 1939). Betting on a bounded mean:
Waudby-Smith & Ramdas (arXiv 2010.09686). The bet λ = (r − 1) / (1 − ε) is the best one if the rate has become r · ε.
Without restarts, M decays while the rate is low and detects a later rise slowly. Losses of one conversation are
dependent, so use one loss per conversation.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]

BLOCK = 50
"""Losses between two restarts."""
RATIOS = (1.25, 1.5, 2.0, 3.0, 5.0)
"""The r of the K bets: the ratios of new rate to tolerated rate that they are best for."""


def log_evidence(losses_T: Sequence[float], tolerated: float) -> Array:
    """log M_t in nats after t = 0 … T losses, shape (T + 1,).

    ``losses_T`` lie in [0, 1] and ``tolerated`` in [0, 1), else ValueError. If ``tolerated`` is 0, the evidence is
    infinite from the first loss above 0 on.
    """
    if tolerated == 0:
        return np.where(np.maximum.accumulate([0.0, *losses_T]) > 0, np.inf, 0.0)
    growth_TK = _log_growth(losses_T, tolerated)
    started_T = np.arange(len(growth_TK)) // BLOCK
    starts_JK = np.logaddexp.accumulate(_log_weights(started_T[-1])[:, None] - growth_TK[::BLOCK], axis=0)
    waiting_T = -np.log(started_T + 2.0)
    each_TK = np.logaddexp(growth_TK + starts_JK[started_T], waiting_T[:, None])
    return np.asarray(special.logsumexp(each_TK, axis=1) - np.log(len(RATIOS)))


def first_alarm(evidence_T: Array, threshold_nats: float) -> int | None:
    """The number of losses after which ``log_evidence`` first reached the threshold; None if it did not."""
    reached = np.flatnonzero(evidence_T >= threshold_nats)
    return int(reached[0]) if len(reached) else None


def change_point(losses_T: Sequence[float], tolerated: float) -> int:
    """Estimate of the number of losses before the rate rose: the restart with the largest weighted growth up to T.

    The result is a multiple of BLOCK, or the index of the first loss above 0 if ``tolerated`` is 0.
    """
    if tolerated == 0:
        return int(np.flatnonzero(losses_T)[0])
    growth_TK = _log_growth(losses_T, tolerated)
    since_start_JK = growth_TK[-1] - growth_TK[::BLOCK]
    return BLOCK * int((since_start_JK.max(axis=1) + _log_weights(len(since_start_JK) - 1)).argmax())


def _log_growth(losses_T: Sequence[float], tolerated: float) -> Array:
    """Σ log(1 + λ (ℓ − ε)) over the first t losses, shape (T + 1, K)."""
    losses = np.asarray(losses_T, dtype=np.float64)
    if not 0 < tolerated < 1 or (len(losses) and not (losses.min() >= 0 and losses.max() <= 1)):
        raise ValueError(f"losses must lie in [0, 1] and the tolerated rate ({tolerated:g}) in [0, 1)")
    stakes_K = np.minimum((np.asarray(RATIOS) - 1) / (1 - tolerated), 0.5 / tolerated)
    gains_TK = np.log1p(stakes_K * (losses[:, None] - tolerated))
    return np.vstack([np.zeros(len(stakes_K)), np.cumsum(gains_TK, axis=0)])


def _log_weights(last: int) -> Array:
    """log w_j of the restarts 0 … ``last``, in nats."""
    j = np.arange(last + 1, dtype=np.float64)
    return -np.log((j + 1) * (j + 2))
