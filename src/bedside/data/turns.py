"""The one reader of conversations: prompts, dialogues, training rows and answers all become messages here.

    How much is safe?                                                  a text: one turn of the user
    [{"role": "user", "content": "How much is safe?"}]                 OpenAI, TRL, transformers
    [{"role": "user", "content": [{"type": "text", "text": "How"}]}]   the same in parts, which are joined
    [{"from": "human", "value": "How much is safe?"}]                  ShareGPT
    "[{'role': 'user', 'content': 'How much is safe?'}]"               a list that a CSV cell holds, JSON or Python
    "\\n\\nHuman: How much is safe?\\n\\nAssistant: Two."                 a transcript, as in Anthropic's HH

``developer`` is system; human, gpt, bot and the like are user and assistant. A turn in which a tool is called, or
answers, has no text for a patient: it is left out where an answer follows it, and refused by its number elsewhere.
A part that is no text, a null and a missing content are refused: nothing becomes "None" or the text of a Python list.
"""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bedside.config import validation_messages
from bedside.core.errors import DataError
from bedside.core.types import Conversation, Message, Role

ROLES: Mapping[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "patient", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "chatbot", "doctor"), "assistant"),
}
"""What a file calls a speaker, in lower case, to the role."""
TOOL_ROLES = ("tool", "function", "function_call", "observation", "ipython")
TEXT_PARTS = ("text", "input_text", "output_text")
"""Types of a content part whose text is kept."""
THINKING_PARTS = ("thinking", "reasoning", "redacted_thinking")
"""Types of a content part that the patient does not see."""
TRANSCRIPT = "\n\nHuman:"
"""How a transcript begins. A patient's text that only contains such marks stays one turn: attacks do."""
COLUMNS = ("prompt", "messages", "question", "conversations", "conversation")
"""Where the conversation of a row stands. The first column with a value is read."""
ALPACA = ("instruction", "input")
"""Alpaca's columns: with an input, the instruction is a system turn; without one, it is the question."""
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")
_LIST_OF_TURNS = re.compile(r"\s*\[\s*\{\s*['\"](?:role|content|from|value)['\"]\s*:")


class NoAnswerError(DataError):
    """The conversation ends with a tool: a reader of dialogues leaves it out, others say so."""


def read_turns(value: Any) -> Conversation:
    """The conversation that a cell holds. DataError, which says what is wrong with which turn.

    >>> read_turns([{"from": "human", "value": "How much?"}])
    (Message(role='user', text='How much?'),)
    >>> [turn.role for turn in read_turns("\\n\\nHuman: How much?\\n\\nAssistant: Two.")]
    ['user', 'assistant']
    """
    if isinstance(value, str):
        return _turns_of_text(value)
    if isinstance(value, bytes):
        raise DataError(
            "the conversation is bytes, not text; save the column as text (in pandas: .str.decode('utf-8'))"
        )
    if isinstance(value, Mapping) and "0" in value:
        raise DataError("the file is one table by column; write a row a line: to_json(lines=True, orient='records')")
    if not isinstance(value, Sequence) or not value:
        raise DataError(f"the conversation is {_shown(value)}; write a text, or a list of {{role, content}}")
    messages = []
    for number, turn in enumerate(value, start=1):
        message = _message(turn, number)
        if message is None:
            _require_answer(value, number)
        else:
            messages.append(message)
    return tuple(messages)


def find_conversation(row: Mapping[str, Any]) -> Conversation | None:
    """The conversation of a row, under whichever column it stands; None if there is none.

    >>> find_conversation({"instruction": "Answer briefly.", "input": "How much?"})
    (Message(role='system', text='Answer briefly.'), Message(role='user', text='How much?'))
    """
    value = next((row[name] for name in COLUMNS if row.get(name) not in (None, "")), None)
    if value is not None:
        return read_turns(value)
    instruction, question = (row.get(name) for name in ALPACA)
    if instruction is None:
        return None
    asked = read_content(question, "input") if question is not None else ""
    if not asked.strip():
        return (Message("user", read_content(instruction, "instruction")),)
    return (Message("system", read_content(instruction, "instruction")), Message("user", asked))


