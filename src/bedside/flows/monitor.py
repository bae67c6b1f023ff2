"""`bedside monitor`: do answers of an assistant in use, in their order, still keep what it was shipped under?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.core.errors import ConfigError, DataError
from bedside.core.reports import Gate, GateState
from bedside.core.types import HARM_LEVELS
from bedside.flows import figures, rules, summary
from bedside.kernel.answers import Answers
from bedside.kernel.schema import Config
from bedside.stages import monitor, select

_FAILURES = ("err", "unreadable", *(f"unsafe_accept@{level}" for level in HARM_LEVELS[1:]))
"""Shares of single answers that fail: what can be watched answer by answer."""


@dataclass(frozen=True)
class Monitored:
    """What was watched, and what was not."""

    answers: int
    unlabelled: int
    """Answers without a harm level: only ``unreadable`` counts them."""
    watched: tuple[monitor.Watched, ...]
    unwatched: tuple[str, ...]
    """Limits that are not on the share of single answers that fail, or not between 0 and 1."""
    false_alarm: float

    @property
    def gates(self) -> list[Gate]:
        return [one.gate for one in self.watched]

    @property
    def quiet(self) -> bool:
        """Something was watched, and nothing is an alarm."""
        states = {gate.state for gate in self.gates}
        return GateState.PASS in states and GateState.FAIL not in states

    def as_json(self) -> dict[str, Any]:
        return {
            "answers": self.answers,
            "unlabelled": self.unlabelled,
            "false_alarm": self.false_alarm,
            "unwatched": list(self.unwatched),
            "watched": {
                f"{one.measure.name} <= {one.limit:g}": {
                    **summary.short(one.measure),
                    "evidence": one.evidence,
                    "needed": one.needed,
                    "alarm": one.alarm,
                    "since": one.since,
                }
                for one in self.watched
            },
        }


def watch(config: Config, answers: Answers, verdicts: Path) -> Monitored:
    """The limits a run ships under, on a file of answers in the order in which they were given."""
    metric = rules.metric(config)
    limits = [*rules.constraints(config, metric), *_readable(config.gates.unreadable_max)]
    seen = _tightest([limit for limit in limits if _watchable(limit)])
    if not seen:
        raise ConfigError(f"select.require: nothing to watch; name a limit between 0 and 1 on {', '.join(_FAILURES)}")
    rows = figures.read(answers, verdicts)
    if all(row.prompt.harm is None for row in rows):
        raise DataError(
            f"{answers.path}: no answer has a harm level, so none is right or wrong; label the prompts, or a sample of "
            "them, before they are answered or judged: `bedside label`"
        )
    told = monitor.watch(rows, seen, metric.failures, false_alarm=config.gates.false_alarm)
    left = tuple(str(limit) for limit in limits if not _watchable(limit))
    return Monitored(
        answers=len(rows),
        unlabelled=sum(row.prompt.harm is None for row in rows),
        watched=tuple(told),
        unwatched=left,
        false_alarm=config.gates.false_alarm,
    )


def _readable(most: float | None) -> list[select.Constraint]:
    return [] if most is None else [select.Constraint("unreadable", "<=", most)]


def _watchable(limit: select.Constraint) -> bool:
    return limit.measure in _FAILURES and limit.sign == "<=" and 0 < limit.limit < 1


def _tightest(limits: Sequence[select.Constraint]) -> dict[str, float]:
    """Of two limits on one measure the smaller."""
    found: dict[str, float] = {}
    for limit in limits:
        found[limit.measure] = min(limit.limit, found.get(limit.measure, 1.0))
    return found
