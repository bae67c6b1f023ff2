"""How far several raters of the same items agree beyond chance, ratings missing or not. Labels in, numbers out.

    n_ik = ratings of item i that say k,  m_i = ratings of item i; items with one rating say nothing

Fleiss' κ (Fleiss 1971), items of unequal m_i as in its usual extension:

    κ = 1 − D / E     D = mean over items of the share of its pairs of ratings that differ
                      E = 1 − Σ_k p_k²,  p_k = share of all ratings that say k

Krippendorff's α (Krippendorff 2011), with o_ck = Σ_i n_ik (n_ic − [c = k]) / (m_i − 1) and n_c = Σ_k o_ck:

    α = 1 − D / E     D = Σ o_ck δ²_ck / n       E = Σ n_c n_k δ²_ck / (n (n − 1)) over c ≠ k
    δ² nominal [c ≠ k]        ordinal (Σ_{g=c..k} n_g − (n_c + n_k) / 2)²

Limits: jackknife by group as in ``agreement``, and no lower limit above what D may be by Clopper–Pearson.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bedside.stats.agreement import Agreement, jackknife, tally
from bedside.stats.intervals import Array, clopper_pearson, effective_n

Level = Literal["nominal", "ordinal"]
_LEAST_CHANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Panel:
    """What several raters said of the same items. ``labels`` in their order, which ordinal α needs."""

    items: tuple[tuple[str | None, ...], ...]
    """A row an item, a place a rater; None where that rater did not rate it."""
    groups: tuple[Hashable, ...]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.items) != len(self.groups):
            raise ValueError(f"{len(self.items)} items and {len(self.groups)} groups; need one group an item")
        unknown = sorted({label for row in self.items for label in row if label is not None} - set(self.labels))
        if unknown:
            raise ValueError(f"label {unknown[0]!r} is none of {', '.join(self.labels)}")


def fleiss_kappa(panel: Panel) -> Agreement:
    """Fleiss' κ over the items with two ratings or more. ``value`` None: every rating says the same."""
    return _agreement(panel, _fleiss)


def krippendorff_alpha(panel: Panel, level: Level = "nominal") -> Agreement:
    """Krippendorff's α over the items with two ratings or more. ``value`` None: every rating says the same."""
    return _agreement(panel, _nominal if level == "nominal" else _ordinal)


@dataclass(frozen=True, slots=True)
class _Disagreement:
    """Seen in each item, in [0, 1]; what an item weighs; and what chance would give."""

    seen_I: Array
    weight_I: Array
    chance: float

    @property
    def mean(self) -> float:
        return float(self.seen_I @ self.weight_I / self.weight_I.sum())


Measure = Callable[[Array], _Disagreement]
"""From counts of labels by item, IK, each item rated twice or more."""


def _fleiss(count_IK: Array) -> _Disagreement:
    share_K = count_IK.sum(axis=0) / count_IK.sum()
    return _Disagreement(_pairs(count_IK, _differ(len(share_K))), np.ones(len(count_IK)), float(1 - share_K @ share_K))


def _nominal(count_IK: Array) -> _Disagreement:
    return _krippendorff(count_IK, _differ(count_IK.shape[1]))


def _ordinal(count_IK: Array) -> _Disagreement:
    """δ² scaled to 1 for the two outermost labels in use: κ and α are ratios, so a scale changes nothing."""
    n_K = count_IK.sum(axis=0)
    below_K = np.cumsum(n_K) - n_K / 2
    square_KK = (below_K[:, None] - below_K) ** 2
    most = float((square_KK * ((n_K[:, None] > 0) & (n_K > 0))).max())
    return _krippendorff(count_IK, square_KK / most if most > 0 else square_KK)


def _krippendorff(count_IK: Array, cost_KK: Array) -> _Disagreement:
    n_K, m_I = count_IK.sum(axis=0), count_IK.sum(axis=1)
    n = float(n_K.sum())
    return _Disagreement(_pairs(count_IK, cost_KK), m_I, float(n_K @ cost_KK @ n_K) / (n * (n - 1)))


def _pairs(count_IK: Array, cost_KK: Array) -> Array:
    """Mean cost of two different ratings of an item; a label with itself costs nothing."""
    m_I = count_IK.sum(axis=1)
    return np.asarray(((count_IK @ cost_KK) * count_IK).sum(axis=1) / (m_I * (m_I - 1)))


def _differ(labels: int) -> Array:
    return 1 - np.eye(labels)


def _agreement(panel: Panel, measure: Measure) -> Agreement:
    """1 − D / E, with limits by group."""
    count_IK, groups = _counts(panel)
    if not len(count_IK):
        return Agreement(None, 0)
    found = measure(count_IK)
    if found.chance <= _LEAST_CHANCE:
        return Agreement(None, 0, undefined=("all",))
    value = 1 - found.mean / found.chance
    without_G = _without_each_group(count_IK, groups, measure)
    nominal = _fleiss(count_IK)
    told = jackknife(value, len(count_IK), without_G, lambda quantile: _sure(found, groups, quantile))
    return replace(told, raw=1 - nominal.mean, chance=1 - nominal.chance)


def _counts(panel: Panel) -> tuple[Array, list[Hashable]]:
    """Ratings by item and label, IK, and the groups, of the items that were rated twice or more."""
    said = [(item, label) for item, row in enumerate(panel.items) for label in row if label is not None]
    items, labels = range(len(panel.items)), panel.labels
    count_IK = tally(([item for item, _ in said], items), ([label for _, label in said], labels))
    rated = count_IK.sum(axis=1) >= 2
    return count_IK[rated], [group for group, kept in zip(panel.groups, rated, strict=True) if kept]


def _without_each_group(count_IK: Array, groups: Sequence[Hashable], measure: Measure) -> Array:
    """The value without each group in turn; nan where it is undefined then."""
    number = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    of_I = np.array([number[group] for group in groups])
    values = []
    for group in range(len(number)):
        rest = count_IK[of_I != group]
        left = measure(rest) if len(rest) else None
        values.append(1 - left.mean / left.chance if left and left.chance > _LEAST_CHANCE else math.nan)
    return np.array(values)


def _sure(found: _Disagreement, groups: Sequence[Hashable], quantile: float) -> float:
    """What the value is where the disagreement is the most it may be."""
    n = effective_n(found.seen_I.tolist(), groups, quantile=quantile)
    return 1 - clopper_pearson(min(1.0, found.mean), n, quantile=quantile).high / found.chance
