"""What a run says in the end: the one value that report, card and ``--json`` render.

measures   the carried checkpoint on the sealed test; before: the target on the same prompts
gates      decisive ones first: a run ships if every one of them is PASS
verdict    one sentence
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from bedside.core.errors import DataError
from bedside.core.protocols import Metric
from bedside.core.reports import (
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
)
from bedside.core.types import Judged, Prompt
from bedside.flows import facts
from bedside.kernel.prompts import HARM_BY, PROPOSED
from bedside.kernel.registry import asks_for
from bedside.kernel.tables import write_json
from bedside.stages import evaluate

if TYPE_CHECKING:
    from bedside.flows.session import Session

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
        facts=facts.of(outcome.session, outcome.parts, outcome.carried.checkpoint, outcome.after),
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


def short(measure: Measure) -> dict[str, Any]:
    keys = ("value", "n", "groups", "unreadable", "low", "high")
    return {key: getattr(measure, key) for key in keys}


def shorts(measures: Sequence[Measure]) -> dict[str, dict[str, Any]]:
    return {measure.name: short(measure) for measure in measures}


def decisions(gates: Sequence[Gate]) -> dict[str, dict[str, str]]:
    return {g.name: {"state": g.state.value, "limit": g.limit, "reason": g.reason} for g in gates}


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


def unconfirmed(parts: Mapping[str, Sequence[Prompt]]) -> list[str]:
    """Parts whose levels a program proposed and nobody confirmed: every rate of theirs rests on it."""
    counts = {name: sum(p.facets.get(HARM_BY) == PROPOSED for p in rows) for name, rows in parts.items()}
    return [
        f"Of {len(parts[name])} {name} prompts, {n} have a harm level that a program proposed and nobody confirmed."
        for name, n in counts.items()
        if n
    ]


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
