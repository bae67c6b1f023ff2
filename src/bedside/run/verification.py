"""Whether a run folder still has what was written there: the audit trail.

log         events.jsonl and spend.jsonl are complete chains, as long as log_heads.json recorded
files       every file that the log knows is what was last written
release     release/ was made from this log: release/run.json names its last line at that time

A chain shows changes by somebody who does not write the whole log again. Somebody who can write the folder could do
that. So keep ``head`` of an important run in another place, as an approval does.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from bedside.core.errors import DataError
from bedside.core.gates import Finding, GateState
from bedside.core.hashing import digest_file
from bedside.data import chained_log
from bedside.data.io import EVENTS, SPEND
from bedside.run import approvals
from bedside.run.events import EventLog, verify_events

RELEASE, RELEASED_FROM = "release", "run.json"
_REMEDY = "Put back a copy of the file"
_NAMED = 3
"""At most this many changed files are named."""


@dataclass(frozen=True)
class LogHead:
    """The end of a log at some time."""

    lines: int
    chain: str
    """Digest of all lines up to this one."""


def head(folder: Path) -> LogHead:
    """The end of the log of the run in ``folder``. DataError if the log is not what was written."""
    rows, chain = verify_events(folder / EVENTS)
    return LogHead(len(rows), chain)


def verify(folder: Path) -> tuple[Finding, ...]:
    """One finding each on the log, the files and the release. DataError if ``folder`` has no run."""
    if not folder.is_dir() or (not (folder / EVENTS).is_file() and not (folder / chained_log.HEADS).is_file()):
        raise DataError(f"{folder}: no run here; name its folder, or its name in runs/")
    try:
        end = head(folder)
        spent = chained_log.read_chain(folder / SPEND, _REMEDY)[0]
    except DataError as error:
        return (Finding("log", GateState.FAIL, str(error)),)
    return (_log(folder, end, len(spent)), _files(folder), *_release(folder), *_approvals(folder))


def _log(folder: Path, end: LogHead, spent: int) -> Finding:
    if not (folder / chained_log.HEADS).is_file():
        return Finding("log", GateState.FAIL, f"{chained_log.HEADS} is missing, so lines cut off the end do not show")
    costs = f"; {spent} lines of {SPEND}" if spent else ""
    return Finding(
        "log", GateState.PASS, f"{end.lines} lines of {EVENTS}, each is what was written, up to {end.chain}{costs}"
    )


def _files(folder: Path) -> Finding:
    logged = EventLog(folder).digests()
    changed = [
        name for name, digest in logged.items() if (folder / name).is_file() and digest_file(folder / name) != digest
    ]
    missing = [name for name in logged if not (folder / name).is_file()]
    if changed:
        return Finding("files", GateState.FAIL, f"not what was written: {_some(changed)}")
    if missing:
        return Finding("files", GateState.INCONCLUSIVE, f"no longer there, removed or moved: {_some(missing)}")
    return Finding("files", GateState.PASS, f"{len(logged)} files are what was written")


def _release(folder: Path) -> Iterator[Finding]:
    note = folder / RELEASE / RELEASED_FROM
    if not note.is_file():
        yield Finding(RELEASE, GateState.NOT_CHECKED, "nothing was released")
        return
    try:
        made_at = TypeAdapter(LogHead).validate_python(json.loads(note.read_bytes())["log"])
    except (ValueError, KeyError, TypeError, RecursionError):  # ValidationError is a ValueError
        yield Finding(RELEASE, GateState.FAIL, f"{note} is not what was written")
        return
    if _chain_at(folder, made_at.lines) != made_at.chain:
        why = f"it was made from another log: line {made_at.lines} of {EVENTS} is missing or another one"
        yield Finding(RELEASE, GateState.FAIL, why)
    else:
        yield Finding(RELEASE, GateState.PASS, f"made from this log, at line {made_at.lines}")


def _approvals(folder: Path) -> Iterator[Finding]:
    for approval in approvals.read(folder):
        if approval.is_about(folder):
            yield Finding("approved", GateState.PASS, f"{approval}")
        else:
            yield Finding("approved", GateState.INCONCLUSIVE, f"{approval}; what is here now is something else")


def _chain_at(folder: Path, line: int) -> str | None:
    """The chain of a line of the verified log; None if there is no such line."""
    lines = (folder / EVENTS).read_bytes().split(b"\n")[:-1]
    return json.loads(lines[line - 1])["chain"] if 0 < line <= len(lines) else None


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(sorted(names)[:_NAMED]) + more
