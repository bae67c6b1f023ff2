"""Agreement beyond chance. Of two raters: Cohen's κ, weighted and stratified κ, Gwet's AC1, and a difference of two κ.
Of several raters: Fleiss' κ and Krippendorff's α.

    κ = 1 − D / E      D = mean observed disagreement,  E = mean disagreement expected by chance from the two marginals
    disagreement of labels i and j out of K:   [i ≠ j] unweighted,   (i − j)² / (K − 1)² quadratic weights

Stratified κ, over strata h of n_h rows:

    κ = 1 − Σ_h n_h D_h / Σ_h n_h E_h  =  Σ_h v_h κ_h / Σ_h v_h,      v_h = n_h E_h

The weight v_h is the disagreement expected by chance, so a stratum counts by how much its κ could show. Where both
raters use only one class, E_h = 0 and κ_h is undefined; that stratum has weight 0 and is listed in ``undefined``.
Weights n_h would need a κ_h there, and inverse variances favour strata whose κ happens to be near 1.

Gwet's AC1 (Gwet 2008) = 1 − D / E with E = 1 − Σ_k π_k (1 − π_k) / (K − 1), π the mean of the two marginals. AC2 is
the same with quadratic weights: E = 1 − (Σ_kl w_kl / K) Σ_k π_k (1 − π_k) / (K − 1), w = 1 − disagreement.

Several raters, with or without missing ratings: n_ik = number of ratings of item i with label k, m_i = Σ_k n_ik; items
with fewer than two ratings are left out. Fleiss' κ (Fleiss 1971), in the usual extension to unequal m_i:

    κ = 1 − D / E     D = mean over items of the share of its pairs of ratings that differ
                      E = 1 − Σ_k p_k²,  p_k = share of label k among all ratings

Krippendorff's α (Krippendorff 2011), with o_ck = Σ_i n_ik (n_ic − [c = k]) / (m_i − 1) and n_c = Σ_k o_ck:

    α = 1 − D / E     D = Σ o_ck δ²_ck / n       E = Σ n_c n_k δ²_ck / (n (n − 1)) over c ≠ k
    δ² nominal [c ≠ k]        ordinal (Σ_{g=c..k} n_g − (n_c + n_k) / 2)²

Intervals: jackknife by group, t with G − 1 degrees of freedom. A jackknife that sees no disagreement sees no variance,
so no lower limit is above 1 − high(D) / E, with high(D) the Clopper–Pearson limit of D at the effective number of rows.
Graded disagreements (quadratic κ of three labels or more, AC2, ordinal α) are not binary. Their jackknife is that of
Fisher's z = artanh(κ), which keeps the skew, and needs no such limit unless all the disagreement is in one group.
Simulated quadratic κ (36 cells: 3 and 5 labels, 30 to 200 rows, κ 0.36 to 0.95): the one-sided bound held in 0.957 of
samples on average, 0.924 in the worst cell; a jackknife of κ itself in 0.904 and 0.831.

Axes of arrays: G groups, S strata, K labels, I items; ``table_GSKK`` counts rows by group, stratum, first and second
label.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import special

from bedside.stats.intervals import CONFIDENCE, TWO_SIDED, Array, clopper_pearson, effective_n

_LEAST_CHANCE = 1e-12
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
    """A coefficient of agreement with its intervals. ``value`` is None if both raters use one class only."""

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


def ac2(ratings: Ratings) -> Agreement:
    """Gwet's AC2 with quadratic weights: AC1 where labels further apart disagree more."""
    return _agreement(ratings, _one_stratum(ratings), _quadratic(ratings), _gwet_chance)


def kappa_difference(first: Ratings, second: Ratings) -> Agreement:
    """Stratified κ of ``first`` minus stratified κ of ``second``, paired by row.

    ``Ratings.first`` is the reference in both, so reference, groups and strata must be equal row by row, else
    ValueError. A stratum in which either κ is undefined is left out of both. Intervals: jackknife by group of the
    difference; [−2, 2] where it is undefined. If the jackknife sees no variance, Clopper–Pearson of no event in G
    groups, because raters that never differ in these groups may differ in others.
    """
    return _paired_difference(first, second, _unweighted(first))


def quadratic_kappa_difference(first: Ratings, second: Ratings) -> Agreement:
    """``kappa_difference`` with quadratic weights."""
    return _paired_difference(first, second, _quadratic(first))


