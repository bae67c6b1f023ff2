"""The summary of a finished run: the one value that report, card and ``--json`` show.

measures   the selected checkpoint on the held-out test; before: the target on the same prompts
gates      those that decide: a checkpoint may be released if every one of them is PASS
verdict    one sentence
facts      which data, model, judges, settings, machine and when, as text: what traces a figure
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import TypeAdapter

from bedside.config import loader as configs
from bedside.config.plugins import asks_for
from bedside.core.errors import DataError
from bedside.core.gates import Gate, GateState, gates_json
from bedside.core.hashing import digest
from bedside.core.measures import Measure, measure_json, measures_json
from bedside.core.protocols import Metric
from bedside.core.results import Axes, Baseline, Candidate, CycleReport, Example, FilterCounts, RunSummary
from bedside.core.types import Checkpoint, JudgedResponse, Prompt
from bedside.data.io import write_json
from bedside.run.experiment import unconfirmed
from bedside.run.folder import check_layout
from bedside.safety import evaluate

if TYPE_CHECKING:
    from bedside.run.context import RunContext


FILE = "summary.json"
EXAMPLES = 3


@dataclass(frozen=True)
class Outcome:
    """The cycles of a run, and the rows of its held-out test."""

    run: "RunContext"
    metric: Metric
    parts: Mapping[str, Sequence[Prompt]]
    filter_counts: Sequence[FilterCounts]
    """How the data became three parts."""
    cycles: Sequence[CycleReport]
    selected: Candidate
    before: list[JudgedResponse]
    after: list[JudgedResponse]
    baselines: Mapping[str, list[JudgedResponse]]
    gates: Sequence[Gate]
    """Those that decide whether the selected checkpoint may be released."""
    comparisons: Sequence[Gate]
    one_judge: bool
    skipped: tuple[str, ...] = ()
    """What does not stand beside the result, and why: a sentence each."""
    axes: tuple[Axes, ...] = ()
    pressure: tuple[Measure, ...] = ()


def summarize(outcome: Outcome) -> RunSummary:
    """Everything that report, card and ``--json`` show of a finished run."""
    after = evaluate.evaluate(outcome.after, [outcome.metric])
    return RunSummary(
        name=outcome.run.config.run,
        verdict=" ".join((_verdict(outcome), *unconfirmed({"test": outcome.parts["test"]}))),
        released=outcome.selected.name if _may_be_released(outcome) else None,
        selected=outcome.selected.name,
        definitions=outcome.metric.definitions(),
        before=evaluate.evaluate(outcome.before, [outcome.metric]),
        after=after,
        by=_segments(outcome),
        baselines=tuple(
            Baseline(name, evaluate.evaluate(rows, [outcome.metric])) for name, rows in outcome.baselines.items()
        ),
        gates=tuple(outcome.gates),
        comparisons=tuple(outcome.comparisons),
        cycles=tuple(outcome.cycles),
        filter_counts=tuple(outcome.filter_counts),
        mix={name: _mix(prompts) for name, prompts in outcome.parts.items()},
        cells=evaluate.cells(outcome.after),
        examples=tuple(_examples(outcome)),
        facts=provenance(outcome.run, outcome.parts, outcome.selected.checkpoint, outcome.after),
        untested=tuple(_untested(outcome)),
        axes=outcome.axes,
        pressure=outcome.pressure,
    )


def as_json(run: RunSummary) -> dict[str, Any]:
    """``{"measures": {name: {...}}, "gates": ...}``: what ``--json`` prints."""
    return {
        "schema_version": run.schema_version,
        "run": run.name,
        "verdict": run.verdict,
        "released": run.released,
        "measures": measures_json(run.after),
        "before": measures_json(run.before),
        "baselines": {b.name: measures_json(b.measures) for b in run.baselines},
        "by": {key: {name: measures_json(ms) for name, ms in parts.items()} for key, parts in run.by.items()},
        "gates": gates_json(run.gates),
        "comparisons": gates_json(run.comparisons),
        "stopped": run.cycles[-1].stopped if run.cycles else "",
        "untested": list(run.untested),
        **_axes(run),
    }


def _axes(run: RunSummary) -> dict[str, Any]:
    """Of the joined loop alone."""
    if not run.axes:
        return {}
    four = ("safe", "helpful", "accurate", "kind")
    rows = {a.name: {key: measure_json(getattr(a, key)) for key in four} | {"front": a.front} for a in run.axes}
    return {"axes": rows, "pressure": measures_json(run.pressure)}


def write(run: RunSummary, folder: Path) -> None:
    write_json(folder / FILE, run)


def read(run: Path) -> RunSummary:
    """The summary of a finished run. DataError where there is none."""
    check_layout(run)
    if not finished(run):
        raise DataError(f"{run / FILE}: no finished run here; {_instead(run)}")
    return TypeAdapter(RunSummary).validate_json((run / FILE).read_bytes())


def finished(run: Path) -> bool:
    return (run / FILE).is_file()


def _instead(run: Path) -> str:
    """What is there, and what to do."""
    if (run / "comfort.html").is_file():
        return f"it is a comfort run, and its report is {run / 'comfort.html'}"
    if (run / "config.yaml").is_file():
        return "it was interrupted: the same `bedside align` command goes on"
    return "run `bedside align` first, or check --run"


def write_cycle(report: CycleReport, run: Path) -> None:
    write_json(run / f"cycle-{report.cycle}" / "report.json", report)


def with_gate(report: CycleReport, gate: Gate) -> CycleReport:
    """The cycle with one more gate; a failed one stops the run here."""
    stopped = report.stopped or (gate.reason if gate.state is GateState.FAIL else "")
    return replace(report, gates=(*report.gates, gate), stopped=stopped)


def _may_be_released(outcome: Outcome) -> bool:
    return outcome.selected.checkpoint.adapter is not None and all(
        gate.state is GateState.PASS for gate in outcome.gates
    )


def _verdict(outcome: Outcome) -> str:
    """One sentence: what may be released, or the first reason why nothing may."""
    name, rows = outcome.selected.name, len(outcome.after)
    if outcome.selected.checkpoint.adapter is None:
        why = f"no candidate was better on valid than the target as given; {_stopped(outcome)}"
        return f"Nothing may be released: {why}."
    missed = [gate for gate in outcome.gates if gate.state is not GateState.PASS]
    if missed:
        first = missed[0]
        more = f", and {len(missed) - 1} more did not pass" if len(missed) > 1 else ""
        why = f"{first.limited} is {first.state.value} ({first.reason}){more}"
        return f"Nothing may be released: {name} was selected, but {why}. Keep the target as given."
    return (
        f"{name} may be released: on {rows} held-out prompts it meets every limit and beats every constant policy, "
        "at 95 % bounds."
    )


def _stopped(outcome: Outcome) -> str:
    return outcome.cycles[-1].stopped or outcome.cycles[-1].why.rstrip(".")


def _segments(outcome: Outcome) -> dict[str, Mapping[str, tuple[Measure, ...]]]:
    """Source always; style, principle and contrast partner where the prompts differ in them."""
    keys: dict[str, Callable[[Prompt], str | None]] = {
        "source": lambda prompt: prompt.source,
        "style": lambda prompt: prompt.style,
        "principle": lambda prompt: prompt.principle,
        "contrast_partner": lambda prompt: prompt.metadata.get("contrast_partner"),
    }
    segments = {name: evaluate.by(outcome.after, key, [outcome.metric]) for name, key in keys.items()}
    return {name: parts for name, parts in segments.items() if name == "source" or len(parts) > 1}


def _mix(prompts: Sequence[Prompt]) -> dict[str, int]:
    return {str(level): n for level, n in sorted(Counter(prompt.harm for prompt in prompts).items(), key=str)}


def _examples(outcome: Outcome) -> list[Example]:
    """The first severe prompts whose stance changed, then the first harmless one."""
    both = list(zip(outcome.before, outcome.after, strict=True))
    changed = [pair for pair in both if pair[0].prompt.harm and pair[0].stance is not pair[1].stance]
    changed.sort(key=lambda pair: -(pair[0].prompt.harm or 0))
    harmless = [pair for pair in both if pair[0].prompt.harm == 0]
    return [_example(before, after) for before, after in changed[: EXAMPLES - 1] + harmless[:1]]


def _example(before: JudgedResponse, after: JudgedResponse) -> Example:
    return Example(
        prompt=before.prompt.text,
        harm=before.prompt.harm,
        before=before.response.text,
        after=after.response.text,
        before_stance=before.stance.value if before.stance else "unreadable",
        after_stance=after.stance.value if after.stance else "unreadable",
    )


def _untested(outcome: Outcome) -> list[str]:
    """What this run does not show, a sentence each."""
    sentences = [
        "No clinician has read these answers: the figures are a judge's, not corrected for its errors.",
        "One seed: how much another seed would differ is not known.",
    ]
    config = outcome.run.config
    if not outcome.axes:
        sentences.append(
            "Knowledge and comfort were not measured: a model may have become safer, and less accurate or kind."
        )
    if outcome.one_judge:
        sentences.insert(0, "One judge both trained and selected: nothing independent has read these answers.")
    if asks_for(config.judges[config.align.judge], "policy"):
        sentences.insert(0, "An experiment: the policy in training judged its own training answers.")
    sentences += outcome.skipped
    absent = [level for level in ("1", "2", "3") if level not in _mix(outcome.parts["test"])]
    if absent:
        sentences.append(f"No test prompt has harm level {', '.join(absent)}.")
    sentences += unconfirmed(outcome.parts)
    if any(prompt.source == "clinic" for prompt in outcome.parts["test"]):
        sentences.append("The synthetic clinic tests the mechanism; it is no clinical evidence.")
    return sentences


PACKAGES = ("bedside", "torch", "transformers", "peft", "accelerate", "numpy")
CONFIGURATION = "configuration"


def provenance(
    run: "RunContext", parts: Mapping[str, Sequence[Prompt]], selected: Checkpoint, after: list[JudgedResponse]
) -> dict[str, str]:
    """In the order in which a report shows them."""
    config, tables = run.config, configs.tables(run.config)
    return {
        "target": f"{getattr(config.target, 'model', config.target.kind)}",
        "target digest": run.target.checkpoint.base,
        **_adapter(selected),
        **{f"data, {name}": _data(tables["data"][name], rows) for name, rows in parts.items()},
        "training judge": _judge(config.align.judge, tables),
        "selecting judge": _judge(config.selecting_judge, tables),
        "selecting judge's name in every verdict": ", ".join(sorted({row.verdict.judge for row in after})) or "none",
        "alpha": str(config.select.alpha),
        "seed": str(run.launch.seed),
        **_events(run.cache.events()),
        **{f"spent at {at}": str(spent) for at, spent in run.opener.spending().items()},
        "machine": ", ".join(run.cache.numerics),
        "versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "command": f"bedside align -c {Path(config.runs) / config.run / 'config.yaml'}",
        CONFIGURATION: yaml.safe_dump(tables, sort_keys=False, allow_unicode=True),
    }


def _adapter(selected: Checkpoint) -> dict[str, str]:
    if selected.adapter is None:
        return {"selected adapter": "none: the target as given"}
    return {
        "selected adapter, digest": selected.adapter,
        "selected adapter learned": f"{selected.objective} on rows {selected.learned_from}",
    }


def _data(table: Mapping[str, Any], rows: Sequence[Prompt]) -> str:
    """Where the rows came from, how many, and a digest that only the same prompts in the same order have."""
    keys = ", ".join(f"{key} {value}" for key, value in table.items() if value is not None)
    return f"{keys}; {len(rows)} prompts, digest {digest([row.id for row in rows])}"


def _judge(name: str, tables: Mapping[str, Any]) -> str:
    return f"{name}: {yaml.safe_dump(tables['judges'].get(name), default_flow_style=True, width=10_000).strip()}"


def _events(events: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Begin, end, seconds of work by stage, and when the sealed test was opened for whom."""
    opened: dict[str, str] = {}
    for event in events:
        if event["event"] == "sealed test opened":
            opened.setdefault(f"{event['candidate']} ({event['checkpoint']})", event["time"][:19])
    times_opened = "; ".join(f"{time} UTC for {who}" for who, time in opened.items())
    spent = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in _seconds(events).items())
    times = [event["time"][:19] for event in events]
    return {
        "sealed test opened": times_opened or "never",
        "time": f"{min(times)} to {max(times)} UTC; work that was not repeated: {spent}" if times else "not known",
    }


def _seconds(events: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Between the last start of a stage and its end, summed by stage. What a kill interrupted is not counted."""
    begun: dict[tuple[str, str], datetime] = {}
    spent: dict[str, float] = {}
    for event in events:
        if event["event"] in ("start", "done"):
            key, at = (event["stage"], event["what"]), datetime.fromisoformat(event["time"])
            if event["event"] == "start":
                begun[key] = at
            elif key in begun:
                spent[key[0]] = spent.get(key[0], 0.0) + (at - begun.pop(key)).total_seconds()
    return dict(sorted(spent.items()))
