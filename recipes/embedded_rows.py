"""Examples in token ids, and batches of rows of like length."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from embedded_example import Example

END = "<|end|>"
TOKENS_A_STEP = 2048
"""Of each process."""
LABEL_WEIGHT, FELT_WEIGHT, COPY_WEIGHT = 12.0, 2.0, 0.4
"""Of a label, a word of what is felt and a word of a copied text, beside a word of an answer."""


@dataclass(frozen=True, slots=True)
class Row:
    """An example in token ids; the assistant's turn begins at ``start``, and its tokens weigh ``weights``."""

    ids: list[int]
    start: int
    weights: list[float]
    told: tuple[int, ...]
    """What the head should read where the answer begins, one class each; -100 where nobody knows."""


def encode(tokenizer: PreTrainedTokenizerFast, example: Example) -> Row:
    asked = [{"role": message.role, "content": message.text} for message in example.asked]
    text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    prompt, answer = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in (text, example.answer + END))
    felt, lines, _ = example.answer.partition("\n")  # only what was rewritten or soothed has lines
    first = len(tokenizer(felt, add_special_tokens=False)["input_ids"]) if lines else 0
    rest = COPY_WEIGHT if lines else 1.0 if " " in example.answer else LABEL_WEIGHT  # a label is one word
    weights = [FELT_WEIGHT] * first + [rest] * (len(answer) - first)
    return Row(prompt + answer, len(prompt), weights, example.told)


def batches(rows: Iterator[Row], rng: random.Random) -> Iterator[list[Row]]:
    """Rows of like length together, so that little is spent on padding."""
    while True:
        pool = sorted((next(rows) for _ in range(768)), key=lambda row: len(row.ids))
        split: list[list[Row]] = [[]]
        for row in pool:
            if (len(split[-1]) + 1) * len(row.ids) > TOKENS_A_STEP:
                split.append([])
            split[-1].append(row)
        if len(split[-1]) == 1:  # one row alone would be compiled anew
            split[-2] += split.pop()
        rng.shuffle(split)
        yield from split