def _paired_difference(first: Ratings, second: Ratings, cost_KK: Array) -> Agreement:
    if (first.first, first.groups, first.strata) != (second.first, second.groups, second.strata):
        raise ValueError("a paired difference needs the same reference, groups and strata, row by row")
    strata = first.strata or _one_stratum(first)
    names = sorted(set(strata), key=str)
    tables = [_tables(ratings, strata, names) for ratings in (first, second)]
    defined_S = np.all([_marginal_chance(table.sum(axis=0), cost_KK) > _LEAST_CHANCE for table in tables], axis=0)
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
        if error < _LEAST_CHANCE:
            return clopper_pearson(0.0, groups, quantile=quantile).high / chance
        return float(special.stdtrit(groups - 1, quantile)) * error

    return Agreement(value, n, value - margin(TWO_SIDED), value + margin(TWO_SIDED), value - margin(CONFIDENCE))


@dataclass(frozen=True, slots=True)
class RatingTable:
    """The labels of several raters for the same items. ``labels`` lists all labels, in the order for ordinal α."""

    items: tuple[tuple[str | None, ...], ...]
    """One tuple for each item, with one label for each rater; None if that rater did not rate the item."""
    groups: tuple[Hashable, ...]
    """The cluster of each item."""
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.items) != len(self.groups):
            raise ValueError(f"{len(self.items)} items and {len(self.groups)} groups; every item needs a group")
        unknown = sorted({label for row in self.items for label in row if label is not None} - set(self.labels))
        if unknown:
            raise ValueError(f"label {unknown[0]!r} is none of {', '.join(self.labels)}")


def fleiss_kappa(table: RatingTable) -> Agreement:
    """Fleiss' κ over the items with at least two ratings. ``value`` is None if all ratings are equal."""
    return _agreement_of_raters(table, _fleiss)


def krippendorff_alpha(table: RatingTable, level: Literal["nominal", "ordinal"] = "nominal") -> Agreement:
    """Krippendorff's α over the items with at least two ratings. ``value`` is None if all ratings are equal."""
    if level == "nominal":
        return _agreement_of_raters(table, _nominal)
    return _agreement_of_raters(table, _ordinal, graded_jackknife)


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
    return np.asarray(n_S * (1 - mixed_S * ((1 - cost_KK).sum() / len(cost_KK))))


def _agreement(ratings: Ratings, strata: Sequence[Hashable], cost_KK: Array, chance: ChanceModel) -> Agreement:
    """1 − D / E over the strata with E > 0."""
    names = sorted(set(strata), key=str)
    table_GSKK = _tables(ratings, strata, names)
    defined_S = chance(table_GSKK.sum(axis=0), cost_KK) > _LEAST_CHANCE
    undefined = tuple(str(name) for name, defined in zip(names, defined_S, strict=True) if not defined)
    table_GSKK = table_GSKK[:, defined_S]
    if not defined_S.any():
        return Agreement(None, 0, undefined=undefined)
    table_SKK = table_GSKK.sum(axis=0)
    n, value = int(table_SKK.sum()), float(_coefficient(table_SKK, cost_KK, chance))
    without_G = _coefficient(table_SKK - table_GSKK, cost_KK, chance)
    expected = float(chance(table_SKK, cost_KK).sum() / table_SKK.sum())
    graded = bool(((cost_KK > 0) & (cost_KK < 1)).any())
    return replace(
        (graded_jackknife if graded else jackknife)(
            value, n, without_G, lambda quantile: 1 - _highest_disagreement(table_GSKK, cost_KK, quantile) / expected
        ),
        raw=float(np.trace(table_SKK.sum(axis=0))) / n,
        chance=1 - float(chance(table_SKK, _unweighted(ratings)).sum()) / n,
        undefined=undefined,
    )


def _coefficient(table_SKK: Array, cost_KK: Array, chance: ChanceModel) -> Array:
    """1 − Σ n D / Σ n E for tables …SKK; nan where E is 0."""
    observed = (table_SKK * cost_KK).sum(axis=(-1, -2, -3))
    expected = chance(table_SKK, cost_KK).sum(axis=-1)
    return np.asarray(1 - observed / np.where(expected > _LEAST_CHANCE, expected, np.nan))


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


def graded_jackknife(value: float, n: int, without_G: Array, highest: Callable[[float], float]) -> Agreement:
    """``value`` with jackknife intervals of Fisher's z = artanh(value), t with G − 1 degrees of freedom.

    As ``jackknife`` where z is not finite (no disagreement, or one group has all of it) or does not vary.
    """
    inside = np.abs([value, *without_G]).max() < 1 - _LEAST_CHANCE  # False if one is nan
    error = _jackknife_error(np.arctanh(without_G)) if inside else 0.0
    if error < _LEAST_CHANCE:
        return jackknife(value, n, without_G, highest)
    z, (two_sided, one_sided) = math.atanh(value), special.stdtrit(len(without_G) - 1, [TWO_SIDED, CONFIDENCE]) * error
    low, high, bound = (float(np.tanh(z + shift)) for shift in (-two_sided, two_sided, -one_sided))
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
    return clopper_pearson(
        float(np.mean(values)), effective_n(values, group_N.tolist(), quantile=quantile), quantile=quantile
    ).high


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


