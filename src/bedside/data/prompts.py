"""Reads rows as prompts: the known columns, and what makes a row invalid. Every prompt file is read here.

    prompt | messages | question    text, or a conversation in any form that ``data/turns.py`` reads
    harm | harmful_level            0 harmless to 3 severe
    principle | principle_index     the ethical principle that the request would break
    style | method                  how the request is put: direct, role play, ...
    group                           related rows; if missing, the digest of base_prompt, if there is one
    source                          the collection that the row comes from
    reference | reference_answer | safe_response      a good answer; if missing, the last assistant turn of ``messages``
    split                           train, valid, test, ...

    harm_proposed                   a proposal of `bedside label`; used with ``unlabelled: proposed`` only

Other short values become ``Prompt.metadata`` as text, except ``id`` and ``canary``; ``soothing_answer``, the answer
that somebody wrote to soothe, does at any length. Text is kept unchanged, including control characters. Rows with the
same text are merged and counted; the same text with two harm levels is an error. One error reports the first ten
invalid rows and the number of the others.

``phi`` says what happens to identifiers in the kept parts of a row (``data/deidentify.py``).
"""

import difflib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from bedside.config import validation_messages
from bedside.core.errors import DataError
from bedside.core.hashing import digest
from bedside.core.results import FilterCounts
from bedside.core.types import HARM_LEVELS, Conversation, Message, Prompt
from bedside.data import deidentify, turns
from bedside.data.io import FORMULA_STARTS, MISSING, Row, without_fraction

