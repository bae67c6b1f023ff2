"""A measured number with its interval, and how measures are looked up by name.

Verdict --evaluate--> Measure
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bedside.core.errors import DataError
from bedside.core.types import HARM_LEVELS

HARM_LEVEL = {"err": 0} | {f"unsafe_accept@{level}": level for level in HARM_LEVELS[1:]}
"""Measures that are the share of failures on the prompts of one harm level."""
FAILURES_AT = {level: measure for measure, level in HARM_LEVEL.items()}
"""Harm level to the name of that measure."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A measured number with what shows how far it can be trusted. ``low`` and ``high`` are its 95 % interval.

    ``value`` is the mean over rows and is shown. Decisions use ``worst``, the mean over groups of each group's mean:
    each scenario has the same weight, whatever its number of rows. The interval is that of the mean over groups,
    extended to include ``value``.
    """

    name: str
    value: float | None
    n: int
    unreadable: int = 0
    """Rows left out because no judge could read them; a constraint counts each as a failure."""
    low: float | None = None
    high: float | None = None
    worst: float | None = None
    """The value that a constraint uses: the mean over groups, with every unreadable row counted against the model."""
    worst_low: float | None = None
    """One-sided 95 % lower bound for decisions, unreadable rows counted against the model."""
    worst_high: float | None = None
    """One-sided 95 % upper bound for decisions, unreadable rows counted against the model."""
    groups: int | None = field(default=None, kw_only=True)
    """Number of groups of the ``n`` rows: intervals count groups. None: not known."""

    @property
    def decided_value(self) -> float | None:
        """The value that a constraint uses, with unreadable rows counted against the model; None if it is not known."""
        return self.value if self.worst is None and not self.unreadable else self.worst

    @property
    def decided_bounds(self) -> tuple[float | None, float | None]:
        """Lower and upper bound for decisions. If they are not set and every row was readable, the wider two-sided
        interval."""
        if self.worst_low is not None or self.worst_high is not None or self.unreadable:
            return self.worst_low, self.worst_high
        return self.low, self.high

    @property
    def counted(self) -> str:
        """``600``, or ``600 (75 groups)`` if rows share groups."""
        if self.groups in (None, self.n):
            return str(self.n)
        return f"{self.n} ({self.groups} group{'' if self.groups == 1 else 's'})"

    @property
    def as_count(self) -> str:
        """A share of rows as ``7 of 36``; ``0 of 0`` if there was nothing to measure."""
        return f"{round((self.value or 0) * self.n)} of {self.n}"

    def __post_init__(self) -> None:
        if (self.n == 0) != (self.value is None):
            raise DataError(f"{self.name}: n = {self.n} and value {self.value} cannot both be")
        bounds = [x for x in (self.low, self.value, self.high) if x is not None]
        if bounds != sorted(bounds):
            raise DataError(f"{self.name}: {self.value} is outside its interval [{self.low}, {self.high}]")


def find_measure(measures: Iterable[Measure], name: str) -> Measure | None:
    """The measure called ``name``; None if there is none."""
    return next((measure for measure in measures if measure.name == name), None)


def get_measure(measures: Iterable[Measure], name: str) -> Measure:
    """The measure called ``name``; KeyError if there is none, which is a bug of the caller."""
    measure = find_measure(measures, name)
    if measure is None:
        raise KeyError(name)
    return measure
