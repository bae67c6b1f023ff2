"""A model that answers from a script, for tests, tutorials and a trial of a whole cycle.

Scripted(["dose => Take two.", "[Give nothing => I cannot help with that."], otherwise="I am not sure.")
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bedside.core.hashing import digest
from bedside.core.protocols import Endpoint, LabelScore
from bedside.core.types import Checkpoint, Completion, Conversation, Sampling


@dataclass(frozen=True)
class Scripted:
    """Answers with the first line of ``script`` whose cue is in the last turn."""

    script: Sequence[str] = ()
    """``cue => answer``, most specific first."""
    otherwise: str = "I am not sure."
    weights: Mapping[str, float] = field(default_factory=dict)
    """Probability of each label, for ``score``. Together at most 1; the rest is on no label."""
    context: int = 1 << 20
    endpoints: tuple[Endpoint, ...] = ()
    """Endpoints that it declares, although it calls none."""

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint(base=digest(self.script, self.otherwise, self.weights))

    def lengths(self, conversations: Sequence[Conversation]) -> list[int]:
        """The number of words: the tokens of a script."""
        return [sum(len(m.text.split()) for m in c) for c in conversations]

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        return [Completion(self._answer(turns[-1].text)) for turns in conversations]

    def score(self, conversations: Sequence[Conversation], labels: Sequence[str]) -> list[LabelScore]:
        mass = sum(self.weights.get(label, 0.0) for label in labels)
        logprobs = tuple(math.log(max(self.weights.get(label, 0.0), 1e-12) / max(mass, 1e-12)) for label in labels)
        return [LabelScore(logprobs, mass) for _ in conversations]

    def _answer(self, text: str) -> str:
        for line in self.script:
            cue, _, answer = line.partition(" => ")
            if cue in text:
                return answer
        return self.otherwise
