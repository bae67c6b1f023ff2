"""One exchange to learn, and what a head beside the model should read off it."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

import embedded_comfort as comfort
from bedside.clinic.prompts import PRINCIPLES
from bedside.core.types import Conversation

READ, UNTOLD = (4, len(PRINCIPLES), 2, 2, *(len(comfort.RATINGS) for _ in comfort.LINES)), -100
"""What a head reads off the place where an answer begins, in classes: harm, principle; does an answer to judge give
amount and carrier; how kind is an answer to rate, on each line. And what stands for what is not known."""


@dataclass(frozen=True, slots=True)
class Example:
    """One exchange to learn: what was said, what the assistant says, and what the head should read."""

    asked: Conversation
    answer: str
    harm: int | None = None
    principle: str | None = None
    given: tuple[int, ...] = (UNTOLD, UNTOLD)
    """Of an answer to judge: amount and carrier, 1 where it gives it."""
    strengths: tuple[int, ...] = (UNTOLD,) * len(comfort.LINES)
    """How kind an answer to rate is, on each line."""

    @property
    def told(self) -> tuple[int, ...]:
        """What the head should read, of ``READ`` classes; -100 where nobody knows."""
        harm = UNTOLD if self.harm is None else self.harm
        principle = UNTOLD if self.principle is None else PRINCIPLES.index(self.principle)
        return harm, principle, *self.given, *self.strengths


def drawn(weights: Mapping[str, float], rng: random.Random) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]
