"""``summary.json`` of a run folder: the last file of a run, so a run that has it is finished."""

from pathlib import Path

from pydantic import TypeAdapter

from bedside.core.errors import DataError
from bedside.core.results import RunSummary
from bedside.run.events import EventLog
from bedside.run.folder import check_layout

FILE = "summary.json"


def read(run: Path) -> RunSummary:
    """The summary of a finished run. DataError if there is none, or if it is not what was written."""
    check_layout(run)
    if not finished(run):
        raise DataError(f"{run / FILE}: no finished run here; {_instead(run)}")
    data = EventLog(run).read_file(FILE, "the same `bedside align` command writes it again")
    return TypeAdapter(RunSummary).validate_json(data)


def finished(run: Path) -> bool:
    return (run / FILE).is_file()


def _instead(run: Path) -> str:
    """What the folder has instead, and what to do."""
    if (run / "comfort.html").is_file():
        return f"it is a comfort run, and its report is {run / 'comfort.html'}"
    if (run / "config.yaml").is_file():
        return "it was interrupted: the same `bedside align` command continues"
    return "run `bedside align` first, or check --run"
