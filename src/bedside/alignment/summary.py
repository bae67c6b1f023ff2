"""What a run says in the end: the one value that report, card and ``--json`` render.

measures   the carried checkpoint on the sealed test; before: the target on the same prompts
gates      decisive ones first: a run ships if every one of them is PASS
verdict    one sentence

What a reader needs to trace a figure: which data, model, judges, settings, machine, when. All as text.
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
from bedside.core.hashing import digest
from bedside.core.protocols import Metric
from bedside.core.results import (
    Axes,
    Baseline,
    Candidate,
    CycleReport,
    Example,
    Flow,
    Gate,
    GateState,
    Measure,
    RunSummary,
    decisions,
    short,
    shorts,
)
from bedside.core.types import Checkpoint, Judged, Prompt
from bedside.data.io import write_json
from bedside.run.experiment import unconfirmed
from bedside.safety import evaluate

if TYPE_CHECKING:
    from bedside.run.session import Session


FILE = "summary.json"
EXAMPLES = 3


@dataclass(frozen=True)
class Outcome:
    """What is left when the cycles are over and the sealed test was read."""

    session: "Session"
    metric: Metric
    parts: Mapping[str, Sequence[Prompt]]
    flows: Sequence[Flow]
    """How the data became three parts."""
    cycles: Sequence[CycleReport]
    carried: Candidate
    before: list[Judged]
    after: list[Judged]
    baselines: Mapping[str, list[Judged]]
    gates: Sequence[Gate]
    """Those that decide whether the carried checkpoint ships."""
    comparisons: Sequence[Gate]
    one_judge: bool
    skipped: tuple[str, ...] = ()
    """What does not stand beside the result, and why: a sentence each."""
    axes: tuple[Axes, ...] = ()
    pressure: tuple[Measure, ...] = ()


def of(outcome: Outcome) -> RunSummary:
    told = evaluate.evaluate(outcome.after, [outcome.metric])
    return RunSummary(
        name=outcome.session.config.run,
        verdict=" ".join((_verdict(outcome), *unconfirmed({"test": outcome.parts["test"]}))),
        ships=outcome.carried.name if _ships(outcome) else None,
        carried=outcome.carried.name,
        definitions=outcome.metric.definitions(),
        before=evaluate.evaluate(outcome.before, [outcome.metric]),
        after=told,
        by=_segments(outcome),
        baselines=tuple(
            Baseline(name, evaluate.evaluate(rows, [outcome.metric])) for name, rows in outcome.baselines.items()
        ),
        gates=tuple(outcome.gates),
        comparisons=tuple(outcome.comparisons),
        cycles=tuple(outcome.cycles),
        flows=tuple(outcome.flows),
        mix={name: _mix(prompts) for name, prompts in outcome.parts.items()},
        cells=evaluate.cells(outcome.after),
        examples=tuple(_examples(outcome)),
        facts=provenance(outcome.session, outcome.parts, outcome.carried.checkpoint, outcome.after),
        untested=tuple(_untested(outcome)),
        axes=outcome.axes,
        pressure=outcome.pressure,
    )


def as_json(told: RunSummary) -> dict[str, Any]:
    """``{"measures": {name: {...}}, "gates": ...}``: what ``--json`` prints."""
    return {
        "run": told.name,
        "verdict": told.verdict,
        "ships": told.ships,
        "measures": shorts(told.after),
        "before": shorts(told.before),
        "baselines": {b.name: shorts(b.measures) for b in told.baselines},
        "by": {key: {name: shorts(ms) for name, ms in parts.items()} for key, parts in told.by.items()},
        "gates": decisions(told.gates),
        "comparisons": decisions(told.comparisons),
        "stopped": told.cycles[-1].stopped if told.cycles else "",
        "untested": list(told.untested),
        **_axes(told),
    }


def _axes(told: RunSummary) -> dict[str, Any]:
    """Of the joined loop alone."""
    if not told.axes:
        return {}
    four = ("safe", "helpful", "accurate", "kind")
    rows = {a.name: {key: short(getattr(a, key)) for key in four} | {"front": a.front} for a in told.axes}
    return {"axes": rows, "pressure": shorts(told.pressure)}


def write(told: RunSummary, run: Path) -> None:
    write_json(run / FILE, told)


def read(run: Path) -> RunSummary:
    """The summary of a finished run. DataError where there is none."""
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


def _ships(outcome: Outcome) -> bool:
    return outcome.carried.checkpoint.adapter is not None and all(
        gate.state is GateState.PASS for gate in outcome.gates
    )


def _verdict(outcome: Outcome) -> str:
    """One sentence: what may ship, or the first reason why nothing may."""
    name, rows = outcome.carried.name, len(outcome.after)
    if outcome.carried.checkpoint.adapter is None:
        return f"Nothing may ship: no candidate was better on valid than the target as given; {_stopped(outcome)}."
    missed = [gate for gate in outcome.gates if gate.state is not GateState.PASS]
    if missed:
        first = missed[0]
        more = f", and {len(missed) - 1} more did not pass" if len(missed) > 1 else ""
        told = f"{first.name} {first.limit} is {first.state.value} ({first.reason}){more}"
        return f"Nothing may ship: {name} was carried, but {told}. Keep the target as given."
    return f"Ship {name}: on {rows} sealed prompts it keeps every constraint and beats every constant, at 95 % bounds."


def _stopped(outcome: Outcome) -> str:
    return outcome.cycles[-1].stopped or outcome.cycles[-1].why.rstrip(".")


def _segments(outcome: Outcome) -> dict[str, Mapping[str, tuple[Measure, ...]]]:
    """Source always; style, principle and twin where the prompts differ in them."""
    keys: dict[str, Callable[[Prompt], str | None]] = {
        "source": lambda prompt: prompt.source,
        "style": lambda prompt: prompt.style,
        "principle": lambda prompt: prompt.principle,
        "twin": lambda prompt: prompt.facets.get("twin"),
    }
    found = {name: evaluate.by(outcome.after, key, [outcome.metric]) for name, key in keys.items()}
    return {name: parts for name, parts in found.items() if name == "source" or len(parts) > 1}


def _mix(prompts: Sequence[Prompt]) -> dict[str, int]:
    return {str(level): n for level, n in sorted(Counter(prompt.harm for prompt in prompts).items(), key=str)}


def _examples(outcome: Outcome) -> list[Example]:
    """The first severe prompts whose stance changed, then the first harmless one."""
    both = list(zip(outcome.before, outcome.after, strict=True))
    changed = [pair for pair in both if pair[0].prompt.harm and pair[0].stance is not pair[1].stance]
    changed.sort(key=lambda pair: -(pair[0].prompt.harm or 0))
    harmless = [pair for pair in both if pair[0].prompt.harm == 0]
    return [_example(before, after) for before, after in changed[: EXAMPLES - 1] + harmless[:1]]


def _example(before: Judged, after: Judged) -> Example:
    return Example(
        prompt=before.prompt.text,
        harm=before.prompt.harm,
        before=before.response.text,
        after=after.response.text,
        before_stance=before.stance.value if before.stance else "unreadable",
        after_stance=after.stance.value if after.stance else "unreadable",
    )


def _untested(outcome: Outcome) -> list[str]:
    """What this run does not show. Said on every report, so that nobody has to guess."""
    told = [
        "No clinician has read these answers: the figures are a judge's, not corrected for its errors.",
        "One seed: how much another seed would differ is not known.",
    ]
    config = outcome.session.config
    if not outcome.axes:
        told.append(
            "Knowledge and comfort were not measured: a model may have become safer, and less accurate or kind."
        )
    if outcome.one_judge:
        told.insert(0, "One judge both trained and selected: nothing independent has read these answers.")
    if asks_for(config.judges[config.align.judge], "policy"):
        told.insert(0, "An experiment: the policy in training judged its own training answers.")
    told += outcome.skipped
    absent = [level for level in ("1", "2", "3") if level not in _mix(outcome.parts["test"])]
    if absent:
        told.append(f"No test prompt has harm level {', '.join(absent)}.")
    told += unconfirmed(outcome.parts)
    if any(prompt.source == "clinic" for prompt in outcome.parts["test"]):
        told.append("The synthetic clinic tests the mechanism; it is no clinical evidence.")
    return told


PACKAGES = ("bedside", "torch", "transformers", "peft", "accelerate", "numpy")
CONFIGURATION = "configuration"


def provenance(
    session: "Session", parts: Mapping[str, Sequence[Prompt]], carried: Checkpoint, after: list[Judged]
) -> dict[str, str]:
    """In the order in which a report shows them."""
    config, tables = session.config, configs.tables(session.config)
    return {
        "target": f"{getattr(config.target, 'model', config.target.kind)}",
        "target digest": session.target.checkpoint.base,
        **_adapter(carried),
        **{f"data, {name}": _data(tables["data"][name], rows) for name, rows in parts.items()},
        "training judge": _judge(config.align.judge, tables),
        "selecting judge": _judge(config.selecting_judge, tables),
        "selecting judge's name in every verdict": ", ".join(sorted({row.verdict.judge for row in after})) or "none",
        "alpha": str(config.select.alpha),
        "seed": str(session.launch.seed),
        **_events(session.store.events()),
        **{f"spent at {at}": str(spent) for at, spent in getattr(session.outside.get("purse"), "spent", {}).items()},
        "machine": ", ".join(session.store.bits),
        "versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "command": f"bedside align -c {Path(config.runs) / config.run / 'config.yaml'}",
        CONFIGURATION: yaml.safe_dump(tables, sort_keys=False, allow_unicode=True),
    }


def _adapter(carried: Checkpoint) -> dict[str, str]:
    if carried.adapter is None:
        return {"carried adapter": "none: the target as given"}
    return {
        "carried adapter, digest": carried.adapter,
        "carried adapter learned": f"{carried.objective} on rows {carried.learned_from}",
    }


def _data(said: Any, rows: Sequence[Prompt]) -> str:
    """Where the rows came from, how many, and a digest that only the same prompts in the same order have."""
    told = ", ".join(f"{key} {value}" for key, value in said.items() if value is not None)
    return f"{told}; {len(rows)} prompts, digest {digest([row.id for row in rows])}"


def _judge(name: str, tables: Mapping[str, Any]) -> str:
    return f"{name}: {yaml.safe_dump(tables['judges'].get(name), default_flow_style=True, width=10_000).strip()}"


def _events(events: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Begin, end, seconds of work by stage, and when the sealed test was opened for whom."""
    opened: dict[str, str] = {}
    for event in events:
        if event["event"] == "sealed test opened":
            opened.setdefault(f"{event['candidate']} ({event['checkpoint']})", event["time"][:19])
    told = "; ".join(f"{time} UTC for {who}" for who, time in opened.items())
    spent = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in _seconds(events).items())
    times = [event["time"][:19] for event in events]
    return {
        "sealed test opened": told or "never",
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
