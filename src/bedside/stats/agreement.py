"""How far two judges of the same rows agree beyond chance. Labels in, numbers out.

    κ = 1 − D / E      D = mean disagreement seen, E = mean disagreement of the two marginals by chance
    disagreement of labels i, j of K:   [i ≠ j] plain      (i − j)² / (K − 1)² quadratic

Level-stratified, strata h of n_h rows:

    κ = 1 − Σ_h n_h D_h / Σ_h n_h E_h  =  Σ_h v_h κ_h / Σ_h v_h,      v_h = n_h E_h

Weights v_h are the disagreements that chance alone would give: a stratum counts by how much its κ could
show. So a stratum in which both judges know one class only (E_h = 0, κ undefined) has weight 0; it is
excluded and named. Weights n_h would need a κ there; inverse variances favour strata whose κ happens to be
near 1. AC1 = 1 − D / E with E = 1 − Σ_k π_k (1 − π_k) / (K − 1), π the mean of both marginals (Gwet 2008).

Limits: jackknife by group, t with groups − 1. A jackknife that sees no disagreement sees no variance, so
the lower limit is never above 1 − high(D) / E with high(D) the Clopper–Pearson bound of D by groups.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from bedside.stats.intervals import CONFIDENCE, TWO_SIDED, Array, clopper_pearson, effective_n

_LEAST_CHANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Ratings:
    """What two judges said of the same rows. ``labels`` in their order, which quadratic weights need."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    groups: tuple[Hashable, ...]
    labels: tuple[str, ...]
    strata: tuple[Hashable, ...] = ()
    """Harm level of each row; needed for ``stratified_kappa`` only."""

    def __post_init__(self) -> None:
        lengths = {len(self.first), len(self.second), len(self.groups), len(self.strata or self.first)}
        if len(lengths) > 1:
            raise ValueError(f"ratings of {sorted(lengths)} rows; both judges rate the same rows")
        unknown = sorted({*self.first, *self.second} - set(self.labels))
        if unknown:
            raise ValueError(f"label {unknown[0]!r} is none of {', '.join(self.labels)}")


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement beyond chance. ``value`` None: undefined, both judges know one class only."""

    value: float | None
    n: int
    """Rows of the strata that count."""
    low: float | None = None
    high: float | None = None
    lower_bound: float | None = None
    """One-sided 95 %, for decisions."""
    raw: float | None = None
    """Share of rows on which both say the same."""
    chance: float | None = None
    """Share of rows on which both would say the same by chance."""
    undefined: tuple[str, ...] = ()
    """Strata left out because both judges know one class only there."""


def kappa(ratings: Ratings) -> Agreement:
    """Cohen's κ over all rows."""
    return _agreement(ratings, _one_stratum(ratings), _plain(ratings), _marginal_chance)


def quadratic_kappa(ratings: Ratings) -> Agreement:
    """Cohen's κ with quadratic weights: Accept taken for Refuse is worse than Accept taken for Caution."""
    return _agreement(ratings, _one_stratum(ratings), _quadratic(ratings), _marginal_chance)


def stratified_kappa(ratings: Ratings) -> Agreement:
    """κ within each stratum, pooled by the disagreement that chance would give; see the top of the file."""
    if ratings.first and not ratings.strata:
        raise ValueError("a stratified kappa needs the stratum of every row")
    return _agreement(ratings, ratings.strata, _plain(ratings), _marginal_chance)


def ac1(ratings: Ratings) -> Agreement:
    """Gwet's AC1: stays high where the judges agree on a rare class, and κ falls."""
    return _agreement(ratings, _one_stratum(ratings), _plain(ratings), _gwet_chance)


