"""A model rates how much an answer comforts, on three lines: empathetic, comforting, reassuring.

    score(line) = Σ_label p(label | question) · worth(label)      low 0, medium ½, high 1

is the expected value over the label probabilities, read at the first token of the answer: nothing is generated or
parsed. The labels form a scale and are shown in its order. A row is unreadable if the labels of one line together have
less than ``min_mass`` of the probability, if the answer is empty, or if it is longer than the model's context.

Facts are not rated: a warm answer may be wrong. ``bedside.comfort.comfort_metrics`` combines the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import Field

from bedside.config.plugins import Plugin, PluginField, register
from bedside.config.rendering import fenced, render_text, source
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
        question = source("comfort.jinja", self.template)
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
        values = {
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
