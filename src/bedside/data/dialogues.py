"""Real dialogues: what patients asked, and what clinicians answered. JSONL, CSV, Parquet or a Hugging Face id.

    {kind: dialogues, path: data/clinic.jsonl}
    {kind: dialogues, path: owner/name, revision: main, split: train, phi: scrub}

A row may have any of these forms:

    question | prompt, answer | response | completion | output | reference
    instruction, input, output       the input is the question and the instruction a system turn; without an input,
                                     the instruction is the question
    messages                         up to the last user turn; the assistant turn after it is the answer

It becomes a harmless prompt whose ``reference`` is the answer. A column ``soothing_answer`` holds the same answer as
somebody wrote it to soothe (``comfort.rewrite.mode: written``). HTML is removed. Rows without an answer, with an answer
of one word, or with a repeated question are left out and counted (``filter_counts``).

``phi`` and ``names`` are those of every data set (``data/deidentify.py``).
"""

import html
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from bedside.config import validation_messages
from bedside.config.plugins import Plugin, register
from bedside.core.errors import DataError
from bedside.core.protocols import Launch
from bedside.core.results import FilterCounts
from bedside.core.text import is_blank
from bedside.core.types import Conversation
from bedside.data import turns
from bedside.data.deidentify import Names, Phi
from bedside.data.io import Format, Row, rows_or_hub_rows
from bedside.data.prompts import COLUMNS, SOOTHING, ReadOptions, TablePrompts

ANSWERS = ("answer", "response", "completion", "output", *COLUMNS["reference"])
NAMES_NOT_FOUND = "names are not found by patterns; rows not searched for them"
_TAG = re.compile(r"<!--.*?-->|</?[a-zA-Z][^<>]{0,400}>", re.S)
_INLINE = re.compile(r"</?(?:a|b|i|u|em|strong|span|sub|sup|font|small)(?:\s[^<>]{0,400})?/?>", re.I)
_BREAK = re.compile(r"<(?:br|/p|/div|/li|/h\d)\s*/?>", re.I)


def _known_columns(columns: dict[str, str]) -> dict[str, str]:
    known = {"question", "answer", SOOTHING, *turns.ALPACA, *COLUMNS}
    for name in columns:
        if name not in known:
            raise ValueError(f"no column is called {name!r} here; {validation_messages.did_you_mean(name, known)}")
    return columns


@register("dataset", "dialogues")
class Dialogues(Plugin):
    """Questions with answers from a file, a folder or the hub."""

    kind: str = "dialogues"
    path: str = Field(min_length=1)
    """File, folder or Hugging Face id."""
    split: str | None = None
    """Only rows of this split."""
    revision: str | None = None
    """Branch, tag or commit of a data set on the hub."""
    format: Format | None = None
    """jsonl, csv or parquet; unset: by the file's ending."""
    columns: Annotated[dict[str, str], AfterValidator(_known_columns)] = Field(default_factory=dict)
    """The file's names of our columns (question, answer, soothing_answer, group, split, ...)."""
    phi: Phi = "scan"
    names: Names = False

    def open(self, launch: Launch, **opened: Any) -> TablePrompts:
        reader = DialogueReader(self)
        options = ReadOptions(self.split, "keep", phi=self.phi, names=self.names)
        return TablePrompts(self.path, reader.rows, options, reader.add_notes)


