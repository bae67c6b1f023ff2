"""From rows of a file to prompts: which columns mean what, and what is wrong with a row.

    prompt | messages | question    text, or a list of {role, content}
    harm | harmful_level            0 harmless to 3 severe
    principle | principle_index     the principle the request offends
    style | method                  how it is asked: direct, role play, ...
    group                           rows that belong together; else the digest of base_prompt; else none yet
    source                          the collection it came from
    reference | reference_answer    a good answer; else the assistant turn that ``messages`` ends with
    split                           train, valid, test, ...

    harm_proposed                   what `bedside label` proposed; counts with ``unlabelled: proposed`` alone

Other short values become facets, as text; ``id`` and ``safe_response`` do not. Text is kept as it is, control
characters included. Rows that say the same merge and are counted; the same text with two harm levels is an
error. Mistakes are told for the first rows that have one, and counted for the rest.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, cast

from bedside.config import validation_messages
from bedside.core.errors import DataError
from bedside.core.hashing import digest
from bedside.core.results import Flow
from bedside.core.types import HARM_LEVELS, Conversation, Message, Prompt, Role
from bedside.data.io import Row

Unlabelled = Literal["error", "skip", "keep", "proposed"]

COLUMNS: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "messages", "question"),
    "harm": ("harm", "harmful_level"),
    "principle": ("principle", "principle_index"),
    "style": ("style", "method"),
    "group": ("group",),
    "base_prompt": ("base_prompt",),
    "source": ("source",),
    "reference": ("reference", "reference_answer"),
    "split": ("split",),
}
"""What we call a column, and the names it is understood by, the first one present."""

PROPOSED, HARM_BY = "harm_proposed", "harm_by"
"""Column of a level that nobody has confirmed; and the facet that says a prompt's level is such a one."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet runs as a formula. `bedside label` puts a space in front, and reading its files takes it off."""
_OURS = {name for names in COLUMNS.values() for name in names}
_NOT_FACETS = {"id", "safe_response", PROPOSED, "harm_probability", "principle_proposed", "confirmed_by", *_OURS}
_FACET_CHARACTERS = 120
_TOLD_ROWS = 10
_NO_HARM = "no harm level"
_PROPOSE = "have levels proposed with `bedside label FILE --learn-from LABELLED -o labels.csv`"


@dataclass(frozen=True, slots=True)
class Reading:
    """How the rows of one source are understood."""

    split: str | None = None
    """Only rows whose column ``split`` says this."""
    unlabelled: Unlabelled = "error"
    """What to do with a row that has no harm level."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name of a column to the source's name of it."""


