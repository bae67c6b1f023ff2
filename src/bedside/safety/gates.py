"""Named limits that stop a run, skip a step or raise an alarm. Figures in, a Gate out.

    kappa          the judge that trains against the judge that selects, on the same answers, level by level
    unreadable     share of answers no judge could read
    err            erroneous refusals after training
    dpo_share      pairs as a share of KTO rows
    judge_gap      training judge against selecting judge on the same valid answers
    displacement   log p(chosen) must not fall while DPO pushes rejected down
    plateau        no gain over some cycles

A gate whose limit is None, or for which there is nothing to look at, is NOT CHECKED and says why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bedside.core.results import Gate, GateState, Measure
from bedside.core.types import STANCES, Judged
from bedside.stats.agreement import Ratings, stratified_kappa
from bedside.stats.intervals import mean_interval
from bedside.stats.measures import mean


def kappa(training: Sequence[Judged], selecting: Sequence[Judged], least: float | None) -> Gate:
    """Does the training judge agree with the selecting one? Decided by the one-sided 95 % lower bound."""
    if least is None:
        return _off("kappa")
    both = [(a, b) for a, b in zip(training, selecting, strict=True) if a.stance and b.stance]
    found = stratified_kappa(
        Ratings(
            first=tuple(a.stance.value for a, _ in both if a.stance),
            second=tuple(b.stance.value for _, b in both if b.stance),
            groups=tuple(a.prompt.cluster for a, _ in both),
            labels=STANCES,
            strata=tuple(a.prompt.harm for a, _ in both),
        )
    )
    unreadable = len(training) - len(both)
    limit = f">= {least:g}"
    if found.value is None or found.lower_bound is None:
        reason = f"both judges know one stance only on {len(both)} answers, so kappa is undefined"
        return Gate("kappa", GateState.INCONCLUSIVE, limit, Measure("kappa", None, 0, unreadable), reason)
    measure = Measure("kappa", found.value, found.n, unreadable, found.low, found.high)
    state = GateState.PASS if found.lower_bound >= least else GateState.FAIL
    said = f"the judges agree beyond chance, within harm levels, at a 95 % lower bound of {found.lower_bound:.2f}"
    reason = f"{said} on {found.n} answers"
    return Gate("kappa", state, limit, measure, reason)


def no_kappa(reason: str) -> Gate:
    return Gate("kappa", GateState.NOT_CHECKED, reason=reason)


def unreadable(measure: Measure, most: float | None) -> Gate:
    """Stops a run in which the judge cannot read what it is shown: every rate would be about the rest."""
    return _at_most("unreadable", measure, most, f"of {measure.n} answers could not be read")


def err(measure: Measure, most: float | None) -> Gate:
    """Stops a run whose policy refuses more harmless prompts than this after training."""
    return _at_most("err after training", measure, most, f"of {measure.n} harmless prompts were not accepted")


def dpo_share(pairs: int, thumbs: int, least: float | None) -> Gate:
    """DPO is skipped on too few pairs."""
    if least is None:
        return _off("dpo_share")
    share = pairs / thumbs if thumbs else 0.0
    state = GateState.PASS if thumbs and share >= least else GateState.FAIL
    return Gate("dpo_share", state, f">= {least:g}", None, f"{pairs} pairs to {thumbs} KTO rows ({share:.2f})")


def judge_gap(training: Measure, selecting: Measure, most: float | None) -> Gate:
    """How far the training judge's figure is from the selecting judge's, on the same answers."""
    name = f"judge_gap {training.name}"
    if most is None:
        return _off(name)
    if training.value is None or selecting.value is None:
        return Gate(name, GateState.NOT_CHECKED, f"<= {most:g}", None, "one judge read none of these answers")
    gap = abs(training.value - selecting.value)
    reason = f"{training.value:.3f} by the training judge, {selecting.value:.3f} by the selecting one, n = {training.n}"
    return Gate(name, GateState.PASS if gap <= most else GateState.FAIL, f"<= {most:g}", None, reason)


def displacement(change_nats: Sequence[float], groups: Sequence[str]) -> Gate:
    """Alarm where DPO made the chosen answers less likely. ``change_nats``: per token, after minus before."""
    name, limit = "displacement", ">= 0"
    if not change_nats:
        return Gate(name, GateState.NOT_CHECKED, limit, None, "no DPO in this cycle")
    measure = mean("log p(chosen) change", change_nats, groups, mean_interval)
    if measure.low is None or measure.high is None:
        return Gate(name, GateState.INCONCLUSIVE, limit, None, "all pairs are of one group")
    state = GateState.FAIL if measure.high < 0 else GateState.PASS if measure.low >= 0 else GateState.INCONCLUSIVE
    return Gate(name, state, limit, measure, f"log p(chosen) changed by {measure.value:+.3f} nats a token in DPO")


@dataclass(frozen=True, slots=True)
class Plateau:
    """Overall of what each cycle carried; a gain counts from ``gain`` on, over ``cycles`` cycles."""

    cycles: int | None
    gain: float

    def gate(self, overalls: Sequence[float]) -> Gate:
        """``overalls``: the target's first, then one a cycle. FAIL: no gain, no further cycle."""
        if self.cycles is None:
            return _off("plateau")
        limit = f"gain >= {self.gain:g} over {self.cycles} cycles"
        if len(overalls) <= self.cycles:
            return Gate("plateau", GateState.NOT_CHECKED, limit, None, f"cycles so far: {len(overalls) - 1}")
        gained = max(overalls[-self.cycles :]) - overalls[-self.cycles - 1]
        state = GateState.PASS if gained >= self.gain else GateState.FAIL
        return Gate("plateau", state, limit, None, f"overall gained {gained:+.3f} over the last {self.cycles} cycles")


def failed(gates: Sequence[Gate], *names: str) -> Gate | None:
    """The first gate of these names that failed."""
    return next((g for g in gates if g.name in names and g.state is GateState.FAIL), None)


def conditions(limits: Mapping[str, float | None]) -> list[str]:
    """Limits as the text of constraints: ``{"kl": 2.0}`` says ``kl <= 2``; None says nothing."""
    return [f"{name} <= {limit:g}" for name, limit in limits.items() if limit is not None]


def _at_most(name: str, measure: Measure, most: float | None, said: str) -> Gate:
    """By the point value: these gates stop waste, they prove nothing."""
    if most is None:
        return _off(name)
    limit = f"<= {most:g}"
    if measure.value is None:
        return Gate(name, GateState.NOT_CHECKED, limit, measure, "no rows")
    state = GateState.PASS if measure.value <= most else GateState.FAIL
    return Gate(name, state, limit, measure, f"{measure.value:.1%} {said}")


def _off(name: str) -> Gate:
    return Gate(name, GateState.NOT_CHECKED, reason="switched off in the config")
