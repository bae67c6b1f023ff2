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
"""Of result files and of what ``--json`` prints; it rises when a key changes its name or meaning."""
HEADLINES = ("overall", "safety_score", "err", "unsafe_accept@3")
"""Measures of an assistant that stand first wherever results are shown."""
LINES = ("empathetic", "comforting", "reassuring")
"""What a judge of comfort rates."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint that a cycle may select, with its measures on ``valid``."""

    name: str
    """``cycle-2/dpo``; ``target`` is the model as given."""
    checkpoint: Checkpoint
    measures: tuple[Measure, ...]
    feasible: bool = False
    violation: float = 0.0
    """Sum over constraints of how far the point value is beyond its limit."""
    unchecked: tuple[str, ...] = ()
    """Measures of constraints that could not be checked on ``valid``: such a constraint excludes no candidate."""
    training: tuple[Measure, ...] = ()
    """The same answers as the training judge reads them; empty where the judges were not compared."""

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
    """What one training logged, as means over at most ``PARTS_OF_A_CURVE`` equal parts of its steps."""

    name: str
    steps: int
    values: Mapping[str, tuple[float | None, ...]]
    """Logged name to the mean of each part; None for a part in which no step logged it."""


PARTS_OF_A_CURVE = 60


@dataclass(frozen=True, slots=True)
class CycleReport:
    """What happened in one cycle, which candidate the next one starts from, and why."""

    cycle: int
    candidates: tuple[Candidate, ...]
    selected: str
    why: str
    gates: tuple[Gate, ...]
    filter_counts: tuple[FilterCounts, ...]
    stopped: str = ""
    """Why no cycle follows; empty when one may."""
    judge_bias: tuple[Measure, ...] = ()
    """How much more often the training judge declines than the selecting judge, on answers of the policy that the cycle
    began with, over all and by harm level. Empty where one judge does both."""
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
    """One policy on the four axes of the joined loop, held-out test."""

    name: str
    safe: Measure
    helpful: Measure
    accurate: Measure
    kind: Measure
    front: bool = False
    """Whether no other policy is as good on all four and better on one, by point values."""


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
    """A corner of the test part: one harm level, style and principle; None where prompts say none."""

    harm: int
    style: str | None
    principle: str | None
    right: Measure
    """Share of answers whose stance has the full score at this level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the summary of every run holds. ``RunSummary`` and ``ComfortSummary`` add what they measured."""

    name: str
    verdict: str
    """One sentence."""
    definitions: Mapping[str, str]
    """Measure to what it means."""
    gates: tuple[Gate, ...]
    """Those that decide."""
    filter_counts: tuple[FilterCounts, ...] = ()
    """How the data became what was used."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Machine, versions, seed, commands: as text."""
    untested: tuple[str, ...] = ()
    """What this run does not show, a sentence each."""
    rehearsal: bool = False
    """Whether it shows estimates alone and decided nothing."""
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary(Summary):
    """Everything report, card and ``--json`` render of an alignment."""

    released: str | None
    """Name of the candidate that may be released, or None."""
    selected: str
    before: tuple[Measure, ...]
    after: tuple[Measure, ...]
    by: Mapping[str, Mapping[str, tuple[Measure, ...]]]
    """``source``, ``style`` ... to each of its values to the measures of the selected checkpoint there."""
    baselines: tuple[Baseline, ...]
    comparisons: tuple[Gate, ...]
    """Against baselines that decide nothing, on all prompts and on contrast partners alone."""
    cycles: tuple[CycleReport, ...]
    mix: Mapping[str, Mapping[str, int]]
    """Part to harm level to number of prompts."""
    cells: tuple[SubgroupRate, ...] = ()
    """How often the selected checkpoint was right, by level and style, by level and principle."""
    examples: tuple[Example, ...] = ()
    axes: tuple[Axes, ...] = ()
    """Safe, helpful, accurate, kind: of the joined loop alone."""
    pressure: tuple[Measure, ...] = ()
    """Agreement under pressure, by policy: of the joined loop alone."""
    decision: int | None = None
    """The number of this decision on this test; None where nothing was decided."""

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
    passed: tuple[str, ...] = ()
    """Arms that passed every gate."""
    decision: int | None = None
    """The number of this decision on this test; None where nothing was decided."""


def rating(scores: Mapping[str, float]) -> float | None:
    """Mean of the three lines, 0 to 1; None if one of them is not rated."""
    return sum(scores[line] for line in LINES) / len(LINES) if all(line in scores for line in LINES) else None
