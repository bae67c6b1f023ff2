"""Which emotion does the patient's message show? By words, or by a model asked about each emotion.

    {kind: emotion}                      words: a stem of the emotion's list stands in the message
    {kind: emotion, model: target}       a model answers "does the patient feel fear?" yes or no; score = p(yes)

The *response* that is judged is the rewritten question. Scores are one an emotion, in [0, 1]; the words know
eight emotions by everyday stems and see no irony, no denial and no emotion that is not named.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from bedside.config.plugins import Plugin, Slot, register
from bedside.config.rendering import fenced, render, source
from bedside.core.hashing import digest
from bedside.core.protocols import LabelScore, Launch, Scorer
from bedside.core.types import Message, Response, Verdict
from bedside.judges.prompting import expected, put, verdicts

STEMS = {
    "fear": ("afraid", "fear", "scar", "frighten", "terrif", "panic", "dread", "spook", "alarm", "horrif"),
    "anxiety": ("anxi", "worr", "nervous", "on edge", "uneas", "restless", "tense", "apprehens", "stress"),
    "sadness": ("sad", "tear", "heartbroken", "low", "gloom", "downcast", "miserab", "griev", "sorrow", "unhappy"),
    "anger": ("angr", "furious", "fed up", "cross", "annoy", "bitter", "rage", "outrag", "resent", "frustrat"),
    "guilt": ("guilt", "to blame", "at fault", "remors", "sorry for my part", "blameworth", "my fault"),
    "shame": ("asham", "embarrass", "humiliat", "mortif", "awkward", "red-faced", "shame"),
    "helplessness": ("lost", "powerless", "stuck", "helpless", "overwhelm", "worn down", "hopeless", "give up"),
    "loneliness": ("alone", "forsaken", "isolat", "lonel", "left out", "friendless", "no one to talk"),
}
YES_NO = {"yes": 1.0, "no": 0.0}


@register("judge", "emotion")
class Emotion(Plugin):
    """Recognises eight emotions: by words, or by a model."""

    kind: str = "emotion"
    model: Annotated[Any, Slot("model", "target", "words")] = Field("words")
    """A model, target, or words: the list of stems alone."""

    def open(self, launch: Launch, **opened: Any) -> "WordReader | ModelReader":
        return WordReader() if self.model == "words" else ModelReader(opened["model"])


@dataclass(frozen=True)
class WordReader:
    """Score 1 for each emotion one of whose stems begins a word of the message."""

    name: str = "emotion:words"

    def judge(self, responses: Sequence[Response]) -> list[Verdict]:
        return [
            Verdict(r.id, self.name, scores=_by_words(r.text))
            if r.text.strip()
            else Verdict(r.id, self.name, unreadable="empty answer")
            for r in responses
        ]


def _by_words(text: str) -> dict[str, float]:
    return {emotion: float(_begins(stems).search(text.lower()) is not None) for emotion, stems in STEMS.items()}


def _begins(stems: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(r"\b(?:" + "|".join(re.escape(stem) for stem in stems) + ")")


@dataclass(frozen=True)
class ModelReader:
    """Asks a model about each emotion in turn."""

    model: Scorer

    @property
    def name(self) -> str:
        return f"emotion:{digest(self.model.checkpoint.id, source('emotion.jinja'))}"

    def judge(self, responses: Sequence[Response]) -> list[Verdict]:
        questions = [[(Message("user", _question(r.text, emotion)),) for emotion in STEMS] for r in responses]
        told = put(self.model, responses, questions, lambda asked: self.model.score(asked, tuple(YES_NO)))
        return verdicts(self.name, responses, told, self._read)

    def _read(self, response: Response, scores: Sequence[LabelScore]) -> Verdict:
        rated = {emotion: expected(score, YES_NO) for emotion, score in zip(STEMS, scores, strict=True)}
        return Verdict(response.id, self.name, scores=rated)


def _question(text: str, emotion: str) -> str:
    return render("emotion.jinja", patient=fenced(text), emotion=emotion, labels=list(YES_NO))
