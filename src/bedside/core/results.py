"""Results of runs: candidates and arms with their measures and gates, and the summaries that collect them.

    Verdict --evaluate--> Measure --select--> Gate, Candidate --> CycleReport --> RunSummary
                          Measure --compare--> PairedDifference, Gate, Arm    --> ComfortSummary

One summary holds everything that a report page, a card or ``--json`` shows of a run. A comfort experiment has four
models side by side on the same held-out dialogues.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bedside.core.gates import COMPARISONS, Gate
from bedside.core.measures import Measure, get_measure
from bedside.core.types import Checkpoint

SCHEMA_VERSION = 2
"""Version of result files and of what ``--json`` prints. It rises when a key changes its name or meaning."""
HEADLINES = ("overall", "safety_score", "err", "unsafe_accept@3")
"""Measures that come first wherever results are shown."""
LINES = ("empathetic", "comforting", "reassuring")
"""The scales on which a judge of comfort rates."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint that a cycle may select, with its measures on ``valid``."""

    name: str
    """``cycle-2/dpo``; ``target`` is the original model."""
    checkpoint: Checkpoint
    measures: tuple[Measure, ...]
    feasible: bool = False
    violation: float = 0.0
    """Sum over constraints of how far the point value is beyond its limit."""
    unchecked: tuple[str, ...] = ()
    """Measures of constraints that could not be checked on ``valid``: such a constraint excludes no candidate."""
    training: tuple[Measure, ...] = ()
    """Measures of the same answers by the training judge; empty if the judges were not compared."""

    def measure(self, name: str) -> Measure:
        return get_measure(self.measures, name)


@dataclass(frozen=True, slots=True)
class FilterCounts:
    """Rows kept and dropped at one step, by reason."""

    step: str
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainingCurve:
    """What one training logged: means over at most ``PARTS_OF_A_CURVE`` equal parts of its steps."""

    name: str
    steps: int
    values: Mapping[str, tuple[float | None, ...]]
    """The mean of each part, by logged name; None for a part in which no step logged the value."""


PARTS_OF_A_CURVE = 60


@dataclass(frozen=True, slots=True)
class CycleReport:
    """What happened in one cycle, the candidate from which the next one starts, and why."""

    cycle: int
    candidates: tuple[Candidate, ...]
    selected: str
    why: str
    gates: tuple[Gate, ...]
    filter_counts: tuple[FilterCounts, ...]
    stopped: str = ""
    """Why no cycle follows; empty if one may follow."""
    judge_bias: tuple[Measure, ...] = ()
    """How much more often the training judge declines than the selecting judge, on the answers at the cycle's start,
    in all and by harm level. Empty if one judge does both."""
    curves: tuple[TrainingCurve, ...] = ()
    """What each training of the cycle logged."""

    @property
    def selected_candidate(self) -> Candidate:
        return next(candidate for candidate in self.candidates if candidate.name == self.selected)


@dataclass(frozen=True, slots=True)
class Baseline:
    """A trivial policy, scored on the same prompts."""

    name: str
    measures: tuple[Measure, ...]


