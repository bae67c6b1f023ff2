"""Prompts in, responses out: the model answers, perhaps asked to take a stance.

A steering instruction is put before the last turn when the model is asked, and is gone from the response:
``Response.prompt`` is what the patient wrote.
"""

from collections.abc import Sequence

from bedside.config.rendering import render
from bedside.core.errors import DataError
from bedside.core.protocols import Generator
from bedside.core.types import Ask, Completion, Conversation, Message, Response, Sampling


def conversation(ask: Ask) -> Conversation:
    """What the model is shown: the patient's turns, the steering instruction before the last of them."""
    first = () if ask.system is None else (Message("system", ask.system),)
    if ask.stance is None:
        return (*first, *ask.prompt.messages)
    *before, last = ask.prompt.messages
    return (*first, *before, Message("user", render("steer.jinja", stance=ask.stance.value, text=last.text)))


def plan(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Indices in batches of like lengths, the longest first: memory runs out at once or never."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def check_lengths(asks: Sequence[Ask], lengths: Sequence[int], sampling: Sampling, context: int) -> None:
    """Raise a DataError naming the first prompt that leaves no room for an answer."""
    room = context - sampling.max_new_tokens
    for ask, length in zip(asks, lengths, strict=True):
        if length > room:
            raise DataError(
                f"prompt {ask.prompt.id} ({ask.prompt.text[:40]!r} ...) is {length} tokens; the model reads "
                f"{context} and generate.max_new_tokens takes {sampling.max_new_tokens}: shorten or remove it"
            )


def generate(asks: Sequence[Ask], model: Generator, sampling: Sampling) -> list[Response]:
    """One response an ask, in order; the model sees them as one batch."""
    completions = model.generate([conversation(ask) for ask in asks], sampling)
    return [_response(ask, c, model, sampling) for ask, c in zip(asks, completions, strict=True)]


def _response(ask: Ask, completion: Completion, model: Generator, sampling: Sampling) -> Response:
    return Response(
        prompt=ask.prompt,
        text=completion.text,
        checkpoint=model.checkpoint.id,
        sampling=sampling,
        ids=completion.ids,
        finished=completion.finished,
        steered=ask.stance,
    )
