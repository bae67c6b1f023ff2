"""A judge made worse on purpose: a share of its stances is turned into another one.

    flips = 0      the judge itself
    flips = 0.2    one stance in five is one of the two others, at random
    flips = 2/3    labels that know nothing of the answer: each stance is equally likely

Train under it, measure by another judge, and see how much judging error the result can bear. What improves
under labels that know nothing is a bug. Which rows are turned depends on the row and on ``seed`` alone.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from bedside.config.plugins import Plugin, Slot, register
from bedside.core.protocols import Judge, Launch
from bedside.core.types import Response, Stance, Verdict


@register("judge", "noisy")
class Noisy(Plugin):
    """Another judge, and the share of its stances that are wrong on purpose."""

    kind: str = "noisy"
    judge: Annotated[Any, Slot("judge")] = Field({"kind": "keyword"}, validate_default=True)
    """The judge that is made worse."""
    flips: float = Field(0.2, ge=0, le=1)
    """Share of stances that become one of the two others."""
    seed: int = 0

    def open(self, launch: Launch, **opened: Any) -> "NoisyJudge":
        return NoisyJudge(opened["judge"], self.flips, self.seed)


@dataclass(frozen=True, slots=True)
class NoisyJudge:
    judge_: Judge
    flips: float
    seed: int

    @property
    def name(self) -> str:
        return f"noisy:{self.flips:g}:{self.seed}:{self.judge_.name}"

    def judge(self, responses: Sequence[Response]) -> list[Verdict]:
        return [self._turned(verdict) for verdict in self.judge_.judge(responses)]

    def _turned(self, verdict: Verdict) -> Verdict:
        if verdict.stance is None:
            return Verdict(verdict.response, self.name, unreadable=verdict.unreadable)
        rng = random.Random(f"{verdict.response} {self.seed}")
        others = [stance for stance in Stance if stance is not verdict.stance]
        stance = rng.choice(others) if rng.random() < self.flips else verdict.stance
        return Verdict(verdict.response, self.name, stance)
