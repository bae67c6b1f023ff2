"""Closed questions about responses, put to a model: which can be put, and what their labels weigh.

    score(labels) = Σ_label p(label | question) · worth(label)

A response is not asked about where it is empty, or where a question is longer than the model reads.

Responses in, verdicts out, checked: one verdict a response, about that response.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import exp
from typing import TypeVar

from bedside.core.errors import StageError
from bedside.core.protocols import Chooser, Judge, LabelScore, Scorer
from bedside.core.types import Conversation, Judged, Response, Verdict

T = TypeVar("T")


def put(
    model: Scorer | Chooser,
    responses: Sequence[Response],
    questions: Sequence[Sequence[Conversation]],
    ask: Callable[[Sequence[Conversation]], Sequence[T]],
) -> list[list[T] | str]:
    """What ``ask`` says to the questions about each response, all put at once; or why it was not asked about."""
    whys = [why_not(model, response, asked) for response, asked in zip(responses, questions, strict=True)]
    told = iter(ask([q for asked, why in zip(questions, whys, strict=True) if not why for q in asked]))
    return [why or [next(told) for _ in asked] for asked, why in zip(questions, whys, strict=True)]


def verdicts(
    judge: str, responses: Sequence[Response], told: Sequence[T | str], read: Callable[[Response, T], Verdict]
) -> list[Verdict]:
    """What ``judge`` makes of each response: ``read`` where it was asked about, else why it was not."""
    return [
        Verdict(response.id, judge, unreadable=one) if isinstance(one, str) else read(response, one)
        for response, one in zip(responses, told, strict=True)
    ]


def why_not(model: Scorer | Chooser, response: Response, asked: Sequence[Conversation]) -> str:
    """Why ``model`` is not asked about ``response``; empty where it is."""
    if not response.text.strip():
        return "empty answer"
    longest = max(model.lengths(asked))
    if longest >= model.context:
        return f"{longest} tokens are more than the judge reads ({model.context})"
    return ""


def too_little(scores: Sequence[LabelScore], least: float) -> str:
    """Why labels with so little of the raw probability say nothing; empty where they say something."""
    mass = min((score.mass for score in scores), default=1.0)
    return f"labels have {mass:.2f} of the probability" if mass < least else ""


def expected(score: LabelScore, worth: Mapping[str, float]) -> float:
    """Worth of the labels, which were offered in its order, weighed by their probabilities; in [0, 1]."""
    value = sum(exp(nats) * one for nats, one in zip(score.logprobs, worth.values(), strict=True))
    return min(1.0, max(0.0, value))


def judge(responses: Sequence[Response], by: Judge) -> list[Verdict]:
    """One verdict a response, in order. StageError where the judge broke that promise."""
    verdicts = by.judge(responses)
    if [v.response for v in verdicts] != [r.id for r in responses]:
        raise StageError(f"judge {by.name} did not give one verdict a response in their order; this is its bug")
    return verdicts


def join(responses: Iterable[Response], verdicts: Iterable[Verdict]) -> list[Judged]:
    """Responses beside their verdicts, for metrics."""
    return [Judged(response, verdict) for response, verdict in zip(responses, verdicts, strict=True)]
