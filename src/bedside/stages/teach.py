"""Labelled answers in, what a judge is trained on out; and how sure it may be afterwards.

    question (one of the label orders) -> first token of the label        loss: −log p(label | question)

* **Held out** are whole groups, so nobody is tested on a twin of what was taught.
* **Balanced**: in each pass every label comes equally often; rare ones are repeated, at most ``MOST_REPEATS`` times.
* Orders take turns over rows and passes, so no label is tied to a place.
* **Temperature** T: probabilities softmax(log p / T) that make the held-out labels likeliest. No label changes.
"""

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bedside.core.errors import DataError
from bedside.core.identity import digest
from bedside.core.types import Response, Stance

MOST_REPEATS = 4
TEMPERATURES = (0.05, 20.0)
_HALVINGS = 80


@dataclass(frozen=True, slots=True)
class Labelled:
    """An answer and what it does, as people say."""

    response: Response
    stance: Stance

    @property
    def group(self) -> str:
        return self.response.prompt.cluster


@dataclass(frozen=True, slots=True)
class Turn:
    """One row of one pass: which answer is asked about, in which order of the labels."""

    row: int
    order: int


def hold_out(rows: Sequence[Labelled], share: float, seed: int) -> tuple[list[Labelled], list[Labelled]]:
    """(taught, held out): whole groups, about ``share`` of them held out. DataError where either lacks a class."""
    groups = sorted({row.group for row in rows}, key=lambda group: digest(seed, "held out", group))
    chosen = set(groups[: max(1, round(share * len(groups)))])
    taught = [row for row in rows if row.group not in chosen]
    held = [row for row in rows if row.group in chosen]
    for name, part in (("taught", taught), ("held out", held)):
        if len({row.stance for row in part}) < 2:
            raise DataError(
                f"{name}: {len(part)} labelled answers of {len({row.group for row in part})} groups know one label "
                "only; label more answers, or answers of more prompts"
            )
    return taught, held


def lessons(stances: Sequence[Stance], *, passes: int, orders: int, seed: int) -> list[Turn]:
    """Every pass: each label equally often, the rows in a seeded order, the orders taking turns."""
    rng = random.Random(seed)
    by: dict[Stance, list[int]] = defaultdict(list)
    for row, stance in enumerate(stances):
        by[stance].append(row)
    most = max(map(len, by.values()))
    turns = []
    for number in range(passes):
        chosen = [row for rows in by.values() for row in _repeated(rows, most, rng)]
        rng.shuffle(chosen)
        turns += [Turn(row, (row + number) % orders) for row in chosen]
    return turns


def temperature(probabilities: Sequence[Mapping[str, float]], stances: Sequence[Stance]) -> float:
    """T that minimises −Σ log softmax(log p / T)[label]: convex in 1/T, found by halving on its slope."""
    logs = [{name: math.log(max(p, 1e-12)) for name, p in told.items()} for told in probabilities]
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        slope = sum(_slope(told, stance.value, middle) for told, stance in zip(logs, stances, strict=True))
        low, high = (middle, high) if slope < 0 else (low, middle)
    return 2 / (low + high)


def log_loss(probabilities: Sequence[Mapping[str, float]], stances: Sequence[Stance], temperature: float) -> float:
    """Mean −log of the label's probability at this temperature, nats."""
    total = 0.0
    for told, stance in zip(probabilities, stances, strict=True):
        logs = {name: math.log(max(p, 1e-12)) / temperature for name, p in told.items()}
        top = max(logs.values())
        total += top + math.log(sum(math.exp(x - top) for x in logs.values())) - logs[stance.value]
    return total / len(stances)


def _slope(logs: Mapping[str, float], label: str, inverse: float) -> float:
    """d/d(1/T) of the loss of one row: the mean log-probability expected minus the label's own."""
    top = max(logs.values())
    weights = {name: math.exp(inverse * (x - top)) for name, x in logs.items()}
    expected = sum(weights[name] * x for name, x in logs.items()) / sum(weights.values())
    return expected - logs[label]


def _repeated(rows: Sequence[int], most: int, rng: random.Random) -> list[int]:
    """``most`` of ``rows``, all of them as often as each other; never more than MOST_REPEATS times each."""
    wanted = min(most, MOST_REPEATS * len(rows))
    whole, rest = divmod(wanted, len(rows))
    return [*rows] * whole + rng.sample(list(rows), rest)
