"""A writer that adds and copies, and now and then does it badly: for tests of what is done with what it writes."""

import re
from typing import Any

from bedside.core.identity import digest
from bedside.core.protocols import LabelScore, Launch
from bedside.core.types import Checkpoint, Completion
from bedside.kernel.lexicon import words
from bedside.kernel.registry import Plugin, register

_FENCED = r"<<<{0}\n(.*?)\n{0}>>>"


@register("model", "copyist")
class Copyist(Plugin):
    """``bad``: what it does wrong, to every third request: echo, refuse, nothing, wrong; or to all of them, always-…"""

    kind: str = "copyist"
    bad: str = ""

    def open(self, launch: Launch, **opened: Any) -> "Writer":
        return Writer(self.bad)


class Writer:
    context = 4000

    def __init__(self, bad: str) -> None:
        self.bad, self.checkpoint = bad, Checkpoint(base=digest("copyist", bad))

    def lengths(self, conversations):
        return [len(turns[-1].text.split()) for turns in conversations]

    def score(self, conversations, labels):
        return [LabelScore(tuple(-1.0 for _ in labels), 1.0) for _ in conversations]

    def generate(self, conversations, sampling):
        return [Completion(self._written(turns[-1].text)) for turns in conversations]

    def _written(self, asked: str) -> str:
        source, said = self._good(asked)
        spoils = self.bad and (self.bad.startswith("always-") or int(digest(source)[-1], 16) % 3 == 0)
        if not spoils or ("first try" in asked and not self.bad.startswith("always-")):
            return said
        bad = self.bad.removeprefix("always-")
        wrong = re.sub(r"\d+", "7", said)
        return {"echo": source, "refuse": "I'm sorry, but I cannot help with that.", "nothing": "", "wrong": wrong}[bad]

    def _good(self, asked: str) -> tuple[str, str]:
        answer = re.search(_FENCED.format("ANSWER"), asked, re.S)
        question = re.search(_FENCED.format("QUESTION"), asked, re.S)
        if answer is None:
            emotion = next(e for e in words()["feelings"] if f" {e}. Keep" in asked)
            feeling = words()["feelings"][emotion]["train"][0].format(much="so very")
            return question[1], f"{feeling}\n{question[1]}"
        emotion = next(e for e in words()["feelings"] if f"patient's {e}." in asked)
        lines = {line: words()["comfort"][line]["strong"]["train"][0] for line in words()["comfort"]}
        named = {line: text.format(named=words()["named"][emotion]) for line, text in lines.items()}
        return answer[1], f"{named['empathetic']}\n{answer[1]}\n{named['comforting']} {named['reassuring']}"
