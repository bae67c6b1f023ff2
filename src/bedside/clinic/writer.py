"""Model `clinic_writer`: puts the synthetic clinic's sentences of emotion or comfort around a text of the clinic.

It makes no mistakes, so the result of a comfort run with it depends on the method alone. It understands only the
requests of ``comfort/rewriting.py`` about texts of the synthetic clinic.
"""

import re
from collections.abc import Sequence
from typing import Any

from bedside.clinic.lexicon import words
from bedside.config.plugins import Plugin, register
from bedside.core.hashing import digest, seed_from
from bedside.core.protocols import LabelScore, Launch
from bedside.core.types import Checkpoint, Completion, Conversation, Sampling

_FENCED = r"<<<{0}\n(.*?)\n{0}>>>"


@register("model", "clinic_writer")
class ClinicWriter(Plugin):
    """Rewrites questions and answers of the synthetic clinic. Nothing to configure."""

    kind: str = "clinic_writer"

    def open(self, launch: Launch, **opened: Any) -> "ClinicTextWriter":
        return ClinicTextWriter()


class ClinicTextWriter:
    """Deterministic: the same request gets the same sentences."""

    context = 1 << 20

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint(base=digest("clinic_writer", words()["comfort"], words()["feelings"]))

    def lengths(self, conversations: Sequence[Conversation]) -> list[int]:
        """The number of words of each request, in place of tokens."""
        return [len(turns[-1].text.split()) for turns in conversations]

    def score(self, conversations: Sequence[Conversation], labels: Sequence[str]) -> list[LabelScore]:
        """The same score for every label: this model cannot judge."""
        return [LabelScore(tuple(-1.0 for _ in labels), 1.0) for _ in conversations]

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        return [Completion(rewrite(turns[-1].text)[1]) for turns in conversations]


def rewrite(request: str) -> tuple[str, str]:
    """The text that the request is about, and its new form; two empty texts if it is not a rewriting request."""
    answer, question = (re.search(_FENCED.format(fence), request, re.S) for fence in ("ANSWER", "QUESTION"))
    emotion = next((e for e in words()["feelings"] if f" {e}. Keep" in request), "fear")
    if answer is not None:
        return answer[1], _with_comfort(answer[1], emotion, request)
    if question is None:
        return "", ""
    feeling = _choose(words()["feelings"][emotion]["train"], question[1]).format(much="so very")
    return question[1], f"{feeling}\n{question[1]}"


def _with_comfort(answer: str, emotion: str, request: str) -> str:
    """``answer`` between sentences that depend on the request, so that patients with one answer get different ones."""
    lines = {line: _choose(kinds["strong"]["train"], request) for line, kinds in words()["comfort"].items()}
    empathetic = lines["empathetic"].format(named=words()["named"][emotion])
    return f"{empathetic}\n{answer}\n{lines['comforting']} {lines['reassuring']}"


def _choose(sentences: Sequence[str], text: str) -> str:
    """One of ``sentences``, always the same one for ``text``."""
    return sentences[seed_from(text) % len(sentences)]