def split_answer(turns: Conversation) -> tuple[Conversation, str | None]:
    """The turns up to the last one of the user, and the last answer after it; None if there is none."""
    last = max((number for number, turn in enumerate(turns) if turn.role == "user"), default=len(turns) - 1)
    after = [turn.text for turn in turns[last + 1 :] if turn.role == "assistant"]
    return turns[: last + 1], after[-1] if after else None


def read_content(content: Any, what: str = "the content") -> str:
    """The text of a content: itself, or its text parts joined. DataError for null, and for a part that is no text.

    >>> read_content([{"type": "text", "text": "Take "}, {"type": "text", "text": "two."}])
    'Take two.'
    """
    if isinstance(content, str):
        return content
    if content is None:
        raise DataError(f"{what} is null; write its text, or take the row out")
    if not isinstance(content, Sequence):
        raise DataError(f"{what} is {_shown(content)}; write text")
    return "".join(_part(part, what) for part in content)


def _part(part: Any, what: str) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type", "text") if isinstance(part, Mapping) else type(part).__name__
    if kind in THINKING_PARTS:
        return ""
    if kind not in TEXT_PARTS or not isinstance(part.get("text"), str):
        raise DataError(f"{what} has a part of type {kind!r}; Bedside reads text alone, so take the row out")
    return str(part["text"])


def _turns_of_text(text: str) -> Conversation:
    """A plain text, a list of turns that was saved as text, or a transcript."""
    if _LIST_OF_TURNS.match(text):
        return read_turns(_saved_list(text))
    if not text.startswith(TRANSCRIPT):
        return (Message("user", text),)
    speakers = list(_SPEAKER.finditer(text))
    ends = [*(speaker.start() for speaker in speakers[1:]), len(text)]
    turns = [(ROLES[s[1].lower()], text[s.end() : end].strip()) for s, end in zip(speakers, ends, strict=True)]
    if turns[-1] == ("assistant", ""):  # a prompt, which ends where the answer begins
        turns.pop()
    return tuple(Message(role, words) for role, words in turns)


def _saved_list(text: str) -> Any:
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    raise DataError(f"looks like a list of turns and is not one whole list; write it as JSON: {text.strip()[:60]!r}…")


def _message(turn: Any, number: int) -> Message | None:
    """The message of a turn; None for a turn of a tool, and for one that calls a tool and says nothing."""
    if not isinstance(turn, Mapping):
        raise DataError(f"turn {number} is {_shown(turn)}; write {{role: user, content: text}}")
    speaker = turn.get("role", turn.get("from"))
    if str(speaker).lower() in TOOL_ROLES:
        return None
    content = turn.get("content", turn.get("value"))
    if not content and (turn.get("tool_calls") or turn.get("function_call")):
        return None
    role = ROLES.get(str(speaker).strip().lower())
    if speaker is None:
        raise DataError(
            f"turn {number} has {', '.join(map(str, turn)) or 'no key'}; rename them: role (user, assistant or system) "
            "and content"
        )
    if role is None:
        known = validation_messages.did_you_mean(str(speaker), ROLES)
        raise DataError(f"the role of turn {number} is {_shown(speaker)}; {known}")
    missing = "content" not in turn and "value" not in turn
    what = f"the content of turn {number} ({speaker})"
    if missing:
        raise DataError(f"{what} is missing; the turn has {', '.join(map(str, turn))}")
    return Message(role, read_content(content, what))


def _require_answer(turns: Sequence[Any], number: int) -> None:
    """NoAnswerError unless an answer follows turn ``number``, which is of a tool, before the next user turn."""
    for later, turn in enumerate(turns[number:], start=number + 1):
        message = _message(turn, later)
        if message is not None:
            if message.role == "assistant":
                return
            break
    raise NoAnswerError(
        f"turn {number} belongs to a tool and no answer follows it: Bedside reads what patients and assistants "
        "say; take the row out, or end it with the answer"
    )


def _shown(value: Any) -> str:
    return validation_messages.short(value)
