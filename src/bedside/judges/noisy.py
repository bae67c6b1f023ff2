"""A judge with added errors: a share of its stances is replaced by another stance.

    flips = 0      the judge itself
    flips = 0.2    one stance in five becomes one of the two others, at random
    flips = 2/3    each stance is equally likely, whatever the answer is

Train with it and measure with another judge to see how much judging error the training tolerates. With flips = 2/3
nothing can be learned, so an improvement shows a bug. Which rows change depends on the row and on ``seed`` alone.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from bedside.config.plugins import Plugin, PluginField, register
from bedside.core.protocols import Endpoint, Judge, Launch, declared_endpoints
from bedside.core.types import Response, Stance, Verdict


@register("judge", "noisy")
class Noisy(Plugin):
    """Another judge, with a share of its stances made wrong on purpose."""

    kind: str = "noisy"
    judge: Annotated[Any, PluginField("judge")] = Field({"kind": "keyword"}, validate_default=True)
    """The judge whose stances are changed."""
    flips: float = Field(0.2, ge=0, le=1)
    """Share of stances that become one of the two others."""
    seed: int = 0

    def open(self, launch: Launch, **opened: Any) -> "NoisyJudge":
        return NoisyJudge(opened["judge"], self.flips, self.seed)


@dataclass(frozen=True, slots=True)
class NoisyJudge:
    member: Judge
    flips: float
    seed: int

    @property
    def name(self) -> str:
        return f"noisy:{self.flips:g}:{self.seed}:{self.member.name}"

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return declared_endpoints(self.member)

    def judge(self, responses: Sequence[Response]) -> list[Verdict]:
        return [self._with_noise(verdict) for verdict in self.member.judge(responses)]

    def _with_noise(self, verdict: Verdict) -> Verdict:
        if verdict.stance is None:
            return Verdict(verdict.response, self.name, unreadable=verdict.unreadable)
        rng = random.Random(f"{verdict.response} {self.seed}")
        others = [stance for stance in Stance if stance is not verdict.stance]
        stance = rng.choice(others) if rng.random() < self.flips else verdict.stance
        return Verdict(verdict.response, self.name, stance)
