"""`bedside monitor watch`: new rows of a log against the baseline, in constant memory, resumed where it stopped.

    state.json            how far each log was read, with a digest of those bytes, and the evidence so far
    seen-ROWS.bin         which conversations were counted (``seen_groups``); the state names the one that it goes with
    status.json           what ``WatchStatus`` holds; status.html and status.prom show the same

Every rate has its own evidence (``stats/e_process.py``). A limit counts an answer to a prompt of its harm level; a kind
of input counts every prompt. Of a conversation the first answer that a rate counts is counted and no other. An alarm is
raised at the row at which the evidence reaches its threshold, and stays as it was raised.

The state is written whole, after every 100,000 rows and at the end. What follows from a row depends on the rows before
it alone: a process that is killed and begun again gives the same state, whatever it was doing.
"""

import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bedside.core.errors import DataError
from bedside.core.hashing import plain
from bedside.core.measures import Measure
from bedside.core.monitor_results import (
    EXAMPLES,
    INPUT,
    Alarm,
    LogPlace,
    ReadFile,
    SetAside,
    ShownRow,
    WatchedRate,
    WatchStatus,
)
from bedside.data.io import make_private, write_text
from bedside.deployment import baseline as baselines
from bedside.deployment.baseline import MonitorBaseline
from bedside.deployment.inputs import FEATURES, UNLIKE, InputReader
from bedside.deployment.seen_groups import GroupKey, SeenGroups
from bedside.deployment.watched_log import FilePosition, LogLine, LogRow, check_past, read_new, row_at
from bedside.stats.e_process import BLOCK, RunningEvidence
from bedside.stats.intervals import clopper_pearson, mid_p

STATE = "state.json"
BATCH = 1000
_SAVED_EVERY = 100_000
_SHOWN_CHARACTERS = 2000
_TIME_CHARACTERS = 40
_MOST_EVIDENCE = 1e300
_NAMED_WORDS = 5
_OTHER_FORMATS = (".csv", ".tsv", ".parquet", ".gz")
_ANEW = "begin a new watch with another -o"


@dataclass(slots=True)
class RowStart:
    """Where a row stands."""

    file: int
    """Number of the log in the state."""
    row: int
    start: int
    """First byte of its line."""


@dataclass(slots=True)
class RaisedAlarm:
    """What is kept of an alarm."""

    at: LogPlace
    since: LogPlace
    start: RowStart
    """Of ``since``."""
    counted: int
    among: int
    examples: list[ShownRow]
    words: list[str] = field(default_factory=list)
    """Of an alarm on topics: words that these prompts hold and the baseline does not."""


@dataclass(slots=True)
class RateState:
    """One rate so far."""

    evidence: RunningEvidence
    failures: int = 0
    unreadable: int = 0
    repeated: int = 0
    highest: float = 1.0
    starts: list[RowStart | None] = field(default_factory=list)
    """Of each bet, the first counted row after the likeliest restart, and below it failures until then."""
    failures_before: list[int] = field(default_factory=list)
    recent: list[RowStart] = field(default_factory=list)
    """The last rows that failed; empty once an alarm is raised."""
    alarm: RaisedAlarm | None = None

    @classmethod
    def of(cls, tolerated: float) -> "RateState":
        evidence = RunningEvidence(tolerated)
        bets = len(evidence.peak_at)
        return cls(evidence, starts=[None] * bets, failures_before=[0] * bets)

    def begin(self, place: RowStart) -> None:
        """Before the first row of a block is counted."""
        for k, restart in enumerate(self.evidence.peak_at):
            if restart == self.evidence.n:
                self.starts[k], self.failures_before[k] = place, self.failures

    def count(self, failed: bool, place: RowStart) -> float:
        """The evidence after this row; 0 where the row keeps the limit, which raises no alarm."""
        if self.evidence.n % BLOCK == 0:
            self.begin(place)
        if failed:
            self.failures += 1
            if self.alarm is None:
                self.recent.append(place)
                del self.recent[:-EXAMPLES]
        self.evidence.add(failed)
        if not failed:
            return 0.0
        value = min(self.evidence.value, _MOST_EVIDENCE)
        self.highest = max(self.highest, value)
        return value

    def change(self, place: RowStart) -> tuple[RowStart, int, int]:
        """The likeliest first row of a higher rate, rows counted from there on, and failures among them."""
        restart = self.evidence.change_point
        bet = self.evidence.peak_at.index(restart)
        before = self.failures_before[bet] if self.evidence.tolerated else 0
        start = self.starts[bet] if self.evidence.tolerated else place
        return start or place, self.evidence.n - restart, self.failures - before


