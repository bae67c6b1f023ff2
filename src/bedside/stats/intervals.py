"""Intervals for shares, weighted sums of shares, means, and paired differences of two policies on the same rows.

Rows of one group are dependent, so each share has an effective number of rows (Korn & Graubard 1998). With p = mean(y)
and G groups of sizes m_g and sums Y_g:

    variance = G / (G − 1) · Σ_g (Y_g − p m_g)² / n²        ratio estimator, between groups
    n_eff    = n / (variance / simple random variance) · (t_{n−1} / t_{G−1})²,      at most n
    n_eff    = G                                            if all rows have the same value

Interval, two-sided 95 %: mid-P Clopper–Pearson. It was chosen by exact enumeration over 13 n from 20 to 2,000 and 491 p
from 0.01 to 0.5 (required: mean coverage 94–97 %, at least 90 % at every point; repeated in
tests/stats/test_intervals.py):

    mid-P Clopper–Pearson    mean 95.2 %   least 91.8 %   mean by n 95.0–96.1 %   ← used here
    Clopper–Pearson          mean 96.2 %   least 95.0 %   mean by n 95.4–97.7 %   wider than necessary
    Wilson                   mean 95.1 %   least 89.5 %                           fails
    Jeffreys                 mean 95.0 %   least 88.1 %                           fails

Bound, one-sided 95 %, for decisions: Clopper–Pearson with x = p · n_eff:

    low  = Beta⁻¹(0.05; x, n_eff − x + 1)        high = Beta⁻¹(0.95; x + 1, n_eff − x)

Weighted sum θ = Σ w_i p_i of independent shares: MOVER (Zou & Donner 2008), for w_i > 0:

    low = θ − sqrt(Σ w_i² (p_i − low_i)²)        high = θ + sqrt(Σ w_i² (high_i − p_i)²)

MOVER alone is too narrow on the short side of skewed shares: its bounds held in 92.6 % at four shares of 0.98 on 30
rows each. So a decision bound of a sum is the wider of MOVER and Clopper–Pearson at θ (1 − θ) / variance(θ) rows;
that held in at least 95.8 % of all cases tried.

Axes of arrays: R rows, G groups, B bootstrap samples.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]

CONFIDENCE = 0.95
TWO_SIDED = 1 - (1 - CONFIDENCE) / 2
LEAST_GROUPS = 40
LEAST_EVENTS = 10
RESAMPLES = 2000
_BLOCK = 250
_HALVINGS = 60


@dataclass(frozen=True, slots=True)
class Interval:
    """The closed interval from ``low`` to ``high``. ValueError if ``low`` is above ``high``."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"an interval runs from low to high, not from {self.low} to {self.high}")


@dataclass(frozen=True, slots=True)
class Part:
    """One term of a weighted sum: a mean of values in [0, 1], its weight and its interval."""

    weight: float
    value: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Cell:
    """The rows of one term of a weighted sum: a value in [0, 1] and a group for each row."""

    weight: float
    values: tuple[float, ...]
    groups: tuple[Hashable, ...]
    imputed: int = 0
    """Number of values that replace unreadable rows."""

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values)


def share_interval(values_R: Sequence[float], groups_R: Sequence[Hashable]) -> Interval:
    """Two-sided 95 % interval for the mean of ``values_R`` in [0, 1], rows clustered by ``groups_R``.

    Mid-P Clopper–Pearson if all values are 0 or 1. For other values (0.5 in the Safety Score table), Clopper–Pearson of
    the mean: replacing a value v by a Bernoulli(v) draw keeps the mean and only adds variance, so the binomial limits
    are conservative.
    """
    share, n = float(np.mean(values_R)), effective_n(values_R, groups_R, quantile=TWO_SIDED)
    limits = mid_p if set(values_R) <= {0, 1} else partial(clopper_pearson, quantile=TWO_SIDED)
    return _no_better_than_clean(limits(share, n), limits(0.0, len(set(groups_R))))


def share_bounds(values_R: Sequence[float], groups_R: Sequence[Hashable]) -> Interval:
    """Two one-sided 95 % decision bounds for the mean of ``values_R`` in [0, 1]: Clopper–Pearson at the effective n."""
    share, n = float(np.mean(values_R)), effective_n(values_R, groups_R, quantile=CONFIDENCE)
    return _no_better_than_clean(
        clopper_pearson(share, n, quantile=CONFIDENCE),
        clean=clopper_pearson(0.0, len(set(groups_R)), quantile=CONFIDENCE),
    )


