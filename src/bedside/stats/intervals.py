"""Intervals for shares, weighted sums of shares, means, and paired differences of two policies on the same rows.

Errors of rows of one group (a scenario: what was asked for, with its paraphrases and partners) are dependent. So all
figures here are of the mean over groups of each group's mean: each of G groups has the same weight.

    ȳ_g = mean of the rows of group g        θ = Σ_g ȳ_g / G        x = Σ_g ȳ_g, not necessarily whole

Bound, one-sided 95 %, for decisions: Clopper–Pearson at x of G. The variance of a mean ȳ in [0, 1] is at most that of a
binary value with the same mean. So the bound holds for any dependence within groups, and for sizes that depend on the
rate:

    low  = Beta⁻¹(0.05; x, G − x + 1)        high = Beta⁻¹(0.95; x + 1, G − x)

It held in at least 94.5 % of 40,000 worlds in every cell of docs/evidence/coverage.md; its price is
width if the rows of a group are in fact independent, which nobody knows beforehand.

Interval, two-sided 95 %: mid-P Clopper–Pearson at the same x and G. It was chosen by exact enumeration over 13 n from
20 to 2,000 and 491 p from 0.01 to 0.5 (required: mean coverage 94–97 %, at least 90 % at every point; repeated in
tests/stats/test_intervals.py):

    mid-P Clopper–Pearson    mean 95.2 %   least 91.8 %   mean by n 95.0–96.1 %   ← used here
    Clopper–Pearson          mean 96.2 %   least 95.0 %   mean by n 95.4–97.7 %   wider than necessary
    Wilson                   mean 95.1 %   least 89.5 %                           fails
    Jeffreys                 mean 95.0 %   least 88.1 %                           fails

Weighted sum θ = Σ w_c θ_c of the shares of cells: MOVER (Zou & Donner 2008), for w_c > 0:

    low = θ − sqrt(Σ w_c² (θ_c − low_c)²)        high = θ + sqrt(Σ w_c² (high_c − θ_c)²)

MOVER alone assumes independent cells, but a group may have rows in several cells; and it is too narrow on the short
side of skewed shares. So the limits of a sum are the wider of MOVER and of one share θ of N groups:

    N = min(number of groups, θ (1 − θ) / variance)
    variance = max(Σ_c w_c² θ_c (1 − θ_c) / G_c, Σ_g (Σ_c w_c (ȳ_gc − θ_c) / G_c)²)

Difference of two policies on the same rows: exact (MOVER of gains − losses) if every group differs by −1, 0 or 1, or if
few groups differ. Otherwise a BCa bootstrap by group, with expanded t of the groups that differ instead of z. With z it
held in 93.2 % of worlds at worst. With t it holds in at least 94.5 % in all settings of docs/evidence/coverage.md but
one: if 3 % of groups change by 1 and the others a little, in 75.9 % of worlds with 40 groups and in 84.9 % with 60. No
bootstrap shows a rare large difference that is absent from the sample.

Axes of arrays: R rows, G groups, C cells, B bootstrap samples.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
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
        """Mean over rows: what is shown."""
        return sum(self.values) / len(self.values)

    @property
    def mean_over_groups(self) -> float:
        """Mean over groups of the group's mean: what is decided on."""
        return mean_over_groups(self.values, self.groups)


def group_means(values_R: Sequence[float], groups_R: Sequence[Hashable]) -> Array:
    """The mean of each group, G, in the order of first rows. ValueError unless every row has a group."""
    y_R, of_R, _ = _by_group(values_R, groups_R)
    return np.asarray(np.bincount(of_R, weights=y_R) / np.bincount(of_R), dtype=np.float64)


def mean_over_groups(values_R: Sequence[float], groups_R: Sequence[Hashable]) -> float:
    """Mean over groups of the group's mean."""
    return float(group_means(values_R, groups_R).mean())


def share_interval(values_R: Sequence[float], groups_R: Sequence[Hashable]) -> Interval:
    """Two-sided 95 % interval for the mean over groups of ``values_R`` in [0, 1].

    Mid-P Clopper–Pearson if the mean of every group is 0 or 1. For other means Clopper–Pearson: replacing a mean m by a
    Bernoulli(m) draw keeps the mean and only adds variance, so the binomial limits are conservative.
    """
    mean_G = group_means(values_R, groups_R)
    limits = mid_p if set(mean_G.tolist()) <= {0, 1} else partial(clopper_pearson, quantile=TWO_SIDED)
    return limits(float(mean_G.mean()), len(mean_G))


