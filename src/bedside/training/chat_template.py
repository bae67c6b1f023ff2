"""From turns to token ids, through the model's own chat template.

    prompt ids       template(turns, add_generation_prompt=True), and the answer's first words if they are given
    completion ids   what the template appends for the answer, up to and including the end of turn

Sampled completions keep their ids; only text from a file is tokenised here.
Text cannot imitate the template: ``<|end|>`` inside a turn becomes ``< |end|>``, which is ordinary text. Marks that a
template writes in plain letters (``[INST]`` of Llama 2) are not tokens of their own and are left as they are.
A template that writes today's date always writes ``DATE``, because a run that continues tomorrow must ask the same.
"""

import re
from collections.abc import Sequence
from datetime import date
from functools import cached_property, lru_cache
from typing import cast

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from bedside.core.errors import DataError, ModelError
from bedside.core.types import Conversation, Message

DATE = date(2026, 1, 1)
_TODAY = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
_PROBE = "zqxprobe"
"""A word that no template writes by itself."""


class Renderer:
    """Renders turns with a tokenizer's chat template. ``stop_ids`` are the end-of-turn tokens of its model.

    ModelError if there is no chat template or no end-of-turn token. ``thinking`` is passed to the template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop_ids: Sequence[int], *, thinking: bool = False) -> None:
        if tokenizer.chat_template is None:
            raise ModelError(
                f"{tokenizer.name_or_path}: the tokenizer has no chat template, so turns cannot be rendered; "
                "use the chat model of the family, or give target.chat_template: FILE.jinja"
            )
        self.tokenizer, self.thinking = tokenizer, thinking
        self.template = _TODAY.sub(lambda call: repr(DATE.strftime(call[2])), str(tokenizer.chat_template))
        self.stop_ids = frozenset([*stop_ids, *self._end_of_turn()])
        self.has_system_turn = self._keeps_system()
        self._cached_prompt_ids = lru_cache(maxsize=1024)(self._prompt_ids)  # lengths are needed before the ids
        if not self.stop_ids:
            raise ModelError(f"{tokenizer.name_or_path}: no end-of-turn token in generation_config or tokenizer")

    @property
    def notes(self) -> list[str]:
        """Unusual behaviour of this template, one sentence per item."""
        notes = {
            "it shows no system turn, so system text begins the first question": not self.has_system_turn,
            f"it writes today's date: here always {DATE:%d %B %Y}": self.template != self.tokenizer.chat_template,
            "it writes today's date, so a run that goes on another day asks its model otherwise": (
                "strftime_now(" in self.template
            ),
        }
        return [note for note, holds in notes.items() if holds]

    @property
    def pad_id(self) -> int:
        """The id that fills up a batch. It is masked, so without a pad token an end-of-turn token will do."""
        pad = self.tokenizer.pad_token_id
        return min(self.stop_ids) if pad is None else int(pad)

    @cached_property
    def _special_tokens(self) -> re.Pattern[str]:
        """Matches every special or added token of the tokenizer in a text."""
        added = {str(token) for token in self.tokenizer.added_tokens_decoder.values()}
        written = sorted({*added, *self.tokenizer.all_special_tokens}, key=len, reverse=True)
        return re.compile("|".join(re.escape(token) for token in written if len(token.strip()) > 1) or r"(?!)")

    def prompt_ids(self, conversation: Conversation) -> list[int]:
        """Ids of ``conversation`` up to the place where the answer begins, or goes on after a last assistant turn."""
        return list(self._cached_prompt_ids(tuple(conversation)))

    def completion_ids(self, conversation: Conversation, text: str) -> list[int]:
        """Ids of ``text`` as the answer to ``conversation``; the last one is an end-of-turn token."""
        before = self._text(conversation, add_generation_prompt=True)
        whole = self._text((*conversation, Message("assistant", text)), add_generation_prompt=False)
        ids = self._ids(whole[len(before) :] if whole.startswith(before) else self._neutralised(text))
        end = next((index for index, token in enumerate(ids) if token in self.stop_ids), None)
        return [*ids, min(self.stop_ids)] if end is None else ids[: end + 1]

    def text(self, ids: Sequence[int]) -> str:
        """The text of ``ids`` without special tokens and outer spaces."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def first_ids(self, labels: Sequence[str]) -> list[int]:
        """The first token id of each label. ModelError if two labels begin with the same token."""
        firsts = [self._ids(label)[0] for label in labels]
        if len(set(firsts)) < len(firsts):
            raise ModelError(f"labels {', '.join(labels)} do not have distinct first tokens here; choose others")
        return firsts

    def _prompt_ids(self, conversation: Conversation) -> list[int]:
        *turns, last = conversation
        if last.role != "assistant":
            return self._ids(self._text(conversation, add_generation_prompt=True))
        return self._ids(self._text(tuple(turns), add_generation_prompt=True) + self._neutralised(last.text))

    def _neutralised(self, text: str) -> str:
        """``text`` with a space inside each special token, so that it is not tokenised as one."""
        return self._special_tokens.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

    def _ids(self, text: str) -> list[int]:
        return cast("list[int]", self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _end_of_turn(self) -> list[int]:
        """The special token that the template itself puts after an answer, which need not be the tokenizer's EOS."""
        try:
            whole = self._apply([{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}], False)
        except TemplateError:
            return []
        after = self._ids(whole.partition(_PROBE)[2].lstrip())
        special = {*self.tokenizer.added_tokens_decoder, *self.tokenizer.all_special_ids}
        return [token for token in after[:1] if token in special]

    def _keeps_system(self) -> bool:
        """False for a template that silently leaves out a system turn, or refuses it."""
        try:
            turns = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "?"}]
            return _PROBE in self._apply(turns, add_generation_prompt=True)
        except TemplateError:
            return False

    def _text(self, conversation: Conversation, *, add_generation_prompt: bool) -> str:
        turns = [{"role": m.role, "content": self._neutralised(m.text)} for m in conversation]
        if not self.has_system_turn:
            turns = _system_in_first_turn(turns)
        try:
            return self._apply(turns, add_generation_prompt)
        except TemplateError as error:
            roles, asked = ", ".join(turn["role"] for turn in turns), turns[-1]["content"][:60]
            raise DataError(
                f"the chat template of {self.tokenizer.name_or_path} refuses the conversation that ends with {asked!r} "
                f"({roles}): {error}; merge neighbours of one role, begin with the user, or give "
                "target.chat_template: FILE.jinja"
            ) from None

    def _apply(self, turns: list[dict[str, str]], add_generation_prompt: bool) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                turns,
                chat_template=self.template,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                enable_thinking=self.thinking,
            )
        )


def _system_in_first_turn(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """``turns`` for a template without a system role (Gemma): its text begins the first user turn."""
    if len(turns) < 2 or turns[0]["role"] != "system":
        return turns
    first = {"role": turns[1]["role"], "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
    return [first, *turns[2:]]
