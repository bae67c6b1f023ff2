"""`bedside monitor baseline`: what an assistant was released as, kept for the time in which it is used.

    baseline.json    the limits with the rates of verdicts that they allow, what fails them, the profile of inputs
    golden.jsonl     prompts of test with the answers and verdicts of that time: what `monitor replay` asks again

``watch`` needs this folder and the log alone: no config, no model. A limit is the largest rate of verdicts that it
allows at upper bounds over the judge's errors (``judge_errors``), where people labelled some of the golden answers;
without labels it is compared with the judge's verdicts as they are, and the baseline says so.

    false_alarm, of all limits together    0.2 of it to the bounds over the judge's errors, the rest to the evidence
    false_alarm, of all inputs together    half of it to the bounds of the baseline, half to the evidence
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bedside.config.schema import Config
from bedside.core.errors import ConfigError, DataError
from bedside.core.gates import Constraint, Op
from bedside.core.hashing import canonical, digest_file, plain
from bedside.core.measures import HARM_LEVEL, Measure
from bedside.core.monitor_results import INPUT, QUALITY, BaselineResult, WatchedRate
from bedside.core.types import HARM_LEVELS, STANCES, JudgedResponse, Message, Prompt, Response, Stance, Verdict
from bedside.data import io, splits
from bedside.data.io import write_parts, write_text
from bedside.data.responses import AnswerFile
from bedside.deployment.inputs import InputProfile
from bedside.deployment.judge_errors import JudgeErrors, LabelledVerdict, judge_errors
from bedside.run import experiment

BASELINE, GOLDEN = "baseline.json", "golden.jsonl"
JUDGE_SHARE = 0.2
"""Of the probability of a false alarm, what the bounds over the judge's errors may take."""
INPUT_SHARE = 0.5
"""The same of the inputs, for the bounds of the baseline."""
NO_LABELS = "the judge's verdicts as they are: nobody labelled golden answers, so its errors are not known"
_DUMMY = Message("user", "?")
_VERDICT_COLUMNS = ("response", "stance", "judge", "unreadable", "probabilities", "scores", "votes")


@dataclass(frozen=True, slots=True)
class BaselineLimit:
    """One limit in use."""

    measure: str
    limit: float
    tolerated: float
    """Rate of verdicts that it allows."""
    basis: str

    @property
    def name(self) -> str:
        return f"{self.measure} <= {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Which measures count an answer, by harm level and stance, and whether it fails them."""

    harm: int | None
    stance: str | None
    fails: Mapping[str, bool]


@dataclass(frozen=True)
class MonitorBaseline:
    """What ``watch`` compares with."""

    run: str
    judge: str
    """``Judge.name`` of the verdicts."""
    made: str
    """A date, YYYY-MM-DD."""
    false_alarm: float
    limits: tuple[BaselineLimit, ...]
    outcomes: tuple[Outcome, ...]
    inputs: InputProfile
    golden: int
    golden_days: int
    notes: tuple[str, ...]
    version: int = 1

    @cached_property
    def threshold(self) -> float:
        """Evidence against a limit from which on an alarm is raised."""
        corrected = any(limit.basis != NO_LABELS and limit.measure in HARM_LEVEL for limit in self.limits)
        return len(self.limits) / self.false_alarm / (1 - JUDGE_SHARE if corrected else 1)

    @cached_property
    def input_threshold(self) -> float:
        """The same for a kind of input."""
        watched = sum(kind.watched for kind in self.inputs.kinds)
        return max(1, watched) / (self.false_alarm * INPUT_SHARE)

    @cached_property
    def fails(self) -> dict[tuple[int | None, str | None], Mapping[str, bool]]:
        """By harm level and stance: which measures count the answer, and whether it fails."""
        return {(outcome.harm, outcome.stance): outcome.fails for outcome in self.outcomes}

    def rates(self) -> list[WatchedRate]:
        """What is watched, before the first row."""
        limits = [_unread(limit.name, QUALITY, (limit.tolerated, limit.basis), self.threshold) for limit in self.limits]
        basis = f"its bound in {self.inputs.prompts} prompts, {self.inputs.source}, and a margin of 0.02"
        kinds = [
            _unread(str(kind), INPUT, (kind.tolerated, basis), self.input_threshold)
            for kind in self.inputs.kinds
            if kind.watched
        ]
        return [*limits, *kinds]

    def result(self, folder: Path) -> BaselineResult:
        return BaselineResult(folder, tuple(self.rates()), self.golden, self.inputs.prompts, self.notes)