def _no_better_than_clean(limits: Interval, clean: Interval) -> Interval:
    """``limits``, widened to those of G groups without any event (``clean``): an event cannot be better than none.

    The effective n alone jumps: no event in 60 groups of 5 counts as 60 rows, one event as 300. Bounds are exact for
    independent rows. For 20 to 150 groups of 4 and 5 (intra-class correlation 0.3 and 0.7, p from 0.01 to 0.3) they
    held in 90.9 % at the worst point without this rule and in 93.7 % with it.
    """
    return Interval(min(limits.low, 1 - clean.high), max(limits.high, clean.high))


def effective_n(values_R: Sequence[float], groups_R: Sequence[Hashable], *, quantile: float) -> float:
    """Effective number of independent rows of ``values_R``, in [1, R], for an interval that uses t at ``quantile``."""
    y_R, of_R, groups = _by_group(values_R, groups_R)
    n = len(y_R)
    simple = float(np.var(y_R)) / max(n - 1, 1)
    if groups == 1 or simple < 1e-15:
        return float(groups)
    residual_G = np.bincount(of_R, weights=y_R - y_R.mean(), minlength=groups)
    clustered = groups / (groups - 1) * float(np.sum(residual_G**2)) / n**2
    t_ratio = special.stdtrit(n - 1, quantile) / special.stdtrit(groups - 1, quantile)
    return float(min(n, max(1.0, n * simple / max(clustered, 1e-15) * t_ratio**2)))


def clopper_pearson(share: float, n: float, *, quantile: float) -> Interval:
    """Exact binomial limits for a share in [0, 1], each one-sided at level ``quantile``; ``n`` may be fractional."""
    x = share * n
    low = 0.0 if x <= 0 else float(special.betaincinv(x, n - x + 1, 1 - quantile))
    high = 1.0 if x >= n else float(special.betaincinv(x + 1, n - x, quantile))
    return Interval(min(low, share), max(high, share))


def mid_p(share: float, n: float) -> Interval:
    """Two-sided 95 % mid-P interval: Clopper–Pearson with half the probability of the observed count."""
    return Interval(_mid_p_low(share, n), 1 - _mid_p_low(1 - share, n))


def _mid_p_low(share: float, n: float) -> float:
    """The p with P(X > x) + ½ P(X = x) = 0.025, by bisection between the two Clopper–Pearson limits."""
    x, tail = share * n, 1 - TWO_SIDED
    if x <= 0:
        return 0.0
    low = float(special.betaincinv(x, n - x + 1, tail))
    high = float(special.betaincinv(x + 1, n - x, tail)) if x < n else 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        at_least = special.betainc(x, n - x + 1, middle)
        above = special.betainc(x + 1, n - x, middle) if x < n else 0.0
        low, high = (middle, high) if (at_least + above) / 2 < tail else (low, middle)
    return min(low, share)


def weighted_sum(parts: Sequence[Part]) -> Interval:
    """Interval or bounds of Σ weight · value over independent parts by MOVER, clipped to the possible range."""
    theta = sum(part.weight * part.value for part in parts)
    down = math.sqrt(sum(min(_reach(part)) ** 2 for part in parts))
    up = math.sqrt(sum(max(_reach(part)) ** 2 for part in parts))
    least = sum(min(part.weight, 0.0) for part in parts)
    most = sum(max(part.weight, 0.0) for part in parts)
    return Interval(min(max(theta - down, least), theta), max(min(theta + up, most), theta))


def sum_interval(cells: Sequence[Cell]) -> Interval:
    """Two-sided 95 % interval of Σ weight · mean over independent cells; weights sum to 1."""
    return weighted_sum([Part(cell.weight, cell.mean, share_interval(cell.values, cell.groups)) for cell in cells])


def sum_bounds(cells: Sequence[Cell]) -> Interval:
    """Two one-sided 95 % decision bounds of Σ weight · mean; weights sum to 1, and a group may span cells."""
    mover = weighted_sum([Part(cell.weight, cell.mean, share_bounds(cell.values, cell.groups)) for cell in cells])
    theta = min(1.0, sum(cell.weight * cell.mean for cell in cells))
    variance = max(sum(cell.weight**2 * _variance(cell) for cell in cells), _variance_across(cells))
    if variance == 0:
        return mover
    n = min(theta * (1 - theta) / variance, sum(len(cell.values) for cell in cells))
    pooled = clopper_pearson(theta, n, quantile=CONFIDENCE)
    return Interval(min(mover.low, pooled.low), max(mover.high, pooled.high))


