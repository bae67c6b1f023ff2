"""The status of a watch as a page and as metrics: what a clinician opens, and what an alerting system reads.

    page          one HTML file without a request: alarms first, each with since when, examples, what to do
    prometheus    the text format, for node_exporter's textfile collector

Texts of patients and models are escaped by the template engine; they are in no metric.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from bedside.config.rendering import render
from bedside.core.monitor_results import INPUT, QUALITY, WatchStatus


def page(status: WatchStatus) -> str:
    """The status as one HTML file."""
    rates = {kind: [rate for rate in status.rates if rate.kind == kind] for kind in (QUALITY, INPUT)}
    return render("monitor.html", status=status, limits=rates[QUALITY], inputs=rates[INPUT])


def prometheus(status: WatchStatus) -> str:
    """The status as metrics, each with its help and type. Nothing in it depends on when it was written."""
    made = int(datetime.fromisoformat(status.baseline_made).replace(tzinfo=UTC).timestamp())
    run = f'run="{_escaped(status.run)}"'
    lines = [
        *_metric("rows_total", "counter", "Lines of the log that were read.", [(run, status.rows)]),
        *_metric("judged_rows_total", "counter", "Lines that are judged answers.", [(run, status.judged)]),
        *_metric(
            "set_aside_rows_total",
            "counter",
            "Lines that are no judged answer, by reason.",
            [(f'{run},reason="{_escaped(one.reason)}"', one.rows) for one in status.set_aside],
        ),
        *_metric("baseline_timestamp_seconds", "gauge", "When the baseline was made.", [(run, made)]),
    ]
    labelled = [(f'{run},kind="{rate.kind}",name="{_escaped(rate.name)}"', rate) for rate in status.rates]
    per_rate: list[tuple[str, str, list[tuple[str, float]]]] = [
        ("alarm", "1 where an alarm is raised.", [(labels, int(rate.alarm is not None)) for labels, rate in labelled]),
        ("rate", "Share so far.", [(n, r.measure.value) for n, r in labelled if r.measure.value is not None]),
        ("counted_rows", "Rows that the rate counts.", [(labels, rate.measure.n) for labels, rate in labelled]),
        ("tolerated_rate", "Above this rate it is too high.", [(labels, rate.tolerated) for labels, rate in labelled]),
        ("evidence", "The largest evidence so far.", [(labels, rate.evidence) for labels, rate in labelled]),
        ("evidence_threshold", "Where an alarm is raised.", [(labels, rate.threshold) for labels, rate in labelled]),
    ]
    for name, text, values in per_rate:
        lines += _metric(name, "gauge", text, values)
    return "".join(f"{line}\n" for line in lines)


def _metric(name: str, kind: str, text: str, values: list[tuple[str, float]]) -> Iterator[str]:
    if values:
        yield f"# HELP bedside_monitor_{name} {text}"
        yield f"# TYPE bedside_monitor_{name} {kind}"
    yield from (f"bedside_monitor_{name}{{{labels}}} {value!r}" for labels, value in values)


def _escaped(label: str) -> str:
    """A label's value, as the format asks for."""
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
