"""Learning rates by the size of a model, for LoRA: where to begin, and which are far from it.

    weights    sft      kto      dpo
    2e6        2.5e-3   1e-3     1e-4     measured on the embedded model (docs/log.md)
    135e6      1e-3     1e-3     2e-4     measured on SmolLM2-135M (docs/log.md, docs/evidence/smollm2.md)
    1e9        2e-4     2e-5     2e-5     from here on where to begin a sweep, not measured by this project; sft as
    3e9        2e-4     1e-5     1e-5     QLoRA trains models of 7 and 13 billion weights (arXiv 2305.14314)
    8e9        2e-4     5e-6     5e-6

Between two sizes the rate is interpolated in logarithms; outside it stays.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from bedside.config.schema import Config, TrainingStep
from bedside.core.gates import Finding, GateState
from bedside.models import model_size

NAME = "learning rates"
RATES: dict[str, tuple[tuple[float, float], ...]] = {
    "sft": ((2e6, 2.5e-3), (135e6, 1e-3), (1e9, 2e-4)),
    "kto": ((2e6, 1e-3), (135e6, 1e-3), (1e9, 2e-5), (3e9, 1e-5), (8e9, 5e-6)),
    "dpo": ((2e6, 1e-4), (135e6, 2e-4), (1e9, 2e-5), (3e9, 1e-5), (8e9, 5e-6)),
}
"""By objective: weights, and the rate to begin with."""
LARGEST_MEASURED = 135e6
FAR = 20
"""A rate so many times above or below where to begin is far from it: it breaks a model, or teaches it nothing."""


def first_rate(objective: str, weights: float) -> float | None:
    """Where to begin with a model of so many weights, to two digits. None for an objective of a plug-in.

    >>> first_rate("kto", 3e9), first_rate("sft", 1e6)
    (1e-05, 0.0025)
    """
    if objective not in RATES:
        return None
    table = RATES[objective]
    if weights <= table[0][0] or weights >= table[-1][0]:
        return table[0][1] if weights <= table[0][0] else table[-1][1]
    (low, rate), (high, other) = next(pair for pair in pairwise(table) if weights <= pair[1][0])
    way = math.log(weights / low) / math.log(high / low)
    return float(f"{rate * (other / rate) ** way:.1e}")


def finding(config: Config) -> Finding:
    """Whether each rate of ``align.train`` suits the size of the target: FAIL where no rate that is tried does."""
    name = getattr(config.target, "model", None)
    weights = model_size.weights(name) if config.target.kind == "local" and isinstance(name, str) else None
    if weights is None:
        reason = "the size of the target is not known here; where to begin by size: docs/how-to/start.md"
        return Finding(NAME, GateState.NOT_CHECKED, reason)
    far = [sentence for step in config.align.train if (sentence := _far(step, config, weights))]
    if far:
        return Finding(NAME, GateState.FAIL, f"{'; '.join(far)}{_measured(weights)}")
    if any(step.learning_rate == 0 for step in config.align.train):
        return Finding(NAME, GateState.INCONCLUSIVE, "0: a control, in which nothing may change")
    return Finding(NAME, GateState.PASS, f"{_listed(config.align.train)}: suits {size(weights)} weights")


def _far(step: TrainingStep, config: Config, weights: int) -> str:
    """What is wrong with a rate that is far from where to begin; empty for any other, and for 0, which is a control."""
    start = first_rate(step.objective.kind, weights)
    rates = [step.at(multiple).learning_rate for multiple in config.align.sweep.learning_rate]
    if start is None or step.learning_rate == 0 or any(start / FAR <= rate <= start * FAR for rate in rates):
        return ""
    high = min(rates) > start
    times = f"{min(rates) / start:,.0f} times" if high else f"1/{start / max(rates):,.0f} of"
    effect = "the model forgets how to answer" if high else "it learns nothing"
    return (
        f"{step.objective.kind} {step.learning_rate:g} is {times} the rate to begin with for {size(weights)} weights: "
        f"{effect}; set {start:g}"
    )


def _measured(weights: int) -> str:
    return "" if weights <= LARGEST_MEASURED else ", where a sweep may begin: no model of this size was measured here"


def _listed(steps: Sequence[TrainingStep]) -> str:
    return ", ".join(f"{step.objective.kind} {step.learning_rate:g}" for step in steps)


def size(weights: int) -> str:
    """``135 million``, ``3 billion``.

    >>> size(134_500_000), size(8_030_000_000)
    ('134 million', '8 billion')
    """
    return f"{weights / 1e9:.2g} billion" if weights >= 1e9 else f"{weights / 1e6:.3g} million"
