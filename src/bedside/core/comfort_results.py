"""Results of a comfort experiment: four models side by side on the same held-out dialogues."""

from collections.abc import Mapping
from dataclasses import dataclass

from bedside.core.gates import Gate
from bedside.core.measures import Measure, get_measure
from bedside.core.results import Summary

LINES = ("empathetic", "comforting", "reassuring")
"""What a judge of comfort rates."""


def rating(scores: Mapping[str, float]) -> float | None:
    """Mean of the three lines, 0 to 1; None if one of them is not rated."""
    return sum(scores[line] for line in LINES) / len(LINES) if all(line in scores for line in LINES) else None


@dataclass(frozen=True, slots=True)
class Arm:
    """One model on the held-out dialogues."""

    name: str
    """``target``, or the objective that trained it."""
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
        return get_measure((*self.comfort, *self.soothing), name)


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Difference of an arm to the target on the same dialogues. Gates use its ``worst_low`` and ``worst_high``."""

    arm: str
    measure: Measure


@dataclass(frozen=True, slots=True)
class ShownExchange:
    """One question, and the answer of each arm."""

    question: str
    answers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ArmPreference:
    """How often people chose an arm's answer over the target's; same counts half."""

    arm: str
    kinder: Measure
    more_correct: Measure


@dataclass(frozen=True, slots=True)
class HumanComparison:
    """People's choices between answers side by side."""

    persons: int
    preferred: tuple[ArmPreference, ...]
    alpha: Measure | None
    """Krippendorff's α of several people; None if no pair was rated by two."""
    judge: Gate
    """Whether the comfort judge agrees with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComfortSummary(Summary):
    """A comfort run as the report, the table and ``--json`` show it."""

    arms: tuple[Arm, ...]
    paired: tuple[PairedDifference, ...]
    direction: str
    """Whether the published direction holds in these figures."""
    by: Mapping[str, Mapping[str, Mapping[str, Measure]]]
    """Metadata key to value to arm to primary comfort."""
    worst: str
    consistency: tuple[Measure, ...]
    """By arm: the share of cases whose counterparts all got the same facts and stance."""
    exchanges: tuple[ShownExchange, ...] = ()
    people: HumanComparison | None = None
    """None until people have filled in the A/B pack."""
