"""Responses in, verdicts out, checked: one verdict a response, about that response."""

from collections.abc import Iterable, Sequence

from bedside.core.errors import StageError
from bedside.core.protocols import Judge
from bedside.core.types import Judged, Response, Verdict


def judge(responses: Sequence[Response], by: Judge) -> list[Verdict]:
    """One verdict a response, in order. StageError where the judge broke that promise."""
    verdicts = by.judge(responses)
    if [v.response for v in verdicts] != [r.id for r in responses]:
        raise StageError(f"judge {by.name} did not give one verdict a response in their order; this is its bug")
    return verdicts


def join(responses: Iterable[Response], verdicts: Iterable[Verdict]) -> list[Judged]:
    """Responses beside their verdicts, for metrics."""
    return [Judged(response, verdict) for response, verdict in zip(responses, verdicts, strict=True)]
