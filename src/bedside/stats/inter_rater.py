"""Agreement of several raters beyond chance, with or without missing ratings: Fleiss' κ and Krippendorff's α.

    n_ik = number of ratings of item i with label k,  m_i = Σ_k n_ik; items with fewer than two ratings are left out

Fleiss' κ (Fleiss 1971), in the usual extension to unequal m_i:

    κ = 1 − D / E     D = mean over items of the share of its pairs of ratings that differ
                      E = 1 − Σ_k p_k²,  p_k = share of label k among all ratings

Krippendorff's α (Krippendorff 2011), with o_ck = Σ_i n_ik (n_ic − [c = k]) / (m_i − 1) and n_c = Σ_k o_ck:

    α = 1 − D / E     D = Σ o_ck δ²_ck / n       E = Σ n_c n_k δ²_ck / (n (n − 1)) over c ≠ k
    δ² nominal [c ≠ k]        ordinal (Σ_{g=c..k} n_g − (n_c + n_k) / 2)²

Intervals: jackknife by group as in ``agreement.py``; no lower limit is above 1 − high(D) / E, with high(D) the
Clopper–Pearson limit of D.

Axes of arrays: I items, K labels, G groups.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bedside.stats.agreement import LEAST_CHANCE, Agreement, jackknife, tally
from bedside.stats.intervals import Array, clopper_pearson, effective_n


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
    return _agreement(table, _fleiss)


def krippendorff_alpha(table: RatingTable, level: Literal["nominal", "ordinal"] = "nominal") -> Agreement:
    """Krippendorff's α over the items with at least two ratings. ``value`` is None if all ratings are equal."""
    return _agreement(table, _nominal if level == "nominal" else _ordinal)


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


def _agreement(table: RatingTable, disagreement_of: _DisagreementOf) -> Agreement:
    """1 − D / E, with intervals by group."""
    count_IK, groups = _counts(table)
    if not len(count_IK):
        return Agreement(None, 0)
    disagreement = disagreement_of(count_IK)
    if disagreement.expected <= LEAST_CHANCE:
        return Agreement(None, 0, undefined=("all",))

    def highest(quantile: float) -> float:
        """The coefficient if the true disagreement is at its upper Clopper–Pearson limit."""
        n = effective_n(disagreement.observed_I.tolist(), groups, quantile=quantile)
        return 1 - clopper_pearson(min(1.0, disagreement.mean), n, quantile=quantile).high / disagreement.expected

    value = 1 - disagreement.mean / disagreement.expected
    agreement = jackknife(value, len(count_IK), _without_each_group(count_IK, groups, disagreement_of), highest)
    nominal = _fleiss(count_IK)
    return replace(agreement, raw=1 - nominal.mean, chance=1 - nominal.expected)


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
    values = []
    for left_out in dict.fromkeys(groups):
        rest = count_IK[[group != left_out for group in groups]]
        left = disagreement_of(rest) if len(rest) else None
        values.append(1 - left.mean / left.expected if left and left.expected > LEAST_CHANCE else math.nan)
    return np.array(values)