def kappa_difference(one: Ratings, other: Ratings) -> Agreement:
    """Stratified κ of ``one`` minus that of ``other``; ``first`` of both is the reference, row by row the same.

    Strata in which either is undefined are left out of both. Limits: jackknife by group of the difference.
    """
    if (one.first, one.groups, one.strata) != (other.first, other.groups, other.strata):
        raise ValueError("a paired difference needs the same reference, groups and strata, row by row")
    strata = one.strata or _one_stratum(one)
    cost_KK, names = _plain(one), sorted(set(strata), key=str)
    tables = [_tables(ratings, strata, names) for ratings in (one, other)]
    both_S = [_marginal_chance(table.sum(axis=0), cost_KK) > _LEAST_CHANCE for table in tables]
    counts_S = both_S[0] & both_S[1]
    first, second = (table[:, counts_S] for table in tables)
    if not counts_S.any():
        return Agreement(None, 0)
    n, groups = int(first.sum()), len(first)

    def apart(lost_GSKK: tuple[Array, Array] | None = None) -> Array:
        gone = lost_GSKK or (np.zeros_like(first[0]), np.zeros_like(second[0]))
        left = [table.sum(axis=0) - lost for table, lost in zip((first, second), gone, strict=True)]
        return _beyond_chance(left[0], cost_KK, _marginal_chance) - _beyond_chance(left[1], cost_KK, _marginal_chance)

    value, without_G = float(apart()), apart((first, second))
    if groups < 2 or np.isnan(without_G).any():
        return Agreement(value, n, -2.0, 2.0, -2.0)
    error = _error(without_G)
    chance = float(_marginal_chance(first.sum(axis=0), cost_KK).sum()) / n
    wide, near = (_reach(error, groups, chance, quantile) for quantile in (TWO_SIDED, CONFIDENCE))
    return Agreement(value, n, value - wide, value + wide, value - near)


def _reach(error: float, groups: int, chance: float, quantile: float) -> float:
    """How far a difference may be off. Two judges that never differed in some groups may yet differ in others."""
    if error < _LEAST_CHANCE:
        return clopper_pearson(0.0, groups, quantile=quantile).high / chance
    return float(special.stdtrit(groups - 1, quantile)) * error


Chance = Callable[[Array, Array], Array]
"""From tables …SKK and costs KK to n_h E_h, the sum of disagreements that chance would give, …S."""


def _plain(ratings: Ratings) -> Array:
    return 1 - np.eye(len(ratings.labels))


def _quadratic(ratings: Ratings) -> Array:
    rank_K = np.arange(len(ratings.labels), dtype=np.float64)
    return np.asarray((rank_K[:, None] - rank_K) ** 2 / max(len(rank_K) - 1, 1) ** 2)


def _marginal_chance(table_SKK: Array, cost_KK: Array) -> Array:
    first_SK, second_SK = table_SKK.sum(axis=-1), table_SKK.sum(axis=-2)
    n_S = np.maximum(first_SK.sum(axis=-1), 1)
    return np.asarray(((first_SK @ cost_KK) * second_SK).sum(axis=-1) / n_S)


def _gwet_chance(table_SKK: Array, cost_KK: Array) -> Array:
    n_S = table_SKK.sum(axis=(-1, -2))
    share_SK = (table_SKK.sum(axis=-1) + table_SKK.sum(axis=-2)) / 2 / np.maximum(n_S, 1)[..., None]
    mixed_S = (share_SK * (1 - share_SK)).sum(axis=-1) / max(len(cost_KK) - 1, 1)
    return np.asarray(n_S * (1 - mixed_S))


def _agreement(ratings: Ratings, strata: Sequence[Hashable], cost_KK: Array, chance: Chance) -> Agreement:
    """1 − D / E over the strata in which chance would disagree at all."""
    names = sorted(set(strata), key=str)
    table_GSKK = _tables(ratings, strata, names)
    counts_S = chance(table_GSKK.sum(axis=0), cost_KK) > _LEAST_CHANCE
    undefined = tuple(str(name) for name, counts in zip(names, counts_S, strict=True) if not counts)
    table_GSKK = table_GSKK[:, counts_S]
    if not counts_S.any():
        return Agreement(None, 0, undefined=undefined)
    table_SKK = table_GSKK.sum(axis=0)
    n, value = int(table_SKK.sum()), float(_beyond_chance(table_SKK, cost_KK, chance))
    without_G = _beyond_chance(table_SKK - table_GSKK, cost_KK, chance)
    found = jackknife(value, n, without_G, lambda quantile: _sure(table_GSKK, cost_KK, chance, quantile))
    return replace(
        found,
        raw=float(np.trace(table_SKK.sum(axis=0))) / n,
        chance=1 - float(chance(table_SKK, _plain(ratings)).sum()) / n,
        undefined=undefined,
    )


