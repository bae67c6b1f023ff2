"""Results of `bedside attack`: how a policy answers plain prompts, and the same prompts under each attack.

change    a measure under the attack − the same policy's measure on the plain prompts, paired by prompt
gain      a measure of the selected checkpoint − that of the target, both under the attack, paired by prompt
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from bedside.core.display import Tabular, figures
from bedside.core.gates import Gate
from bedside.core.measures import Measure, find_measure, get_measure
from bedside.core.serialize import gates_by_name, to_json

COMPARED = ("overall", "safety_score", "err", "unsafe_accept@3")
"""Measures whose change is shown."""
LOSSES = {"safety_score": -1.0, "err": 1.0, "unsafe_accept@3": 1.0}
"""Measures that order the attacks, with the sign that makes a change a loss. Overall is not one of them, because in it
too many refusals would make up for unsafe answers."""


@dataclass(frozen=True, slots=True)
class PolicyUnderAttack:
    """One policy under one attack."""

    policy: str
    under: tuple[Measure, ...]
    change: tuple[Measure, ...]
    """Of ``COMPARED``."""


@dataclass(frozen=True, slots=True)
class GuardedPolicy:
    """The last policy with the light guard: a classifier of the form of requests, and a reminder if it flags one."""

    flagged: Measure
    """Share of the prompts that it flags."""
    under: tuple[Measure, ...]
    gain: tuple[Measure, ...]
    """Of ``COMPARED``: with the guard − without it, on the same prompts."""


@dataclass(frozen=True, slots=True)
class AttackExample:
    """A prompt for which the attack changed the stance of the last policy; a severe prompt, if there is one."""

    prompt: str
    harm: int | None
    attacked: str
    """The last turn as the policy read it."""
    plain_answer: str
    attacked_answer: str
    plain_stance: str
    attacked_stance: str


@dataclass(frozen=True, slots=True)
class AttackOutcome:
    """One attack."""

    attack: str
    prompts: int
    policies: tuple[PolicyUnderAttack, ...]
    """The original target, then the selected checkpoint, if it is not the target."""
    gain: tuple[Measure, ...] = ()
    """Of ``COMPARED``; empty if the target was selected."""
    gates: tuple[Gate, ...] = ()
    """Limits of ``select.require`` on the last policy's answers under this attack."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Why prompts were left out, with their number."""
    example: AttackExample | None = None
    guard: GuardedPolicy | None = None
    """With a guard that was not trained on this attack; None if no guard was requested."""

    @property
    def loss(self) -> tuple[float, str]:
        """The largest loss of the last policy on one of ``LOSSES``, as a point value, and on which."""
        known = {name: find_measure(self.policies[-1].change, name) for name in LOSSES}
        losses = [(LOSSES[n] * m.value, n) for n, m in known.items() if m is not None and m.value is not None]
        return max(losses, default=(0.0, ""))


@dataclass(frozen=True)
class AttackReport(Tabular):
    """All attacks on a run, the one with the largest loss first."""

    run: str
    selected: str
    prompts: str
    """The prompts: a part of the data, or a file."""
    judge: str
    seed: int
    plain: Mapping[str, tuple[Measure, ...]]
    """Measures on the plain prompts, by policy."""
    attacks: tuple[AttackOutcome, ...]
    notes: tuple[str, ...] = ()
    """What these figures do not show, one sentence per item."""
    guard: GuardedPolicy | None = None
    """What a guard that was trained on every attack costs on the plain prompts."""

    @property
    def gates(self) -> tuple[Gate, ...]:
        return tuple(gate for result in self.attacks for gate in result.gates)

    def caption(self) -> str:
        """The attack with the largest loss for the last policy, and this loss."""
        if not self.attacks or self.attacks[0].loss[0] <= 0:
            return "No attack makes the last policy worse, by point values."
        worst = self.attacks[0]
        change = get_measure(worst.policies[-1].change, worst.loss[1])
        figures = f"{change.value:+.2f} [{change.low:+.2f}, {change.high:+.2f}], n = {change.counted}"
        return f"Worst for {worst.policies[-1].policy}: {worst.attack}, {change.name} {figures}."

    def records(self) -> list[dict[str, Any]]:
        """One row per attack, policy and compared measure."""
        return [
            {"attack": result.attack, "policy": policy.policy, "measure": change.name, **_under(policy, change.name)}
            | {f"change_{key}": value for key, value in figures(change).items()}
            for result in self.attacks
            for policy in result.policies
            for change in policy.change
        ]

    def as_json(self) -> dict[str, Any]:
        """``{"attacks": [{"attack", "policies": [{"policy", "under", "change"}], "gain", "gates" ...}], ...}``"""
        attacks = [to_json(result) | {"gates": gates_by_name(result.gates)} for result in self.attacks]
        parts = {"run": self.run, "selected": self.selected, "prompts": self.prompts, "judge": self.judge}
        rest = {"seed": self.seed, "plain": self.plain, "guard": self.guard, "notes": self.notes}
        return cast("dict[str, Any]", to_json(parts) | to_json(rest) | {"attacks": attacks})


def _under(policy: PolicyUnderAttack, name: str) -> dict[str, Any]:
    measure = find_measure(policy.under, name)
    return {"under": None if measure is None else measure.value}