def share_bounds(values_R: Sequence[float], groups_R: Sequence[Hashable], confidence: float = CONFIDENCE) -> Interval:
    """Two one-sided decision bounds, by default 95 %, for the mean over groups of ``values_R`` in [0, 1].

    Clopper–Pearson at the sum of the groups' means.
    """
    mean_G = group_means(values_R, groups_R)
    return clopper_pearson(float(mean_G.mean()), len(mean_G), quantile=confidence)


def effective_n(values_R: Sequence[float], groups_R: Sequence[Hashable], *, quantile: float) -> float:
    """Effective number of independent rows of ``values_R``, in [1, R], for an interval that uses t at ``quantile``.

    Korn & Graubard 1998: rows over the design effect of the ratio estimator, times (t_{n−1} / t_{G−1})². Not for
    decisions: at few events the design effect is a guess.
    """
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
    """Two-sided 95 % interval of Σ weight · mean over groups; weights sum to 1, and a group may span cells."""
    return _sum_limits(cells, share_interval, mid_p)


def sum_bounds(cells: Sequence[Cell], confidence: float = CONFIDENCE) -> Interval:
    """Two one-sided decision bounds of Σ weight · mean over groups; weights sum to 1, a group may span cells."""
    of_cell = partial(share_bounds, confidence=confidence)
    return _sum_limits(cells, of_cell, partial(clopper_pearson, quantile=confidence))


def _sum_limits(
    cells: Sequence[Cell],
    of_cell: Callable[[Sequence[float], Sequence[Hashable]], Interval],
    of_share: Callable[[float, float], Interval],
) -> Interval:
    """The wider of MOVER over the cells, and of one share of as many groups as the variance of the sum allows."""
    means = [cell.mean_over_groups for cell in cells]
    parts = [Part(c.weight, mean, of_cell(c.values, c.groups)) for c, mean in zip(cells, means, strict=True)]
    mover = weighted_sum(parts)
    theta = min(1.0, sum(part.weight * part.value for part in parts))
    pooled = of_share(theta, _groups_of_a_sum(cells, theta))
    return Interval(min(mover.low, pooled.low), max(mover.high, pooled.high))


def _groups_of_a_sum(cells: Sequence[Cell], theta: float) -> float:
    """How many groups a share ``theta`` would need to vary as the weighted sum does; at most those that there are."""
    pull: dict[Hashable, float] = defaultdict(float)
    apart = 0.0
    for cell in cells:
        names, mean_G = list(dict.fromkeys(cell.groups)), group_means(cell.values, cell.groups)
        mean, scale = float(mean_G.mean()), cell.weight / len(mean_G)
        apart += cell.weight * scale * max(0.0, mean * (1 - mean))
        for name, value in zip(names, mean_G.tolist(), strict=True):
            pull[name] += scale * (value - mean)
    variance = max(apart, sum(one * one for one in pull.values()))
    return min(theta * (1 - theta) / variance, len(pull)) if variance > 0 else len(pull)


def _reach(part: Part) -> tuple[float, float]:
    """Distance from weight · value to its limits: (down, up)."""
    return part.weight * (part.interval.low - part.value), part.weight * (part.interval.high - part.value)


def mean_interval(
    values_R: Sequence[float], groups_R: Sequence[Hashable], *, quantile: float = TWO_SIDED
) -> Interval | None:
    """Two-sided t interval of the mean over groups of unbounded values, G − 1 degrees of freedom; None if G is 1.

    ``quantile`` 0.975 gives a 95 % interval.
    """
    mean_G = group_means(values_R, groups_R)
    groups = len(mean_G)
    if groups < 2:
        return None
    reach = float(special.stdtrit(groups - 1, quantile)) * float(mean_G.std(ddof=1)) / math.sqrt(groups)
    return Interval(float(mean_G.mean()) - reach, float(mean_G.mean()) + reach)


