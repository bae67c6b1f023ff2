"""``summary.json`` of a run folder: the last file of a run, so a run that has it is finished."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bedside.core.errors import DataError
from bedside.core.results import RunSummary
from bedside.core.text import visible
from bedside.run.events import EventLog
from bedside.run.folder import check_layout

FILE = "summary.json"


def read(run: Path) -> RunSummary:
    """The summary of a finished run. DataError if there is none, or if it is not what was written."""
    check_layout(run)
    if not finished(run):
        raise DataError(f"{run / FILE}: no finished run here; {_instead(run)}")
    data = EventLog(run).read_file(FILE, "the same `bedside align` command writes it again")
    try:
        return TypeAdapter(RunSummary).validate_json(data)
    except ValidationError as error:
        raise DataError(
            f"{run / FILE} is no summary that this version of Bedside reads ({_first(error)}); the same "
            "`bedside align` command writes it again"
        ) from None


def finished(run: Path) -> bool:
    return (run / FILE).is_file()


def _first(error: ValidationError) -> str:
    """The first place that is not as it should be, and why."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    return visible(f"{place}: {first['msg']}" if place else first["msg"])


def _instead(run: Path) -> str:
    """What the folder has instead, and what to do."""
    if (run / "comfort.html").is_file():
        return f"it is a comfort run, and its report is {run / 'comfort.html'}"
    if (run / "config.yaml").is_file():
        return "it was interrupted: the same `bedside align` command continues"
    return "run `bedside align` first, or check --run"
