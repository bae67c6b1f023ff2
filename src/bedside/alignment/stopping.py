"""`bedside stopping`: when each stopping rule would have ended a finished run, and what it would have chosen.

A rule sees, after each cycle, Overall on valid of the best candidate so far, b_0 (the target), b_1 ... b_k, and says
whether another cycle follows. It selects the best feasible candidate so far, as ``safety.selection`` does.

    best of N         never before cycle N
    plateau of n      max(b_{k-n+1} ... b_k) − b_{k-n} < least gain: the rule that runs follow (``gates.plateau``)
    first feasible    the best so far meets every constraint, by its value on valid
    expected gain     g_k · r < least gain, with g_k = b_k − b_{k-1} and r = g_k / g_{k-1}, kept in [0, 1]; ½ after one
                      cycle: gains that shrink as they did go on shrinking

A rule can be replayed only as far as the run went. A rule that would have continued has no answer. The rules select by
the values on valid, so the value of the best of many is too good by some of its interval.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

from bedside.core.display import Tabular
from bedside.core.gates import GateState
from bedside.core.measures import Measure
from bedside.core.results import Candidate, RunSummary
from bedside.core.serialize import to_json
from bedside.safety import selection
from bedside.safety.gates import Plateau

PLATEAU, GAIN, MOST = 3, 0.01, 5
"""Defaults of ``gates.plateau``, ``gates.plateau_gain`` and ``align.cycles``."""
StopsAfter = Callable[["_Trajectory"], bool]
"""Whether the run stops after the cycles so far."""


@dataclass(frozen=True, slots=True)
class StoppingResult:
    """One rule on one run."""

    rule: str
    cycle: int
    """The last cycle it would have run, among those of the run."""
    stopped: bool
    """False if it would have continued after the run's last cycle."""
    chosen: str
    overall: Measure
    """Overall of its selection, on valid."""
    feasible: bool
    """True if its selection meets every constraint, by its values on valid."""
    lost: float | None
    """How far overall of its selection is below the best of the whole run, on valid; None if either is not known."""


@dataclass(frozen=True)
class StoppingReport(Tabular):
    """All rules on one run."""

    run: str
    cycles: int
    best_so_far: tuple[float | None, ...]
    """Overall on valid: of the target, then of the best so far after each cycle."""
    ended: str
    """Why the run itself ended; empty if ``align.cycles`` was reached."""
    rules: tuple[StoppingResult, ...]

    def records(self) -> list[dict[str, Any]]:
        """One row per rule."""
        return [
            {
                "rule": result.rule,
                "cycle": result.cycle,
                "stopped": result.stopped,
                "chosen": result.chosen,
                "overall": result.overall.value,
                "low": result.overall.low,
                "high": result.overall.high,
                "n": result.overall.n,
                "feasible": result.feasible,
                "lost": result.lost,
            }
            for result in self.rules
        ]

    def caption(self) -> str:
        why = f" It ended: {self.ended}." if self.ended else ""
        return f"{self.run}: {self.cycles} cycle{'s' if self.cycles != 1 else ''}, values on valid.{why}"

    def as_json(self) -> dict[str, Any]:
        return cast("dict[str, Any]", to_json(self))


def replay(summary: RunSummary, *, plateau: int = PLATEAU, gain: float = GAIN, most: int = MOST) -> StoppingReport:
    """Each rule on the cycles of ``summary``. ``gain``: the least gain that counts; ``most``: N of best of N."""
    rules: dict[str, StopsAfter] = {
        f"best of {most}": lambda so_far: so_far.cycles >= most,
        f"plateau of {plateau}": lambda so_far: _on_plateau(so_far, plateau, gain),
        "first feasible": lambda so_far: so_far.best.feasible,
        f"expected gain below {gain:g}": lambda so_far: _expected_gain(so_far.overalls) < gain,
    }
    whole = _Trajectory.of(summary, len(summary.cycles))
    return StoppingReport(
        summary.name,
        len(summary.cycles),
        tuple(_Trajectory.of(summary, k).value for k in range(len(summary.cycles) + 1)),
        summary.cycles[-1].stopped,
        tuple(_result(rule, stops, summary, whole) for rule, stops in rules.items()),
    )


@dataclass(frozen=True, slots=True)
class _Trajectory:
    """What a rule knows after some cycles."""

    seen: tuple[Candidate, ...]
    overalls: tuple[float, ...]
    """b_0 ... b_k. An unknown one counts as 0, as in the run itself."""

    @classmethod
    def of(cls, summary: RunSummary, cycles: int) -> "_Trajectory":
        seen: dict[str, Candidate] = {}
        target = summary.cycles[0].candidates[0]
        overalls = [_overall(target) or 0.0]
        seen[target.name] = target
        for report in summary.cycles[:cycles]:
            seen |= {candidate.name: candidate for candidate in report.candidates}
            overalls.append(_overall(selection.choose(list(seen.values()))[0]) or 0.0)
        return cls(tuple(seen.values()), tuple(overalls))

    @property
    def cycles(self) -> int:
        return len(self.overalls) - 1

    @property
    def best(self) -> Candidate:
        return selection.choose(self.seen)[0]

    @property
    def value(self) -> float | None:
        return _overall(self.best)


def _result(rule: str, stops: StopsAfter, summary: RunSummary, whole: _Trajectory) -> StoppingResult:
    """The run as far as ``rule`` would have gone."""
    after = [_Trajectory.of(summary, k) for k in range(1, whole.cycles + 1)]
    end = next((so_far for so_far in after if stops(so_far)), None)
    last = end or whole
    lost = None if whole.value is None or last.value is None else whole.value - last.value
    chosen = last.best
    return StoppingResult(
        rule, last.cycles, end is not None, chosen.name, chosen.measure("overall"), chosen.feasible, lost
    )


def _overall(candidate: Candidate) -> float | None:
    return candidate.measure("overall").decided_value


def _on_plateau(so_far: _Trajectory, cycles: int, gain: float) -> bool:
    return Plateau(cycles, gain).gate(so_far.overalls, subject="").state is GateState.FAIL


def _expected_gain(overalls: Sequence[float]) -> float:
    """Expected gain of one more cycle."""
    gains = [after - before for before, after in pairwise(overalls)]
    if len(gains) == 1:
        return gains[0] / 2
    shrinks = gains[-1] / gains[-2] if gains[-2] > 0 else 1.0
    return gains[-1] * min(1.0, max(0.0, shrinks))
