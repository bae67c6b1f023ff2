"""Real dialogues: what patients asked, and what clinicians answered. JSONL, CSV, Parquet or a Hugging Face id.

    {kind: dialogues, path: data/clinic.jsonl}
    {kind: dialogues, path: owner/name, revision: main, split: train, phi: scrub}

A row may have any of these forms:

    question | prompt, answer | response | completion | output | reference
    instruction, input, output       the input is the question and the instruction a system turn; without an input,
                                     the instruction is the question
    messages                         up to the last user turn; the assistant turn after it is the answer

It becomes a harmless prompt whose ``reference`` is the answer. HTML is removed. Rows without an answer, with an answer
of one word, or with a repeated question are left out and counted (``filter_counts``).

``phi: scan`` counts what looks like an identifier, ``scrub`` replaces it by its kind, ``off`` does not look. Patterns
find emails, numbers, dates and addresses; **names are not found by patterns**, and a text without matches may still
contain identifiers. With ``names: true`` Microsoft's presidio also looks for names (``pip install 'bedside[phi]'``); it
misses some.
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
from bedside.core.results import FilterCounts
from bedside.data import deidentify
from bedside.data.io import Format, Row, rows_or_hub_rows
from bedside.data.prompts import COLUMNS, ReadOptions, TablePrompts

ANSWERS = ("answer", "response", "completion", "output", *COLUMNS["reference"])
NAMES_NOT_FOUND = "names are not found by patterns; rows not searched for them"
_TAG = re.compile(r"<!--.*?-->|</?[a-zA-Z][^<>]{0,400}>", re.S)
_INLINE = re.compile(r"</?(?:a|b|i|u|em|strong|span|sub|sup|font|small)(?:\s[^<>]{0,400})?/?>", re.I)
_BREAK = re.compile(r"<(?:br|/p|/div|/li|/h\d)\s*/?>", re.I)


@register("dataset", "dialogues")
class Dialogues(Plugin):
    """Questions with answers from a file, a folder or the hub."""

    kind: str = "dialogues"
    path: str = Field(min_length=1)
    """File, folder or Hugging Face id."""
    split: str | None = None
    """Only rows of this split."""
    revision: str | None = None
    """Of a data set on the hub: branch, tag or commit."""
    format: Format | None = None
    """jsonl, csv or parquet; unset: by the file's ending."""
    phi: Literal["scan", "scrub", "off"] = "scan"
    """scan counts what looks like an identifier, scrub replaces it by its kind, off does not look."""
    names: bool = False
    """Also look for names, with presidio: pip install 'bedside[phi]'. It misses some."""

    def open(self, launch: Launch, **opened: Any) -> TablePrompts:
        with_names = self.names and self.phi != "off"
        reader = DialogueReader(
            self, deidentify.identifier_finder_with_names() if with_names else deidentify.find_identifiers
        )
        return TablePrompts(self.path, reader.rows, ReadOptions(self.split, "keep"), reader.add_notes)