def _beyond_chance(table_SKK: Array, cost_KK: Array, chance: Chance) -> Array:
    """1 − Σ n D / Σ n E of tables …SKK; nan where E is 0."""
    seen = (table_SKK * cost_KK).sum(axis=(-1, -2, -3))
    expected = chance(table_SKK, cost_KK).sum(axis=-1)
    return np.asarray(1 - seen / np.where(expected > _LEAST_CHANCE, expected, np.nan))


def jackknife(value: float, n: int, without_G: Array, sure: Callable[[float], float]) -> Agreement:
    """``value`` with limits from its values without each group in turn, t with groups − 1.

    No lower limit is above ``sure``: what it may be, by a quantile, where the disagreement seen is the most it may be.
    """
    low, high, bound = -1.0, 1.0, -1.0
    if not np.isnan(without_G).any():
        wide, near = (
            float(special.stdtrit(len(without_G) - 1, q)) * _error(without_G) for q in (TWO_SIDED, CONFIDENCE)
        )
        low, high = max(-1.0, min(value - wide, sure(TWO_SIDED))), min(1.0, value + wide)
        bound = max(-1.0, min(value - near, sure(CONFIDENCE)))
    return Agreement(value, n, min(low, value), max(high, value), min(bound, value))


def _error(without_G: Array) -> float:
    """Standard error by the jackknife."""
    groups = len(without_G)
    return math.sqrt((groups - 1) / groups * float(np.sum((without_G - without_G.mean()) ** 2)))


def _sure(table_GSKK: Array, cost_KK: Array, chance: Chance, quantile: float) -> float:
    table_SKK = table_GSKK.sum(axis=0)
    expected = float(chance(table_SKK, cost_KK).sum() / table_SKK.sum())
    return 1 - _most_disagreement(table_GSKK, cost_KK, quantile) / expected


def _most_disagreement(table_GSKK: Array, cost_KK: Array, quantile: float) -> float:
    """Clopper–Pearson bound of the mean disagreement, a value in [0, 1] a row, at the effective n."""
    table_GKK = table_GSKK.sum(axis=1)
    group_N, first_N, second_N = (
        index_N.repeat(table_GKK[table_GKK > 0].astype(int)) for index_N in np.nonzero(table_GKK)
    )
    values = cost_KK[first_N, second_N].tolist()
    n = effective_n(values, group_N.tolist(), quantile=quantile)
    return clopper_pearson(float(np.mean(values)), n, quantile=quantile).high


def _tables(ratings: Ratings, strata: Sequence[Hashable], names: Sequence[Hashable]) -> Array:
    """Rows counted by group, stratum, first and second label: GSKK."""
    groups, labels = list(dict.fromkeys(ratings.groups)), ratings.labels
    return tally((ratings.groups, groups), (strata, names), (ratings.first, labels), (ratings.second, labels))


def tally(*axes: tuple[Sequence[Hashable], Sequence[Hashable]]) -> Array:
    """Rows counted by what they say on each axis, which is told as what each row says and all that can be said."""
    counted = np.zeros([len(known) for _, known in axes])
    places = [{name: place for place, name in enumerate(known)} for _, known in axes]
    at = [np.array([place[one] for one in said], dtype=np.intp) for place, (said, _) in zip(places, axes, strict=True)]
    np.add.at(counted, tuple(at), 1)
    return counted


def _one_stratum(ratings: Ratings) -> tuple[Hashable, ...]:
    return ("all",) * len(ratings.first)
