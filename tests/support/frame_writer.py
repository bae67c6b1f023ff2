"""Writes frames by rote: for tests of what is done with them."""

import re
from typing import Any

from bedside.config.plugins import Plugin, register
from bedside.core.hashing import digest
from bedside.core.protocols import Launch
from bedside.core.types import Checkpoint, Completion

FEELS = {
    "fear": "you are afraid",
    "anxiety": "you are worried",
    "sadness": "you are sad",
    "anger": "you are angry",
    "guilt": "you feel guilty",
    "shame": "you are ashamed",
    "helplessness": "you feel helpless",
    "loneliness": "you feel lonely",
}


@register("model", "frames_by_rote")
class FramesByRote(Plugin):
    """``good_at``: the try, by the seed that it is asked with, from which on it promises nothing."""

    kind: str = "frames_by_rote"
    good_at: int = 1

    def open(self, launch: Launch, **opened: Any) -> "Writer":
        return Writer(self.good_at)


class Writer:
    context = 4000

    def __init__(self, good_at: int) -> None:
        self.good_at, self.seeds = good_at, []

    @property
    def checkpoint(self):
        return Checkpoint(base=digest("frames_by_rote", self.good_at))

    def lengths(self, conversations):
        return [len(turns[-1].text.split()) for turns in conversations]

    def score(self, conversations, labels):
        raise NotImplementedError

    def generate(self, conversations, sampling):
        if sampling.seed not in self.seeds:
            self.seeds.append(sampling.seed)
        assert not any("first try" in turns[-1].text for turns in conversations)
        good = self.seeds.index(sampling.seed) + 1 >= self.good_at
        return [Completion(_frame(turns[-1].text, good)) for turns in conversations]


def _frame(request: str, good: bool) -> str:
    feels = FEELS[re.search(r"for a patient who feels (\w+)", request)[1]]
    closing = "You are not alone with this." if good else "I promise that you feel heard soon."
    return f"OPENING: I hear that {feels}.\nCLOSING: {closing}"
