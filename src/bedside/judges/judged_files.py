"""Files of answers beside files of their verdicts."""

from pathlib import Path

from bedside.core.errors import DataError
from bedside.core.types import Judged, Verdict
from bedside.data import typed_io
from bedside.data.responses import Answers
from bedside.judges.prompting import join


def read(answers: Answers, verdicts: Path) -> list[Judged]:
    """A file of answers, in its order, beside a file of their verdicts. DataError where one has none."""
    by_id = {verdict.response: verdict for verdict in typed_io.read(verdicts, Verdict)}
    answered = answers.every()
    missing = sum(response.id not in by_id for response in answered)
    if missing == len(answered):
        raise DataError(
            f"{verdicts.name}: its verdicts are of other responses than {answers.path}; name those, or judge it"
        )
    if missing:
        raise DataError(
            f"{verdicts.name}: {missing} of {len(answered)} responses have no verdict; judge {answers.path} again"
        )
    return join(answered, [by_id[response.id] for response in answered])
