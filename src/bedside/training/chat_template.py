"""From turns to token ids, through the model's own chat template.

    prompt ids       template(turns, add_generation_prompt=True)
    completion ids   what the template puts after that for this text, up to and with the end of turn

What a model sampled keeps the ids it was sampled as; only text that came from a file is tokenised here.
Text cannot speak for the template: ``<|end|>`` inside a turn is read as ``< |end|>``, signs and no command. Marks
that a template writes in plain letters (``[INST]`` of Llama 2) are no tokens of their own, and pass.
"""

import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

from jinja2.exceptions import TemplateError

from bedside.core.errors import ModelError
from bedside.core.types import Conversation, Message


class Renderer:
    """A tokenizer and the end-of-turn ids of its model."""

    def __init__(self, tokenizer: Any, stop_ids: Sequence[int], *, thinking: bool = False) -> None:
        if tokenizer.chat_template is None:
            raise ModelError(
                f"{tokenizer.name_or_path}: the tokenizer has no chat template, so turns cannot be rendered; "
                "use the chat model of the family, or give target.chat_template: FILE.jinja"
            )
        self.tokenizer, self.thinking = tokenizer, thinking
        self.stop_ids = frozenset(stop_ids)
        self._rendered = lru_cache(maxsize=1024)(self._render)  # lengths are asked for before the ids are
        if not self.stop_ids:
            raise ModelError(f"{tokenizer.name_or_path}: no end-of-turn token in generation_config or tokenizer")

    @property
    def pad_id(self) -> int:
        """Padding is masked everywhere, so a model without a pad token pads with its end of turn."""
        pad: int | None = self.tokenizer.pad_token_id
        return min(self.stop_ids) if pad is None else pad

    @cached_property
    def _commands(self) -> re.Pattern[str]:
        """Every token that was added to this model's own vocabulary, as it would be written in a text."""
        added = {str(token) for token in self.tokenizer.added_tokens_decoder.values()}
        written = sorted({*added, *self.tokenizer.all_special_tokens}, key=len, reverse=True)
        return re.compile("|".join(re.escape(token) for token in written if len(token.strip()) > 1) or r"(?!)")

    def prompt_ids(self, conversation: Conversation) -> list[int]:
        return list(self._rendered(tuple(conversation)))

    def completion_ids(self, conversation: Conversation, text: str) -> list[int]:
        """Ids of ``text`` as the answer to ``conversation``, ending with an end-of-turn token."""
        before = self._text(conversation, add_generation_prompt=True)
        whole = self._text((*conversation, Message("assistant", text)), add_generation_prompt=False)
        ids = self._ids(whole[len(before) :] if whole.startswith(before) else self._harmless(text))
        return self._to_end_of_turn(ids)

    def text(self, ids: Sequence[int]) -> str:
        decoded: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return decoded.strip()

    def first_ids(self, labels: Sequence[str]) -> list[int]:
        """First token id of each label; ModelError where two are the same."""
        firsts = [self._ids(label)[0] for label in labels]
        if len(set(firsts)) < len(firsts):
            raise ModelError(f"labels {', '.join(labels)} do not have distinct first tokens here; choose others")
        return firsts

    def _render(self, conversation: Conversation) -> list[int]:
        return self._ids(self._text(conversation, add_generation_prompt=True))

    def _to_end_of_turn(self, ids: list[int]) -> list[int]:
        for place, token in enumerate(ids):
            if token in self.stop_ids:
                return ids[: place + 1]
        return [*ids, min(self.stop_ids)]

    def _harmless(self, text: str) -> str:
        """``text`` in which no special token stands."""
        return self._commands.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _text(self, conversation: Conversation, *, add_generation_prompt: bool) -> str:
        turns = [{"role": m.role, "content": self._harmless(m.text)} for m in conversation]
        try:
            return self._apply(turns, add_generation_prompt)
        except TemplateError:
            return self._apply(_system_in_first_turn(turns), add_generation_prompt)

    def _apply(self, turns: list[dict[str, str]], add_generation_prompt: bool) -> str:
        text: str = self.tokenizer.apply_chat_template(
            turns,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            enable_thinking=self.thinking,
        )
        return text


def _system_in_first_turn(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """Templates without a system role (Gemma) get its text at the head of the first user turn."""
    if len(turns) < 2 or turns[0]["role"] != "system":
        return turns
    first = {"role": turns[1]["role"], "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
    return [first, *turns[2:]]
