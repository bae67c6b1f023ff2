"""TRL's data columns, read and written as they are.

    KTO   {"prompt": ..., "completion": ..., "label": true}
    DPO   {"prompt": ..., "chosen": ..., "rejected": ...}      or no prompt, and both sides whole conversations
    SFT   {"prompt": ..., "completion": ...}                   or {"messages": [...]}

A text stands for one turn; a list of {"role", "content"}, or any other form that ``data/turns.py`` reads, for several.
Written rows are conversational.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bedside.core.errors import DataError
from bedside.core.types import (
    Conversation,
    Demonstration,
    Preference,
    PreferencePair,
    Prompt,
    UnpairedPreference,
)
from bedside.data.io import Row
from bedside.data.turns import find_conversation, read_content, read_turns


def read(rows: Iterable[Row], reads: str) -> list[Preference]:
    """Rows as an objective reads them: unpaired rows, pairs or demonstrations. DataError with file and row."""
    return [_preference(where, row, *_FORMATS[reads]) for where, row in rows]


def demonstration_row(row: Demonstration) -> dict[str, Any]:
    """A row of ``SFTTrainer``, which learns from completions alone; from messages it would learn every turn."""
    return {"prompt": turns(row.prompt), "completion": _answer(row.answer), **_asked(row.prompt)}


def unpaired_row(row: UnpairedPreference) -> dict[str, Any]:
    return {
        "prompt": turns(row.prompt),
        "completion": _answer(row.text),
        "label": row.label,
        "harm": row.prompt.harm,
        "origin": row.origin,
        **_asked(row.prompt),
    }


def pair_row(row: PreferencePair) -> dict[str, Any]:
    return {
        "prompt": turns(row.prompt),
        "chosen": _answer(row.chosen),
        "rejected": _answer(row.rejected),
        "harm": row.prompt.harm,
        "chosen_origin": row.chosen_origin,
        "rejected_origin": row.rejected_origin,
        **_asked(row.prompt),
    }


def _asked(prompt: Prompt) -> dict[str, str]:
    """The request as it was, where an attack changed its form: erasure finds a person's words by it."""
    return {key: prompt.metadata[key] for key in ("attack", "base_prompt") if key in prompt.metadata}


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
    return UnpairedPreference(_prompt(row["prompt"]), _text(row["completion"], "completion"), _label(row["label"]))


def _label(value: Any) -> bool:
    """True or false, as JSON, a spreadsheet, pandas and people write them. DataError for anything else."""
    label = {"true": True, "1": True, "1.0": True, "yes": True, "false": False, "0": False, "0.0": False, "no": False}
    text = str(value).strip().lower()
    if text not in label:
        raise DataError(f"label is {value!r}; it is true or false, 1 or 0, yes or no")
    return label[text]


def _pair(row: Mapping[str, Any]) -> PreferencePair:
    if row.get("prompt") is not None:
        asked = _prompt(row["prompt"])
        return PreferencePair(asked, _text(row["chosen"], "chosen", asked), _text(row["rejected"], "rejected", asked))
    chosen, rejected = (_whole_conversation(row[side], side) for side in ("chosen", "rejected"))
    if chosen[:-1] != rejected[:-1]:
        raise DataError("chosen and rejected do not answer the same conversation; give a prompt column")
    return PreferencePair(Prompt(chosen[:-1]), chosen[-1].text, rejected[-1].text)


def _demonstration(row: Mapping[str, Any]) -> Demonstration:
    if row.get("label") is not None and not _label(row["label"]):
        raise DataError("label is false: SFT would imitate an unwanted answer; leave such rows out, or train kto")
    if "prompt" in row or "completion" in row:
        return Demonstration(_prompt(row["prompt"]), _text(row["completion"], "completion"))
    conversation = find_conversation(row)
    if conversation is None:
        raise KeyError("messages")
    if row.get("output") is not None:
        return Demonstration(Prompt(conversation), read_content(row["output"], "output"))
    if conversation[-1].role != "assistant":
        raise DataError("messages do not end with an assistant turn, so there is nothing to imitate")
    return Demonstration(Prompt(conversation[:-1]), conversation[-1].text)


def _prompt(value: Any) -> Prompt:
    if value is None:
        raise DataError("prompt is null; write its text, or take the row out")
    return Prompt(read_turns(value))


def _text(value: Any, column: str, asked: Prompt | None = None) -> str:
    """The one answer in a column: a text, a list of one assistant turn, or the whole conversation after ``asked``."""
    if value is None or isinstance(value, str):
        return read_content(value, column)
    conversation = read_turns(value)
    before = conversation[:-1]
    if conversation[-1].role != "assistant" or (before and (asked is None or before != asked.messages)):
        raise DataError(f"{column}: an answer is a text, a list of one assistant turn, or the prompt and that turn")
    return conversation[-1].text


def _whole_conversation(value: Any, column: str) -> Conversation:
    """A conversation that ends with an answer: a list of turns, or a transcript of Human and Assistant."""
    text = value.strip("\n") if isinstance(value, str) else ""
    conversation = read_turns(f"\n\n{text}" if text.startswith("Human:") else value)
    if len(conversation) < 2 or conversation[-1].role != "assistant":
        raise DataError(
            f"{column} is no conversation that ends with an answer, and there is no prompt column; give one, or write "
            "a list of {role, content}, or a transcript of \\n\\nHuman: and \\n\\nAssistant:"
        )
    return conversation


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
