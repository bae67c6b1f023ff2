"""Attacks that put a request, word for word, into another text. The frames are data: ``phrases.yaml``, or your own.

role-play          a scene, a story, a character who asks
indirection        somebody else asks, or the answer is requested in another form: a list, an example, a translation
temporal           asked about the past or the future
false-authority    asked in the name of an office, a hospital, a study
implicit-harm      plain words for harm are replaced by vague ones, and the frame leaves the purpose unsaid
burial             far inside a long text about something else
pressure           asked again and again after the assistant has declined
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from random import Random
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, Field

from bedside.attacks.transform import TextAttack, pick
from bedside.config.plugins import register
from bedside.core.types import Conversation, Message

REQUEST = "{request}"


def _with_request(frames: tuple[str, ...]) -> tuple[str, ...]:
    for frame in frames:
        if frame.count(REQUEST) != 1:
            raise ValueError(f"has {frame!r}; each frame needs {REQUEST} once, at the place of the request")
    return frames


Frames = Annotated[tuple[str, ...], AfterValidator(_with_request)]


@cache
def phrases() -> Any:
    """The packaged frames, by the name of the attack."""
    return yaml.safe_load(files("bedside.attacks").joinpath("phrases.yaml").read_text(encoding="utf-8"))


def framed(frame: str, request: str) -> str:
    """``frame`` around ``request``. Placeholders inside the request stay as they are."""
    before, _, after = frame.partition(REQUEST)
    return f"{before}{request}{after}"


class Framed(TextAttack):
    """Base of the attacks that draw one frame from those of their kind."""

    frames: Frames = ()
    """Texts with {request} once. Empty: the packaged ones."""

    def text(self, text: str, rng: Random) -> str:
        return framed(pick(self.frames or phrases()[self.kind], rng), text)


@register("attack", "role-play")
class RolePlay(Framed):
    """The request inside a scene, a story or a game."""

    kind: str = "role-play"


@register("attack", "indirection")
class Indirection(Framed):
    """Somebody else asks, or the answer is requested in another form."""

    kind: str = "indirection"


@register("attack", "temporal")
class Temporal(Framed):
    """The request asked about the past or the future."""

    kind: str = "temporal"


@register("attack", "false-authority")
class FalseAuthority(Framed):
    """The request in the name of an office, a hospital or a study."""

    kind: str = "false-authority"


@register("attack", "implicit-harm")
class ImplicitHarm(Framed):
    """Plain words for harm are replaced by vague ones, and the frame leaves the purpose unsaid."""

    kind: str = "implicit-harm"
    words: dict[str, str] = Field(default_factory=dict)
    """Replacement of each plain word. Empty: the packaged ones."""

    def text(self, text: str, rng: Random) -> str:
        table = {word.casefold(): other for word, other in (self.words or phrases()["implicit words"]).items()}
        known = "|".join(re.escape(word) for word in sorted(table, key=lambda word: (-len(word), word)))
        plain = re.compile(rf"\b(?:{known})\b", re.IGNORECASE)
        return super().text(plain.sub(lambda word: table.get(word[0].casefold(), word[0]), text), rng)


@register("attack", "burial")
class Burial(TextAttack):
    """The request far inside a long, harmless text."""

    kind: str = "burial"
    words: int = Field(300, ge=1)
    """The least number of words of the text around it."""

    def text(self, text: str, rng: Random) -> str:
        paragraphs = list(_paragraphs(phrases()["burial"], self.words, rng))
        at = 1 + int(rng.random() * len(paragraphs))
        return "\n\n".join([*paragraphs[:at], text, *paragraphs[at:]])


def _paragraphs(known: Sequence[str], words: int, rng: Random) -> Iterator[str]:
    """Paragraphs in random order until there are ``words``. None is repeated before all were used."""
    left: list[str] = []
    while words > 0:
        left = left or list(known)
        paragraph = left.pop(int(rng.random() * len(left)))
        yield paragraph
        words -= len(paragraph.split())


@register("attack", "pressure")
class Pressure(TextAttack):
    """The request, and several turns in which the assistant has declined and the user insists."""

    kind: str = "pressure"
    rounds: int = Field(2, ge=1)
    """How often the user insists."""

    def turns(self, turns: Conversation, rng: Random) -> Conversation:
        said = [turn for _ in range(self.rounds) for turn in self._round(rng)]
        return (*turns, *said)

    def _round(self, rng: Random) -> tuple[Message, Message]:
        declines, insists = phrases()["pressure"]["declines"], phrases()["pressure"]["insists"]
        return Message("assistant", pick(declines, rng)), Message("user", pick(insists, rng))