@dataclass(frozen=True, slots=True)
class Axes:
    """One policy on the four axes of the joint loop, on the held-out test."""

    name: str
    safe: Measure
    helpful: Measure
    accurate: Measure
    kind: Measure
    front: bool = False
    """True if no other policy is at least as good on all four axes and better on one, by point values."""


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt of the test part, answered before and after."""

    prompt: str
    harm: int | None
    before: str
    after: str
    before_stance: str
    after_stance: str


@dataclass(frozen=True, slots=True)
class SubgroupRate:
    """A part of the test: one harm level, style and principle; None if the prompts have none."""

    harm: int
    style: str | None
    principle: str | None
    right: Measure
    """Share of answers whose stance has the full score at this level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The fields that the summary of every run has. ``RunSummary`` and ``ComfortSummary`` add what they measured."""

    name: str
    verdict: str
    """One sentence."""
    definitions: Mapping[str, str]
    """The meaning of each measure."""
    gates: tuple[Gate, ...]
    """The gates that decide."""
    filter_counts: tuple[FilterCounts, ...] = ()
    """Which rows were kept and dropped, step by step."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Machine, versions, seed, commands: as text."""
    untested: tuple[str, ...] = ()
    """What this run does not show, one sentence per item."""
    rehearsal: bool = False
    """True if it only shows estimates and decided nothing."""
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary(Summary):
    """Everything about an alignment that the report, the card and ``--json`` show."""

    released: str | None
    """Name of the candidate that may be released, or None."""
    selected: str
    before: tuple[Measure, ...]
    after: tuple[Measure, ...]
    by: Mapping[str, Mapping[str, tuple[Measure, ...]]]
    """Measures of the selected checkpoint, by ``source``, ``style`` ... and by its values."""
    baselines: tuple[Baseline, ...]
    comparisons: tuple[Gate, ...]
    """Comparisons with baselines that decide nothing, on all prompts and on contrast partners alone."""
    cycles: tuple[CycleReport, ...]
    mix: Mapping[str, Mapping[str, int]]
    """Number of prompts, by part and harm level."""
    cells: tuple[SubgroupRate, ...] = ()
    """Share of right answers of the selected checkpoint, by level and style, and by level and principle."""
    examples: tuple[Example, ...] = ()
    axes: tuple[Axes, ...] = ()
    """The axes safe, helpful, accurate and kind. Only of the joint loop."""
    pressure: tuple[Measure, ...] = ()
    """How often each policy gives in under pressure. Only of the joint loop."""
    decision: int | None = None
    """The number of this decision on this test; None if nothing was decided."""

    @property
    def candidates(self) -> list[Candidate]:
        """Every candidate of every cycle, once."""
        return list({c.name: c for report in self.cycles for c in report.candidates}.values())

    @property
    def paired(self) -> list[Gate]:
        """Every comparison on the same prompts of the held-out test: those that decide, then the others."""
        return [gate for gate in (*self.gates, *self.comparisons) if gate.kind in COMPARISONS]

    @property
    def policies(self) -> dict[str, tuple[Measure, ...]]:
        """Before, after and the baselines, with their measures on the held-out test."""
        baselines = {baseline.name: baseline.measures for baseline in self.baselines}
        return {"before": self.before, "after": self.after, **baselines}


@dataclass(frozen=True, slots=True)
class Arm:
    """One model on the held-out dialogues."""

    name: str
    """``target``, or the objective that trained it."""
    checkpoint: str
    comfort: tuple[Measure, ...]
    soothing: tuple[Measure, ...]
    """Knowledge compared with the verified soothing answer."""
    original: tuple[Measure, ...]
    """Knowledge compared with the original answer."""
    learning_rate: float | None = None
    tokens: int = 0
    """Completion tokens in one epoch of its training rows."""

    def measure(self, name: str) -> Measure:
        return get_measure((*self.comfort, *self.soothing), name)


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Difference between an arm and the target on the same dialogues. Gates use ``worst_low`` and ``worst_high``."""

    arm: str
    measure: Measure


@dataclass(frozen=True, slots=True)
class ShownExchange:
    """One question, and the answer of each arm."""

    question: str
    answers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ArmPreference:
    """How often people chose an arm's answer over the target's; "same" counts half."""

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
    """Everything about a comfort run that the report, the table and ``--json`` show."""

    arms: tuple[Arm, ...]
    paired: tuple[PairedDifference, ...]
    direction: str
    """Whether the published direction holds in these figures."""
    by: Mapping[str, Mapping[str, Mapping[str, Measure]]]
    """Primary comfort, by metadata key, value and arm."""
    worst: str
    consistency: tuple[Measure, ...]
    """By arm: the share of cases in which all versions of the case got the same facts and stance."""
    exchanges: tuple[ShownExchange, ...] = ()
    people: HumanComparison | None = None
    """None until people have filled in the A/B pack."""
    passed: tuple[str, ...] = ()
    """Arms that passed every gate."""
    decision: int | None = None
    """The number of this decision on this test; None if nothing was decided."""


def rating(scores: Mapping[str, float]) -> float | None:
    """Mean of the three lines, 0 to 1; None if one of them is not rated."""
    return sum(scores[line] for line in LINES) / len(LINES) if all(line in scores for line in LINES) else None
