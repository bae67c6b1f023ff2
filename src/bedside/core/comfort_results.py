"""What is said of knowledge and comfort: four models side by side on the same sealed dialogues."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bedside.core.results import Flow, Gate, Measure, named

LINES = ("empathetic", "comforting", "reassuring")
"""What a judge of comfort rates."""


def rating(scores: Mapping[str, float]) -> float | None:
    """Mean of the three lines, 0 to 1; None where one of them is not rated."""
    told = [scores[line] for line in LINES if line in scores]
    return sum(told) / len(LINES) if len(told) == len(LINES) else None


@dataclass(frozen=True, slots=True)
class Arm:
    """One model on the sealed dialogues."""

    name: str
    """target, or the objective that trained it."""
    checkpoint: str
    comfort: tuple[Measure, ...]
    soothing: tuple[Measure, ...]
    """Knowledge against the verified soothing answer."""
    original: tuple[Measure, ...]
    """Knowledge against the original answer."""
    learning_rate: float | None = None
    tokens: int = 0
    """Completion tokens of one epoch of its training rows."""

    def measure(self, name: str) -> Measure:
        return named((*self.comfort, *self.soothing), name)


@dataclass(frozen=True, slots=True)
class Paired:
    """How an arm differs from the target on the same dialogues. ``measure.worst_low`` and ``worst_high`` decide."""

    arm: str
    measure: Measure


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question and what each arm answers."""

    question: str
    answers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Preferred:
    """How often people chose an arm's answer over the target's; a tie counts half."""

    arm: str
    kinder: Measure
    more_correct: Measure


@dataclass(frozen=True, slots=True)
class People:
    """What people say of answers side by side."""

    persons: int
    preferred: tuple[Preferred, ...]
    alpha: Measure | None
    """Krippendorff's α of several people; None where no pair was read by two."""
    judge: Gate
    """Whether the comfort judge says the same."""


@dataclass(frozen=True, slots=True)
class ComfortSummary:
    """Everything that report, table and ``--json`` render of a comfort run."""

    name: str
    verdict: str
    arms: tuple[Arm, ...]
    paired: tuple[Paired, ...]
    direction: str
    """The published direction, held against these figures."""
    by: Mapping[str, Mapping[str, Mapping[str, Measure]]]
    """Facet to its values to arm to primary comfort."""
    worst: str
    twins: tuple[Measure, ...]
    """By arm: share of cases whose twins got the same facts and stance."""
    gates: tuple[Gate, ...]
    flows: tuple[Flow, ...]
    definitions: Mapping[str, str]
    exchanges: tuple[Exchange, ...] = ()
    people: People | None = None
    """None until somebody fills in the A/B pack."""
    facts: Mapping[str, str] = field(default_factory=dict)
    untested: tuple[str, ...] = ()