def clean_groups_needed(limit: float, confidence: float = CONFIDENCE) -> int:
    """Fewest groups without any event that give an upper bound below ``limit``: at 95 %, 59 for 5 %, 149 for 2 %."""
    if not 0 < limit < 1:
        raise ValueError(
            f"no number of groups without events shows a share below {limit}; give a limit between 0 and 1"
        )
    return math.ceil(math.log(1 - confidence) / math.log1p(-limit) - 1e-9)


def groups_needed(limit: float, confidence: float = CONFIDENCE) -> int:
    """Fewest groups with which a share of a fifth of ``limit`` is shown to keep it in 90 % of worlds.

    >>> groups_needed(0.05)
    153
    """
    n = clean_groups_needed(limit, confidence)
    while special.bdtr(_most_failures(n, limit, confidence), n, limit / 5) < 0.9:
        n += 1
    return n


def _most_failures(n: int, limit: float, confidence: float) -> int:
    """The most failures of ``n`` with which the upper bound still keeps ``limit``, at least 0."""
    failures = 0
    while clopper_pearson((failures + 1) / n, n, quantile=confidence).high <= limit:
        failures += 1
    return failures


def bootstrap_allowed(difference_R: Sequence[float], groups_R: Sequence[Hashable]) -> bool:
    """True if there are at least 40 groups, and at least 10 have a mean difference other than the most common one.

    The most common difference is usually 0, and the 10 are groups on which the policies differ. If the policies differ
    by the same amount in every group, resampling sees no variance and cannot be used either.
    """
    mean_G = np.round(group_means(difference_R, groups_R), 9)
    return len(mean_G) >= LEAST_GROUPS and _differing(mean_G) >= LEAST_EVENTS


def _differing(mean_G: Array) -> int:
    """Groups whose mean difference is not the most common one."""
    return len(mean_G) - int(np.unique(np.round(mean_G, 9), return_counts=True)[1].max())


def _is_counted(difference_R: Array, groups_R: Sequence[Hashable]) -> bool:
    """True if every group gains all, loses all or stays the same. Then exact bounds of counts are used."""
    return set(np.round(group_means(difference_R.tolist(), groups_R), 9).tolist()) <= {-1.0, 0.0, 1.0}


def paired_bounds(
    first: Sequence[Cell], second: Sequence[Cell], rng: np.random.Generator, confidence: float = CONFIDENCE
) -> Interval:
    """Two one-sided bounds, by default 95 %, of Σ weight · (mean over groups of first − that of second).

    Both have the same rows. BCa bootstrap by group if every cell allows it, because a cell with few events would make
    the sum look too certain. It is not used if groups differ only by −1, 0 or 1, because its values are then too
    coarse. Otherwise MOVER of gains − losses, each a weighted sum of means with its own bounds.
    """
    differences = [np.subtract(one.values, other.values) for one, other in zip(first, second, strict=True)]
    cells = list(zip(first, differences, strict=True))
    graded = not all(_is_counted(values_R, cell.groups) for cell, values_R in cells)
    if graded and all(bootstrap_allowed(values_R.tolist(), cell.groups) for cell, values_R in cells):
        bounds = bootstrap_bounds(cells, rng, confidence)
        if bounds is not None:
            return bounds
    return _gain_minus_loss(_gain(cells, 1, confidence), _gain(cells, -1, confidence))


