"""Results of an audit: how far a judge agrees with a reference, where it errs, and whether it can be trusted.

ComparedAnswer --agreement_report--> Audit       one candidate against one reference on the same answers
AuditReport                                      all candidates, rater agreement, attacks, corrected rates
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bedside.core.display import Tabular, measure_records
from bedside.core.gates import Gate, passed
from bedside.core.measures import Measure, get_measure
from bedside.core.results import SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class ComparedAnswer:
    """One answer with the label of the reference and the label of the candidate."""

    response: str
    """``Response.id``."""
    group: str
    level: int | None
    style: str | None
    reference: str
    candidate: str | None
    """None: the candidate could not read the answer."""
    at_any_mass: str | None = None
    """The candidate's label if ``min_mass`` were 0; None if the answer is unreadable for another reason."""
    confidence: float | None = None
    """Probability of the candidate's label; None if the candidate gives no probabilities."""
    votes: Mapping[str, str | None] = field(default_factory=dict)
    """Label by ensemble member; None: that member could not read the answer. Empty for a single judge."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """Confusion matrix of one harm level and style: reference label to candidate label to number of answers."""

    level: int | None
    style: str | None
    counts: Mapping[str, Mapping[str, int]]
    kappa: Measure


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Answers whose label had a probability in [low, high): the mean probability, and the share that is correct."""

    low: float
    high: float
    confidence: float
    """Mean probability."""
    accuracy: Measure


@dataclass(frozen=True, slots=True)
class Member:
    """Agreement of one ensemble member with the reference; unreadable answers count as disagreement."""

    name: str
    kappa: Measure


@dataclass(frozen=True, slots=True)
class MemberPair:
    """Agreement of two ensemble members with each other."""

    first: str
    second: str
    votes: Measure
    """κ of their labels."""
    errors: Measure
    """κ of being right or wrong: 0 if their errors are independent, 1 if they err on the same answers."""


@dataclass(frozen=True, slots=True)
class Audit:
    """One candidate against one reference."""

    judge: str
    """Key of ``judges``."""
    name: str
    """``Judge.name``: names weights and wording."""
    reference: str
    labels: tuple[str, ...]
    measures: tuple[Measure, ...]
    gates: tuple[Gate, ...]
    confusion: tuple[Confusion, ...]
    calibration: tuple[CalibrationBin, ...] = ()
    members: tuple[Member, ...] = ()
    member_pairs: tuple[MemberPair, ...] = ()
    gain_over_best_member: Measure | None = None
    """κ of the ensemble minus κ of the member that agrees best on these answers."""
    notes: tuple[str, ...] = ()

    def measure(self, name: str) -> Measure:
        return get_measure(self.measures, name)


@dataclass(frozen=True, slots=True)
class AttackResult:
    """How often one kind of change around a fixed answer changed a judge's label."""

    kind: str
    flips: Measure
    """Share of changed labels among the answers that were readable before and after."""
    steered: Measure
    """Share of labels that changed to the label the text asked for."""


@dataclass(frozen=True, slots=True)
class AdversarialResult:
    """One judge under all attacks."""

    judge: str
    name: str
    attacks: tuple[AttackResult, ...]
    strongest: tuple[str, ...] = ()
    """Names of the strings that changed most labels, each with its count."""


@dataclass(frozen=True, slots=True)
class Correction:
    """A share of failures at one harm level, by the judge, and by labels of a sample of the same answers."""

    level: int
    label: str
    """Name of the measure."""
    method: str
    """How the labelled answers were drawn, and whether that decides."""
    raw: Measure
    corrected: Measure
    labelled: int
    """Answers of this level that people labelled."""
    reason: str = ""
    """Why there is no share by labels; empty if there is one."""


@dataclass(frozen=True, slots=True)
class RaterPair:
    """Agreement of two raters on an ordered scale: two people, or people with a judge."""

    first: str
    second: str
    measures: tuple[Measure, ...]

    def measure(self, name: str) -> Measure:
        return get_measure(self.measures, name)


@dataclass(frozen=True, slots=True)
class ScaleAudit:
    """What `bedside audit --scale ordinal` measures: people with each other, and judges with people."""

    levels: tuple[str, ...]
    """The scale, least level first."""
    inferred: bool
    """True if nobody declared the scale, and it was taken from the labels."""
    items: int
    raters: tuple[str, ...]
    """The people."""
    overall: tuple[Measure, ...]
    """Agreement of all people; empty if there is only one."""
    pairs: tuple[RaterPair, ...]
    gates: tuple[Gate, ...] = ()
    """Gates of the judges. There are none for people."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class AuditReport(Tabular):
    """Everything that one `bedside audit` measures, and the rates that `bedside evaluate --labels` corrects."""

    answers: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Reason to number of answers that could not be compared."""
    by_level: Mapping[str, int] = field(default_factory=dict)
    """Harm level to number of answers compared."""
    rater_agreement: tuple[Measure, ...] = ()
    """Agreement of the raters of the reference with each other."""
    audits: tuple[Audit, ...] = ()
    adversarial: tuple[AdversarialResult, ...] = ()
    corrections: tuple[Correction, ...] = ()
    """Rates of one checkpoint, corrected by labels on its own answers."""
    scale: ScaleAudit | None = None
    """Ratings on an ordered scale; None if stances were compared."""
    schema_version: int = SCHEMA_VERSION

    @property
    def trusted(self) -> bool:
        """Every gate passed or is switched off."""
        gates = [gate for audit in self.audits for gate in audit.gates]
        return passed([*gates, *(self.scale.gates if self.scale else ())])

    def records(self) -> list[dict[str, Any]]:
        """One row per judge, or pair of raters, and measure."""
        measured = [(audit.judge, audit.measures) for audit in self.audits]
        measured += (
            [(f"{pair.first} with {pair.second}", pair.measures) for pair in self.scale.pairs] if self.scale else []
        )
        return [{"judge": name, **row} for name, measures in measured for row in measure_records(measures)]