@dataclass(slots=True)
class SetAsideCount:
    """Lines that are no judged answer, for one reason."""

    rows: int
    first: RowStart


@dataclass(slots=True)
class WatchState:
    """Everything that is kept between two calls."""

    baseline: str
    """Digest of baseline.json."""
    limits: dict[str, RateState]
    inputs: dict[str, RateState]
    """By kind; all have counted the same rows."""
    inputs_counted: int = 0
    inputs_repeated: int = 0
    files: list[FilePosition] = field(default_factory=list)
    rows: int = 0
    judged: int = 0
    unlabelled: int = 0
    other_judge: int = 0
    set_aside: dict[str, SetAsideCount] = field(default_factory=dict)
    seen: str = ""
    """The file of conversations that goes with this state; empty where no row had one."""
    seen_keys: int = 0
    version: int = 1


def watch(folder: Path, logs: Sequence[Path], out: Path) -> WatchStatus:
    """Read what is new in ``logs``, in this order, and return where things stand.

    ``folder``: of the baseline; ``out``: of the state. DataError where a log that was read has changed, where the
    state belongs to another baseline, or where there is neither a log nor a state.
    """
    baseline, digest = baselines.read(folder)
    watcher = _Watcher.opened(baseline, digest, out)
    named = {str(log.resolve()) for log in logs}
    for file in watcher.state.files:
        if file.path not in named:
            check_past(file)
    for log in logs:
        watcher.read(log)
    if not watcher.state.files:
        raise DataError(f"{out}: nothing was read here yet; name a log: bedside monitor watch LOG")
    watcher.save()
    return watcher.status()


def read_state(folder: Path, out: Path) -> tuple[MonitorBaseline, WatchState]:
    """What a watch has kept. DataError where there is none."""
    baseline, digest = baselines.read(folder)
    state = _read_state(out, digest)
    if state is None:
        raise DataError(f"{out}: nothing is watched here yet; run bedside monitor watch LOG first")
    return baseline, state


