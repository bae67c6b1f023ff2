"""The clinic's own writer: says the clinic's sentences of feeling and comfort around a text that it leaves as it is.

To the joined loop what judge ``truth`` is to judging: a writer who makes no mistake, so that what comes out is the
loop's doing. It knows nothing but the requests of ``stages.rewrite``, and is of no use on real text.
"""

import re
from collections.abc import Sequence
from typing import Any

from bedside.clinic.lexicon import words
from bedside.config.plugins import Plugin, register
from bedside.core.hashing import digest, drawn
from bedside.core.protocols import LabelScore, Launch
from bedside.core.types import Checkpoint, Completion, Conversation, Sampling

_FENCED = r"<<<{0}\n(.*?)\n{0}>>>"


@register("model", "clinic_writer")
class ClinicWriter(Plugin):
    """Rewrites questions and answers of the synthetic clinic. Nothing to configure."""

    kind: str = "clinic_writer"

    def open(self, launch: Launch, **opened: Any) -> "Writer":
        return Writer()


class Writer:
    """The same request gets the same sentences."""

    context = 1 << 20

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint(base=digest("clinic_writer", words()["comfort"], words()["feelings"]))

    def lengths(self, conversations: Sequence[Conversation]) -> list[int]:
        """Words."""
        return [len(turns[-1].text.split()) for turns in conversations]

    def score(self, conversations: Sequence[Conversation], labels: Sequence[str]) -> list[LabelScore]:
        """It judges nothing: every label alike."""
        return [LabelScore(tuple(-1.0 for _ in labels), 1.0) for _ in conversations]

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        return [Completion(rewritten(turns[-1].text)[1]) for turns in conversations]


def rewritten(asked: str) -> tuple[str, str]:
    """The text that a request of ``stages.rewrite`` is about, and its new form; empty where it is no such request."""
    answer, question = (re.search(_FENCED.format(what), asked, re.S) for what in ("ANSWER", "QUESTION"))
    emotion = next((e for e in words()["feelings"] if f" {e}. Keep" in asked), "fear")
    if answer is not None:
        return answer[1], _soothed(answer[1], emotion, asked)
    return (question[1], f"{_felt(question[1], emotion)}\n{question[1]}") if question is not None else ("", "")


def _felt(question: str, emotion: str) -> str:
    return _one(words()["feelings"][emotion]["train"], question).format(much="so very")


def _soothed(answer: str, emotion: str, asked: str) -> str:
    """``answer`` between sentences drawn for this patient: one answer said to many is not soothed alike."""
    lines = {line: _one(kinds["strong"]["train"], asked) for line, kinds in words()["comfort"].items()}
    empathetic = lines["empathetic"].format(named=words()["named"][emotion])
    return f"{empathetic}\n{answer}\n{lines['comforting']} {lines['reassuring']}"


def _one(sentences: Sequence[str], text: str) -> str:
    return sentences[drawn(text) % len(sentences)]
