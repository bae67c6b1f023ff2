"""A model rates how kind an answer is, on three lines: empathetic, comforting, reassuring.

    score(line) = Σ_label p(label | question) · worth(label)      low 0, medium ½, high 1

the expected value over the label probabilities, read where the answer would begin: nothing is generated, nothing
parsed. The labels are a scale and are shown in its order. A line is unreadable, and with it the row, when the labels
together got less than ``min_mass`` of the probability, when the answer is empty, or is longer than the model reads.

Facts are none of its business: a warm answer may be wrong. ``bedside.comfort.comfort_metrics`` joins the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import Field

from bedside.config.plugins import Plugin, Slot, register
from bedside.config.rendering import fenced, render_text, source
from bedside.core.hashing import digest
from bedside.core.protocols import LabelScore, Launch, Scorer
from bedside.core.types import Conversation, Message, Response, Verdict
from bedside.judges.prompting import expected, put, too_little, verdicts

LINES = {
    "empathetic": "name or share what the patient feels",
    "comforting": "give warmth and company",
    "reassuring": "give confidence and a way forward",
}
WORTH = {"low": 0.0, "medium": 0.5, "high": 1.0}
LABELS = tuple(WORTH)


@register("judge", "comfort")
class Comfort(Plugin):
    """A language model as rater of comfort, by the probabilities of low, medium and high."""

    version: ClassVar[str] = "1"
    kind: str = "comfort"
    model: Annotated[Any, Slot("model", "target")] = "target"
    template: str | None = Field(None, description="A Jinja file of your own; see templates/comfort.jinja.")
    min_mass: float = Field(0.5, ge=0, le=1, description="Least raw probability of the three labels together.")
    lines: dict[str, str] = Field(default_factory=lambda: dict(LINES), min_length=1)
    """What is rated, and what it means; ``bedside comfort`` needs the three of the default."""

    def open(self, launch: Launch, **opened: Any) -> "ComfortJudge":
        question = source("comfort.jinja", self.template)
        return ComfortJudge(opened["model"], question, self.min_mass, tuple(self.lines.items()))


@dataclass(frozen=True)
class ComfortJudge:
    model: Scorer
    question: str = field(default_factory=lambda: source("comfort.jinja"))
    min_mass: float = 0.5
    lines: tuple[tuple[str, str], ...] = tuple(LINES.items())

    @property
    def name(self) -> str:
        """Names the weights and the wording: another of either is another judge."""
        return f"comfort:{digest(self.model.checkpoint.id, self.question, self.min_mass, self.lines)}"

    def judge(self, responses: Sequence[Response]) -> list[Verdict]:
        """Scores in [0, 1] of the three lines, no stance."""
        questions = [[self.asked(r, line) for line, _ in self.lines] for r in responses]
        told = put(self.model, responses, questions, lambda asked: self.model.score(asked, LABELS))
        return verdicts(self.name, responses, told, self._read)

    def asked(self, response: Response, line: str) -> Conversation:
        """The question about one line; with the right label as its answer, it is what a judge learns from."""
        values = {
            "dimension": line,
            "meaning": dict(self.lines)[line],
            "patient": "\n\n".join(fenced(m.text) for m in response.prompt.messages if m.role == "user"),
            "answer": fenced(response.text),
            "labels": list(LABELS),
        }
        return (Message("user", render_text(self.question, **values)),)

    def _read(self, response: Response, scores: Sequence[LabelScore]) -> Verdict:
        why = too_little(scores, self.min_mass)
        if why:
            return Verdict(response.id, self.name, unreadable=why)
        rated = {line: expected(score, WORTH) for (line, _), score in zip(self.lines, scores, strict=True)}
        return Verdict(response.id, self.name, scores=rated)
