"""Agreement of two raters beyond chance: Cohen's κ, weighted and stratified κ, Gwet's AC1, and a difference of two κ.

    κ = 1 − D / E      D = mean observed disagreement,  E = mean disagreement expected by chance from the two marginals
    disagreement of labels i and j out of K:   [i ≠ j] unweighted,   (i − j)² / (K − 1)² quadratic weights

Stratified κ, over strata h of n_h rows:

    κ = 1 − Σ_h n_h D_h / Σ_h n_h E_h  =  Σ_h v_h κ_h / Σ_h v_h,      v_h = n_h E_h

The weight v_h is the disagreement expected by chance, so a stratum counts by how much its κ could show. Where both
raters use only one class, E_h = 0 and κ_h is undefined; that stratum has weight 0 and is listed in ``undefined``.
Weights n_h would need a κ_h there, and inverse variances favour strata whose κ happens to be near 1.

Gwet's AC1 (Gwet 2008) = 1 − D / E with E = 1 − Σ_k π_k (1 − π_k) / (K − 1), π the mean of the two marginals.

Intervals: jackknife by group, t with G − 1 degrees of freedom. A jackknife that sees no disagreement sees no variance,
so no lower limit is above 1 − high(D) / E, with high(D) the Clopper–Pearson limit of D at the effective number of rows.

Axes of arrays: G groups, S strata, K labels; ``table_GSKK`` counts rows by group, stratum, first and second label.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from bedside.stats.intervals import CONFIDENCE, TWO_SIDED, Array, clopper_pearson, effective_n

LEAST_CHANCE = 1e-12
"""Below this disagreement by chance, a coefficient is undefined."""


@dataclass(frozen=True, slots=True)
class Ratings:
    """The labels of two raters for the same rows. ``labels`` lists all labels, in the order for quadratic weights."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    groups: tuple[Hashable, ...]
    """The cluster of each row."""
    labels: tuple[str, ...]
    strata: tuple[Hashable, ...] = ()
    """The stratum of each row, such as its harm level. Only ``stratified_kappa`` needs it."""

    def __post_init__(self) -> None:
        lengths = {len(self.first), len(self.second), len(self.groups), len(self.strata or self.first)}
        if len(lengths) > 1:
            raise ValueError(f"ratings of {sorted(lengths)} rows; both raters must rate the same rows")
        unknown = sorted({*self.first, *self.second} - set(self.labels))
        if unknown:
            raise ValueError(f"label {unknown[0]!r} is none of {', '.join(self.labels)}")


@dataclass(frozen=True, slots=True)
class Agreement:
    """A coefficient of agreement with its intervals. ``value`` is None where both raters use one class only."""

    value: float | None
    n: int
    """Rows of the strata in which the coefficient is defined."""
    low: float | None = None
    """Two-sided 95 % interval, with ``high``."""
    high: float | None = None
    lower_bound: float | None = None
    """One-sided 95 % lower bound, for decisions."""
    raw: float | None = None
    """Observed share of rows with equal labels."""
    chance: float | None = None
    """Share of rows with equal labels that is expected by chance."""
    undefined: tuple[str, ...] = ()
    """Strata that are left out because both raters use one class only there."""


def kappa(ratings: Ratings) -> Agreement:
    """Cohen's unweighted κ over all rows."""
    return _agreement(ratings, _one_stratum(ratings), _unweighted(ratings), _marginal_chance)


def quadratic_kappa(ratings: Ratings) -> Agreement:
    """Cohen's κ with quadratic weights: labels further apart in ``Ratings.labels`` disagree more."""
    return _agreement(ratings, _one_stratum(ratings), _quadratic(ratings), _marginal_chance)


def stratified_kappa(ratings: Ratings) -> Agreement:
    """κ within each stratum, pooled over strata as shown above. ValueError if ``strata`` is missing."""
    if ratings.first and not ratings.strata:
        raise ValueError("stratified_kappa needs the stratum of every row")
    return _agreement(ratings, ratings.strata, _unweighted(ratings), _marginal_chance)


def ac1(ratings: Ratings) -> Agreement:
    """Gwet's AC1. It stays high where raters agree and one class is rare, where κ is low."""
    return _agreement(ratings, _one_stratum(ratings), _unweighted(ratings), _gwet_chance)


def kappa_difference(first: Ratings, second: Ratings) -> Agreement:
    """Stratified κ of ``first`` minus stratified κ of ``second``, paired by row.

    ``Ratings.first`` is the reference in both, so reference, groups and strata must be equal row by row, else
    ValueError. A stratum in which either κ is undefined is left out of both. Intervals: jackknife by group of the
    difference; [−2, 2] where it is undefined. If the jackknife sees no variance, Clopper–Pearson of no event in G
    groups, because raters that never differ in these groups may differ in others.
    """
    if (first.first, first.groups, first.strata) != (second.first, second.groups, second.strata):
        raise ValueError("a paired difference needs the same reference, groups and strata, row by row")
    strata = first.strata or _one_stratum(first)
    cost_KK, names = _unweighted(first), sorted(set(strata), key=str)
    tables = [_tables(ratings, strata, names) for ratings in (first, second)]
    defined_S = np.all([_marginal_chance(table.sum(axis=0), cost_KK) > LEAST_CHANCE for table in tables], axis=0)
    if not defined_S.any():
        return Agreement(None, 0)
    pair = [table[:, defined_S] for table in tables]
    totals = [table.sum(axis=0) for table in pair]
    n, groups = int(totals[0].sum()), len(pair[0])
    value = float(np.subtract(*(_coefficient(total, cost_KK, _marginal_chance) for total in totals)))
    without_G = np.subtract(
        *(_coefficient(total - table, cost_KK, _marginal_chance) for total, table in zip(totals, pair, strict=True))
    )
    if groups < 2 or np.isnan(without_G).any():
        return Agreement(value, n, -2.0, 2.0, -2.0)
    error = _jackknife_error(without_G)
    chance = float(_marginal_chance(totals[0], cost_KK).sum()) / n

    def margin(quantile: float) -> float:
        if error < LEAST_CHANCE:
            return clopper_pearson(0.0, groups, quantile=quantile).high / chance
        return float(special.stdtrit(groups - 1, quantile)) * error

    return Agreement(value, n, value - margin(TWO_SIDED), value + margin(TWO_SIDED), value - margin(CONFIDENCE))


