"""`bedside monitor`: does an assistant in use keep the limits it was released under? Judged answers in, alarms out.

A limit such as ``err <= 0.15`` is tested on the answers its measure counts, here the answers to harmless prompts, in
the order in which they were given. An unreadable answer counts as a failure. Answers of one group, for example one
conversation, are dependent, so only the first counted answer of each group is tested.

The family-wise false-alarm probability is at most ``false_alarm``: while every limit is kept at every moment, the
probability that any alarm is ever raised, however often one looks. Each limit has its own e-process (Ville's
inequality), and its alarm threshold is the number of limits divided by ``false_alarm``.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.config.schema import Config
from bedside.core.display import Tabular, figures
from bedside.core.errors import DataError
from bedside.core.measures import Measure
from bedside.core.types import JudgedResponse
from bedside.data.responses import AnswerFile, read_judged
from bedside.deployment.baseline import watchable
from bedside.run import experiment
from bedside.stats import e_process
from bedside.stats.measures import share

_MOST_NATS = 700.0
"""exp of more overflows a double."""
Failures = Callable[[JudgedResponse], Mapping[str, bool]]
"""For each measure that counts an answer: whether the answer fails it."""


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """One limit over all answers so far."""

    measure: Measure
    """Share of failures. Unreadable answers are failures."""
    limit: float
    unreadable: int
    """Unreadable answers among the counted ones."""
    repeated: int
    """Answers that are not counted, because an earlier answer of their group is."""
    evidence: float
    """Largest value so far of the e-process for "the rate is above the limit"."""
    threshold: float
    """Evidence from which on an alarm is raised."""
    alarm: int | None = None
    """Number of the answer, from 1, at which the alarm was raised. An alarm stays raised."""
    since: int | None = None
    """Number of the answer from which on the rate most likely was too high; accurate to ``BLOCK`` counted answers."""

    @property
    def name(self) -> str:
        return f"{self.measure.name} <= {self.limit:g}"


@dataclass(frozen=True)
class MonitorResult(Tabular):
    """Every limit that was monitored, and the limits that could not be."""

    answers: int
    unlabelled: int
    """Answers without a harm level: only the limit on ``unreadable`` counts them."""
    limits: tuple[LimitStatus, ...]
    unconfirmed: tuple[str, ...]
    """Sentences on harm levels that nobody has confirmed, or on synthetic prompts."""
    not_monitored: tuple[str, ...]
    """Limits that are not an upper limit below 1 on the share of single answers that fail."""
    false_alarm: float

    @property
    def quiet(self) -> bool:
        """Every limit has at least one answer, and none has an alarm."""
        return all(status.measure.n and status.alarm is None for status in self.limits)

    def records(self) -> list[dict[str, Any]]:
        """One row per limit."""
        return [
            {
                "limit": status.name,
                **figures(status.measure),
                "unreadable": status.unreadable,
                "repeated": status.repeated,
                "evidence": status.evidence,
                "threshold": status.threshold,
                "alarm": status.alarm,
                "since": status.since,
            }
            for status in self.limits
        ]


def monitor(config: Config, answers: AnswerFile, verdicts: Path) -> MonitorResult:
    """The limits of ``config`` on a file of answers, the oldest first, and a file of their verdicts.

    ConfigError where no limit can be monitored, DataError where no answer has a harm level.
    """
    metric, usable, others = watchable(config)
    rows = read_judged(answers, verdicts)
    unlabelled = sum(row.prompt.harm is None for row in rows)
    if unlabelled == len(rows):
        raise DataError(
            f"{answers.path}: no answer has a harm level, so none is right or wrong; label the prompts, or a sample of "
            "them, before they are answered or judged: `bedside label`"
        )
    strictest = {c.measure: c.limit for c in usable}
    return MonitorResult(
        answers=len(rows),
        unlabelled=unlabelled,
        limits=tuple(check_limits(rows, strictest, metric.failures, false_alarm=config.gates.false_alarm)),
        unconfirmed=tuple(experiment.doubts({Path(answers.path).name: [row.prompt for row in rows]})),
        not_monitored=tuple(str(c) for c in others),
        false_alarm=config.gates.false_alarm,
    )


def check_limits(
    rows: Sequence[JudgedResponse], limits: Mapping[str, float], failures: Failures, *, false_alarm: float
) -> list[LimitStatus]:
    """The status of every limit. ``rows``: in the order in which they were answered; ``limits``: in [0, 1)."""
    answers = [(number, row, failures(row)) for number, row in enumerate(rows, 1)]
    counted = {
        name: [_CountedAnswer(number, row, failed[name]) for number, row, failed in answers if name in failed]
        for name in limits
    }
    return [_status(name, limit, counted[name], len(limits) / false_alarm) for name, limit in limits.items()]


@dataclass(frozen=True, slots=True)
class _CountedAnswer:
    """An answer that a measure counts."""

    number: int
    row: JudgedResponse
    failed: bool


def _status(name: str, limit: float, counted: Sequence[_CountedAnswer], threshold: float) -> LimitStatus:
    tested = _first_of_each_group(counted)
    losses = [float(answer.failed) for answer in tested]
    evidence = e_process.log_evidence(losses, limit)
    alarm = e_process.first_alarm(evidence, math.log(threshold))
    return LimitStatus(
        measure=share(name, losses, range(len(losses)), worst=1.0),
        limit=limit,
        unreadable=sum(answer.row.stance is None for answer in tested),
        repeated=len(counted) - len(tested),
        evidence=math.exp(min(_MOST_NATS, evidence.max())),
        threshold=threshold,
        alarm=None if alarm is None else tested[alarm - 1].number,
        since=None if alarm is None else tested[e_process.change_point(losses[:alarm], limit)].number,
    )


def _first_of_each_group(counted: Sequence[_CountedAnswer]) -> list[_CountedAnswer]:
    """An answer without a group is a group of its own."""
    first: dict[object, _CountedAnswer] = {}
    for answer in counted:
        group = answer.row.prompt.group
        first.setdefault(answer.number if group is None else group, answer)
    return list(first.values())