def _variance(cell: Cell) -> float:
    """Variance of the cell's mean: binomial at the effective number of rows."""
    n = effective_n(cell.values, cell.groups, quantile=CONFIDENCE)
    return max(0.0, cell.mean * (1 - cell.mean)) / n


def _variance_across(cells: Sequence[Cell]) -> float:
    """Variance of the weighted sum between groups. The rows of a group that spans cells are dependent."""
    residual: dict[Hashable, float] = defaultdict(float)
    for cell in cells:
        mean = cell.mean
        for value, group in zip(cell.values, cell.groups, strict=True):
            residual[group] += cell.weight * (value - mean) / len(cell.values)
    groups, rows = len(residual), sum(len(cell.values) for cell in cells)
    return sum(r * r for r in residual.values()) * groups / max(groups - 1, 1) * (rows - 1) / rows


def _reach(part: Part) -> tuple[float, float]:
    """Distance from weight · value to its limits: (down, up)."""
    return part.weight * (part.interval.low - part.value), part.weight * (part.interval.high - part.value)


def mean_interval(
    values_R: Sequence[float], groups_R: Sequence[Hashable], *, quantile: float = TWO_SIDED
) -> Interval | None:
    """Two-sided t interval of an unbounded mean, rows clustered by group, G − 1 degrees of freedom; None if G is 1.

    The variance is that of the ratio estimator between groups. ``quantile`` 0.975 gives a 95 % interval.
    """
    y_R, of_R, groups = _by_group(values_R, groups_R)
    if groups < 2:
        return None
    mean = float(y_R.mean())
    residual_G = np.bincount(of_R, weights=y_R - mean, minlength=groups)
    error = math.sqrt(groups / (groups - 1) * float(np.sum(residual_G**2))) / len(y_R)
    reach = float(special.stdtrit(groups - 1, quantile)) * error
    return Interval(mean - reach, mean + reach)


def clean_groups_needed(limit: float) -> int:
    """Fewest groups without any event that give a 95 % upper bound below ``limit``: 59 for 5 %, 149 for 2 %."""
    if not 0 < limit < 1:
        raise ValueError(
            f"no number of groups without events shows a share below {limit}; give a limit between 0 and 1"
        )
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-limit) - 1e-9)


def bootstrap_allowed(difference_R: Sequence[float], groups_R: Sequence[Hashable]) -> bool:
    """True if there are at least 40 groups, and at least 10 have a mean difference other than the most common one.

    The most common difference is usually 0, and the 10 are groups on which the policies differ. If the policies differ
    by the same amount in every group, resampling sees no variance and cannot be used either.
    """
    y_R, of_R, groups = _by_group(difference_R, groups_R)
    mean_G = np.round(np.bincount(of_R, weights=y_R) / np.bincount(of_R), 9)
    most_common = np.unique(mean_G, return_counts=True)[1].max()
    return bool(groups >= LEAST_GROUPS and groups - most_common >= LEAST_EVENTS)


def paired_bounds(first: Sequence[Cell], second: Sequence[Cell], rng: np.random.Generator) -> Interval:
    """Two one-sided 95 % bounds of Σ weight · (mean of first − mean of second), with the same rows in both.

    BCa bootstrap by group if every cell allows it, because a cell with few events would make the sum look too certain.
    Else MOVER of gains − losses, each a weighted sum of means with its own bounds.
    """
    differences = [np.subtract(one.values, other.values) for one, other in zip(first, second, strict=True)]
    cells = list(zip(first, differences, strict=True))
    if all(bootstrap_allowed(values_R.tolist(), cell.groups) for cell, values_R in cells):
        bounds = bootstrap_bounds(
            _weighted_difference(cells),
            np.concatenate(differences).tolist(),
            [group for cell in first for group in cell.groups],
            rng,
        )
        if bounds is not None:
            return bounds
    return _gain_minus_loss(_gain(cells, 1), _gain(cells, -1))


def _weighted_difference(cells: Sequence[tuple[Cell, Array]]) -> Callable[[Array], Array]:
    """The statistic Σ weight · mean difference in the cell, from how often each row was drawn."""

    def difference(times_BR: Array) -> Array:
        total_B, start = np.zeros(len(times_BR)), 0
        for cell, values_R in cells:
            times = times_BR[:, start : start + len(values_R)]
            with np.errstate(invalid="ignore"):
                total_B += cell.weight * (times @ values_R) / times.sum(axis=1)
            start += len(values_R)
        return total_B

    return difference


