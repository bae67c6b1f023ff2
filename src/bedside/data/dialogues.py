"""Real dialogues: what patients asked, and what clinicians answered. JSONL, CSV, Parquet or a Hugging Face id.

    {kind: dialogues, path: data/clinic.jsonl}
    {kind: dialogues, path: owner/name, revision: main, split: train, phi: scrub}

A row is understood as any of

    question | prompt, answer | response | completion | output | reference
    instruction, input, output       the input is the question, the instruction a system turn; alone, it is the question
    messages                         up to the last user turn; the assistant turn after it is the answer

and becomes a harmless prompt whose ``reference`` is the answer. HTML is taken off. Rows without an answer, with
an answer of one word, or with a question that came before are left out and counted (``flow``).

``phi: scan`` counts what looks like an identifier, ``scrub`` puts its kind in its place, ``off`` does not look.
Patterns find emails, numbers, dates, addresses; **names are not found by patterns**, and a text in which nothing
is found is not free of identifiers. With ``names: true`` Microsoft's presidio looks for names too
(``pip install 'bedside[phi]'``), and misses some.
"""

import html
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from bedside.config.plugins import Plugin, register
from bedside.core.errors import DataError
from bedside.core.protocols import Launch
from bedside.core.results import Flow
from bedside.data import deidentify
from bedside.data.io import Format, Row, anywhere
from bedside.data.prompts import COLUMNS, Reading, TablePrompts

Phi = Literal["scan", "scrub", "off"]
ANSWERS = ("answer", "response", "completion", "output", *COLUMNS["reference"])
NAMES_NOT_FOUND = "names are not found by patterns; rows not searched for them"
_TAG = re.compile(r"<!--.*?-->|</?[a-zA-Z][^<>]{0,400}>", re.S)
_INLINE = re.compile(r"</?(?:a|b|i|u|em|strong|span|sub|sup|font|small)(?:\s[^<>]{0,400})?/?>", re.I)
_BREAK = re.compile(r"<(?:br|/p|/div|/li|/h\d)\s*/?>", re.I)


@register("dataset", "dialogues")
class Dialogues(Plugin):
    """Questions with answers, of a file, a folder or the hub."""

    kind: str = "dialogues"
    path: str = Field(min_length=1)
    """File, folder or Hugging Face id."""
    split: str | None = None
    """Only rows of this split."""
    revision: str | None = None
    """Of a data set on the hub: branch, tag or commit."""
    format: Format | None = None
    """jsonl, csv or parquet; unset: what the file's ending says."""
    phi: Phi = "scan"
    """scan counts what looks like an identifier, scrub replaces it by its kind, off does not look."""
    names: bool = False
    """Look for names too, with presidio: pip install 'bedside[phi]'. It misses some."""

    def open(self, launch: Launch, **opened: Any) -> TablePrompts:
        told = Told(self, deidentify.named() if self.names and self.phi != "off" else deidentify.found)
        return TablePrompts(self.path, told.rows, Reading(self.split, "keep"), told.noted)


