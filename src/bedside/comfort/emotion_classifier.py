"""Which emotion a patient's message shows: by words, or by a model that is asked about each emotion.

    {kind: emotion}                      words: a stem from the emotion's list begins a word of the message
    {kind: emotion, model: target}       a model answers "does the patient feel fear?" yes or no; score = p(yes)

The *response* that is judged is the rewritten question. Each emotion has a score in [0, 1]. The words cover eight
emotions by common stems. They recognise no irony, no denial and no emotion that is not named.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from bedside.config.plugins import Plugin, PluginField, register
from bedside.config.rendering import fenced, render, source
from bedside.core.hashing import digest
from bedside.core.protocols import Endpoint, LabelScore, Launch, Scorer, declared_endpoints
from bedside.core.types import Conversation, Message, Response, Verdict
from bedside.judges.prompting import ask_about, expected_worth, to_verdicts

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
    model: Annotated[Any, PluginField("model", "target", "words")] = Field("words")
    """A model, target, or words: the list of stems alone."""

    def open(self, launch: Launch, **opened: Any) -> "WordReader | ModelReader":
        return WordReader() if self.model == "words" else ModelReader(opened["model"])


@dataclass(frozen=True)
class WordReader:
    """Score 1 for each emotion with a stem that begins a word of the message, else 0."""

    name: str = "emotion:words"

    def judge(self, responses: Sequence[Response]) -> list[Verdict]:
        return [
            Verdict(r.id, self.name, scores={emotion: _has_stem(r.text, stems) for emotion, stems in STEMS.items()})
            if r.text.strip()
            else Verdict(r.id, self.name, unreadable="empty answer")
            for r in responses
        ]


def _has_stem(text: str, stems: tuple[str, ...]) -> float:
    pattern = r"\b(?:" + "|".join(re.escape(stem) for stem in stems) + ")"
    return float(re.search(pattern, text.lower()) is not None)


@dataclass(frozen=True)
class ModelReader:
    """Asks a model about each emotion."""

    model: Scorer

    @property
    def name(self) -> str:
        return f"emotion:{digest(self.model.checkpoint.id, source('emotion.jinja'))}"

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return declared_endpoints(self.model)

    def judge(self, responses: Sequence[Response]) -> list[Verdict]:
        questions = [[_question(r.text, emotion) for emotion in STEMS] for r in responses]
        scores = ask_about(self.model, responses, questions, lambda asked: self.model.score(asked, tuple(YES_NO)))
        return to_verdicts(self.name, responses, scores, self._read)

    def _read(self, response: Response, scores: Sequence[LabelScore]) -> Verdict:
        rated = {emotion: expected_worth(score, YES_NO) for emotion, score in zip(STEMS, scores, strict=True)}
        return Verdict(response.id, self.name, scores=rated)


def _question(text: str, emotion: str) -> Conversation:
    question = render("emotion.jinja", patient=fenced(text), emotion=emotion, labels=list(YES_NO))
    return (Message("user", question),)