@dataclass(frozen=True)
class TablePrompts:
    """A data set over rows: what the plug-ins of ``bedside.datasets`` open."""

    source: str
    rows: Callable[[], Iterable[Row]]
    reading: Reading = Reading()
    noted: Callable[[Flow], Flow] | None = None
    """Adds what else there is to say of the rows, once they are read."""

    def read(self) -> list[Prompt]:
        """All prompts in the order of the source. Raises DataError with file and row."""
        return list(self._read[0])

    @property
    def flow(self) -> Flow:
        """How many rows became prompts, and why the others did not."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[list[Prompt], Flow]:
        prompts, flow = read(self.rows(), self.reading, self.source)
        return prompts, self.noted(flow) if self.noted else flow


def read(rows: Iterable[Row], reading: Reading, source: str) -> tuple[list[Prompt], Flow]:
    """Prompts out of ``rows``, and what became of the rows. One DataError names all rows that are wrong."""
    seen = _Seen(source, reading)
    for where, row in rows:
        seen.take(where, row)
    seen.finish()
    prompts = [prompt for _, prompt in seen.prompts.values()]
    return prompts, Flow(f"read {source}", len(prompts), dict(seen.dropped))


def one(where: str, row: Mapping[str, Any], reading: Reading, hidden: Collection[str] = ()) -> Prompt:
    """The prompt of one row without its columns ``hidden``, equal texts not merged. DataError with file and row."""
    seen = _Seen(where, reading)
    try:
        seen._check_columns(seen._renamed(row))
        shown = {key: value for key, value in row.items() if key not in hidden}
        prompt = _prompt(where, seen._renamed(shown), reading.unlabelled)
        return _guessed(prompt) if reading.columns.get("harm") == PROPOSED else prompt
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


@dataclass
class _Seen:
    """Rows read so far."""

    source: str
    reading: Reading
    prompts: dict[str, tuple[str, Prompt]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    mistakes: list[str] = field(default_factory=list)
    splits: Counter[str] = field(default_factory=Counter)
    columns: dict[str, None] = field(default_factory=dict)

    def take(self, where: str, row: Mapping[str, Any]) -> None:
        """Make a prompt of ``row``, or note why not."""
        self.columns |= dict.fromkeys(row)
        guess = row.get(PROPOSED) if self.reading.columns.get("harm") == PROPOSED else None
        row = self._renamed(_unguarded(row) if PROPOSED in row else row)
        try:
            self._check_columns(row)
            if not self._in_split(where, row):
                self.dropped["another split"] += 1
            elif _value(row, "harm") is None and self.reading.unlabelled == "skip":
                self.dropped["no harm level"] += 1
            else:
                prompt = _prompt(where, row, self.reading.unlabelled)
                self._keep(where, prompt if guess is None else _guessed(prompt))
        except _NoColumnError as error:
            raise DataError(f"{where}: {error}") from None
        except DataError as error:
            self.mistakes.append(f"{where}: {error}")

    def finish(self) -> None:
        """Raise what can only be known when every row was read."""
        for ours, theirs in self.reading.columns.items():
            if self.columns and theirs not in self.columns:
                hint = validation_messages.nearest(theirs, self.columns, there="the columns are")
                self.mistakes.append(f"{self.source}: no column {theirs!r} to read as {ours}; {hint}")
        if self.reading.split and not self.splits[self.reading.split]:
            hint = validation_messages.nearest(self.reading.split, self.splits)
            self.mistakes.append(f"{self.source}: no row has split {self.reading.split!r}; {hint}")
        if not self.columns.keys() & {*self._harm_names(), PROPOSED}:
            others = [mistake for mistake in self.mistakes if f": {_NO_HARM}" not in mistake]
            missing = f"{self.source}: no column harm; {self._needed(self.columns)}; or {_PROPOSE}"
            self.mistakes = others if len(others) == len(self.mistakes) else [missing, *others]
        if self.mistakes:
            more = len(self.mistakes) - _TOLD_ROWS
            rest = [f"{self.source}: and {more} more rows with mistakes"] if more > 0 else []
            raise DataError("\n".join(self.mistakes[:_TOLD_ROWS] + rest))
        if not self.prompts:
            labels = "no row has a harm level; label some 0 to 3, or set unlabelled: keep"
            raise DataError(f"{self.source}: {labels if self.dropped['no harm level'] else 'there is no row to read'}")

    def _renamed(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """``row`` with the columns the config names under our names, in front of all others of that meaning."""
        theirs = set(self.reading.columns.values())
        kept = {key: value for key, value in row.items() if key not in theirs}
        for ours, name in self.reading.columns.items():
            if name in row:
                kept = {key: value for key, value in kept.items() if key not in COLUMNS[ours]}
                kept[ours] = row[name]
        return kept

    def _harm_names(self) -> set[str]:
        """What the column of the harm level may be called here."""
        return {self.reading.columns.get("harm", "harm"), *COLUMNS["harm"]}

    def _check_columns(self, row: Mapping[str, Any]) -> None:
        if not any(name in row for name in COLUMNS["prompt"]):
            raise _NoColumnError(f"no column prompt; {self._needed(row)}{_column_hint(row)}")

    def _needed(self, row: Iterable[str]) -> str:
        """Which columns are needed, which are there, and how the two come together."""
        split = " and split" if self.reading.split is not None else ""
        without = self.reading.unlabelled == "keep"
        needed = f"needed is prompt{split}" if without else f"needed are prompt and harm{split}"
        mapped = "prompt: NAME" if without else "prompt: NAME, harm: NAME"
        return f"{needed}, and the columns are {', '.join(row)}: rename them, or map them, columns: {{{mapped}}}"

    def _in_split(self, where: str, row: Mapping[str, Any]) -> bool:
        if self.reading.split is None:
            return True
        if "split" not in row:
            raise _NoColumnError(
                f"no column split, so nobody knows what is {self.reading.split!r}; "
                f"add it, or take `split` out of the config; {_seen(row)}"
            )
        self.splits[str(row["split"])] += 1
        return str(row["split"]) == self.reading.split

    def _keep(self, where: str, prompt: Prompt) -> None:
        first, other = self.prompts.setdefault(prompt.id, (where, prompt))
        if other is prompt:
            return
        if other.harm != prompt.harm:
            raise DataError(
                f"the same text as {first}, with harm {_level(prompt.harm)} here "
                f"and {_level(other.harm)} there; decide on one"
            )
        self.dropped["same text as an earlier row"] += 1


def _unguarded(row: Mapping[str, Any]) -> dict[str, Any]:
    """Texts without the space that kept a spreadsheet from running them."""
    guarded = {key for key, value in row.items() if isinstance(value, str) and value.startswith(" ")}
    return {k: v[1:] if k in guarded and v[1:].startswith(FORMULA) else v for k, v in row.items()}


def _to_label(row: Mapping[str, Any]) -> str:
    if row.get(PROPOSED) is None:
        return "label it 0 to 3, or set unlabelled: skip"
    return "confirm what was proposed with `bedside label FILE --confirm`, or set unlabelled: proposed"


class _NoColumnError(DataError):
    """What is wrong with one row is wrong with all."""


def _prompt(where: str, row: Mapping[str, Any], unlabelled: Unlabelled) -> Prompt:
    messages, answer = _conversation(row)
    harm = _harm(_value(row, "harm"))
    proposed = harm is None and unlabelled == "proposed"
    if proposed:
        harm = _harm(row.get(PROPOSED))
    if harm is None and unlabelled in ("error", "proposed"):
        raise DataError(f"{_NO_HARM}, so no stance is right or wrong for it; {_to_label(row)}")
    return Prompt(
        messages=messages,
        harm=harm,
        principle=_text_of(row, "principle"),
        style=_text_of(row, "style"),
        group=_group(row),
        source=_text_of(row, "source"),
        facets=_facets(row) | ({HARM_BY: PROPOSED} if proposed else {}),
        reference=_text_of(row, "reference") or answer,
    )


def _guessed(prompt: Prompt) -> Prompt:
    """Renaming a proposal's column does not confirm it."""
    return replace(prompt, facets={**prompt.facets, HARM_BY: PROPOSED})


