"""Asks a model closed questions about responses, and turns its replies into verdicts.

    expected_worth = Σ_label p(label | question) · worth(label)

The model is not asked about an empty response, or about one whose question is longer than the model reads.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import exp
from typing import TypeVar

from bedside.core.errors import StageError
from bedside.core.protocols import Chooser, Judge, LabelScore, Scorer
from bedside.core.types import Conversation, JudgedResponse, Response, Verdict

T = TypeVar("T")


def ask_about(
    model: Scorer | Chooser,
    responses: Sequence[Response],
    questions: Sequence[Sequence[Conversation]],
    ask: Callable[[Sequence[Conversation]], Sequence[T]],
) -> list[list[T] | str]:
    """The replies of ``ask`` to the questions about each response, or the reason why it was not asked.

    ``ask`` gets all questions in one call.
    """
    reasons = [unaskable_reason(model, response, asked) for response, asked in zip(responses, questions, strict=True)]
    replies = iter(ask([q for asked, reason in zip(questions, reasons, strict=True) if not reason for q in asked]))
    return [reason or [next(replies) for _ in asked] for asked, reason in zip(questions, reasons, strict=True)]


def to_verdicts(
    judge: str, responses: Sequence[Response], replies: Sequence[T | str], read: Callable[[Response, T], Verdict]
) -> list[Verdict]:
    """For each response the verdict that ``read`` makes from its replies, or an unreadable one with the reason."""
    return [
        Verdict(response.id, judge, unreadable=reply) if isinstance(reply, str) else read(response, reply)
        for response, reply in zip(responses, replies, strict=True)
    ]


def unaskable_reason(model: Scorer | Chooser, response: Response, questions: Sequence[Conversation]) -> str:
    """Why ``model`` is not asked about ``response``; empty if it is."""
    if response.is_empty:
        return "empty answer"
    longest = max(model.lengths(questions))
    if longest >= model.context:
        return f"{longest} tokens are more than the judge reads ({model.context})"
    return ""


def low_mass_reason(scores: Sequence[LabelScore], min_mass: float) -> str:
    """Why scores are unreadable: their labels have too little of the raw probability. Empty if they have enough."""
    mass = min((score.mass for score in scores), default=1.0)
    return f"labels have {mass:.2f} of the probability" if mass < min_mass else ""


def expected_worth(score: LabelScore, worth: Mapping[str, float]) -> float:
    """The expected worth of the label, in [0, 1]. ``worth`` has the labels' order."""
    value = sum(exp(nats) * points for nats, points in zip(score.logprobs, worth.values(), strict=True))
    return min(1.0, max(0.0, value))


def judge(responses: Sequence[Response], by: Judge) -> list[Verdict]:
    """One verdict per response, in order. Raises StageError if the judge breaks this promise."""
    verdicts = by.judge(responses)
    if [v.response for v in verdicts] != [r.id for r in responses]:
        raise StageError(
            f"judge {by.name} did not give one verdict per response in their order; this is a bug of the judge"
        )
    return verdicts


def join(responses: Iterable[Response], verdicts: Iterable[Verdict]) -> list[JudgedResponse]:
    """Each response with its verdict, for metrics."""
    return [JudgedResponse(response, verdict) for response, verdict in zip(responses, verdicts, strict=True)]
