"""Results of watching an assistant in use: what stands in a status, an alarm, a replay of the golden set.

baseline --watch log--> WatchStatus        each limit and each kind of input, with its evidence
baseline --replay-----> ReplayReport       has the judge changed, has the assistant changed?
alarm    --harvest----> HarvestResult      prompts of an alarm, to be labelled
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bedside.core.display import Tabular, figures
from bedside.core.measures import Measure

EXAMPLES = 10
"""Rows that stand beside an alarm, the last ones before it."""
QUALITY, INPUT = "quality", "input"
Kind = Literal["quality", "input"]


@dataclass(frozen=True, slots=True)
class LogPlace:
    """One line of a log."""

    file: str
    row: int
    """Number of the line, from 1."""
    time: str | None = None
    """When the row was logged, where its column ``time`` or ``timestamp`` says so."""

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}" + (f" ({self.time})" if self.time else "")


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row of the log as a person reads it. Texts are of patients and models: hostile until escaped."""

    place: LogPlace
    prompt: str
    answer: str
    harm: int | None
    stance: str | None
    """None: nobody could read the answer."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """When an alarm was raised, and on what. It stays raised, and stays as it was."""

    name: str
    at: LogPlace
    since: LogPlace
    """The row from which on the rate most likely was too high."""
    counted: int
    """Rows that were counted from ``since`` to ``at``."""
    among: int
    """Of them, rows that failed, or are of this kind."""
    examples: tuple[ShownRow, ...]
    advice: str
    """What to do."""


@dataclass(frozen=True, slots=True)
class WatchedRate:
    """One rate over all rows so far."""

    name: str
    kind: Kind
    measure: Measure
    tolerated: float
    """Above this rate it is too high: the limit at an upper bound over the judge's errors, or the baseline's bound."""
    basis: str
    """What ``tolerated`` rests on, in words."""
    unreadable: int
    repeated: int
    """Rows that are not counted, because an earlier row of their conversation is."""
    evidence: float
    """The largest so far. At ``threshold`` an alarm is raised."""
    threshold: float
    alarm: Alarm | None = None

    @property
    def state(self) -> str:
        """``ALARM``, ``no row yet`` or ``no alarm``."""
        return "ALARM" if self.alarm else "no alarm" if self.measure.n else "no row yet"


@dataclass(frozen=True, slots=True)
class ReadFile:
    """How far a log was read."""

    name: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SetAside:
    """Lines of the log that are no judged answer, for one reason."""

    reason: str
    rows: int
    first: LogPlace


@dataclass(frozen=True)
class WatchStatus(Tabular):
    """Everything that `bedside monitor watch` knows after the rows so far. It depends on these rows alone."""

    run: str
    judge: str
    baseline_made: str
    """When the baseline was made: a date, YYYY-MM-DD."""
    rows: int
    """Lines that were read; each is judged or set aside."""
    judged: int
    unlabelled: int
    """Judged rows without a harm level: no limit on refusals or on unsafe answers counts them."""
    other_judge: int
    """Judged rows whose verdict is of another judge than the baseline's."""
    set_aside: tuple[SetAside, ...]
    files: tuple[ReadFile, ...]
    rates: tuple[WatchedRate, ...]
    false_alarm: float
    """Of the limits together, and once more of the inputs together."""
    notes: tuple[str, ...] = ()

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        return tuple(rate.alarm for rate in self.rates if rate.alarm)

    @property
    def quiet(self) -> bool:
        """No alarm, and every limit has a row."""
        return not self.alarms and all(rate.measure.n for rate in self.rates if rate.kind == QUALITY)

    def caption(self) -> str:
        names = ", ".join(alarm.name for alarm in self.alarms)
        return f"{self.run}: {self.judged} answers in use; " + (f"ALARM: {names}" if names else "no alarm")

    def records(self) -> list[dict[str, Any]]:
        """One row per rate."""
        return [
            {
                "name": rate.name,
                "kind": rate.kind,
                **figures(rate.measure),
                "tolerated": rate.tolerated,
                "evidence": rate.evidence,
                "threshold": rate.threshold,
                "alarm": str(rate.alarm.at) if rate.alarm else None,
                "since": str(rate.alarm.since) if rate.alarm else None,
            }
            for rate in self.rates
        ]


DriftState = Literal["changed", "no change seen", "not decided"]
CHANGED: DriftState = "changed"
UNCHANGED: DriftState = "no change seen"
UNSURE: DriftState = "not decided"


@dataclass(frozen=True, slots=True)
class Drift:
    """Whether one part of the system still does what it did at the baseline, on the golden set."""

    part: Literal["judge", "assistant"]
    state: DriftState
    changes: tuple[Measure, ...]
    """Paired differences of the share of failures, now minus then, by measure; the bounds decide."""
    flipped: Measure
    """Share of rows whose stance, or text, is another one."""
    reason: str


@dataclass(frozen=True)
class ReplayReport(Tabular):
    """The golden set through the assistant and the judge of today."""

    run: str
    prompts: int
    age_days: int
    stale: bool
    """The golden set is older than ``monitor.golden_days``."""
    number: int
    """Which replay of this baseline this is: the k-th spends less of the false-alarm probability than the first."""
    judge: Drift
    assistant: Drift | None
    """None: no assistant was asked."""
    verdict: str
    """One sentence: which part has changed."""
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        return any(drift and drift.state == CHANGED for drift in (self.judge, self.assistant))

    def caption(self) -> str:
        return self.verdict

    def records(self) -> list[dict[str, Any]]:
        """One row per part and measure."""
        parts = [drift for drift in (self.judge, self.assistant) if drift]
        return [
            {"part": drift.part, "state": drift.state, "measure": change.name, **figures(change)}
            for drift in parts
            for change in (drift.flipped, *drift.changes)
        ]


@dataclass(frozen=True)
class HarvestResult(Tabular):
    """Prompts of an alarm, written for labelling."""

    file: Path
    alarms: Mapping[str, int]
    """Name of the alarm to the number of its prompts."""
    left_out: Mapping[str, int]
    """Why a row was not written, to the number of rows."""

    def records(self) -> list[dict[str, Any]]:
        """One row per alarm."""
        return [{"alarm": name, "prompts": n} for name, n in self.alarms.items()]


@dataclass(frozen=True)
class BaselineResult(Tabular):
    """What `bedside monitor baseline` wrote."""

    folder: Path
    limits: tuple[WatchedRate, ...]
    """Without rows: what will be watched."""
    golden: int
    """Prompts of the golden set."""
    prompts: int
    """Prompts that inputs are compared with."""
    notes: tuple[str, ...]

    def records(self) -> list[dict[str, Any]]:
        """One row per rate that will be watched."""
        return [
            {"name": rate.name, "kind": rate.kind, "tolerated": rate.tolerated, "basis": rate.basis}
            for rate in self.limits
        ]
