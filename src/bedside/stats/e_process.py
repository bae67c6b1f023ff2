"""Has a rate risen above what is tolerated? Asked after every answer, as often as one likes, and right each time.

    M_t = 1/K Σ_λ [ Σ_j w_j Π_{i = s_j + 1 … t} (1 + λ (ℓ_i − ε)) + the w_j of starts still to come ]

    ℓ_i    a loss in [0, 1]            ε      the rate that is tolerated
    s_j    a start every BLOCK losses, j = 0, 1, …, with w_j = 1 / ((j + 1)(j + 2)), together 1
    λ      what is staked on the next loss: K constants, 0 < λ ≤ 0.5 / ε

While each loss is ε at most in expectation, whatever came before it, M is a supermartingale that begins at 1: it ever
reaches 1/δ with probability δ at most (Ville 1939). Bets on a bounded mean: Waudby-Smith & Ramdas (arXiv 2010.09686).
λ = (r − 1) / (1 − ε) gains most where the rate has become r · ε. Many starts, since a bettor who has lost for a long
clean stretch is poor when the rate rises. Losses of one conversation lean on one another: give one of each.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]

BLOCK = 50
RATIOS = (1.25, 1.5, 2.0, 3.0, 5.0)
"""How far above ε a rate is looked for."""


def log_evidence(losses_T: Sequence[float], tolerated: float) -> Array:
    """log M_t in nats after t = 0 … T losses, (T + 1,). Where nothing is tolerated the first loss is worth ∞.

    ValueError for losses outside [0, 1], or a rate outside [0, 1).
    """
    if tolerated == 0:
        return np.where(np.maximum.accumulate([0.0, *losses_T]) > 0, np.inf, 0.0)
    grown_TK = _grown(losses_T, tolerated)
    begun_T = np.arange(len(grown_TK)) // BLOCK
    starts_JK = np.logaddexp.accumulate(_weights(begun_T[-1])[:, None] - grown_TK[::BLOCK], axis=0)
    waiting_T = -np.log(begun_T + 2.0)
    each_TK = np.logaddexp(grown_TK + starts_JK[begun_T], waiting_T[:, None])
    return np.asarray(special.logsumexp(each_TK, axis=1) - np.log(len(RATIOS)))


def alarm(evidence_T: Array, nats: float) -> int | None:
    """After how many losses ``log_evidence`` first reached ``nats``; None where it never did."""
    reached = np.flatnonzero(evidence_T >= nats)
    return int(reached[0]) if len(reached) else None


def rise(losses_T: Sequence[float], tolerated: float) -> int:
    """After how many losses the rate most likely rose: the start that gained most until the last loss."""
    if tolerated == 0:
        return int(np.flatnonzero(losses_T)[0])
    grown_TK = _grown(losses_T, tolerated)
    gains_JK = grown_TK[-1] - grown_TK[::BLOCK]
    return BLOCK * int((gains_JK.max(axis=1) + _weights(len(gains_JK) - 1)).argmax())


def _grown(losses_T: Sequence[float], tolerated: float) -> Array:
    """Sum of log(1 + λ (ℓ − ε)) over the first t losses, (T + 1, K)."""
    losses = np.asarray(losses_T, dtype=np.float64)
    if not 0 < tolerated < 1 or (len(losses) and not (losses.min() >= 0 and losses.max() <= 1)):
        raise ValueError(f"losses lie in [0, 1] and a tolerated rate in (0, 1), which {tolerated:g} does not do")
    stakes_K = np.minimum((np.asarray(RATIOS) - 1) / (1 - tolerated), 0.5 / tolerated)
    gains_TK = np.log1p(stakes_K * (losses[:, None] - tolerated))
    return np.vstack([np.zeros(len(stakes_K)), np.cumsum(gains_TK, axis=0)])


def _weights(last: int) -> Array:
    """log w_j of the starts 0 … ``last``, nats."""
    j = np.arange(last + 1, dtype=np.float64)
    return -np.log((j + 1) * (j + 2))
