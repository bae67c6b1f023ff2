"""`bedside monitor harvest`: the prompts of an alarm, for people to label: data of the next cycle.

Of each alarm, the rows from its likeliest start on that failed, or are of its kind of input, are read from the logs
again. Each prompt is written once, the latest first, with the alarm that it comes from:

    prompt, harm, harm_logged, group, source, alarm, response, stance

``harm`` is empty: `bedside label` proposes levels, people confirm them. ``harm_logged`` is what the log had. Prompts
are of patients: remove what identifies them before others read them.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.core.errors import DataError
from bedside.core.monitor_results import HarvestResult
from bedside.data.io import write_rows
from bedside.deployment.baseline import MonitorBaseline
from bedside.deployment.inputs import FEATURES, InputReader
from bedside.deployment.watch import BATCH, RaisedAlarm, WatchState, read_state
from bedside.deployment.watched_log import FilePosition, LogRow, read_new

SOURCE = "monitor"
_GONE = "its log is no longer there"
_REPEATED = "the same prompt was written already"
_OVER = "over the limit"


@dataclass(frozen=True, slots=True)
class _Sought:
    """Rows of one alarm."""

    name: str
    measure: str
    """Of a limit; empty for a kind of input."""
    alarm: RaisedAlarm


def harvest(folder: Path, out: Path, to: Path, limit: int | None) -> HarvestResult:
    """Write the prompts of every alarm of a watch to ``to``, at most ``limit`` of each, the latest first.

    ``folder``: of the baseline; ``out``: of the watch. DataError where there is no alarm, or ``to`` exists.
    """
    baseline, state = read_state(folder, out)
    sought = _sought(baseline, state)
    if not sought:
        raise DataError(f"{out}: there is no alarm, so nothing to harvest")
    if to.exists():
        raise DataError(f"{to} already exists and may hold somebody's work; name another with -o, or move it")
    left_out: Counter[str] = Counter()
    rows: dict[str, dict[str, Any]] = {}
    numbers: dict[str, int] = {}
    for one in sought:
        found = list(_rows(baseline, state, one, left_out))
        new = {row.prompt: row for row in reversed(found) if row.prompt not in rows}
        kept = list(new.values())[:limit]
        left_out[_REPEATED] += len(found) - len(new)
        left_out[_OVER] += len(new) - len(kept)
        numbers[one.name] = len(kept)
        rows |= {row.prompt: _written(row, one.name) for row in kept}
    write_rows(to, list(rows.values()))
    return HarvestResult(to, numbers, dict(+left_out))


def _sought(baseline: MonitorBaseline, state: WatchState) -> list[_Sought]:
    limits = [_Sought(limit.name, limit.measure, alarm) for limit in baseline.limits
              if (alarm := state.limits[limit.measure].alarm)]  # fmt: skip
    return [*limits, *(_Sought(name, "", rate.alarm) for name, rate in state.inputs.items() if rate.alarm)]


def _rows(baseline: MonitorBaseline, state: WatchState, sought: _Sought, left_out: Counter[str]) -> Iterator[LogRow]:
    """Rows of the logs that were read, from the start of the alarm on."""
    reader, since = InputReader(baseline.inputs), sought.alarm.start
    for number, file in enumerate(state.files[since.file :], start=since.file):
        if not Path(file.path).is_file():
            left_out[_GONE] += 1
            continue
        for rows in _batches(file, since.row if number == since.file else 0):
            for row, kinds in zip(rows, reader.kinds([row.prompt for row in rows]), strict=True):
                if _is_of(baseline, sought, row, kinds):
                    yield row


def _batches(file: FilePosition, first: int) -> Iterator[list[LogRow]]:
    """The judged rows from line ``first`` to where the watch has read. DataError where the log has changed."""
    read = FilePosition(file.path)
    for lines in read_new(read, BATCH):
        yield [line.row for line in lines if line.row is not None and first <= line.number <= file.rows]
        if read.rows >= file.rows:
            return


def _is_of(baseline: MonitorBaseline, sought: _Sought, row: LogRow, kinds: Sequence[str]) -> bool:
    if sought.measure:
        return baseline.fails[row.harm, row.stance].get(sought.measure, False)
    return sought.name in (f"{feature}: {kind}" for feature, kind in zip(FEATURES, kinds, strict=True))


def _written(row: LogRow, alarm: str) -> dict[str, Any]:
    return {
        "prompt": row.prompt,
        "harm": None,
        "harm_logged": row.harm,
        "group": row.group,
        "source": SOURCE,
        "alarm": alarm,
        "response": row.answer,
        "stance": row.stance,
    }