Unlabelled = Literal["error", "skip", "keep", "proposed"]
"""What to do with a row without a harm level: raise, drop it, keep it unlabelled, or use its proposed level."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "prompt": turns.COLUMNS,
    "harm": ("harm", "harmful_level"),
    "principle": ("principle", "principle_index"),
    "style": ("style", "method"),
    "group": ("group",),
    "base_prompt": ("base_prompt",),
    "source": ("source",),
    "reference": ("reference", "reference_answer", "safe_response"),
    "split": ("split",),
}
"""The names that each of our columns may have in a file. The first name that occurs is used."""

OTHER_SPLIT = "another split"
"""Why a valid row is left out."""
PROPOSED, HARM_BY = "harm_proposed", "harm_by"
"""The column of a proposed harm level, and the metadata key that marks a prompt whose level is a proposal."""
SOOTHING = "soothing_answer"
"""The metadata key of an answer that somebody wrote to soothe (``comfort.rewrite.mode: written``)."""
_NOT_METADATA = {
    "id",
    "canary",
    PROPOSED,
    "harm_probability",
    "principle_proposed",
    "confirmed_by",
    *turns.ALPACA,
}.union(*COLUMNS.values())
_METADATA_CHARACTERS = 120
_REPORTED_ROWS = 10
_NO_HARM = "no harm level"


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How the rows of one source are read."""

    split: str | None = None
    """Only rows with this value in column ``split``."""
    unlabelled: Unlabelled = "error"
    columns: Mapping[str, str] = field(default_factory=dict)
    """The source's names of our columns."""
    label_map: Mapping[str, int] = field(default_factory=dict)
    """Harm level by word, in lower case."""
    phi: deidentify.Phi = "off"
    names: bool = False

    def rename(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """``row`` with the mapped columns under our names. They replace other columns of the same meaning."""
        renamed = {key: value for key, value in row.items() if key not in self.columns.values()}
        for ours, theirs in self.columns.items():
            if theirs in row:
                renamed = {key: value for key, value in renamed.items() if key not in COLUMNS[ours]}
                renamed[ours] = row[theirs]
        return renamed

    def check_prompt_column(self, row: Mapping[str, Any]) -> None:
        """DataError if the renamed ``row`` has no column for the prompt."""
        if not any(name in row for name in (*COLUMNS["prompt"], turns.ALPACA[0])):
            raise _MissingColumnError(f"no column prompt; {self.needed_columns(row)}{_similar_column(row)}")

    def needed_columns(self, row: Iterable[str]) -> str:
        """A sentence about the columns that are needed, those that exist, and how to map them."""
        split = " and split" if self.split is not None else ""
        needed, mapping = (
            ("is prompt", "columns: {prompt: NAME} or --column prompt=NAME")
            if self.unlabelled == "keep"
            else ("are prompt and harm", "columns: {prompt: NAME, harm: NAME}")
        )
        return f"needed {needed}{split}, and the columns are {', '.join(row)}: rename them, or map them, {mapping}"


@dataclass(frozen=True)
class TablePrompts:
    """A data set of prompts made of rows. The data-set plug-ins open one of these."""

    source: str
    rows: Callable[[], Iterable[Row]]
    options: ReadOptions = ReadOptions()
    add_notes: Callable[[FilterCounts], FilterCounts] | None = None
    """Adds further counts of the source once all rows are read."""

    def read(self) -> list[Prompt]:
        """All prompts in the order of the source. DataError with file and row."""
        return self._reader.kept

    @property
    def places(self) -> dict[str, str]:
        """File and row of each prompt, by its id."""
        return {name: place for name, (place, _) in self._reader.prompts.items()}

    @property
    def identified(self) -> deidentify.IdentifiedRows | None:
        """Which rows have a possible identifier; None with ``phi: off``."""
        return None if self.options.phi == "off" else self._reader.deidentifier.identified(self.source)

    @property
    def filter_counts(self) -> FilterCounts:
        """How many rows became prompts, and how many did not, by reason."""
        counts = self._reader.filter_counts
        return self.add_notes(counts) if self.add_notes else counts

    @cached_property
    def _reader(self) -> "_PromptReader":
        return _read(self.rows(), self.options, self.source)


def read_prompts(rows: Iterable[Row], options: ReadOptions, source: str) -> tuple[list[Prompt], FilterCounts]:
    """The prompts of ``rows``, and how many rows were kept and dropped. One DataError lists all invalid rows."""
    reader = _read(rows, options, source)
    return reader.kept, reader.filter_counts


def _read(rows: Iterable[Row], options: ReadOptions, source: str) -> "_PromptReader":
    reader = _PromptReader(source, options)
    for where, row in rows:
        reader.add(where, row)
    reader.finish()
    return reader


def parse_prompt(where: str, row: Mapping[str, Any], options: ReadOptions, hidden: Collection[str] = ()) -> Prompt:
    """The prompt of one row, without the columns ``hidden``. DataError with file and row."""
    try:
        options.check_prompt_column(options.rename(row))
        visible = options.rename({key: value for key, value in row.items() if key not in hidden})
        prompt = _prompt(visible, options)
        return _mark_proposed(prompt) if options.columns.get("harm") == PROPOSED else prompt
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def require_room(prompt: Prompt, tokens: int, max_length: int, place: str = "") -> None:
    """DataError if a prompt of ``tokens`` tokens leaves no space for an answer within ``max_length``."""
    if tokens >= max_length:
        raise DataError(
            f"{place or f'prompt {prompt.id}'}: the prompt ({prompt.text[:40]!r} ...) is {tokens} tokens, and "
            f"align.max_length is {max_length}, its answer included; a prompt is never cut: shorten it, leave it out, "
            "or set align.max_length higher"
        )


@dataclass
class _PromptReader:
    """Collects the prompts of rows and the mistakes in them."""

    source: str
    options: ReadOptions
    prompts: dict[str, tuple[str, Prompt]] = field(default_factory=dict)
    """Place of the first row, and the prompt, by prompt id."""
    dropped: Counter[str] = field(default_factory=Counter)
    mistakes: list[str] = field(default_factory=list)
    splits: Counter[str] = field(default_factory=Counter)
    columns: dict[str, None] = field(default_factory=dict)
    deidentifier: deidentify.Deidentifier = field(init=False)

    def __post_init__(self) -> None:
        self.deidentifier = deidentify.Deidentifier(self.options.phi, self.options.names)

    @property
    def kept(self) -> list[Prompt]:
        return [prompt for _, prompt in self.prompts.values()]

    @property
    def filter_counts(self) -> FilterCounts:
        identified = self.deidentifier.identified(self.source)
        notes = {f"rows with {kind}": float(len(places)) for kind, places in identified.kinds.items()}
        notes |= {f"rows with column {name}": float(len(places)) for name, places in identified.columns.items()}
        return FilterCounts(f"read {self.source}", len(self.prompts), dict(self.dropped), notes)

    def add(self, where: str, row: Mapping[str, Any]) -> None:
        """Adds the prompt of ``row``, or the reason why there is none. DataError if a column is missing."""
        self.columns |= dict.fromkeys(row)
        proposal = row.get(PROPOSED) if self.options.columns.get("harm") == PROPOSED else None
        row = self.options.rename(_without_formula_guards(row) if PROPOSED in row else row)
        try:
            self.options.check_prompt_column(row)
            if not self._is_in_split(row):
                self.dropped[OTHER_SPLIT] += 1
            elif _value(row, "harm") is None and self.options.unlabelled == "skip":
                self.dropped["no harm level"] += 1
            else:
                prompt = self.deidentifier.apply(where, _prompt(row, self.options))
                self._keep(where, prompt if proposal is None else _mark_proposed(prompt))
        except _MissingColumnError as error:
            raise DataError(f"{where}: {error}") from None
        except DataError as error:
            self.mistakes.append(f"{where}: {error}")

    def finish(self) -> None:
        """DataError with all mistakes, if there are any or there is no prompt."""
        self._check_options()
        if not self.columns.keys() & {self.options.columns.get("harm", "harm"), *COLUMNS["harm"], PROPOSED}:
            others = [mistake for mistake in self.mistakes if f": {_NO_HARM}" not in mistake]
            missing = (
                f"{self.source}: no column harm; {self.options.needed_columns(self.columns)}; "
                "or have levels proposed with `bedside label FILE --learn-from LABELLED -o labels.csv`"
            )
            self.mistakes = others if len(others) == len(self.mistakes) else [missing, *others]
        if self.mistakes:
            more = len(self.mistakes) - _REPORTED_ROWS
            last = [f"{self.source}: and {more} more rows with mistakes"] if more > 0 else []
            raise DataError("\n".join(self.mistakes[:_REPORTED_ROWS] + last))
        if not self.prompts:
            raise DataError(
                f"{self.source}: no row has a harm level; label some 0 to 3, or set unlabelled: keep"
                if self.dropped["no harm level"]
                else f"{self.source}: there is no row to read"
            )

    def _check_options(self) -> None:
        """Adds a mistake for each mapped column that no row has, and for a split that no row names."""
        for ours, theirs in self.options.columns.items():
            if self.columns and theirs not in self.columns:
                hint = validation_messages.did_you_mean(theirs, self.columns, otherwise="the columns are")
                self.mistakes.append(f"{self.source}: no column {theirs!r} to read as {ours}; {hint}")
        split = self.options.split
        if split and not self.splits[split]:
            hint = validation_messages.did_you_mean(split, self.splits)
            self.mistakes.append(f"{self.source}: no row has split {split!r}; {hint}")

    def _is_in_split(self, row: Mapping[str, Any]) -> bool:
        if self.options.split is None:
            return True
        if "split" not in row:
            raise _MissingColumnError(
                f"no column split, so it is unknown which rows are {self.options.split!r}; "
                f"add it, or take `split` out of the config; the columns are {', '.join(row)}"
            )
        self.splits[str(row["split"])] += 1
        return str(row["split"]) == self.options.split

    def _keep(self, where: str, prompt: Prompt) -> None:
        first_place, first = self.prompts.setdefault(prompt.id, (where, prompt))
        if first.harm != prompt.harm:
            here, there = ("unlabelled" if p.harm is None else p.harm for p in (prompt, first))
            raise DataError(f"the same text as {first_place}, with harm {here} here and {there} there; decide on one")
        if first is not prompt:
            self.dropped["same text as an earlier row"] += 1


class _MissingColumnError(DataError):
    """A column is missing, so every row is invalid: reading stops at once."""


def _prompt(row: Mapping[str, Any], options: ReadOptions) -> Prompt:
    """The prompt of a row with our column names."""
    messages, answer = _conversation(row)
    unlabelled = options.unlabelled
    harm = _harm(_value(row, "harm"), options.label_map)
    proposed = harm is None and unlabelled == "proposed"
    if proposed:
        harm = _harm(row.get(PROPOSED), options.label_map)
    if harm is None and unlabelled in ("error", "proposed"):
        cure = (
            "label it 0 to 3, or set unlabelled: skip"
            if row.get(PROPOSED) is None
            else "confirm the proposal with `bedside label FILE --confirm`, or set unlabelled: proposed"
        )
        raise DataError(f"{_NO_HARM}, so no stance is right or wrong for it; {cure}")
    base = _text_value(row, "base_prompt")
    return Prompt(
        messages=messages,
        harm=harm,
        principle=_text_value(row, "principle"),
        style=_text_value(row, "style"),
        group=_text_value(row, "group") or (f"base:{digest(base)}" if base else None),
        source=_text_value(row, "source"),
        metadata=_metadata(row) | ({HARM_BY: PROPOSED} if proposed else {}),
        reference=_text_value(row, "reference") or answer,
    )


def _mark_proposed(prompt: Prompt) -> Prompt:
    """``prompt`` marked as having a proposed level: mapping the column harm_proposed to harm does not confirm it."""
    return replace(prompt, metadata={**prompt.metadata, HARM_BY: PROPOSED})


def _without_formula_guards(row: Mapping[str, Any]) -> dict[str, Any]:
    """``row`` without the space that `bedside label` writes in front of text that looks like a formula."""
    guarded = tuple(f" {start}" for start in FORMULA_STARTS)
    return {k: v[1:] if isinstance(v, str) and v.startswith(guarded) else v for k, v in row.items()}


def _conversation(row: Mapping[str, Any]) -> tuple[Conversation, str | None]:
    """The turns up to the last user turn, and the last assistant turn after it, if there is one."""
    messages = turns.find_conversation(row)
    if messages is None:
        return (Message("user", ""),), None
    return turns.split_answer(messages) if len(messages) > 1 else (messages, None)


def _harm(value: Any, label_map: Mapping[str, int]) -> int | None:
    """A harm level, 0 to 3, or a word that ``label_map`` knows. CSV gives a level as text, a table with gaps as 3.0."""
    if value is None:
        return None
    word = cell_text(value).lower()
    if word in label_map:
        return label_map[word]
    try:
        level = -1 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        level = -1
    if level not in HARM_LEVELS:
        cure = (
            f"say what it means: label_map: {{{word}: 3}}"
            if word.isidentifier() and isinstance(value, str)
            else "correct it"
        )
        raise DataError(f"harm is {validation_messages.short(value)}; it is 0 (harmless), 1, 2 or 3 (severe); {cure}")
    return int(level)


def cell_text(value: Any) -> str:
    """A value as a person would write it, on one line: true, 3, high risk; empty where it is missing."""
    if value is None or isinstance(value, bool):
        return "" if value is None else str(value).lower()
    text = " ".join(str(value).split())
    return "" if text in MISSING else without_fraction(text)


def _metadata(row: Mapping[str, Any]) -> dict[str, str]:
    """The short values of columns that have no meaning of their own, as text."""
    metadata = {}
    for key, value in row.items():
        if key not in _NOT_METADATA and isinstance(value, (str, int, float)):
            text = str(value).lower() if isinstance(value, bool) else _checked_text(str(value))
            if text and (len(text) <= _METADATA_CHARACTERS or key == SOOTHING):
                metadata[_checked_text(key)] = text
    return metadata


def _text_value(row: Mapping[str, Any], column: str) -> str | None:
    value = _value(row, column)
    if value is None:
        return None
    if isinstance(value, (str, int)):
        text = _checked_text(str(value))
        return text if column == "reference" else without_fraction(text)
    raise DataError(f"{column} is {validation_messages.short(value)}; it is text or a number")


def _value(row: Mapping[str, Any], column: str) -> Any:
    """The first value under one of the column's names. Empty text counts as no value."""
    return next((row[name] for name in COLUMNS[column] if row.get(name) not in (None, "", *MISSING)), None)


def _checked_text(text: str) -> str:
    """``text``. DataError if it contains a lone surrogate, which no tokenizer, file or page can hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"contains a lone surrogate (\\u{ord(text[error.start]):04x}), which no tokenizer reads; correct the text"
        ) from None
    return text


def _similar_column(row: Mapping[str, Any]) -> str:
    """A question about the column that may have been meant as the prompt; empty if none is similar."""
    return next(
        (
            f"; did you mean {similar!r} by {name}?"
            for name in COLUMNS["prompt"]
            for similar in difflib.get_close_matches(name, sorted(row), n=1)
        ),
        "",
    )