@dataclass
class DialogueReader:
    """Reads the dialogues of one source and counts what it drops."""

    config: Dialogues
    dropped: Counter[str] = field(default_factory=Counter)
    """Number of rows left out, by reason."""
    columns: dict[str, None] = field(default_factory=dict)
    """Every column of the source."""

    def rows(self) -> Iterator[Row]:
        """Each row in the form of a prompt row, with the answer as ``reference``. DataError with file and row."""
        c, kept = self.config, 0
        for where, row in rows_or_hub_rows(c.path, revision=c.revision, split=c.split, format=c.format):
            self.columns |= dict.fromkeys(row)
            try:
                dialogue = _dialogue(self._renamed(row))
            except turns.NoAnswerError:
                self.dropped["no answer"] += 1
                continue
            except DataError as error:
                self._check_columns()
                raise DataError(f"{where}: {error}") from None
            reason = _reason_to_drop(dialogue)
            if reason:
                self.dropped[reason] += 1
            else:
                kept += 1
                yield where, dialogue
        self._check_columns()
        if self.dropped and not kept:
            reasons = ", ".join(f"{n} {reason}" for reason, n in self.dropped.most_common())
            raise DataError(f"{c.path}: no row has a question and an answer to learn from ({reasons})")

    def _renamed(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """``row`` with our names of its columns. A mapped question or answer comes before any other."""
        names = self.config.columns
        replaced = {*names.values(), *(ANSWERS if "answer" in names else ())}
        replaced |= {*turns.COLUMNS, *turns.ALPACA} if "question" in names else set()
        kept = {key: value for key, value in row.items() if key not in replaced}
        return kept | {ours: row[theirs] for ours, theirs in names.items() if theirs in row}

    def _check_columns(self) -> None:
        """DataError for a mapped column that no row has: the mapping would silently do nothing."""
        for ours, theirs in self.config.columns.items():
            if theirs not in self.columns:
                hint = validation_messages.did_you_mean(theirs, self.columns, otherwise="the columns are")
                raise DataError(f"{self.config.path}: no column {theirs!r} to read as {ours}; {hint}")

    def add_notes(self, counts: FilterCounts) -> FilterCounts:
        """``counts`` with the rows that were left out, and the rows that nobody searched for names."""
        notes = dict(counts.notes)
        if self.config.phi != "off" and not self.config.names:
            notes[NAMES_NOT_FOUND] = float(counts.kept)
        return FilterCounts(counts.step, counts.kept, {**counts.dropped, **self.dropped}, notes)


def _dialogue(row: Mapping[str, Any]) -> dict[str, Any]:
    """``row`` with the conversation as ``messages`` and the answer as ``reference``; other columns are kept."""
    conversation, answer = _turns(row)
    others = {k: v for k, v in row.items() if k not in {*ANSWERS, *turns.COLUMNS, *turns.ALPACA}}
    if isinstance(others.get(SOOTHING), str):
        others[SOOTHING] = without_html(others[SOOTHING])
    return {
        **others,
        "harm": 0 if others.get("harm") is None else others["harm"],
        "messages": [{"role": turn.role, "content": without_html(turn.text)} for turn in conversation],
        "reference": without_html(answer),
    }


def _turns(row: Mapping[str, Any]) -> tuple[Conversation, str]:
    """The turns up to the question, and the answer; it is empty if there is none."""
    given = next((turns.read_content(row[name], name) for name in ANSWERS if row.get(name)), "")
    conversation = turns.find_conversation({key: _with_texts(value) for key, value in row.items()})
    if conversation is None:
        raise DataError(
            "no question; columns are question and answer, or instruction, input and output, or messages; or map "
            f"yours, columns: {{question: NAME, answer: NAME}} (the columns are {', '.join(row)})"
        )
    if not any(turn.role == "user" for turn in conversation):
        raise DataError("messages contain no user turn, so there is no question")
    asked, answer = turns.split_answer(conversation)
    return asked, answer or given


def _with_texts(value: Any) -> Any:
    """Turns with "" for a content that is null, so that a dialogue without an answer is counted and not refused."""
    if not isinstance(value, list):
        return value
    return [{**turn, "content": ""} if _is_silent(turn) else turn for turn in value]


def _is_silent(turn: Any) -> bool:
    return isinstance(turn, Mapping) and turn.get("content", "") is None and not turn.get("tool_calls")


def _reason_to_drop(row: Mapping[str, Any]) -> str:
    reasons = {
        "empty question": is_blank(row["messages"][-1]["content"]),
        "no answer": is_blank(row["reference"]),
        "answer of one word": row["reference"].isascii() and len(row["reference"].split()) == 1,
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


def without_html(text: str) -> str:
    """``text`` with HTML tags removed and entities decoded. Lines are kept, and so is ``a < b``, which is not a tag."""
    if "<" in text or "&" in text:
        text = html.unescape(_TAG.sub(" ", _INLINE.sub("", _BREAK.sub("\n", text))))
    return "\n".join(line for line in (" ".join(raw.split()) for raw in text.splitlines()) if line)
