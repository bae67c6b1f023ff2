"""The clinic's writer, who now and then does it badly: for tests of what is done with what it writes."""

import re
from typing import Any

from bedside.clinic import writer
from bedside.config.plugins import Plugin, register
from bedside.core.hashing import digest
from bedside.core.protocols import Launch
from bedside.core.types import Checkpoint, Completion


@register("model", "copyist")
class Copyist(Plugin):
    """``bad``: what it does wrong, to every third request: echo, refuse, nothing, wrong; or to all of them, always-…"""

    kind: str = "copyist"
    bad: str = ""

    def open(self, launch: Launch, **opened: Any) -> "Writer":
        return Writer(self.bad)


class Writer(writer.ClinicTextWriter):
    context = 4000

    def __init__(self, bad: str) -> None:
        self.bad = bad

    @property
    def checkpoint(self):
        return Checkpoint(base=digest("copyist", self.bad))

    def generate(self, conversations, sampling):
        return [Completion(self._written(turns[-1].text)) for turns in conversations]

    def _written(self, asked: str) -> str:
        source, said = writer.rewrite(asked)
        spoils = self.bad and (self.bad.startswith("always-") or int(digest(source)[-1], 16) % 3 == 0)
        if not spoils or ("first try" in asked and not self.bad.startswith("always-")):
            return said
        bad = self.bad.removeprefix("always-")
        wrong = re.sub(r"\d+", "7", said)
        return {"echo": source, "refuse": "I'm sorry, but I cannot help with that.", "nothing": "", "wrong": wrong}[bad]