def _gain(cells: Sequence[tuple[Cell, Array]], sign: int) -> Part:
    """Mean gain (sign 1) or mean loss (sign −1) of the first policy against the second, with its bounds."""
    gains = [Cell(c.weight, tuple(np.maximum(sign * values_R, 0.0)), c.groups) for c, values_R in cells]
    return Part(1.0, sum(cell.weight * cell.mean for cell in gains), sum_bounds(gains))


def _gain_minus_loss(gain: Part, loss: Part) -> Interval:
    """MOVER of a difference (Zou & Donner 2008, eq. 5). A row cannot both gain and lose, so the two are correlated."""
    odds = [min(part.value, 1 - 1e-12) / (1 - min(part.value, 1 - 1e-12)) for part in (gain, loss)]
    correlation = min(1.0, math.sqrt(max(0.0, odds[0] * odds[1])))
    (gain_down, gain_up), (loss_down, loss_up) = _reach(gain), _reach(loss)
    down = math.sqrt(gain_down**2 + loss_up**2 - 2 * correlation * gain_down * loss_up)
    up = math.sqrt(gain_up**2 + loss_down**2 - 2 * correlation * gain_up * loss_down)
    theta = gain.value - loss.value
    return Interval(max(theta - down, -1.0), min(theta + up, 1.0))


def bootstrap_bounds(
    statistic: Callable[[Array], Array],
    difference_R: Sequence[float],
    groups_R: Sequence[Hashable],
    rng: np.random.Generator,
) -> Interval | None:
    """Two one-sided 95 % bounds of a difference of two policies on the same rows: BCa bootstrap by group.

    ``statistic`` takes times_BR, how often each row is drawn in each of B samples, and returns the difference of each
    sample, B. None if the bootstrap is not allowed or the difference is undefined in a sample: use exact bounds then.
    """
    if not bootstrap_allowed(difference_R, groups_R):
        return None
    _, of_R, groups = _by_group(difference_R, groups_R)
    times_BG = rng.multinomial(groups, np.full(groups, 1 / groups), size=RESAMPLES).astype(np.float64)
    sample_B, without_G = (_in_blocks(statistic, times, of_R) for times in (times_BG, 1 - np.eye(groups)))
    if not (np.isfinite(sample_B).all() and np.isfinite(without_G).all()):
        return None
    return _bca(float(statistic(np.ones((1, len(of_R))))[0]), sample_B, without_G)


def _bca(observed: float, sample_B: Array, without_G: Array) -> Interval:
    """Bias-corrected and accelerated percentiles (Efron 1987): z0 from the samples, a from the jackknife."""
    below = float(np.mean(sample_B < observed) + np.mean(sample_B == observed) / 2)
    z0 = float(special.ndtri(np.clip(below, 1 / len(sample_B), 1 - 1 / len(sample_B))))
    pull_G = without_G.mean() - without_G
    spread = float(np.sum(pull_G**2)) ** 1.5
    a = float(np.sum(pull_G**3)) / (6 * spread) if spread > 0 else 0.0
    ends = []
    for z in (special.ndtri(1 - CONFIDENCE), special.ndtri(CONFIDENCE)):
        shifted = z0 + (z0 + z) / (1 - a * (z0 + z))
        ends.append(float(np.quantile(sample_B, special.ndtr(shifted))))
    return Interval(min(ends), max(ends))


def _in_blocks(statistic: Callable[[Array], Array], times_BG: Array, of_R: NDArray[Any]) -> Array:
    """The statistic of all samples, computed in blocks because samples × rows may not fit in memory."""
    blocks = (times_BG[start : start + _BLOCK] for start in range(0, len(times_BG), _BLOCK))
    return np.concatenate([statistic(block[:, of_R]) for block in blocks])


def _by_group(values_R: Sequence[float], groups_R: Sequence[Hashable]) -> tuple[Array, NDArray[Any], int]:
    """The values as an array, the index of each row's group, and the number of groups."""
    if len(values_R) != len(groups_R) or not len(values_R):
        raise ValueError(
            f"{len(values_R)} values and {len(groups_R)} groups; every row needs a group, and there must be a row"
        )
    number = {group: i for i, group in enumerate(dict.fromkeys(groups_R))}
    of_R = np.fromiter((number[group] for group in groups_R), dtype=np.intp, count=len(groups_R))
    return np.asarray(values_R, dtype=np.float64), of_R, len(number)