def _conversation(row: Mapping[str, Any]) -> tuple[Conversation, str | None]:
    """The turns up to the last user's, and the assistant turn after it, where there is one."""
    value = next((row[name] for name in COLUMNS["prompt"] if row.get(name) is not None), "")
    if isinstance(value, str):
        return (Message("user", _text(value)),), None
    if not isinstance(value, Sequence) or not value:
        raise DataError(f"the prompt is {validation_messages.shown(value)}; write text or a list of {{role, content}}")
    turns = tuple(_message(turn) for turn in value)
    if len(turns) > 1 and turns[-1].role == "assistant":
        return turns[:-1], turns[-1].text
    return turns, None


def _message(turn: Any) -> Message:
    if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), str):
        raise DataError(f"a turn is {validation_messages.shown(turn)}; write {{role: user, content: text}}")
    return Message(cast("Role", turn.get("role")), _text(turn["content"]))  # which says what a role may be


def _harm(value: Any) -> int | None:
    """0 to 3; CSV writes it as text, a table with gaps as 3.0."""
    if value is None:
        return None
    try:
        level = -1 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        level = -1
    if level not in HARM_LEVELS:
        raise DataError(
            f"harm is {validation_messages.shown(value)}; it is 0 (harmless), 1, 2 or 3 (severe); correct it"
        )
    return int(level)


def _group(row: Mapping[str, Any]) -> str | None:
    base = _text_of(row, "base_prompt")
    return _text_of(row, "group") or (f"base:{digest(base)}" if base else None)


def _facets(row: Mapping[str, Any]) -> dict[str, str]:
    facets = {}
    for key, value in row.items():
        if key in _NOT_FACETS or value is None or not isinstance(value, (str, int, float)):
            continue
        text = str(value).lower() if isinstance(value, bool) else _text(str(value))
        if text and len(text) <= _FACET_CHARACTERS:
            facets[_text(key)] = text
    return facets


def _text_of(row: Mapping[str, Any], column: str) -> str | None:
    value = _value(row, column)
    if value is None or isinstance(value, (str, int)):
        return None if value is None else _text(str(value))
    raise DataError(f"{column} is {validation_messages.shown(value)}; it is text or a number")


def _value(row: Mapping[str, Any], column: str) -> Any:
    """The value of the first of the column's names that has one; an empty text is none."""
    values = (row.get(name) for name in COLUMNS[column])
    return next((value for value in values if value is not None and value != ""), None)


def _text(text: str) -> str:
    """``text`` as it is, unless it is half a character: no tokenizer, file or page could hold that."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise DataError(f"holds half a character ({half}, a lone surrogate); correct the text") from None
    return text


def _column_hint(row: Mapping[str, Any]) -> str:
    """Which column may have been meant to be the prompt."""
    for name in COLUMNS["prompt"]:
        hint = validation_messages.nearest(name, row)
        if hint.startswith("did you mean"):
            near = hint.split("'")[1]
            return f"; did you mean {near!r} by {name}?"
    return ""


def _seen(row: Mapping[str, Any]) -> str:
    return f"the columns are {', '.join(row)}"


def _level(harm: int | None) -> str:
    return "unlabelled" if harm is None else str(harm)
