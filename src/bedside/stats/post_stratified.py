"""Estimates the share of failures over scenarios, from labels of some answers that were drawn within strata.

The strata are the judge's verdicts. They are known for all answers, labels only for drawn answers. Each of the n_g rows
of group g has mass 1 / n_g, so every group has weight 1, as in ``stats/intervals.py``. With G groups:

    θ = Σ_s W_s p_s                           W_s = mass of all rows of stratum s / G
    p_s = Σ_g m_g ȳ_g / Σ_g m_g               over its labelled groups; m_g: mass of the group's rows in s, at most 1
    limits of p_s: of a share p_s of Σ_g m_g     Clopper–Pearson for decisions, mid-P for what is shown

Strata that are labelled completely are one stratum. The limits are combined by MOVER (Zou & Donner 2008), with one more
term: the W_s belong to a random draw of G scenarios, so θ varies as a share of N scenarios does:

    high = θ + √(Σ_s W_s² (high_s − p_s)² + (high_N − θ)²)        N = θ (1 − θ) G / (Σ_s W_s p_s² − θ²)

and low likewise. If everything is labelled, this is the bound of ``stats/intervals.py``. A wrong judge makes the
interval wider, but does not lower its coverage (docs/evidence/coverage.md).

Axes of arrays: R rows.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from bedside.stats.intervals import Interval

WHOLE = object()
"""The stratum of everything that is labelled completely."""
Limits = Callable[[float, float], Interval]
"""Limits of a share (first) of a number of groups (second), which may be fractional."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share with its limits."""

    value: float
    interval: Interval


@dataclass
class _Stratum:
    """One stratum's masses, in groups."""

    mass: float = 0.0
    labelled: float = 0.0
    failed: float = 0.0
    """Mass of failures among ``labelled``."""

    @property
    def share(self) -> float:
        return min(1.0, self.failed / self.labelled)


def failure_share(
    values_R: Sequence[float | None], strata_R: Sequence[Hashable], groups_R: Sequence[Hashable], limits: Limits
) -> Estimate | None:
    """The mean over groups of ``values_R`` in [0, 1], None for a row without a label, and its limits.

    None if a stratum has no label at all. ValueError without rows, or unless each has a stratum and a group.

    >>> from functools import partial
    >>> from bedside.stats.intervals import clopper_pearson
    >>> bounds = partial(clopper_pearson, quantile=0.95)
    >>> found = failure_share([1.0] + [0.0] * 99 + [None] * 900, ["accept"] + ["refuse"] * 999, range(1000), bounds)
    >>> round(found.value, 4), round(found.interval.high, 3)
    (0.001, 0.031)
    """
    if not values_R or not len(values_R) == len(strata_R) == len(groups_R):
        raise ValueError(f"{len(values_R)} values, {len(strata_R)} strata, {len(groups_R)} groups: one of each a row")
    strata = _strata(values_R, _wholes_joined(values_R, strata_R), groups_R)
    if any(stratum.labelled == 0 for stratum in strata):
        return None
    return _joined(strata, limits)


def _wholes_joined(values_R: Sequence[float | None], strata_R: Sequence[Hashable]) -> list[Hashable]:
    sampled = {stratum for value, stratum in zip(values_R, strata_R, strict=True) if value is None}
    return [stratum if stratum in sampled else WHOLE for stratum in strata_R]


def _strata(
    values_R: Sequence[float | None], strata_R: Sequence[Hashable], groups_R: Sequence[Hashable]
) -> list[_Stratum]:
    rows_of: defaultdict[Hashable, int] = defaultdict(int)
    for group in groups_R:
        rows_of[group] += 1
    cells: defaultdict[tuple[Hashable, Hashable], list[float | None]] = defaultdict(list)
    for value, stratum, group in zip(values_R, strata_R, groups_R, strict=True):
        cells[stratum, group].append(value)
    strata: defaultdict[Hashable, _Stratum] = defaultdict(_Stratum)
    for (name, group), values in cells.items():
        stratum, mass = strata[name], len(values) / rows_of[group]
        known = [value for value in values if value is not None]
        stratum.mass += mass
        if known:
            stratum.labelled += mass
            stratum.failed += mass * sum(known) / len(known)
    return list(strata.values())


def _joined(strata: Sequence[_Stratum], limits: Limits) -> Estimate:
    groups = sum(stratum.mass for stratum in strata)
    weights = [stratum.mass / groups for stratum in strata]
    theta = min(1.0, sum(w * s.share for w, s in zip(weights, strata, strict=True)))
    down = up = 0.0
    for weight, stratum in zip(weights, strata, strict=True):
        within = limits(stratum.share, stratum.labelled)
        down += (weight * (stratum.share - within.low)) ** 2
        up += (weight * (within.high - stratum.share)) ** 2
    between = sum(w * s.share**2 for w, s in zip(weights, strata, strict=True)) - theta**2
    if between > 1e-12:
        drawn = limits(theta, theta * (1 - theta) * groups / between)
        down += (theta - drawn.low) ** 2
        up += (drawn.high - theta) ** 2
    low, high = max(0.0, theta - math.sqrt(down)), min(1.0, theta + math.sqrt(up))
    return Estimate(theta, Interval(min(low, theta), max(high, theta)))
