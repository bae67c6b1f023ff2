"""Model `frame_writer`: writes frames from parts, without a model, and an opening sentence of feeling for a question.

It makes no mistakes that the verifier knows, so it shows what `rewrite.mode: frame` can keep at most. Its sentences are
few: a frame of it is kind and not personal. It understands the requests of ``comfort/writing.py`` alone.
"""

import re
from collections.abc import Sequence
from typing import Any

from bedside.comfort.emotions import EMOTIONS
from bedside.config.plugins import Plugin, register
from bedside.core.hashing import digest, seed_from
from bedside.core.protocols import LabelScore, Launch
from bedside.core.types import Checkpoint, Completion, Conversation, Sampling

BEGINNINGS = (
    "It makes sense that {feel}",
    "Anyone would understand that {feel}",
    "It is understandable that {feel}",
    "It is human that {feel}",
    "Of course {feel}",
    "I can hear that {feel}",
    "I can understand that {feel}",
    "It is natural that {feel}",
    "Many people would understand why {feel}",
    "Thank you for asking; I can hear that {feel}",
    "I am glad that you asked, and I understand that {feel}",
    "It is hard that {feel}",
    "I hear how much {feel}",
    "I am sorry that {feel}",
)
FEELS = {
    "fear": ("you are afraid", "this frightens you", "you feel fear", "this scares you"),
    "anxiety": ("you are worried", "this worries you", "you are anxious", "you feel uneasy"),
    "sadness": ("you are sad", "you feel sadness", "this makes you sad", "you feel sorrow"),
    "anger": ("you are angry", "this makes you angry", "you feel anger", "you are frustrated"),
    "guilt": ("you feel guilt", "you feel guilty", "you carry guilt about this", "guilt weighs on you"),
    "shame": ("you are ashamed", "you feel ashamed", "this embarrasses you", "you are embarrassed"),
    "helplessness": ("you feel helpless", "this overwhelms you", "you feel overwhelmed", "you feel powerless"),
    "loneliness": ("you feel lonely", "you feel so lonely", "this is lonely for you", "you feel isolated"),
}
CLOSINGS = (
    "You are not alone with this.",
    "I am here with you, and your question is welcome.",
    "Your question was worth asking.",
    "It took courage to ask, and I am glad you did.",
    "What you feel has a place here.",
    "You have carried a heavy question, and you are not alone with it.",
    "Thank you for your trust.",
    "You are welcome here with every question.",
    "I hear you, and I am with you.",
    "There is room here for what you feel.",
)
SAID = {
    "fear": "I am so afraid.",
    "anxiety": "I am so worried about this.",
    "sadness": "I am so sad about this.",
    "anger": "I am so angry about this.",
    "guilt": "I feel so guilty about this.",
    "shame": "I am so ashamed of this.",
    "helplessness": "I feel so helpless.",
    "loneliness": "I feel so lonely with this.",
}
"""What stands before a question."""


@register("model", "frame_writer")
class FrameWriter(Plugin):
    """Writes frames from sentences of its own, without a model. Nothing to configure."""

    kind: str = "frame_writer"

    def open(self, launch: Launch, **opened: Any) -> "WrittenFrames":
        return WrittenFrames()


class WrittenFrames:
    """Deterministic: the same request gets the same frame."""

    context = 1 << 20

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint(base=digest("frame_writer", BEGINNINGS, FEELS, CLOSINGS, SAID))

    def lengths(self, conversations: Sequence[Conversation]) -> list[int]:
        """The number of words of each request, in place of tokens."""
        return [len(turns[-1].text.split()) for turns in conversations]

    def score(self, conversations: Sequence[Conversation], labels: Sequence[str]) -> list[LabelScore]:
        """The same score for every label: it cannot judge."""
        return [LabelScore(tuple(-1.0 for _ in labels), 1.0) for _ in conversations]

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        return [Completion(_write(turns[-1].text)) for turns in conversations]


def _write(request: str) -> str:
    """A frame, or the question after a sentence of feeling; empty for another request."""
    asked = re.search(r"as a patient would who feels \w+ (\w+)\. Keep every fact", request)
    question = re.search(r"<<<QUESTION\n(.*?)\nQUESTION>>>", request, re.S)
    if asked and question and asked[1] in SAID:
        return f"{SAID[asked[1]]} {question[1]}"
    felt = re.search(r"for a patient who feels (\w+): one", request)
    if felt is None or felt[1] not in EMOTIONS:
        return ""
    feel = _choose(FEELS[felt[1]], request)
    return f"OPENING: {_choose(BEGINNINGS, request).format(feel=feel)}.\nCLOSING: {_choose(CLOSINGS, request)}"


def _choose(sentences: Sequence[str], text: str) -> str:
    """One of ``sentences``, always the same one for ``text`` and independent of the other choices."""
    return sentences[seed_from(digest(text, *sentences)) % len(sentences)]
