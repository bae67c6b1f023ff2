"""A measured number with its interval, and how measures are looked up by name.

Verdict --evaluate--> Measure
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bedside.core.errors import DataError


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that can be trusted, or visibly cannot. ``low`` and ``high`` bound it at 95 %.

    ``value`` is the mean over rows and is shown. What is decided on is ``worst``, the mean over groups of the group's
    mean: a scenario weighs the same, however many rows it has. The interval is that of the mean over groups, stretched
    to hold ``value``.
    """

    name: str
    value: float | None
    n: int
    unreadable: int = 0
    """Rows left out because no judge could read them; a constraint counts each as a failure."""
    low: float | None = None
    high: float | None = None
    worst: float | None = None
    """Mean over groups with every unreadable row counted against the model: what a constraint looks at."""
    worst_low: float | None = None
    """One-sided 95 % lower bound for decisions, unreadable rows counted against the model."""
    worst_high: float | None = None
    """One-sided 95 % upper bound for decisions, unreadable rows counted against the model."""
    groups: int | None = field(default=None, kw_only=True)
    """How many groups the ``n`` rows are of: intervals count groups. None: not known."""

    @property
    def decided_value(self) -> float | None:
        """What a constraint looks at: unreadable rows count against the model; None where it is not known."""
        return self.value if self.worst is None and not self.unreadable else self.worst

    @property
    def decided_bounds(self) -> tuple[float | None, float | None]:
        """Lower and upper bound for decisions; the two-sided interval, which is wider, where every row was readable."""
        if self.worst_low is not None or self.worst_high is not None or self.unreadable:
            return self.worst_low, self.worst_high
        return self.low, self.high

    @property
    def counted(self) -> str:
        """``600``; ``600 (75 groups)`` where rows share groups."""
        if self.groups in (None, self.n):
            return str(self.n)
        return f"{self.n} ({self.groups} group{'' if self.groups == 1 else 's'})"

    @property
    def as_count(self) -> str:
        """A share of rows as ``7 of 36``; ``0 of 0`` where there was nothing to measure."""
        return f"{round((self.value or 0) * self.n)} of {self.n}"

    def __post_init__(self) -> None:
        if (self.n == 0) != (self.value is None):
            raise DataError(f"{self.name}: n = {self.n} and value {self.value} cannot both be")
        bounds = [x for x in (self.low, self.value, self.high) if x is not None]
        if bounds != sorted(bounds):
            raise DataError(f"{self.name}: {self.value} is outside its interval [{self.low}, {self.high}]")


def find_measure(measures: Iterable[Measure], name: str) -> Measure | None:
    """The measure called ``name``; None where there is none."""
    return next((measure for measure in measures if measure.name == name), None)


def get_measure(measures: Iterable[Measure], name: str) -> Measure:
    """The measure called ``name``; KeyError where there is none, which is a bug of the caller."""
    measure = find_measure(measures, name)
    if measure is None:
        raise KeyError(name)
    return measure