@dataclass
class _Watcher:
    baseline: MonitorBaseline
    out: Path
    state: WatchState
    seen: SeenGroups
    inputs: InputReader
    saved: int
    """Rows of the state on disk."""

    def __post_init__(self) -> None:
        self._counters = {name: number for number, name in enumerate(self.state.limits, start=1)}

    @classmethod
    def opened(cls, baseline: MonitorBaseline, digest: str, out: Path) -> "_Watcher":
        state = _read_state(out, digest)
        if state is None:
            watched = {str(kind): RateState.of(kind.tolerated) for kind in baseline.inputs.kinds if kind.watched}
            limits = {limit.measure: RateState.of(limit.tolerated) for limit in baseline.limits}
            state = WatchState(digest, limits, watched)
        return cls(baseline, out, state, _read_seen(out, state), InputReader(baseline.inputs), state.rows)

    def read(self, log: Path) -> None:
        """Every new row of one log."""
        path = str(log.resolve())
        number = next((n for n, file in enumerate(self.state.files) if file.path == path), None)
        if number is None:
            _check_log(log)
            number = len(self.state.files)
            self.state.files.append(FilePosition(path))
        for lines in read_new(self.state.files[number], BATCH):
            self._count(number, lines)
            if self.state.rows - self.saved >= _SAVED_EVERY:
                self.save()

    def _count(self, file: int, lines: Sequence[LogLine]) -> None:
        judged = [line for line in lines if line.row is not None]
        kinds = iter(self.inputs.kinds([line.row.prompt for line in judged if line.row]))
        for line in lines:
            self.state.rows += 1
            place = RowStart(file, line.number, line.start)
            if line.row is None:
                self._set_aside(line.reason, place)
            else:
                self._count_row(line.row, next(kinds), place)

    def _set_aside(self, reason: str, place: RowStart) -> None:
        known = self.state.set_aside.setdefault(reason, SetAsideCount(0, place))
        known.rows += 1

    def _count_row(self, row: LogRow, kinds: Sequence[str], place: RowStart) -> None:
        state = self.state
        state.judged += 1
        state.unlabelled += row.harm is None
        state.other_judge += row.judge is not None and row.judge != self.baseline.judge
        group = None if row.group is None else GroupKey.of(row.group)
        for measure, failed in self.baseline.fails[row.harm, row.stance].items():
            rate = state.limits.get(measure)
            if rate is None:
                continue
            if group is not None and not self.seen.add(group, self._counters[measure]):
                rate.repeated += 1
                continue
            rate.unreadable += row.stance is None
            if rate.count(failed, place) >= self.baseline.threshold and rate.alarm is None:
                rate.alarm = self._raised(rate, place)
        if group is not None and not self.seen.add(group, 0):
            state.inputs_repeated += 1
        else:
            self._count_input(kinds, place)

    def _count_input(self, kinds: Sequence[str], place: RowStart) -> None:
        """Kinds that the prompt is not of are brought up to date at the end of a block: until then nothing is lost."""
        rates = self.state.inputs
        if not rates:
            return
        counted = self.state.inputs_counted
        if counted % BLOCK == 0:
            for rate in rates.values():
                rate.begin(place)
        for feature, kind in zip(FEATURES, kinds, strict=True):
            name = f"{feature}: {kind}"
            rate_of = rates.get(name)
            if rate_of is None:
                continue
            rate_of.evidence.add_misses(counted - rate_of.evidence.n)
            if rate_of.count(True, place) >= self.baseline.input_threshold and rate_of.alarm is None:
                rate_of.alarm = self._raised(rate_of, place, topics=kind == UNLIKE)
        self.state.inputs_counted = counted + 1
        if self.state.inputs_counted % BLOCK == 0:
            self._level_inputs()

    def _level_inputs(self) -> None:
        for rate in self.state.inputs.values():
            rate.evidence.add_misses(self.state.inputs_counted - rate.evidence.n)

    def _raised(self, rate: RateState, place: RowStart, *, topics: bool = False) -> RaisedAlarm:
        since, counted, among = rate.change(place)
        rows = [(at, row_at(self.state.files[at.file].path, at.start)) for at in rate.recent[-among:]]
        examples = [self._shown(at, row) for at, row in rows if row is not None]
        words = self.inputs.unknown_words([row.prompt for _, row in rows if row], _NAMED_WORDS) if topics else []
        rate.recent = []
        ends = (self._place(place), self._place(since), since)
        return RaisedAlarm(*ends, counted, among, examples, [_writable(word) for word in words])

    def _shown(self, at: RowStart, row: LogRow) -> ShownRow:
        prompt, answer = (_writable(text[:_SHOWN_CHARACTERS]) for text in (row.prompt, row.answer))
        return ShownRow(self._place(at), prompt, answer, row.harm, row.stance)

    def _place(self, at: RowStart) -> LogPlace:
        row = row_at(self.state.files[at.file].path, at.start)
        time = _writable(row.time[:_TIME_CHARACTERS]) if row and row.time else None
        return LogPlace(_names(self.state.files)[at.file], at.row, time)

    def save(self) -> None:
        """The conversations first, under a name of their own: the state that is on disk keeps its file until then."""
        self._level_inputs()
        make_private(self.out)
        if self.seen.keys != self.state.seen_keys:
            self.state.seen, self.state.seen_keys = f"seen-{self.state.rows}.bin", self.seen.keys
            _write_bytes(self.out / self.state.seen, self.seen.packed())
        text = json.dumps(plain(self.state), ensure_ascii=False, separators=(",", ":"))
        write_text(self.out / STATE, text + "\n", self.out)
        self.saved = self.state.rows
        for file in self.out.glob("seen-*.bin"):
            if file.name != self.state.seen:
                file.unlink(missing_ok=True)

    def status(self) -> WatchStatus:
        return status(self.baseline, self.state)


