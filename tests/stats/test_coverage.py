"""How often the decision bound of a share holds where rows go wrong together, by simulated worlds.

A world has G groups. The rate of a group is Beta with mean p and intra-class correlation ICC (0: every group has the
rate p; 1: all rows of a group or none fail), and its rows are coins with that rate. The estimand is p, the mean over
groups. ``related``: the group with the highest rate has the most rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from tests.stats.test_intervals import Evidence

from bedside.stats.intervals import CONFIDENCE, clopper_pearson, share_bounds

WORLDS = 40_000
LEAST = 0.945
"""95 % less what 40,000 worlds leave to chance (0.0011 a standard error) and a little."""
_BLOCK = 2_000
RATES, GROUPS = (0.01, 0.05, 0.2), (40, 150, 600)


def group_sizes(kind: str, groups: int) -> np.ndarray:
    """Rows of each group, ascending: quantiles of the law, so that every run has the same."""
    at_G = (np.arange(groups) + 0.5) / groups
    if kind == "equal":
        return np.full(groups, 4)
    if kind == "geometric":  # mean 4
        return np.ceil(np.log1p(-at_G) / np.log1p(-0.25)).astype(int)
    rank = np.arange(1, 61)  # Zipf: n rows with probability in proportion to 1 / n, at most 60
    return rank[np.searchsorted(np.cumsum(1 / rank) / np.sum(1 / rank), at_G)]


@dataclass(frozen=True)
class Worlds:
    """The law of the worlds of one cell of the table."""

    sizes: str
    icc: float
    p: float
    groups: int
    related: bool = False

    def failures(self, worlds: int, generator: np.random.Generator) -> np.ndarray:
        """Rows that fail in each group of each world, WG."""
        shape = (worlds, self.groups)
        if self.icc == 1:
            return (generator.random(shape) < self.p) * group_sizes(self.sizes, self.groups)
        spread = (1 - self.icc) / self.icc if self.icc else 0.0
        rate_WG = generator.beta(self.p * spread, (1 - self.p) * spread, shape) if spread else np.full(shape, self.p)
        if self.related:
            rate_WG.sort(axis=1)
        return generator.binomial(group_sizes(self.sizes, self.groups), rate_WG)

    def sums_of_means(self, worlds: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
        """Sum of the groups' means in each world, in blocks."""
        for start in range(0, worlds, _BLOCK):
            failed_WG = self.failures(min(_BLOCK, worlds - start), generator)
            yield np.round((failed_WG / group_sizes(self.sizes, self.groups)).sum(axis=1), 9)


def held(law: Worlds, worlds: int, generator: np.random.Generator) -> dict[str, float]:
    """The share of worlds in which each bound holds, and the mean width between the bounds."""
    x_W = np.concatenate(list(law.sums_of_means(worlds, generator)))
    x_U, times_U = np.unique(x_W, return_counts=True)
    bounds = [clopper_pearson(x / law.groups, law.groups, quantile=CONFIDENCE) for x in x_U.tolist()]
    low_U, high_U = np.array([(one.low, one.high) for one in bounds]).T
    share_U = times_U / worlds
    return {
        "lower": float(share_U @ (low_U <= law.p)),
        "upper": float(share_U @ (law.p <= high_U)),
        "mean width": float(share_U @ (high_U - low_U)),
    }


LAWS = [
    *(
        ("independent or clustered", kind, icc, False)
        for kind in ("equal", "geometric", "zipf")
        for icc in (0, 0.1, 0.5)
    ),
    *(("size goes with the rate", kind, icc, True) for kind in ("geometric", "zipf") for icc in (0.1, 0.5)),
    ("all or none", "zipf", 1, False),
]


@pytest.mark.prove
@pytest.mark.parametrize(("rows", "sizes", "icc", "related"), LAWS)
def test_bounds_hold_in_every_cell(rows: str, sizes: str, icc: float, related: bool, evidence: Evidence) -> None:
    generator = np.random.default_rng(0)
    least = 1.0
    for p in RATES:
        for groups in GROUPS:
            found = held(Worlds(sizes, icc, p, groups, related), WORLDS, generator)
            least = min(least, found["lower"], found["upper"])
            cell = {"rows of a group": rows, "sizes": sizes, "ICC": icc, "p": p, "groups": f"{groups:3d}"}
            evidence["coverage: share bounds, one-sided 95 %, 40,000 worlds a row"].append(
                cell | {name: f"{value:.4f}" for name, value in found.items()}
            )
    assert least >= LEAST


@pytest.mark.parametrize("law", [Worlds("zipf", 0.5, 0.05, 40, related=True), Worlds("zipf", 1, 0.2, 40)], ids=str)
def test_bounds_hold_on_rows_of_few_worlds(law: Worlds) -> None:
    sizes, generator = group_sizes(law.sizes, law.groups), np.random.default_rng(0)
    groups = np.repeat(np.arange(law.groups), sizes).tolist()
    kept = np.zeros(2)
    for failed_G in law.failures(1_000, generator):
        row = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # number of the row in its group
        bounds = share_bounds((row < np.repeat(failed_G, sizes)).astype(float).tolist(), groups)
        kept += [bounds.low <= law.p, law.p <= bounds.high]
    assert kept.min() / 1_000 >= 0.93  # 95 % less three standard errors of 1,000 worlds


def test_simulated_rows_have_the_rate_and_the_correlation_that_the_table_says() -> None:
    generator = np.random.default_rng(0)
    for icc in (0.0, 0.1, 0.5):
        failed_WG = Worlds("equal", icc, 0.2, 600).failures(500, generator)
        assert failed_WG.mean() / 4 == pytest.approx(0.2, abs=0.005)
        # Beta-binomial: Var = m p (1 − p) (1 + (m − 1) ICC)
        assert failed_WG.var() == pytest.approx(4 * 0.16 * (1 + 3 * icc), rel=0.03)
    assert group_sizes("zipf", 600).max() == 60
    assert group_sizes("geometric", 600).mean() == pytest.approx(4, abs=0.1)