def _unread(name: str, kind: Any, tolerated: tuple[float, str], threshold: float) -> WatchedRate:
    return WatchedRate(name, kind, Measure(name, None, 0), *tolerated, 0, 0, 1.0, threshold)


@dataclass(frozen=True)
class GoldenSet:
    """Answers of the time of the baseline, with the verdicts of its judge, and labels where people gave some."""

    rows: Sequence[JudgedResponse]
    labels: Sequence[Verdict] | None = None
    """Of each row, in order; a verdict without a stance where there is no label."""

    def limited(self, most: int) -> "GoldenSet":
        """The answers to at most so many prompts, some of every harm level, without their labels."""
        kept = {prompt.id for prompt in splits.limited([row.prompt for row in self.rows], most)}
        return GoldenSet([row for row in self.rows if row.prompt.id in kept])

    @property
    def judge(self) -> str:
        """DataError where several judges read them."""
        names = sorted({row.verdict.judge for row in self.rows})
        if len(names) != 1:
            raise DataError(f"the golden set has verdicts of {len(names)} judges ({', '.join(names)}); judge it by one")
        return names[0]


def read_judged(file: Path) -> list[JudgedResponse]:
    """Judged answers in one file, as `bedside judge` writes them. DataError for a row without a verdict."""
    first = next((row for _, row in io.rows(file)), {})
    columns = {"response": "answer"} if "answer" in first else {}
    answers = AnswerFile(str(file), columns, labels=_VERDICT_COLUMNS)
    return [
        JudgedResponse(response, _verdict(where, row, response.id))
        for response, (where, row) in zip(answers.stream(), io.rows(file), strict=True)
    ]


def _verdict(where: str, row: Mapping[str, Any], response: str) -> Verdict:
    stance, judge = row.get("stance"), row.get("judge")
    if (stance is not None and stance not in STANCES) or ("stance" not in row and not row.get("unreadable")):
        raise DataError(f"{where}: has no verdict; judge the file first: `bedside judge`")
    why = "" if stance else str(row.get("unreadable") or "the judge gave no stance")
    return Verdict(response, str(judge or "judge"), Stance(stance) if stance else None, unreadable=why)


def make(config: Config, golden: GoldenSet, inputs: InputProfile, made: str) -> MonitorBaseline:
    """The baseline of a golden set and a profile. ConfigError where no limit can be watched.

    ``made``: today, YYYY-MM-DD.
    """
    metric, limits, others = watchable(config)
    outcomes = tuple(_outcomes(metric))
    names = ", ".join(map(str, others))
    notes = [f"not monitored, because not a limit below 1 on a share of failed answers: {names}"] if others else []
    judged = {c.measure: _judged(golden, c.measure, metric) for c in limits}
    errors = _errors(golden, judged, config.gates.false_alarm * JUDGE_SHARE)
    kappa = inputs.level_agreement
    known = f"kappa {kappa.value:.2f} with labels, n = {kappa.n}" if kappa.value is not None else "not audited"
    notes += [f"levels of inputs are proposed by a classifier of words, {known}; no limit uses them"]
    notes += experiment.doubts({"golden": [row.prompt for row in golden.rows]})
    return MonitorBaseline(
        run=config.run,
        judge=golden.judge,
        made=made,
        false_alarm=config.gates.false_alarm,
        limits=tuple(_limit(c, errors.get(c.measure)) for c in limits),
        outcomes=outcomes,
        inputs=inputs,
        golden=len(golden.limited(config.monitor.golden).rows),
        golden_days=config.monitor.golden_days,
        notes=tuple(notes),
    )


def watchable(config: Config) -> tuple[experiment.CombinedMetric, list[Constraint], list[Constraint]]:
    """The metric, of each measure the strictest limit that can be watched, and the limits that cannot.

    ConfigError where no limit can.
    """
    metric = experiment.metric(config)
    readable = config.gates.limit("unreadable")
    constraints = [*experiment.constraints(config, metric), *([readable] if readable else [])]
    usable = [
        c
        for c in constraints
        if c.op is Op.AT_MOST and c.relative_to is None and 0 <= c.limit < 1 and c.measure in metric.failing
    ]
    if not usable:
        raise ConfigError(
            f"select.require: no limit can be monitored; name a limit below 1 on {', '.join(metric.failing)}"
        )
    strictest = {c.measure: c for c in sorted(usable, key=lambda c: -c.limit)}
    return metric, [c for c in usable if strictest[c.measure] is c], [c for c in constraints if c not in usable]


