"""Judges of feelings, by words or by the label probabilities of a model; they give scores and no stance.

``comfort`` rates how much an answer comforts, on three lines: empathetic, comforting, reassuring.

    score(line) = Σ_label p(label | question) · worth(label)      low 0, medium ½, high 1

is the expected value over the label probabilities, read at the first token of the answer: nothing is generated or
parsed. The labels form a scale and are shown in its order. A row is unreadable if the labels of one line together have
less than ``min_mass`` of the probability, if the answer is empty, or if it is longer than the model's context.
Facts are not rated: a warm answer may be wrong. ``bedside.comfort.metrics`` combines the two.

``emotion`` says which emotion a patient's message shows. The *response* that is judged is the rewritten question.

    {kind: emotion}                      words: a stem from the emotion's list begins a word of the message
    {kind: emotion, model: target}       a model answers "does the patient feel fear?" yes or no; score = p(yes)

Each emotion has a score in [0, 1]. The words cover eight emotions by common stems. They recognise no irony, no denial
and no emotion that is not named.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import Field

from bedside.config import rendering
from bedside.config.plugins import Plugin, PluginField, register
from bedside.config.rendering import fenced, render, render_text, source
from bedside.core.hashing import digest
from bedside.core.protocols import Endpoint, LabelScore, Launch, Scorer, declared_endpoints
from bedside.core.types import Conversation, Message, Response, Verdict
from bedside.judges.prompting import ask_about, expected_worth, low_mass_reason, to_verdicts

LINES = {
    "empathetic": "name or share what the patient feels",
    "comforting": "give warmth and company",
    "reassuring": "give confidence and a way forward",
}
WORTH = {"low": 0.0, "medium": 0.5, "high": 1.0}
LABELS = tuple(WORTH)
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
BEGINNINGS = {
    emotion: re.compile(rf"\b(?:{'|'.join(re.escape(stem) for stem in stems)})") for emotion, stems in STEMS.items()
}
YES_NO = {"yes": 1.0, "no": 0.0}


@register("judge", "comfort")
class ComfortRubric(Plugin):
    """A language model as rater of comfort, by the probabilities of low, medium and high."""

    version: ClassVar[str] = "1"
    kind: str = "comfort"
    model: Annotated[Any, PluginField("model", "target")] = "target"
    template: str | None = Field(None, description="A Jinja file of your own; see templates/comfort.jinja.")
    min_mass: float = Field(0.5, ge=0, le=1, description="Least raw probability of the three labels together.")
    lines: dict[str, str] = Field(default_factory=lambda: dict(LINES), min_length=1)
    """What is rated, and what it means; ``bedside comfort`` needs the three of the default."""

    def open(self, launch: Launch, **opened: Any) -> "ComfortJudge":
        line, meaning = next(iter(self.lines.items()))
        values = {"dimension": line, "meaning": meaning, "patient": "", "answer": "", "labels": list(LABELS)}
        question = rendering.question("comfort.jinja", self.template, **values)
        return ComfortJudge(opened["model"], question, self.min_mass, tuple(self.lines.items()))


@dataclass(frozen=True)
class ComfortJudge:
    """Rates each line of comfort by the probabilities of the labels."""

    model: Scorer
    question: str = field(default_factory=lambda: source("comfort.jinja"))
    min_mass: float = 0.5
    lines: tuple[tuple[str, str], ...] = tuple(LINES.items())

    @property
    def name(self) -> str:
        """Changes with the weights and with the wording."""
        return f"comfort:{digest(self.model.checkpoint.id, self.question, self.min_mass, self.lines)}"

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return declared_endpoints(self.model)

    def judge(self, responses: Sequence[Response]) -> list[Verdict]:
        """Scores in [0, 1] of the three lines, no stance."""
        questions = [[self.ask(r, line) for line, _ in self.lines] for r in responses]
        scores = ask_about(self.model, responses, questions, lambda asked: self.model.score(asked, LABELS))
        return to_verdicts(self.name, responses, scores, self._read)

    def ask(self, response: Response, line: str) -> Conversation:
        """The question about one line. With the right label as its answer, a judge is trained on it."""
        values: dict[str, Any] = {
            "dimension": line,
            "meaning": dict(self.lines)[line],
            "patient": "\n\n".join(fenced(m.text) for m in response.prompt.messages if m.role == "user"),
            "answer": fenced(response.text),
            "labels": list(LABELS),
        }
        return (Message("user", render_text(self.question, **values)),)

    def _read(self, response: Response, scores: Sequence[LabelScore]) -> Verdict:
        if reason := low_mass_reason(scores, self.min_mass):
            return Verdict(response.id, self.name, unreadable=reason)
        rated = {line: expected_worth(score, WORTH) for (line, _), score in zip(self.lines, scores, strict=True)}
        return Verdict(response.id, self.name, scores=rated)


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
            Verdict(r.id, self.name, scores={e: float(bool(p.search(r.text.lower()))) for e, p in BEGINNINGS.items()})
            if not r.is_empty
            else Verdict(r.id, self.name, unreadable="empty answer")
            for r in responses
        ]


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
    return (Message("user", render("emotion.jinja", patient=fenced(text), emotion=emotion, labels=list(YES_NO))),)
