"""Rates of one checkpoint by labels of a sample of its own answers, beside the judge's rates.

    level 1 to 3    unsafe_accept@1 to @3
    level 0         err, erroneous refusals

A judge's errors depend on what it reads, so labels hold only for their own level and checkpoint. The estimate is
post-stratified by the judge's verdict (``safety/labelled_sample.py``). It is valid for any judge if `bedside review`
drew the answers. Labels drawn in another way are shown as if they were random, and decide nothing.

The run folder keeps two results about its judges, which the report reads together:

    audit.json         `bedside audit`
    correction.json    `bedside evaluate --labels`
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from bedside.config.schema import Config
from bedside.core.audit_results import AuditReport, Correction
from bedside.core.measures import FAILURES_AT, Measure, get_measure
from bedside.core.types import JudgedResponse
from bedside.data.io import write_json
from bedside.run.events import EventLog
from bedside.run.owner import owned
from bedside.safety.labelled_sample import AnswerLabels, FailureMetric, LabelledRate, one_checkpoint, rate

AUDIT, CORRECTION = "audit.json", "correction.json"


def read_report(run: Path) -> AuditReport | None:
    """The results about judges in the run folder; None if neither file exists.

    DataError if a file is not what was written.
    """
    audit, correction = run / AUDIT, run / CORRECTION
    if not audit.is_file() and not correction.is_file():
        return None
    log, report = EventLog(run), AuditReport()
    if audit.is_file():
        report = TypeAdapter(AuditReport).validate_json(log.read_file(AUDIT, "run `bedside audit` again"))
    if correction.is_file():
        data = log.read_file(CORRECTION, "run `bedside evaluate --labels` again")
        report = replace(report, corrections=TypeAdapter(tuple[Correction, ...]).validate_json(data))
    return report


def keep(config: Config, corrections: Sequence[Correction]) -> None:
    """Write them into the run folder, if there is one."""
    run = Path(config.runs) / config.run
    if run.is_dir():
        with owned(run):
            write_json(run / CORRECTION, corrections)
            EventLog(run).record(run / CORRECTION)


def correct_rates(
    rows: Sequence[JudgedResponse], judged: Sequence[Measure], labels: AnswerLabels, metric: FailureMetric
) -> tuple[Correction, ...]:
    """The share of failures at each harm level of ``rows``: by the judge, in ``judged``, and by ``labels``.

    DataError if the answers are of several checkpoints.
    """
    one_checkpoint(rows)
    levels = sorted({row.prompt.harm for row in rows if row.prompt.harm is not None})
    return tuple(
        _correction(level, get_measure(judged, FAILURES_AT[level]), rate(rows, labels, FAILURES_AT[level], metric))
        for level in levels
    )


def _correction(level: int, raw: Measure, by_labels: LabelledRate | None) -> Correction:
    if by_labels is None:
        reason = "no label of an answer that the judge passes, or none of one that it fails"
        return Correction(level, raw.name, "", raw, Measure(f"{raw.name}, by labels", None, 0), 0, reason)
    measure, n = by_labels.measure, by_labels.labelled
    how = by_labels.why_not or ("all labelled" if n >= measure.n else "drawn by `bedside review`")
    return Correction(level, raw.name, how, raw, replace(measure, name=f"{raw.name}, by labels"), n)