@dataclass(frozen=True, slots=True)
class _Disagreement:
    """Observed and expected disagreement."""

    observed_I: Array
    """Of each item, in [0, 1]."""
    weight_I: Array
    expected: float
    """By chance."""

    @property
    def mean(self) -> float:
        return float(self.observed_I @ self.weight_I / self.weight_I.sum())


_DisagreementOf = Callable[[Array], _Disagreement]
"""From counts of labels by item, IK, of items with at least two ratings."""
_IntervalOf = Callable[[float, int, Array, Callable[[float], float]], Agreement]
"""``jackknife`` or ``graded_jackknife``."""


def _fleiss(count_IK: Array) -> _Disagreement:
    share_K = count_IK.sum(axis=0) / count_IK.sum()
    return _Disagreement(
        _mean_cost_of_pairs(count_IK, 1 - np.eye(len(share_K))), np.ones(len(count_IK)), float(1 - share_K @ share_K)
    )


def _nominal(count_IK: Array) -> _Disagreement:
    return _krippendorff(count_IK, 1 - np.eye(count_IK.shape[1]))


def _ordinal(count_IK: Array) -> _Disagreement:
    """δ² divided by its largest value among labels in use. α is a ratio, so this factor cancels."""
    n_K = count_IK.sum(axis=0)
    below_K = np.cumsum(n_K) - n_K / 2
    square_KK = (below_K[:, None] - below_K) ** 2
    largest = float((square_KK * ((n_K[:, None] > 0) & (n_K > 0))).max())
    return _krippendorff(count_IK, square_KK / largest if largest > 0 else square_KK)


def _krippendorff(count_IK: Array, cost_KK: Array) -> _Disagreement:
    n_K, m_I = count_IK.sum(axis=0), count_IK.sum(axis=1)
    n = float(n_K.sum())
    return _Disagreement(_mean_cost_of_pairs(count_IK, cost_KK), m_I, float(n_K @ cost_KK @ n_K) / (n * (n - 1)))


def _mean_cost_of_pairs(count_IK: Array, cost_KK: Array) -> Array:
    """Mean cost over the pairs of ratings of each item; equal labels cost 0."""
    m_I = count_IK.sum(axis=1)
    return np.asarray(((count_IK @ cost_KK) * count_IK).sum(axis=1) / (m_I * (m_I - 1)))


def _agreement_of_raters(
    table: RatingTable, disagreement_of: _DisagreementOf, interval: _IntervalOf = jackknife
) -> Agreement:
    """1 − D / E, with intervals by group."""
    count_IK, groups = _counts(table)
    if not len(count_IK):
        return Agreement(None, 0)
    disagreement = disagreement_of(count_IK)
    if disagreement.expected <= _LEAST_CHANCE:
        return Agreement(None, 0, undefined=("all",))

    def highest(quantile: float) -> float:
        """The coefficient if the true disagreement is at its upper Clopper–Pearson limit."""
        n = effective_n(disagreement.observed_I.tolist(), groups, quantile=quantile)
        return 1 - clopper_pearson(min(1.0, disagreement.mean), n, quantile=quantile).high / disagreement.expected

    value = 1 - disagreement.mean / disagreement.expected
    nominal = _fleiss(count_IK)
    return replace(
        interval(value, len(count_IK), _without_each_group(count_IK, groups, disagreement_of), highest),
        raw=1 - nominal.mean,
        chance=1 - nominal.expected,
    )


def _counts(table: RatingTable) -> tuple[Array, list[Hashable]]:
    """Counts by item and label, IK, and the group of each item, over the items with at least two ratings."""
    ratings = [(item, label) for item, row in enumerate(table.items) for label in row if label is not None]
    count_IK = tally(
        ([item for item, _ in ratings], range(len(table.items))), ([label for _, label in ratings], table.labels)
    )
    rated = count_IK.sum(axis=1) >= 2
    return count_IK[rated], [group for group, kept in zip(table.groups, rated, strict=True) if kept]


def _without_each_group(count_IK: Array, groups: Sequence[Hashable], disagreement_of: _DisagreementOf) -> Array:
    """The coefficient without each group in turn; nan where it is undefined."""
    rests = (count_IK[[group != left_out for group in groups]] for left_out in dict.fromkeys(groups))
    left = (disagreement_of(rest) if len(rest) else None for rest in rests)
    return np.array([1 - d.mean / d.expected if d and d.expected > _LEAST_CHANCE else math.nan for d in left])
