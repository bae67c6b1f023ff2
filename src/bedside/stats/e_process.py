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

``log_evidence`` has all losses at once. ``RunningEvidence`` takes losses of 0 and 1 one by one and keeps a few numbers:
within a block, growth depends on two counts alone, so its values are the same to the last bit wherever it is stopped,
written to a file and read again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]

BLOCK = 50
"""Losses between two restarts."""
RATIOS = (1.25, 1.5, 2.0, 3.0, 5.0)
"""The r of the K bets: the ratios of new rate to tolerated rate that they are best for."""
_MOST = 1e200
"""Evidence is not counted further: with the growth of one block it still is a double."""


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


Powers = tuple[tuple[float, ...], ...]
"""Of each bet, a factor to the power 0 … BLOCK."""


@dataclass(slots=True)
class RunningEvidence:
    """The evidence after the losses so far, each 0 or 1, and the likeliest start of a higher rate."""

    tolerated: float
    n: int = 0
    """Losses so far."""
    hits: int = 0
    """Losses of 1 since the last restart."""
    started: list[float] = field(default_factory=lambda: [0.5] * len(RATIOS))
    """Of each bet, Σ_j w_j Π (1 + λ (ℓ − ε)) over the restarts so far, at the last restart."""
    growth: list[float] = field(default_factory=lambda: [0.0] * len(RATIOS))
    """Of each bet, Σ log(1 + λ (ℓ − ε)), in nats, at the last restart."""
    peak: list[float] = field(default_factory=lambda: [-math.log(2)] * len(RATIOS))
    """Of each bet, the greatest log w_j − growth at a restart."""
    peak_at: list[int] = field(default_factory=lambda: [0] * len(RATIOS))
    """Of each bet, the number of losses before that restart."""
    since_failure: bool = False
    """``tolerated`` is 0 and there was a loss of 1."""

    def add(self, failed: bool) -> None:
        """One more loss. ``value`` must be read before the next one to miss nothing."""
        if self.tolerated == 0:
            self.peak_at = self.peak_at if self.since_failure or not failed else [self.n] * len(RATIOS)
            self.since_failure |= failed
        self.n += 1
        self.hits += failed
        if self.n % BLOCK == 0:
            self._restart()

    def add_misses(self, count: int) -> None:
        """``count`` losses of 0, within a block: after them ``n`` is at most the next multiple of BLOCK."""
        self.n += count
        if self.n % BLOCK == 0 and count:
            self._restart()

    @property
    def value(self) -> float:
        """M after ``n`` losses; infinite where nothing is tolerated and one was 1."""
        if self.tolerated == 0:
            return math.inf if self.since_failure else 1.0
        won, lost = _factors(self.tolerated)
        inside = self.n % BLOCK
        hits, misses = self.hits, inside - self.hits
        total = 0.0
        for start, won_k, lost_k in zip(self.started, won, lost, strict=True):
            total += start * won_k[hits] * lost_k[misses]
        return total / len(RATIOS) + 1 / (self.n // BLOCK + 2)

    @property
    def change_point(self) -> int:
        """As ``change_point`` of the losses so far."""
        if self.tolerated == 0:
            return self.peak_at[0]
        won, lost = _log_factors(self.tolerated)
        misses = self.n % BLOCK - self.hits
        now = [g + won[k] * self.hits + lost[k] * misses for k, g in enumerate(self.growth)]
        best = max(range(len(RATIOS)), key=lambda k: now[k] + self.peak[k])
        return self.peak_at[best]

    def _restart(self) -> None:
        """The end of a block: growth enters ``started``, and the next restart begins with its weight."""
        j, hits, misses = self.n // BLOCK, self.hits, BLOCK - self.hits
        self.hits = 0
        if self.tolerated == 0:
            return
        won, lost = _factors(self.tolerated)
        log_won, log_lost = _log_factors(self.tolerated)
        weight = 1 / ((j + 1) * (j + 2))
        for k, start in enumerate(self.started):
            self.started[k] = min(start * won[k][hits] * lost[k][misses], _MOST) + weight
            self.growth[k] += log_won[k] * hits + log_lost[k] * misses
            if math.log(weight) - self.growth[k] > self.peak[k]:
                self.peak[k], self.peak_at[k] = math.log(weight) - self.growth[k], self.n


@lru_cache(maxsize=256)
def _factors(tolerated: float) -> tuple[Powers, Powers]:
    """Growth of each bet by 0 … BLOCK losses of 1, and of 0."""
    stakes = _stakes(tolerated)
    bases = ([1 + s * (1 - tolerated) for s in stakes], [1 - s * tolerated for s in stakes])
    powers = [tuple(tuple(base**times for times in range(BLOCK + 1)) for base in some) for some in bases]
    return powers[0], powers[1]


@lru_cache(maxsize=256)
def _log_factors(tolerated: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    stakes = _stakes(tolerated)
    return (
        tuple(math.log1p(s * (1 - tolerated)) for s in stakes),
        tuple(math.log1p(-s * tolerated) for s in stakes),
    )


def _stakes(tolerated: float) -> list[float]:
    """The betting fractions λ of the K bets. ValueError for a rate that is none."""
    if not 0 < tolerated < 1:
        raise ValueError(f"the tolerated rate ({tolerated:g}) must lie in [0, 1)")
    return [min((r - 1) / (1 - tolerated), 0.5 / tolerated) for r in RATIOS]


def _log_growth(losses_T: Sequence[float], tolerated: float) -> Array:
    """Σ log(1 + λ (ℓ − ε)) over the first t losses, shape (T + 1, K)."""
    losses = np.asarray(losses_T, dtype=np.float64)
    if not 0 < tolerated < 1 or (len(losses) and not (losses.min() >= 0 and losses.max() <= 1)):
        raise ValueError(f"losses must lie in [0, 1] and the tolerated rate ({tolerated:g}) in [0, 1)")
    stakes_K = np.asarray(_stakes(tolerated))
    gains_TK = np.log1p(stakes_K * (losses[:, None] - tolerated))
    return np.vstack([np.zeros(len(stakes_K)), np.cumsum(gains_TK, axis=0)])


def _log_weights(last: int) -> Array:
    """log w_j of the restarts 0 … ``last``, in nats."""
    j = np.arange(last + 1, dtype=np.float64)
    return -np.log((j + 1) * (j + 2))