@dataclass
class Told:
    """The dialogues of one source while they are read, and what was seen."""

    config: Dialogues
    scan: Callable[[str], list[tuple[str, str]]]
    seen: Counter[str] = field(default_factory=Counter)
    """Rows with what looks like an identifier, by its kind."""
    dropped: Counter[str] = field(default_factory=Counter)

    def rows(self) -> Iterator[Row]:
        """Each row as a prompt's, with its answer as ``reference``. DataError with file and row."""
        c, kept = self.config, 0
        for where, row in anywhere(c.path, revision=c.revision, split=c.split, format=c.format):
            try:
                plain = _plain(row)
            except DataError as error:
                raise DataError(f"{where}: {error}") from None
            why = _left_out(plain)
            if why:
                self.dropped[why] += 1
            else:
                kept += 1
                yield where, self._looked_through(plain)
        if self.dropped and not kept:
            why = ", ".join(f"{n} {reason}" for reason, n in self.dropped.most_common())
            raise DataError(f"{c.path}: no row has a question and an answer to learn from ({why})")

    def noted(self, flow: Flow) -> Flow:
        """With the rows left out and why, and what looks like an identifier."""
        notes = {f"rows with {kind}": float(n) for kind, n in self.seen.items()}
        if self.config.phi != "off" and not self.config.names:
            notes[NAMES_NOT_FOUND] = float(flow.kept)
        return Flow(flow.step, flow.kept, {**flow.dropped, **self.dropped}, notes)

    def _looked_through(self, row: dict[str, Any]) -> dict[str, Any]:
        """Identifiers counted by kind, and replaced where the config says so."""
        if self.config.phi == "off":
            return row
        texts = [turn["content"] for turn in row["messages"]] + [row["reference"]]
        found = [self.scan(text) for text in texts]
        self.seen.update({kind for one in found for kind, _ in one})
        if self.config.phi == "scan" or not any(found):
            return row
        *turns, answer = [deidentify.scrubbed(t, f) for t, f in zip(texts, found, strict=True)]
        said = [{**turn, "content": text} for turn, text in zip(row["messages"], turns, strict=True)]
        return {**row, "messages": said, "reference": answer}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """``row`` with the conversation in ``messages``, the answer in ``reference``, and its other columns."""
    turns, answer = _turns(row)
    kept = {k: v for k, v in row.items() if k not in {*ANSWERS, "question", "prompt", "instruction", "input"}}
    said = [{"role": role, "content": cleaned(text)} for role, text in turns]
    return {**kept, "harm": kept.get("harm") if kept.get("harm") is not None else 0, "messages": said,
            "reference": cleaned(answer)}  # fmt: skip


def _turns(row: Mapping[str, Any]) -> tuple[list[tuple[str, str]], str]:
    answer = next((str(row[name]) for name in ANSWERS if row.get(name)), "")
    if row.get("messages"):
        return _of_messages(row["messages"], answer)
    if row.get("instruction"):
        instruction, question = str(row["instruction"]), str(row.get("input") or "")
        asked = [("system", instruction), ("user", question)] if question.strip() else [("user", instruction)]
        return asked, answer
    asked_in = next((name for name in ("question", "prompt") if row.get(name)), None)
    if asked_in is None:
        raise DataError(
            f"no question; columns are question and answer, or instruction, input and output, or messages "
            f"(there is {', '.join(row)})"
        )
    if isinstance(row[asked_in], list):
        return _of_messages(row[asked_in], answer)
    return [("user", str(row[asked_in]))], answer


def _of_messages(value: Any, answer: str) -> tuple[list[tuple[str, str]], str]:
    if not isinstance(value, list) or not all(isinstance(t, Mapping) and "content" in t for t in value):
        raise DataError("messages are a list of {role, content}")
    turns = [(str(turn.get("role", "")), str(turn["content"] or "")) for turn in value]
    users = [i for i, (role, _) in enumerate(turns) if role == "user"]
    if not users:
        raise DataError("messages hold no user turn, so nobody asks anything")
    last = users[-1]
    after = turns[last + 1][1] if len(turns) > last + 1 else ""
    return turns[: last + 1], after or answer


def _left_out(row: Mapping[str, Any]) -> str:
    if not row["messages"][-1]["content"]:
        return "empty question"
    if not row["reference"]:
        return "no answer"
    one_word = row["reference"].isascii() and len(row["reference"].split()) == 1
    return "answer of one word" if one_word else ""


def cleaned(text: str) -> str:
    """``text`` without HTML: tags off, entities read, lines kept; what is no tag (``a < b``) stays."""
    if "<" in text or "&" in text:
        text = html.unescape(_TAG.sub(" ", _INLINE.sub("", _BREAK.sub("\n", text))))
    return "\n".join(line for line in (" ".join(one.split()) for one in text.splitlines()) if line)
