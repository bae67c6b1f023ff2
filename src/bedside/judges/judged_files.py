"""Reads a file of answers together with a file of their verdicts."""

from pathlib import Path

from bedside.core.errors import DataError
from bedside.core.types import JudgedResponse, Verdict
from bedside.data import typed_io
from bedside.data.responses import AnswerFile
from bedside.judges.prompting import join


def read(answers: AnswerFile, verdicts: Path) -> list[JudgedResponse]:
    """The answers with their verdicts, in the order of the answers. Raises DataError if an answer has no verdict."""
    by_id = {verdict.response: verdict for verdict in typed_io.read(verdicts, Verdict)}
    responses = answers.all_rows()
    missing = sum(response.id not in by_id for response in responses)
    if missing == len(responses):
        raise DataError(
            f"{verdicts.name}: its verdicts are of other responses than {answers.path}; name those, or judge it"
        )
    if missing:
        raise DataError(
            f"{verdicts.name}: {missing} of {len(responses)} responses have no verdict; judge {answers.path} again"
        )
    return join(responses, [by_id[response.id] for response in responses])