ChanceModel = Callable[[Array, Array], Array]
"""From tables …SKK and costs KK to n_h E_h, the summed disagreement expected by chance in each stratum, …S."""


def _unweighted(ratings: Ratings) -> Array:
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


def _agreement(ratings: Ratings, strata: Sequence[Hashable], cost_KK: Array, chance: ChanceModel) -> Agreement:
    """1 − D / E over the strata with E > 0."""
    names = sorted(set(strata), key=str)
    table_GSKK = _tables(ratings, strata, names)
    defined_S = chance(table_GSKK.sum(axis=0), cost_KK) > LEAST_CHANCE
    undefined = tuple(str(name) for name, defined in zip(names, defined_S, strict=True) if not defined)
    table_GSKK = table_GSKK[:, defined_S]
    if not defined_S.any():
        return Agreement(None, 0, undefined=undefined)
    table_SKK = table_GSKK.sum(axis=0)
    n, value = int(table_SKK.sum()), float(_coefficient(table_SKK, cost_KK, chance))
    without_G = _coefficient(table_SKK - table_GSKK, cost_KK, chance)
    expected = float(chance(table_SKK, cost_KK).sum() / table_SKK.sum())
    agreement = jackknife(
        value, n, without_G, lambda quantile: 1 - _highest_disagreement(table_GSKK, cost_KK, quantile) / expected
    )
    return replace(
        agreement,
        raw=float(np.trace(table_SKK.sum(axis=0))) / n,
        chance=1 - float(chance(table_SKK, _unweighted(ratings)).sum()) / n,
        undefined=undefined,
    )


def _coefficient(table_SKK: Array, cost_KK: Array, chance: ChanceModel) -> Array:
    """1 − Σ n D / Σ n E for tables …SKK; nan where E is 0."""
    observed = (table_SKK * cost_KK).sum(axis=(-1, -2, -3))
    expected = chance(table_SKK, cost_KK).sum(axis=-1)
    return np.asarray(1 - observed / np.where(expected > LEAST_CHANCE, expected, np.nan))


def jackknife(value: float, n: int, without_G: Array, highest: Callable[[float], float]) -> Agreement:
    """``value`` with jackknife intervals, t with G − 1 degrees of freedom.

    ``without_G`` is the coefficient without each group in turn; where one is nan, the interval is [−1, 1].
    ``highest`` maps a confidence level to the highest lower limit that is allowed at this level.
    """
    low, high, bound = -1.0, 1.0, -1.0
    if not np.isnan(without_G).any():
        two_sided, one_sided = (
            float(special.stdtrit(len(without_G) - 1, q)) * _jackknife_error(without_G) for q in (TWO_SIDED, CONFIDENCE)
        )
        low, high = max(-1.0, min(value - two_sided, highest(TWO_SIDED))), min(1.0, value + two_sided)
        bound = max(-1.0, min(value - one_sided, highest(CONFIDENCE)))
    return Agreement(value, n, min(low, value), max(high, value), min(bound, value))


def _jackknife_error(without_G: Array) -> float:
    """Jackknife standard error: sqrt((G − 1) / G · Σ (x_g − mean x)²)."""
    groups = len(without_G)
    return math.sqrt((groups - 1) / groups * float(np.sum((without_G - without_G.mean()) ** 2)))


def _highest_disagreement(table_GSKK: Array, cost_KK: Array, quantile: float) -> float:
    """Upper Clopper–Pearson limit of the mean disagreement, in [0, 1] for each row, at the effective n."""
    table_GKK = table_GSKK.sum(axis=1)
    group_N, first_N, second_N = (
        index_N.repeat(table_GKK[table_GKK > 0].astype(int)) for index_N in np.nonzero(table_GKK)
    )
    values = cost_KK[first_N, second_N].tolist()
    n = effective_n(values, group_N.tolist(), quantile=quantile)
    return clopper_pearson(float(np.mean(values)), n, quantile=quantile).high


def _tables(ratings: Ratings, strata: Sequence[Hashable], names: Sequence[Hashable]) -> Array:
    """Counts of rows by group, stratum, first label and second label, shape GSKK."""
    groups, labels = list(dict.fromkeys(ratings.groups)), ratings.labels
    return tally((ratings.groups, groups), (strata, names), (ratings.first, labels), (ratings.second, labels))


def tally(*axes: tuple[Sequence[Hashable], Sequence[Hashable]]) -> Array:
    """Contingency table of rows. Each axis is given as (the category of each row, all categories in order)."""
    counts = np.zeros([len(categories) for _, categories in axes])
    numbers = [{category: i for i, category in enumerate(categories)} for _, categories in axes]
    rows = (np.array([number[v] for v in values], np.intp) for number, (values, _) in zip(numbers, axes, strict=True))
    np.add.at(counts, tuple(rows), 1)
    return counts


def _one_stratum(ratings: Ratings) -> tuple[Hashable, ...]:
    return ("all",) * len(ratings.first)
