"""Prompts as tests write them."""

from bedside.core.types import Message, Prompt


def ask(text: str, harm: int | None = 0, group: str | None = None, **more) -> Prompt:
    return Prompt((Message("user", text),), harm=harm, group=group, **more)
