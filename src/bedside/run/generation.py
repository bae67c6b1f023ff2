"""Responses to prompts. A request may ask the model for a stance.

The model reads the steering instruction before the last turn. The instruction is not in the response:
``Response.prompt`` is what the patient wrote.
"""

from collections.abc import Mapping, Sequence

from bedside.config.rendering import render
from bedside.core.errors import DataError
from bedside.core.protocols import Generator
from bedside.core.types import Conversation, GenerationRequest, Message, Prompt, Response, Sampling
from bedside.data.prompts import require_room


def conversation(request: GenerationRequest) -> Conversation:
    """What the model reads: the patient's turns, with the steering instruction before the last turn, or the answer's
    first words after it."""
    system = () if request.system is None else (Message("system", request.system),)
    if request.prefill:
        return (*system, *request.prompt.messages, Message("assistant", request.prefill))
    if request.stance is None:
        return (*system, *request.prompt.messages)
    *before, last = request.prompt.messages
    return (*system, *before, Message("user", render("steer.jinja", stance=request.stance.value, text=last.text)))


def plan(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Batches of indices with similar lengths, the longest first: if memory runs out, it does so at once."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def check_lengths(
    requests: Sequence[GenerationRequest], lengths: Sequence[int], sampling: Sampling, context: int
) -> None:
    """DataError for the first prompt that leaves no space for an answer."""
    room = context - sampling.max_new_tokens
    for request, length in zip(requests, lengths, strict=True):
        if length > room:
            raise DataError(
                f"prompt {request.prompt.id} ({request.prompt.text[:40]!r} ...) is {length} tokens; the model reads "
                f"{context} and generate.max_new_tokens takes {sampling.max_new_tokens}: shorten or remove it"
            )


def check_training_lengths(
    prompts: Sequence[Prompt], lengths: Sequence[int], max_length: int | None, places: Mapping[str, str]
) -> None:
    """DataError, with file and row if they are known, for the first prompt that leaves no space for an answer.

    ``places``: by id of the prompt.
    """
    for prompt, length in zip(prompts, lengths, strict=True):
        if max_length is not None:
            require_room(prompt, length, max_length, places.get(prompt.id, ""))


def generate(requests: Sequence[GenerationRequest], model: Generator, sampling: Sampling) -> list[Response]:
    """One response per request, in order. The model generates them as one batch."""
    completions = model.generate([conversation(request) for request in requests], sampling)
    return [
        Response(
            prompt=request.prompt,
            text=_joined(request.prefill, completion.text),
            checkpoint=model.checkpoint.id,
            sampling=sampling,
            ids=completion.ids,
            finished=completion.finished,
            steered=request.stance,
            made_by="prefill" if request.prefill else "instruction" if request.stance else "",
        )
        for request, completion in zip(requests, completions, strict=True)
    ]


def _joined(prefill: str, text: str) -> str:
    """The whole answer. Outer spaces of a completion are removed, and an endpoint may repeat the first words."""
    if not prefill or text.startswith(prefill):
        return text
    return f"{prefill}{'' if text[:1] in ',.;:!?' else ' '}{text}"