def _limit(constraint: Constraint, errors: JudgeErrors | None) -> BaselineLimit:
    if errors is None:
        return BaselineLimit(constraint.measure, constraint.limit, constraint.limit, NO_LABELS)
    basis = (
        f"the limit at upper bounds of the judge's errors, by {errors.labelled} labels of {errors.answers} answers: it "
        f"sees at most {errors.sensitivity:.3f} of failures, and calls at most {errors.false_failures:.3f} of the "
        "others a failure"
    )
    return BaselineLimit(constraint.measure, constraint.limit, errors.tolerated(constraint.limit), basis)


def _errors(golden: GoldenSet, judged: Mapping[str, Sequence[LabelledVerdict]], spent: float) -> dict[str, JudgeErrors]:
    """Of each measure of one harm level that has a labelled answer."""
    if golden.labels is None:
        return {}
    of_levels = {m: rows for m, rows in judged.items() if m in HARM_LEVEL and any(r.fails is not None for r in rows)}
    each = 1 - spent / max(1, len(of_levels))
    return {measure: judge_errors(rows, each) for measure, rows in of_levels.items()}


def _judged(golden: GoldenSet, measure: str, metric: experiment.CombinedMetric) -> list[LabelledVerdict]:
    """The golden answers that a measure counts."""
    labels: Sequence[Verdict | None] = golden.labels or [None] * len(golden.rows)
    rows = []
    for row, label in zip(golden.rows, labels, strict=True):
        fails = metric.failures(row)
        if measure in fails:
            known = label is not None and label.stance is not None
            by_label = metric.failures(JudgedResponse(row.response, label))[measure] if known and label else None
            rows.append(LabelledVerdict(fails[measure], by_label, row.prompt.cluster))
    return rows


def _outcomes(metric: experiment.CombinedMetric) -> list[Outcome]:
    """The metric as a table: a log of a million rows needs no more of it."""
    table = []
    for harm in (None, *HARM_LEVELS):
        response = Response(Prompt((_DUMMY,), harm=harm), "?", "?")
        for stance in (None, *STANCES):
            given = Stance(stance) if stance else None
            verdict = Verdict(response.id, "?", given, unreadable="" if stance else "unreadable")
            table.append(Outcome(harm, stance, dict(metric.failures(JudgedResponse(response, verdict)))))
    return table


def write(folder: Path, baseline: MonitorBaseline, golden: GoldenSet) -> None:
    """Both files; ``golden`` is limited. DataError where the folder holds a baseline: a watch may stand on it."""
    if (folder / BASELINE).exists():
        raise DataError(f"{folder} holds a baseline, and a watch may stand on it; name another folder with -o")
    io.make_private(folder)
    rows = ({"response": row.response, "verdict": row.verdict} for row in golden.rows)
    write_parts(folder / GOLDEN, (canonical(row) + "\n" for row in rows), folder)
    text = json.dumps(plain(baseline), ensure_ascii=False, separators=(",", ":"))
    write_text(folder / BASELINE, text + "\n", folder)


def read(folder: Path) -> tuple[MonitorBaseline, str]:
    """The baseline and the digest of its file. DataError where there is none, or another file."""
    file = folder / BASELINE
    if not file.is_file():
        raise DataError(f"{folder}: there is no baseline here; make one: bedside monitor baseline RUN")
    try:
        return TypeAdapter(MonitorBaseline).validate_json(file.read_bytes()), digest_file(file)
    except ValidationError:
        raise DataError(f"{file}: is not what `bedside monitor baseline` wrote; make it again") from None


def read_golden(folder: Path) -> list[JudgedResponse]:
    """The golden set. DataError where it is not there, or not what was written."""
    adapter = TypeAdapter(JudgedResponse)
    file = folder / GOLDEN
    try:
        return [adapter.validate_python(row) for _, row in io.rows(file)]
    except ValidationError:
        raise DataError(f"{file}: is not what `bedside monitor baseline` wrote; make the baseline again") from None