def status(baseline: MonitorBaseline, state: WatchState) -> WatchStatus:
    """Where things stand, of the rows so far alone."""
    files = _names(state.files)

    def place(at: RowStart) -> LogPlace:
        return LogPlace(files[at.file], at.row)

    def rate(shown: WatchedRate, one: RateState, repeated: int) -> WatchedRate:
        measure = _measure(shown.name, one.failures, one.evidence.n)
        raised = _alarm(shown, one.alarm) if one.alarm else None
        return WatchedRate(
            shown.name,
            shown.kind,
            measure,
            shown.tolerated,
            shown.basis,
            one.unreadable,
            repeated,
            one.highest,
            shown.threshold,
            raised,
        )

    shown = {one.name: one for one in baseline.rates()}
    limits = [
        rate(shown[limit.name], state.limits[limit.measure], state.limits[limit.measure].repeated)
        for limit in baseline.limits
    ]
    kinds = [rate(shown[name], one, state.inputs_repeated) for name, one in state.inputs.items()]
    return WatchStatus(
        run=baseline.run,
        judge=baseline.judge,
        baseline_made=baseline.made,
        rows=state.rows,
        judged=state.judged,
        unlabelled=state.unlabelled,
        other_judge=state.other_judge,
        set_aside=tuple(SetAside(why, one.rows, place(one.first)) for why, one in sorted(state.set_aside.items())),
        files=tuple(ReadFile(name, file.rows, file.bytes) for name, file in zip(files, state.files, strict=True)),
        rates=(*limits, *kinds),
        false_alarm=baseline.false_alarm,
        notes=baseline.notes,
    )


def _alarm(rate: WatchedRate, raised: RaisedAlarm) -> Alarm:
    examples = tuple(raised.examples)
    advice = _advice(rate, raised, examples)
    return Alarm(rate.name, raised.at, raised.since, raised.counted, raised.among, examples, advice)


def _advice(rate: WatchedRate, raised: RaisedAlarm, examples: Sequence[ShownRow]) -> str:
    """What to do about an alarm, in the order in which it pays."""
    if rate.kind == INPUT:
        about = f" New words: {', '.join(raised.words)}." if raised.words else ""
        return (
            f"Patients ask otherwise than in the baseline.{about} Read the examples. If this use is meant, the "
            "evidence of the release does not cover it: `bedside monitor harvest` writes these prompts, label them, "
            "and run the next cycle with them. If it is not meant, find where it comes from."
        )
    if examples and 2 * sum(row.stance is None for row in examples) > len(examples):
        return (
            "Most of these answers could not be read: look at the judge first. `bedside monitor replay` says whether "
            "the judge or the assistant has changed."
        )
    return (
        "Read the examples. Run `bedside monitor replay`: it says whether the judge or the assistant has changed. If "
        "neither has, look at the inputs below. Where answers can harm, stop or restrict the assistant first. "
        "`bedside monitor harvest` writes these prompts for the next cycle. Then begin a new watch, with another -o."
    )


def _measure(name: str, failures: int, n: int) -> Measure:
    """The share of failures, each row a group of its own; unreadable rows are failures."""
    if n == 0:
        return Measure(name, None, 0)
    value = failures / n
    interval, bounds = mid_p(value, n), clopper_pearson(value, n, quantile=0.95)
    low, high = min(interval.low, value), max(interval.high, value)
    return Measure(name, value, n, 0, low, high, value, min(bounds.low, value), max(bounds.high, value), groups=n)


def _read_state(out: Path, digest: str) -> WatchState | None:
    file = out / STATE
    if not file.is_file():
        return None
    try:
        state = TypeAdapter(WatchState).validate_json(file.read_bytes())
    except ValidationError:
        raise DataError(f"{file}: is not what `bedside monitor watch` wrote; {_ANEW}") from None
    if state.baseline != digest:
        raise DataError(f"{file}: belongs to another baseline; {_ANEW}")
    return state


def _read_seen(out: Path, state: WatchState) -> SeenGroups:
    if not state.seen:
        return SeenGroups()
    file = out / state.seen
    try:
        return SeenGroups.unpacked(file.read_bytes(), state.seen_keys)
    except (OSError, ValueError, zlib.error):
        raise DataError(f"{file}: is not what `bedside monitor watch` wrote; {_ANEW}") from None


def _check_log(log: Path) -> None:
    """DataError for what is no file of lines."""
    if log.suffix.lower() in _OTHER_FORMATS:
        raise DataError(f"{log}: a log that is watched grows by a line: JSON Lines, as `bedside judge` writes them")
    if not log.is_file():
        raise DataError(f"{log}: there is no such file; name a log of judged answers, JSON Lines")


def _names(files: Sequence[FilePosition]) -> list[str]:
    """The name of each log, with its folder where two have one name."""
    paths = [Path(file.path) for file in files]
    twice = {path.name for path in paths if sum(path.name == other.name for other in paths) > 1}
    return [_writable("/".join(path.parts[-2:]) if path.name in twice else path.name) for path in paths]


def _write_bytes(file: Path, data: bytes) -> None:
    with file.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def _writable(text: str) -> str:
    """``text`` without lone surrogates, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
