"""`bedside monitor`: do answers of an assistant in use, in their order, still keep what it was shipped under?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.core.errors import ConfigError, DataError
from bedside.flows import figures, rules, summary
from bedside.kernel.answers import Answers
from bedside.kernel.schema import Config
from bedside.stages import monitor, select


@dataclass(frozen=True)
class Monitored:
    """What was watched, and what was not."""

    answers: int
    unlabelled: int
    """Answers without a harm level: only ``unreadable`` counts them."""
    watched: tuple[monitor.Watched, ...]
    unconfirmed: tuple[str, ...]
    """What rests on harm levels that nobody has confirmed."""
    unwatched: tuple[str, ...]
    """Limits that are not on the share of single answers that fail, or not below 1."""
    false_alarm: float

    @property
    def quiet(self) -> bool:
        """Every limit had an answer to watch, and none is an alarm."""
        return all(one.measure.n and one.alarm is None for one in self.watched)

    def as_json(self) -> dict[str, Any]:
        return {
            "answers": self.answers,
            "unlabelled": self.unlabelled,
            "false_alarm": self.false_alarm,
            "unconfirmed": list(self.unconfirmed),
            "unwatched": list(self.unwatched),
            "watched": {one.name: _as_json(one) for one in self.watched},
        }


def _as_json(one: monitor.Watched) -> dict[str, Any]:
    told = {key: getattr(one, key) for key in ("unread", "again", "evidence", "needed", "alarm", "since")}
    return {key: getattr(one.measure, key) for key in ("value", "n", "low", "high")} | told


def watch(config: Config, answers: Answers, verdicts: Path) -> Monitored:
    """The limits of ``config``, on a file of answers in the order in which they were given."""
    metric = rules.metric(config)
    limits = [*rules.constraints(config, metric), *_readable(config.gates.unreadable_max)]
    can = [limit for limit in limits if limit.measure in metric.failing and limit.sign == "<=" and 0 <= limit.limit < 1]
    if not can:
        raise ConfigError(f"select.require: nothing to watch; name a limit below 1 on {', '.join(metric.failing)}")
    rows = figures.read(answers, verdicts)
    if all(row.prompt.harm is None for row in rows):
        raise DataError(
            f"{answers.path}: no answer has a harm level, so none is right or wrong; label the prompts, or a sample of "
            "them, before they are answered or judged: `bedside label`"
        )
    told = monitor.watch(rows, _tightest(can), metric.failures, false_alarm=config.gates.false_alarm)
    return Monitored(
        answers=len(rows),
        unlabelled=sum(row.prompt.harm is None for row in rows),
        watched=tuple(told),
        unconfirmed=tuple(summary.unconfirmed({Path(answers.path).name: [row.prompt for row in rows]})),
        unwatched=tuple(str(limit) for limit in limits if limit not in can),
        false_alarm=config.gates.false_alarm,
    )


def _readable(most: float | None) -> list[select.Constraint]:
    return [] if most is None else [select.Constraint("unreadable", "<=", most)]


def _tightest(limits: Sequence[select.Constraint]) -> dict[str, float]:
    """Of two limits on one measure the smaller."""
    found: dict[str, float] = {}
    for limit in limits:
        found[limit.measure] = min(limit.limit, found.get(limit.measure, 1.0))
    return found
