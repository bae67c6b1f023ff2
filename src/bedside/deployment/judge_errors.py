"""What a judge's errors make of a limit: the rate of its verdicts that a kept limit still allows, at upper bounds.

    P(judged to fail) = θ q1 + (1 − θ) f ≤ ε q1 + (1 − ε) f    while θ ≤ ε and f ≤ q1

    θ, ε     share of answers that fail, and its limit
    q1       sensitivity: share judged to fail of answers that fail
    f        1 − specificity: share judged to fail of answers that do not

q1 and f come from labels of some of the judged answers, drawn at random within the judge's verdicts (all of them, or as
`bedside review --sample` draws). With W the share judged to fail, a and b the share that fails by labels of those
judged to fail and of the others,

    q1 = W a / (W a + (1 − W) b)        f = W (1 − a) / (W (1 − a) + (1 − W)(1 − b))

Both at an upper bound: five one-sided Clopper–Pearson bounds over groups share the probability of error.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bedside.stats.intervals import Interval, share_bounds

_BOUNDS = 5


@dataclass(frozen=True, slots=True)
class LabelledVerdict:
    """An answer that a limit is about: what the judge says, and what people say where they were asked."""

    judged: bool
    """It fails, by the judge."""
    fails: bool | None
    """By its label; None where it has none."""
    group: str


@dataclass(frozen=True, slots=True)
class JudgeErrors:
    """Upper bounds of a judge's errors."""

    sensitivity: float
    """At most so large a share of answers that fail is judged to fail."""
    false_failures: float
    """At most so large a share of answers that keep the limit is judged to fail."""
    labelled: int
    answers: int

    def tolerated(self, limit: float) -> float:
        """The largest rate of verdicts that fail while the rate of answers that fail is at most ``limit``."""
        high = max(self.sensitivity, self.false_failures)
        return min(1.0, limit * high + (1 - limit) * self.false_failures)


def judge_errors(rows: Sequence[LabelledVerdict], confidence: float) -> JudgeErrors:
    """All bounds hold together with probability ``confidence``. Without labels they are 1."""
    each = 1 - (1 - confidence) / _BOUNDS
    judged = _bounds([row.judged for row in rows], rows, each).high
    by_verdict = {}
    for verdict in (True, False):
        some = [row for row in rows if row.fails is not None and row.judged is verdict]
        by_verdict[verdict] = _bounds([bool(row.fails) for row in some], some, each)
    failing, kept = by_verdict[True], by_verdict[False]
    return JudgeErrors(
        sensitivity=_share(judged * failing.high, (1 - judged) * kept.low),
        false_failures=_share(judged * (1 - failing.low), (1 - judged) * (1 - kept.high)),
        labelled=sum(row.fails is not None for row in rows),
        answers=len(rows),
    )


def _bounds(claims: Sequence[bool], rows: Sequence[LabelledVerdict], confidence: float) -> Interval:
    return share_bounds([float(c) for c in claims], [r.group for r in rows], confidence) if rows else Interval(0.0, 1.0)


def _share(part: float, rest: float) -> float:
    """``part`` of both; 1 where both are 0."""
    return part / (part + rest) if part + rest > 0 else 1.0
