"""Limits on measures, and what was decided about them.

    Constraint   "unsafe_accept@3 <= 0.05", "degenerate <= target + 0.05": parsed once, where the config is read
    Gate         a constraint, the candidate, arm or judge that it is about, the state, and the reason
    Finding      what `bedside check` says about one topic before a run

State: PASS, FAIL, INCONCLUSIVE (too few rows to say), NOT CHECKED (switched off, or nothing to look at).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from bedside.core.errors import ConfigError
from bedside.core.measures import Measure

TARGET = "target"
_NUMBER = r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"
_TEXT = re.compile(
    rf"\s*(?P<measure>[\w@.]+)\s*(?P<op><=|>=)\s*"
    rf"(?:(?P<number>[+-]?(?:{_NUMBER}))|(?P<relative>{TARGET})(?:\s*(?P<sign>[+-])\s*(?P<offset>{_NUMBER}))?)\s*"
)


class Op(StrEnum):
    """The relation that a measure must have to its limit."""

    AT_MOST = "<="
    AT_LEAST = ">="
    ABOVE = ">"
    """Only of paired comparisons; a config cannot contain it."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """A limit on a measure. With ``relative_to`` the limit is added to that model's value of the same measure."""

    measure: str
    op: Op
    limit: float
    relative_to: str | None = None
    """``target``, or the baseline that is compared. None: the limit is absolute."""

    @classmethod
    def parse(cls, text: str) -> "Constraint":
        """The constraint that ``text`` describes. ConfigError for any other text."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ConfigError(
                f"is {text!r}; should be a measure, <= or >=, and a number: 'err <= 0.15'; or a limit beside the "
                f"target's value: 'err <= {TARGET} + 0.05'"
            )
        part = match.groupdict()
        number = part["number"] or f"{part['sign'] or ''}{part['offset'] or 0}"
        return cls(part["measure"], Op(part["op"]), float(number), part["relative"])

    @property
    def bound(self) -> str:
        """The text to the right of the sign: ``0.05``, ``target + 0.05``, ``always-refuse``."""
        if self.relative_to is None:
            return f"{self.limit:g}"
        sign = "-" if self.limit < 0 else "+"
        return f"{self.relative_to} {sign} {abs(self.limit):g}" if self.limit else self.relative_to

    def __str__(self) -> str:
        return f"{self.measure} {self.op} {self.bound}"

    def excess(self, value: float) -> float:
        """How far ``value`` is beyond the limit; 0 or less if it keeps the limit."""
        return value - self.limit if self.op is Op.AT_MOST else self.limit - value

    def allows(self, value: float) -> bool:
        return value > self.limit if self.op is Op.ABOVE else self.excess(value) <= 0


def judge_gap(measure: str) -> str:
    """The config's name for the gap between two judges' figures of ``measure``."""
    return f"judge_gap.{measure}"


class GateState(StrEnum):
    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_CHECKED = "NOT CHECKED"


class GateKind(StrEnum):
    """What a gate decides."""

    CONSTRAINT = "constraint"
    """A limit of ``select.require``, by one-sided bounds."""
    JUDGE_AGREEMENT = "judge agreement"
    """Agreement of a judge with another judge or with labels, beyond chance."""
    HUMAN_AGREEMENT = "agreement with people"
    """Agreement of the comfort judge with people who compare answers."""
    UNREADABLE = "unreadable"
    """Answers that no judge could read."""
    ERRONEOUS_REFUSALS = "erroneous refusals"
    """Harmless prompts that are not accepted after training."""
    DPO_SHARE = "dpo share"
    """Preference pairs as a share of KTO rows."""
    JUDGE_GAP = "judge gap"
    """Difference of a measure by the training judge and the same measure by the selecting judge."""
    DISPLACEMENT = "likelihood displacement"
    """Whether DPO made the chosen answers less likely."""
    PLATEAU = "plateau"
    """Whether overall still improves from cycle to cycle."""
    PAIRED_COMPARISON = "paired comparison"
    """Better than a baseline on the same prompts."""
    PARTNER_COMPARISON = "paired comparison on contrast partners"
    SUPERIORITY = "superiority"
    """A larger value than the target's, on the same rows."""
    NON_INFERIORITY = "non-inferiority"
    """A value that is not lower than the target's by more than a margin."""
    RED_FLAGS = "red flags"
    """Patients with a red flag who are not sent for help at once: an absolute limit, independent of the target."""
    NO_RISE = "no rise"
    """A value that is not higher than the target's by more than a margin."""


COMPARISONS = (GateKind.PAIRED_COMPARISON, GateKind.PARTNER_COMPARISON)
_ABOUT_THE_SELECTED = (GateKind.CONSTRAINT, *COMPARISONS)
"""Gates of these kinds are shown in tables about one candidate, so their label leaves its name out."""
_WORDS = {
    GateKind.JUDGE_AGREEMENT: "kappa",
    GateKind.HUMAN_AGREEMENT: "kappa with people",
    GateKind.ERRONEOUS_REFUSALS: "err after training",
    GateKind.DPO_SHARE: "dpo_share",
}


@dataclass(frozen=True, slots=True)
class Gate:
    """A limit, what was measured, and the decision."""

    kind: GateKind
    subject: str
    """The candidate, arm or judge that it is about."""
    constraint: Constraint | None
    """None: switched off in the config."""
    state: GateState
    measure: Measure | None = None
    reason: str = ""

    @property
    def name(self) -> str:
        """The name of what is limited, for people: ``err``, ``kappa with people``, ``overall > always-refuse``."""
        if self.kind in COMPARISONS:
            where = ", on contrast partners" if self.kind is GateKind.PARTNER_COMPARISON else ""
            return f"{self.constraint}{where}"
        return _WORDS.get(self.kind) or (self.constraint.measure if self.constraint else self.kind.value)

    @property
    def limit(self) -> str:
        """``<= 0.05``; ``> 0`` for the difference to a baseline; empty if the gate is switched off."""
        if self.kind in COMPARISONS:
            return "> 0"
        return f"{self.constraint.op} {self.constraint.bound}" if self.constraint else ""

    @property
    def limited(self) -> str:
        """``err <= 0.15``, ``overall > always-refuse``."""
        return self.name if self.kind in COMPARISONS else f"{self.name} {self.limit}".strip()

    @property
    def label(self) -> str:
        """The whole gate, for people: ``cycle-1/kto: err after training <= 0.5``, ``overall > always-refuse``."""
        return self.limited if self.kind in _ABOUT_THE_SELECTED else f"{self.subject}: {self.limited}"


@dataclass(frozen=True, slots=True)
class Finding:
    """What `bedside check` says about one topic. FAIL: fix it before a run. INCONCLUSIVE: look at it."""

    name: str
    state: GateState
    reason: str


def as_estimates(gates: Iterable[Gate]) -> list[Gate]:
    """The same gates without decisions: a rehearsal only shows what it measured."""
    return [replace(gate, state=GateState.NOT_CHECKED, reason=_estimate(gate.measure)) for gate in gates]


def _estimate(measure: Measure | None) -> str:
    if measure is None or measure.decided_value is None:
        return "a rehearsal decides nothing"
    return f"{measure.decided_value:.3f} on {measure.n + measure.unreadable} rows; a rehearsal decides nothing"


def passed(gates: Iterable[Gate]) -> bool:
    """True if every gate that was checked passed. An inconclusive gate did not pass."""
    return not {gate.state for gate in gates} & {GateState.FAIL, GateState.INCONCLUSIVE}
