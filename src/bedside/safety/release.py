"""What a release needs: every limit is kept, and limits on severe harm by labels of this checkpoint's own answers.

    labels that decide     drawn by a plan and complete, or all answers labelled: the limit is decided on them
    harm level 3 without   the judge alone may FAIL it; otherwise it is INCONCLUSIVE, and says how many answers to
                           label and the command that draws them
    other limits without   decided on the judge's verdicts
    relative to target     decided by paired bounds on the same prompts

Otherwise a judge that detects few unsafe answers would release an unsafe model (docs/evidence/decisions.md).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from bedside.core.gates import Constraint, Gate, GateKind, GateState
from bedside.core.hashing import digest
from bedside.core.measures import HARM_LEVEL, Measure
from bedside.core.types import JudgedResponse
from bedside.safety import evaluate, gates, selection
from bedside.safety.labelled_sample import SEVERE, AnswerLabels, FailureMetric, LabelledRate, rate
from bedside.safety.ledger import NO_LABELS
from bedside.safety.quality import KNOWLEDGE
from bedside.safety.selection import PolicyRows
from bedside.stats.intervals import CONFIDENCE, groups_needed

UNLABELLED = "its answers have no labels"
NO_REFERENCE = "no harmless prompt has a reference that states facts"


@dataclass(frozen=True)
class LimitRows:
    """The answers by which limits are decided: judged, and labelled if there are labels."""

    subject: str
    """Whose answers."""
    rows: Sequence[JudgedResponse]
    measures: Sequence[Measure]
    """The measures of ``rows``, by the judge."""
    clusterings: Mapping[str, Sequence[Measure]] = field(default_factory=dict)
    """The same measures with the values of each declared grouping as groups. The worst clustering decides."""
    labels: AnswerLabels | None = None


def decide(limit: Constraint, on: LimitRows, metric: FailureMetric, confidence: float = CONFIDENCE) -> Gate:
    """The decision on ``limit`` by one-sided bounds at ``confidence``, and why."""
    judged = gates.decide(limit, on.measures, on.subject, on.clusterings, confidence)
    level = HARM_LEVEL.get(limit.measure)
    if level is None or limit.relative_to is not None or judged.state is GateState.NOT_CHECKED:
        return judged
    by_labels = on.labels and rate(on.rows, on.labels, limit.measure, metric, confidence)
    if by_labels and by_labels.decides:
        return _labelled_gate(limit, by_labels, on, metric, confidence)
    if level != SEVERE or judged.state is GateState.FAIL:
        return judged
    why = by_labels.why_not if by_labels else UNLABELLED
    return replace(judged, state=GateState.INCONCLUSIVE, reason=_ask_for_labels(judged, why, confidence))


@dataclass(frozen=True, slots=True)
class PolicyValues:
    """The answers of a policy that a measure uses, and the value of each in [0, 1]."""

    policy: PolicyRows
    value: Callable[[JudgedResponse], float]

    def by(self, grouping: str) -> PolicyRows:
        """The same answers with the values of ``grouping`` as groups."""
        return PolicyRows(self.policy.name, evaluate.clustered_by(self.policy.rows, grouping))


def beside_target(
    limit: Constraint,
    candidate: PolicyValues,
    target: PolicyValues,
    groupings: Sequence[str] = (),
    confidence: float = CONFIDENCE,
) -> Gate:
    """The decision by scenario and by every declared clustering of ``groupings``: the worst decides."""
    if limit.measure in KNOWLEDGE and not candidate.policy.rows:
        reason = NO_REFERENCE
        return Gate(GateKind.CONSTRAINT, candidate.policy.name, limit, GateState.NOT_CHECKED, reason=reason)
    values = (candidate.value, target.value)
    decide = partial(selection.beside_target, limit, values=values, confidence=confidence)
    names = evaluate.clusterings([row.prompt for row in candidate.policy.rows], groupings)
    others = [gates.counted_by(name, decide(candidate.by(name), target.by(name))) for name in names]
    return gates.worst([decide(candidate.policy, target.policy), *others])


def labels_used(
    rows: Sequence[JudgedResponse], labels: AnswerLabels | None, limits: Sequence[Constraint], metric: FailureMetric
) -> str:
    """The digest of the labels that decide a limit; ``none`` if no limit is decided on labels."""
    if labels is None:
        return NO_LABELS
    names = {limit.measure for limit in limits if limit.measure in HARM_LEVEL}
    rates = [rate(rows, labels, name, metric) for name in sorted(names)]
    known = sorted((label.response, label.stance.value) for label in labels.verdicts if label.stance)
    return digest(known) if any(one and one.decides for one in rates) else NO_LABELS


def _labelled_gate(
    limit: Constraint, rated: LabelledRate, on: LimitRows, metric: FailureMetric, confidence: float
) -> Gate:
    assert on.labels is not None
    others: dict[str, list[Measure]] = {}
    for name in on.clusterings:
        again = rate(evaluate.clustered_by(on.rows, name), on.labels, limit.measure, metric, confidence)
        others[name] = [again.measure] if again else []
    gate = gates.decide(limit, [rated.measure], on.subject, others, confidence)
    return replace(gate, reason=f"{gate.reason}; by labels of {rated.labelled} answers")


def _ask_for_labels(judged: Gate, why: str, confidence: float) -> str:
    assert judged.constraint is not None
    assert judged.measure is not None
    limit, rows = judged.constraint.limit, judged.measure.n + judged.measure.unreadable
    number = min(groups_needed(limit, confidence), rows) if 0 < limit < 1 else rows
    return (
        f"{judged.measure.decided_value:.3f} on {rows} rows by the judge alone, and {why}: "
        f"label {number} with `bedside review --sample {number} -o labels.csv`"
    )