def _gain(cells: Sequence[tuple[Cell, Array]], sign: int, confidence: float) -> Part:
    """Mean gain (sign 1) or mean loss (sign −1) of the first policy against the second, with its bounds."""
    gains = [Cell(c.weight, tuple(np.maximum(sign * values_R, 0.0)), c.groups) for c, values_R in cells]
    return Part(1.0, sum(cell.weight * cell.mean_over_groups for cell in gains), sum_bounds(gains, confidence))


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
    differences: Sequence[tuple[Cell, Array]], rng: np.random.Generator, confidence: float = CONFIDENCE
) -> Interval | None:
    """Two one-sided bounds of Σ weight · mean over groups of a difference by row: BCa bootstrap by group.

    ``differences``: cells with the difference of each of their rows. A group that spans cells is drawn whole. None if a
    sample has no group of some cell: use exact bounds then.
    """
    number = {
        group: i for i, group in enumerate(dict.fromkeys(group for cell, _ in differences for group in cell.groups))
    }
    weight_C, value_CG, there_CG = _by_cell_and_group(differences, number)
    sample_B = np.concatenate(
        [_drawn(weight_C, times_BG @ value_CG.T, times_BG @ there_CG.T) for times_BG in _times_drawn(len(number), rng)]
    )
    total_C, groups_C = value_CG.sum(axis=1), there_CG.sum(axis=1)
    without_G = _drawn(weight_C, (total_C[:, None] - value_CG).T, (groups_C[:, None] - there_CG).T)
    if not (np.isfinite(sample_B).all() and np.isfinite(without_G).all()):
        return None
    differing = min(_differing(value_G[there_G > 0]) for value_G, there_G in zip(value_CG, there_CG, strict=True))
    reach = expanded_t(differing, confidence)
    return _bca(float(weight_C @ (total_C / groups_C)), sample_B, without_G, reach)


def expanded_t(differing: int, confidence: float) -> float:
    """The value used instead of z if ``differing`` groups differ: √(n / (n − 1)) t (Hesterberg 2015)."""
    n = max(differing, 2)
    return math.sqrt(n / (n - 1)) * float(special.stdtrit(n - 1, confidence))


def _by_cell_and_group(
    differences: Sequence[tuple[Cell, Array]], number: Mapping[Hashable, int]
) -> tuple[Array, Array, Array]:
    """The weight of each cell, C; the mean difference of each group in each cell, CG, and 1 where it has rows, CG."""
    value_CG, there_CG = np.zeros((2, len(differences), len(number)))
    for c, (cell, values_R) in enumerate(differences):
        columns = [number[group] for group in dict.fromkeys(cell.groups)]
        value_CG[c, columns] = group_means(values_R.tolist(), cell.groups)
        there_CG[c, columns] = 1.0
    return np.array([cell.weight for cell, _ in differences]), value_CG, there_CG


def _times_drawn(groups: int, rng: np.random.Generator) -> Iterator[Array]:
    """How often each group is drawn in each sample, BG: in blocks, because all samples may not fit in memory."""
    for _ in range(RESAMPLES // _BLOCK):
        yield rng.multinomial(groups, np.full(groups, 1 / groups), size=_BLOCK).astype(np.float64)


def _drawn(weight_C: Array, sum_BC: Array, groups_BC: Array) -> Array:
    """Σ weight · mean of each sample, B; not finite where a sample has no group of a cell."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((sum_BC / groups_BC) @ weight_C)


def _bca(observed: float, sample_B: Array, without_G: Array, reach: float) -> Interval:
    """Bias-corrected and accelerated percentiles (Efron 1987) at ±``reach``: z0 from the samples, a by jackknife."""
    below = float(np.mean(sample_B < observed) + np.mean(sample_B == observed) / 2)
    z0 = float(special.ndtri(np.clip(below, 1 / len(sample_B), 1 - 1 / len(sample_B))))
    pull_G = without_G.mean() - without_G
    spread = float(np.sum(pull_G**2)) ** 1.5
    a = float(np.sum(pull_G**3)) / (6 * spread) if spread > 0 else 0.0
    ends = []
    for z in (-reach, reach):
        slope = 1 - a * (z0 + z)  # not above 0: the far end is beyond every sample, and would come back at the other
        shifted = z0 + (z0 + z) / slope if slope > 0 else math.copysign(math.inf, z)
        ends.append(float(np.quantile(sample_B, special.ndtr(shifted))))
    return Interval(min(ends), max(ends))


def _by_group(values_R: Sequence[float], groups_R: Sequence[Hashable]) -> tuple[Array, NDArray[Any], int]:
    """The values as an array, the index of each row's group, and the number of groups."""
    if len(values_R) != len(groups_R) or not len(values_R):
        raise ValueError(
            f"{len(values_R)} values and {len(groups_R)} groups; every row needs a group, and there must be a row"
        )
    number = {group: i for i, group in enumerate(dict.fromkeys(groups_R))}
    of_R = np.fromiter((number[group] for group in groups_R), dtype=np.intp, count=len(groups_R))
    return np.asarray(values_R, dtype=np.float64), of_R, len(number)
