"""`bedside monitor replay`: the golden set again, to tell a judge that has changed from an assistant that has.

    judge        today's judge reads the answers of then: the texts are the same, so every other verdict is the judge's
    assistant    answers the prompts of then today; today's judge reads both its old and its new answers, so that a
                 difference between them is the assistant's, whatever has become of the judge

Of each measure the paired difference of the share of failures is bounded over groups. A part has changed where a bound
leaves out 0. No cache is read: an answer or a verdict that was kept would hide the change.

The k-th replay of a baseline spends δ / (k (k + 1)) of the false-alarm probability δ, all together at most δ; it is
shared by both parts, the measures, and the two sides of each. ``replays.jsonl`` counts them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from bedside.core.errors import DataError
from bedside.core.hashing import plain
from bedside.core.measures import Measure
from bedside.core.monitor_results import CHANGED, UNCHANGED, UNSURE, Drift, DriftState, ReplayReport
from bedside.core.types import JudgedResponse, Response, Verdict
from bedside.data.io import append_to, rows, whole_lines
from bedside.deployment import baseline as baselines
from bedside.deployment.baseline import MonitorBaseline
from bedside.stats.measures import share
from bedside.stats.noninferiority import PairedRows

REPLAYS = "replays.jsonl"
LEAST_GROUPS = 30
"""With fewer groups in the golden set no absence of change is reported."""
Judging = Callable[[Sequence[Response]], Sequence[Verdict]]
Answering = Callable[[Sequence[JudgedResponse]], Sequence[Response]]


@dataclass(frozen=True)
class Today:
    """The parts of the system as they are now."""

    judge: Judging
    judge_name: str
    assistant: Answering | None
    """None: only the judge is asked."""
    date: date
    seed: int = 0


def replay(folder: Path, today: Today) -> ReplayReport:
    """What has changed since the baseline in ``folder``. Appends a line to ``replays.jsonl``."""
    baseline, _ = baselines.read(folder)
    golden = baselines.read_golden(folder)
    number = _replays(folder) + 1
    parts = 1 if today.assistant is None else 2
    spent = baseline.false_alarm / (number * (number + 1)) / parts
    judged_now = _judged(golden, today.judge([row.response for row in golden]))
    judge = _drift("judge", golden, judged_now, _Rule(baseline, spent, today.seed))
    assistant = None
    if today.assistant is not None:
        answers = list(today.assistant(golden))
        answered_now = [JudgedResponse(r, v) for r, v in zip(answers, today.judge(answers), strict=True)]
        assistant = _drift("assistant", judged_now, answered_now, _Rule(baseline, spent, today.seed))
    age = (today.date - date.fromisoformat(baseline.made)).days
    report = ReplayReport(
        run=baseline.run,
        prompts=len(golden),
        age_days=age,
        stale=age > baseline.golden_days,
        number=number,
        judge=judge,
        assistant=assistant,
        verdict=_verdict(judge, assistant),
        notes=(*_notes(baseline, today, age), *_unread(golden, judged_now)),
    )
    _append(folder, report, today.date)
    return report


def golden_age(baseline: MonitorBaseline, today: date) -> str:
    """A warning where the golden set is stale; empty where it is not."""
    age = (today - date.fromisoformat(baseline.made)).days
    if age <= baseline.golden_days:
        return ""
    return (
        f"the golden set is {age} days old, over monitor.golden_days {baseline.golden_days}: make a new baseline, with "
        "prompts of today's use"
    )


def _judged(golden: Sequence[JudgedResponse], verdicts: Sequence[Verdict]) -> list[JudgedResponse]:
    return [JudgedResponse(row.response, verdict) for row, verdict in zip(golden, verdicts, strict=True)]


@dataclass(frozen=True, slots=True)
class _Rule:
    baseline: MonitorBaseline
    spent: float
    """Probability of calling a part changed that has not."""
    seed: int

    def failures(self, row: JudgedResponse) -> Mapping[str, bool]:
        return self.baseline.fails[row.prompt.harm, row.stance.value if row.stance else None]


def _drift(part: Any, before: Sequence[JudgedResponse], after: Sequence[JudgedResponse], rule: _Rule) -> Drift:
    """Paired by row."""
    failed = [(rule.failures(one), rule.failures(other)) for one, other in zip(before, after, strict=True)]
    measures = [limit.measure for limit in rule.baseline.limits]
    confidence = 1 - rule.spent / 2 / len(measures)
    changes = []
    for name in measures:
        both = [(int(a[name]), int(b[name]), row.prompt.cluster) for (a, b), row in zip(failed, before, strict=True)
                if name in a]  # fmt: skip
        if both:
            then, now, clusters = zip(*both, strict=True)
            changes.append(PairedRows(clusters, rule.seed, confidence).difference(name, now, then))
    flips = [float(_differs(part, one, other)) for one, other in zip(before, after, strict=True)]
    flipped = share("flipped", flips, [row.prompt.cluster for row in before])
    moved = [change for change in changes if _is_moved(change)]
    groups = len({row.prompt.cluster for row in before})
    state: DriftState = CHANGED if moved else UNCHANGED if groups >= LEAST_GROUPS else UNSURE
    return Drift(part, state, tuple(changes), flipped, _reason(part, moved, flipped, groups))


def _differs(part: str, one: JudgedResponse, other: JudgedResponse) -> bool:
    """The judge's stance, or the assistant's text, is another one."""
    return one.stance is not other.stance if part == "judge" else one.response.text != other.response.text


def _is_moved(change: Measure) -> bool:
    return change.worst_low is not None and change.worst_high is not None and not (
        change.worst_low <= 0 <= change.worst_high
    )  # fmt: skip


def _reason(part: str, moved: Sequence[Measure], flipped: Measure, groups: int) -> str:
    what = "stances are other ones" if part == "judge" else "answers have another text"
    known = f"{flipped.as_count} {what}"
    if moved:
        sizes = ", ".join(f"{m.name} {m.value:+.3f} [{m.worst_low:+.3f}, {m.worst_high:+.3f}]" for m in moved)
        return f"{known}; {sizes}"
    if groups < LEAST_GROUPS:
        return f"{known}; {groups} groups are too few to say that nothing has changed"
    return f"{known}; no bound of a difference leaves out 0"


def _verdict(judge: Drift, assistant: Drift | None) -> str:
    if assistant is None:
        return f"judge: {judge.state}; the assistant was not asked"
    both = {part.part for part in (judge, assistant) if part.state == CHANGED}
    if both == {"judge", "assistant"}:
        return "the judge and the assistant have changed; mend the judge first, then replay again"
    if both == {"judge"}:
        return "the judge has changed, not seen of the assistant: audit the judge before you blame the model"
    if both == {"assistant"}:
        return "the assistant has changed, not seen of the judge: its answers are other ones than those released"
    if UNSURE in (judge.state, assistant.state):
        return "no change seen, and the golden set is too small to rely on that"
    return "no change seen in judge or assistant: if a limit has an alarm, look at what patients ask"


def _notes(baseline: MonitorBaseline, today: Today, age: int) -> list[str]:
    notes = []
    if stale := golden_age(baseline, today.date):
        notes.append(stale)
    if age < 0:
        notes.append("the baseline is dated after today: one of the two clocks is wrong")
    if today.judge_name != baseline.judge:
        notes.append(f"the judge is called {today.judge_name} now; at the baseline it was {baseline.judge}")
    return notes


def _unread(golden: Sequence[JudgedResponse], now: Sequence[JudgedResponse]) -> list[str]:
    """A judge that reads fewer answers than before may lack something that the golden set does not hold."""
    lost = [b for a, b in zip(golden, now, strict=True) if a.stance is not None and b.stance is None]
    if not lost:
        return []
    why = lost[0].verdict.unreadable
    return [f"the judge no longer reads {len(lost)} of {len(golden)} golden answers; the first: {why}"]


def _replays(folder: Path) -> int:
    """How many were made; a half-written last line counts as none."""
    file = folder / REPLAYS
    return sum(1 for _ in whole_lines(file))


def _append(folder: Path, report: ReplayReport, today: date) -> None:
    line = {"date": today.isoformat(), "number": report.number, "verdict": report.verdict, **plain(report)}
    with append_to(folder / REPLAYS, folder) as out:
        out.write(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n")


def last_replay(folder: Path) -> str:
    """The verdict of the last replay and its date; empty where there was none. DataError for another file."""
    if not (folder / REPLAYS).is_file() or not _replays(folder):
        return ""
    last = [row for _, row in rows(folder / REPLAYS)][-1]
    try:
        return f"{last['date']}: {last['verdict']}"
    except KeyError:
        raise DataError(f"{folder / REPLAYS}: is not what `bedside monitor replay` wrote; move it away") from None
