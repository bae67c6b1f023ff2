"""TRL's data columns, read and written as they are.

    KTO   {"prompt": ..., "completion": ..., "label": true}
    DPO   {"prompt": ..., "chosen": ..., "rejected": ...}      or no prompt, and both sides whole conversations
    SFT   {"prompt": ..., "completion": ...}                   or {"messages": [...]}

A text stands for one turn; a list of {"role", "content"} for several. Written rows are conversational.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bedside.core.errors import DataError
from bedside.core.types import (
    Conversation,
    Demonstration,
    Message,
    Preference,
    PreferencePair,
    Prompt,
    UnpairedPreference,
)
from bedside.data.io import Row


def read(rows: Iterable[Row], reads: str) -> list[Preference]:
    """Rows as an objective reads them: thumbs, pairs or dialogues. DataError with file and row."""
    return [_preference(where, row, *_FORMATS[reads]) for where, row in rows]


def demonstration_row(row: Demonstration) -> dict[str, Any]:
    """A row of ``SFTTrainer``, which learns from completions alone; from messages it would learn every turn."""
    return {"prompt": turns(row.prompt), "completion": _answer(row.answer)}


def unpaired_row(row: UnpairedPreference) -> dict[str, Any]:
    return {
        "prompt": turns(row.prompt),
        "completion": _answer(row.text),
        "label": row.label,
        "harm": row.prompt.harm,
        "origin": row.origin,
    }


def pair_row(row: PreferencePair) -> dict[str, Any]:
    return {
        "prompt": turns(row.prompt),
        "chosen": _answer(row.chosen),
        "rejected": _answer(row.rejected),
        "harm": row.prompt.harm,
        "chosen_origin": row.chosen_origin,
        "rejected_origin": row.rejected_origin,
    }


def _preference(
    where: str, row: Mapping[str, Any], make: Callable[[Mapping[str, Any]], Preference], columns: str
) -> Preference:
    try:
        return make(row)
    except KeyError as missing:
        raise DataError(
            f"{where}: no column {missing}; this training reads {columns} (there is {', '.join(row)})"
        ) from None
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _unpaired(row: Mapping[str, Any]) -> UnpairedPreference:
    if not isinstance(row["label"], bool):
        raise DataError(f"label is {row['label']!r}; it is true or false")
    return UnpairedPreference(_prompt(row["prompt"]), _text(row["completion"]), row["label"])


def _pair(row: Mapping[str, Any]) -> PreferencePair:
    if "prompt" in row:
        return PreferencePair(_prompt(row["prompt"]), _text(row["chosen"]), _text(row["rejected"]))
    chosen, rejected = _conversation(row["chosen"]), _conversation(row["rejected"])
    if chosen[:-1] != rejected[:-1]:
        raise DataError("chosen and rejected do not answer the same conversation; give a prompt column")
    return PreferencePair(Prompt(chosen[:-1]), chosen[-1].text, rejected[-1].text)


def _demonstration(row: Mapping[str, Any]) -> Demonstration:
    if row.get("label") is False:
        raise DataError("label is false: SFT would imitate an unwanted answer; leave such rows out, or train kto")
    if "messages" not in row:
        return Demonstration(_prompt(row["prompt"]), _text(row["completion"]))
    turns = _conversation(row["messages"])
    if not turns or turns[-1].role != "assistant":
        raise DataError("messages do not end with an assistant turn, so there is nothing to imitate")
    return Demonstration(Prompt(turns[:-1]), turns[-1].text)


def _prompt(value: Any) -> Prompt:
    return Prompt((Message("user", value),) if isinstance(value, str) else _conversation(value))


def _text(value: Any) -> str:
    """The one answer in a completion column."""
    if isinstance(value, str):
        return value
    turns = _conversation(value)
    if len(turns) != 1 or turns[0].role != "assistant":
        raise DataError("an answer is a text, or a list of one assistant turn")
    return turns[0].text


def _conversation(value: Any) -> Conversation:
    if not isinstance(value, list) or not all(isinstance(turn, Mapping) for turn in value):
        raise DataError(f"turns are a list of {{role, content}}, not {type(value).__name__}")
    return tuple(Message(turn.get("role", ""), str(turn.get("content", ""))) for turn in value)


def turns(prompt: Prompt) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.text} for m in prompt.messages]


def _answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


_FORMATS: dict[str, tuple[Callable[[Mapping[str, Any]], Preference], str]] = {
    "unpaired": (_unpaired, "prompt, completion and label"),
    "pairs": (_pair, "prompt, chosen and rejected"),
    "demonstrations": (_demonstration, "messages, or prompt and completion"),
}
"""How a row is read, and the columns it has."""