@dataclass
class DialogueReader:
    """Reads the dialogues of one source and counts what it drops and which identifiers it finds."""

    config: Dialogues
    find_identifiers: Callable[[str], list[tuple[str, str]]]
    identified: Counter[str] = field(default_factory=Counter)
    """Number of rows with each kind of identifier."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Number of rows left out, by reason."""

    def rows(self) -> Iterator[Row]:
        """Each row in the form of a prompt row, with the answer as ``reference``. DataError with file and row."""
        c, kept = self.config, 0
        for where, row in rows_or_hub_rows(c.path, revision=c.revision, split=c.split, format=c.format):
            try:
                dialogue = _dialogue(row)
            except DataError as error:
                raise DataError(f"{where}: {error}") from None
            reason = _reason_to_drop(dialogue)
            if reason:
                self.dropped[reason] += 1
            else:
                kept += 1
                yield where, self._without_identifiers(dialogue)
        if self.dropped and not kept:
            reasons = ", ".join(f"{n} {reason}" for reason, n in self.dropped.most_common())
            raise DataError(f"{c.path}: no row has a question and an answer to learn from ({reasons})")

    def add_notes(self, counts: FilterCounts) -> FilterCounts:
        """``counts`` with the rows that were left out, and the identifiers that were found."""
        notes = {f"rows with {kind}": float(n) for kind, n in self.identified.items()}
        if self.config.phi != "off" and not self.config.names:
            notes[NAMES_NOT_FOUND] = float(counts.kept)
        return FilterCounts(counts.step, counts.kept, {**counts.dropped, **self.dropped}, notes)

    def _without_identifiers(self, row: dict[str, Any]) -> dict[str, Any]:
        """Counts identifiers by kind. Replaces them if the config says ``scrub``."""
        if self.config.phi == "off":
            return row
        texts = [turn["content"] for turn in row["messages"]] + [row["reference"]]
        identifiers = [self.find_identifiers(text) for text in texts]
        self.identified.update({kind for in_text in identifiers for kind, _ in in_text})
        if self.config.phi == "scan" or not any(identifiers):
            return row
        *turns, answer = [deidentify.scrub(*pair) for pair in zip(texts, identifiers, strict=True)]
        return {
            **row,
            "messages": [{**turn, "content": text} for turn, text in zip(row["messages"], turns, strict=True)],
            "reference": answer,
        }


def _dialogue(row: Mapping[str, Any]) -> dict[str, Any]:
    """``row`` with the conversation as ``messages`` and the answer as ``reference``; other columns are kept."""
    turns, answer = _turns(row)
    others = {k: v for k, v in row.items() if k not in {*ANSWERS, "question", "prompt", "instruction", "input"}}
    return {
        **others,
        "harm": 0 if others.get("harm") is None else others["harm"],
        "messages": [{"role": role, "content": without_html(text)} for role, text in turns],
        "reference": without_html(answer),
    }


def _turns(row: Mapping[str, Any]) -> tuple[list[tuple[str, str]], str]:
    """Role and text of each turn up to the question, and the answer."""
    answer = next((str(row[name]) for name in ANSWERS if row.get(name)), "")
    if row.get("messages"):
        return _split_messages(row["messages"], answer)
    if row.get("instruction"):
        instruction, question = str(row["instruction"]), str(row.get("input") or "")
        return [("system", instruction), ("user", question)] if question.strip() else [("user", instruction)], answer
    column = next((name for name in ("question", "prompt") if row.get(name)), None)
    if column is None:
        raise DataError(
            f"no question; columns are question and answer, or instruction, input and output, or messages "
            f"(the columns are {', '.join(row)})"
        )
    if isinstance(row[column], list):
        return _split_messages(row[column], answer)
    return [("user", str(row[column]))], answer


def _split_messages(value: Any, answer: str) -> tuple[list[tuple[str, str]], str]:
    if not isinstance(value, list) or not all(isinstance(t, Mapping) and "content" in t for t in value):
        raise DataError("messages are a list of {role, content}")
    turns = [(str(turn.get("role", "")), str(turn["content"] or "")) for turn in value]
    question = max((i for i, (role, _) in enumerate(turns, start=1) if role == "user"), default=0)
    if not question:
        raise DataError("messages contain no user turn, so there is no question")
    return turns[:question], next((text for _, text in turns[question:]), "") or answer


def _reason_to_drop(row: Mapping[str, Any]) -> str:
    reasons = {
        "empty question": not row["messages"][-1]["content"],
        "no answer": not row["reference"],
        "answer of one word": row["reference"].isascii() and len(row["reference"].split()) == 1,
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


def without_html(text: str) -> str:
    """``text`` with HTML tags removed and entities decoded. Lines are kept, and so is ``a < b``, which is not a tag."""
    if "<" in text or "&" in text:
        text = html.unescape(_TAG.sub(" ", _INLINE.sub("", _BREAK.sub("\n", text))))
    return "\n".join(line for line in (" ".join(raw.split()) for raw in text.splitlines()) if line)
