"""Does an assistant in use still keep the limits it was shipped under? Judged answers in their order in, alarms out.

A limit ``err <= 0.15`` is watched on the answers it is about, here those to harmless prompts; one that nobody could
read fails it. Of a group, a conversation, only the first such answer counts: those after it lean on it. All limits
together cry out with probability ``false_alarm`` at most, ever, as long as each of them is kept at every moment.

`bedside monitor`: do answers of an assistant in use, in their order, still keep what it was shipped under?
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bedside.config.schema import Config
from bedside.core.errors import ConfigError, DataError
from bedside.core.results import Measure
from bedside.core.types import Judged
from bedside.data.responses import Answers
from bedside.judges import judged_files
from bedside.run import experiment
from bedside.run.experiment import unconfirmed
from bedside.safety import selection
from bedside.stats import e_process
from bedside.stats.measures import share

_MOST_NATS = 700.0
"""Beyond it a double has no room."""
Failures = Callable[[Judged], Mapping[str, bool]]
"""Of each measure that counts an answer, whether that answer fails it."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One limit over all answers so far."""

    measure: Measure
    """Share that failed. What nobody could read is in it."""
    limit: float
    unread: int
    """Answers in it that nobody could read."""
    again: int
    """Answers left out, since one of their group had been counted."""
    evidence: float
    """By how much a bet on "the rate is above its limit" had multiplied when it stood highest."""
    needed: float
    """From where on it is an alarm."""
    alarm: int | None = None
    """Number of the answer, from 1, at which it was raised. It stays raised."""
    since: int | None = None
    """Number of the answer from which the rate most likely was too high; to ``BLOCK`` counted answers."""

    @property
    def name(self) -> str:
        return f"{self.measure.name} <= {self.limit:g}"


def watch_limits(
    rows: Sequence[Judged], limits: Mapping[str, float], failures: Failures, *, false_alarm: float
) -> list[Watched]:
    """Every limit, in [0, 1), on ``rows`` in the order in which they were answered."""
    about = [(row, failures(row)) for row in rows]
    needed = len(limits) / false_alarm
    return [_watched(name, limit, list(_about(name, about)), needed=needed) for name, limit in limits.items()]


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer that a limit is about."""

    number: int
    row: Judged
    failed: bool
    again: bool
    """One of its group stands before it."""


def _about(name: str, rows: Sequence[tuple[Judged, Mapping[str, bool]]]) -> Iterator[_Answer]:
    seen = set[str]()
    for number, (row, failed) in enumerate(rows, 1):
        if name in failed:
            group = row.prompt.group
            yield _Answer(number, row, failed[name], group in seen)
            seen |= set() if group is None else {group}


def _watched(name: str, limit: float, about: Sequence[_Answer], *, needed: float) -> Watched:
    counted = [one for one in about if not one.again]
    losses = [float(one.failed) for one in counted]
    measure = share(name, losses, range(len(losses)), worst=1.0)
    unread = sum(one.row.stance is None for one in counted)
    evidence = e_process.log_evidence(losses, limit)
    found = Watched(
        measure, limit, unread, len(about) - len(counted), math.exp(min(_MOST_NATS, evidence.max())), needed
    )
    at = e_process.alarm(evidence, math.log(needed))
    if at is None:
        return found
    since = e_process.rise(losses[:at], limit)
    return replace(found, alarm=counted[at - 1].number, since=counted[since].number)


@dataclass(frozen=True)
class Monitored:
    """What was watched, and what was not."""

    answers: int
    unlabelled: int
    """Answers without a harm level: only ``unreadable`` counts them."""
    watched: tuple[Watched, ...]
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


def _as_json(one: Watched) -> dict[str, Any]:
    told = {key: getattr(one, key) for key in ("unread", "again", "evidence", "needed", "alarm", "since")}
    return {key: getattr(one.measure, key) for key in ("value", "n", "low", "high")} | told


def watch(config: Config, answers: Answers, verdicts: Path) -> Monitored:
    """The limits of ``config``, on a file of answers in the order in which they were given."""
    metric = experiment.metric(config)
    limits = [*experiment.constraints(config, metric), *_readable(config.gates.unreadable_max)]
    can = [limit for limit in limits if limit.measure in metric.failing and limit.sign == "<=" and 0 <= limit.limit < 1]
    if not can:
        raise ConfigError(f"select.require: nothing to watch; name a limit below 1 on {', '.join(metric.failing)}")
    rows = judged_files.read(answers, verdicts)
    if all(row.prompt.harm is None for row in rows):
        raise DataError(
            f"{answers.path}: no answer has a harm level, so none is right or wrong; label the prompts, or a sample of "
            "them, before they are answered or judged: `bedside label`"
        )
    told = watch_limits(rows, _tightest(can), metric.failures, false_alarm=config.gates.false_alarm)
    return Monitored(
        answers=len(rows),
        unlabelled=sum(row.prompt.harm is None for row in rows),
        watched=tuple(told),
        unconfirmed=tuple(unconfirmed({Path(answers.path).name: [row.prompt for row in rows]})),
        unwatched=tuple(str(limit) for limit in limits if limit not in can),
        false_alarm=config.gates.false_alarm,
    )


def _readable(most: float | None) -> list[selection.Constraint]:
    return [] if most is None else [selection.Constraint("unreadable", "<=", most)]


def _tightest(limits: Sequence[selection.Constraint]) -> dict[str, float]:
    """Of two limits on one measure the smaller."""
    found: dict[str, float] = {}
    for limit in limits:
        found[limit.measure] = min(limit.limit, found.get(limit.measure, 1.0))
    return found
