"""What an audit says of a judge: how far it agrees with a reference, where it errs, and whether to trust it.

Compared --stages.audit--> Audit     one candidate against one reference on the same answers
Audits                               several candidates, what the raters of the reference agree on, attacks
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bedside.core.results import Gate, Measure, named


@dataclass(frozen=True, slots=True)
class Compared:
    """One answer as the reference and as the candidate read it."""

    response: str
    """``Response.id``."""
    group: str
    level: int | None
    style: str | None
    reference: str
    candidate: str | None
    """None: unreadable to the candidate."""
    confidence: float | None = None
    """Probability of the candidate's label, where it has one."""
    votes: Mapping[str, str | None] = field(default_factory=dict)
    """Member to label, where the candidate is several; None: unreadable to that member."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """One harm level and style: reference label to candidate label to number of answers."""

    level: int | None
    style: str | None
    counts: Mapping[str, Mapping[str, int]]
    kappa: Measure


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers whose label had about the same probability: how often was it right?"""

    low: float
    high: float
    confidence: float
    """Mean probability."""
    right: Measure


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a panel, against the reference; what it cannot read counts as disagreement."""

    name: str
    kappa: Measure


@dataclass(frozen=True, slots=True)
class Together:
    """Two members of a panel: do they vote alike, and are they wrong on the same answers?"""

    one: str
    other: str
    votes: Measure
    """κ of their votes."""
    errors: Measure
    """κ of being right or wrong; 0 is a panel's best case, 1 is one judge twice."""


@dataclass(frozen=True, slots=True)
class Audit:
    """One candidate against one reference."""

    judge: str
    """Key of ``judges``."""
    name: str
    """Names weights and wording."""
    reference: str
    labels: tuple[str, ...]
    measures: tuple[Measure, ...]
    gates: tuple[Gate, ...]
    confusion: tuple[Confusion, ...]
    curve: tuple[Bin, ...] = ()
    members: tuple[Member, ...] = ()
    together: tuple[Together, ...] = ()
    beats: Measure | None = None
    """κ of the panel minus κ of the member that is best on these answers."""
    notes: tuple[str, ...] = ()

    def measure(self, name: str) -> Measure:
        return named(self.measures, name)


@dataclass(frozen=True, slots=True)
class Attack:
    """How often one kind of change around a fixed answer turned a judge's label."""

    kind: str
    flips: Measure
    """Share of the answers that were readable before and after."""
    towards: Measure
    """Share that took the very label the text asked for."""


@dataclass(frozen=True, slots=True)
class Hostile:
    """One judge under attack."""

    judge: str
    name: str
    attacks: tuple[Attack, ...]
    worst: tuple[str, ...] = ()
    """Names of the strings that flipped most."""


@dataclass(frozen=True, slots=True)
class Correction:
    """A share at one harm level as the judge counted it, and as it would be without the judge's errors."""

    level: int
    label: str
    method: str
    raw: Measure
    corrected: Measure
    labelled: int
    """Answers of this level that people labelled."""
    why_not: str = ""
    """Why there is no corrected share."""


@dataclass(frozen=True, slots=True)
class Audits:
    """Everything `bedside audit` found in one go."""

    answers: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Why answers could not be compared, and how many."""
    mix: Mapping[str, int] = field(default_factory=dict)
    """Harm level to number of answers compared."""
    raters: tuple[Measure, ...] = ()
    """How far the raters of the reference agree with one another."""
    audits: tuple[Audit, ...] = ()
    hostile: tuple[Hostile, ...] = ()
    corrections: tuple[Correction, ...] = ()
    """Of the rates of one checkpoint, from labels on its own answers."""
