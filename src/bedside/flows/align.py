"""The whole run: split the data, run cycles, open the sealed test once, say what may ship and why.

    train teaches · valid selects · test is opened at the end and gives every reported number

``align(session)`` is what the command line and a notebook both call. Calling it again reads what is finished
and goes on with what is not.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from bedside.core.reports import Candidate, CycleReport, Gate, RunSummary
from bedside.core.types import Ask, Checkpoint, Judged, Prompt
from bedside.flows import exports, rules, summary
from bedside.flows.cycle import Bench, measured, run_cycle
from bedside.flows.session import Session
from bedside.stages import baselines, evaluate, select, split
from bedside.stages.gates import Plateau


def align(session: Session) -> RunSummary:
    """Run or resume, write ``summary.json``, and return what it says."""
    parts = rules.read_parts(session.config, session.launch)
    bench = _bench(session, parts)
    cycles = _cycles(bench)
    told = summary.of(_outcome(bench, parts, cycles))
    summary.write(told, session.store.root)
    exports.shipped(session.store.root, told.ships)
    return told


def _bench(session: Session, parts: split.Parts) -> Bench:
    config = session.config
    judges = {name: session.open(config.judges[name]) for name in {config.align.judge, config.selecting_judge}}
    metric = rules.safety(config)
    bench = Bench(
        session=session,
        train=parts.train,
        valid=parts.valid,
        trains=judges[config.align.judge],
        selects=judges[config.selecting_judge],
        metric=metric,
        constraints=rules.constraints(config, metric),
    )
    if bench.one_judge:
        session.progress.say(
            f"judge {config.align.judge} both labels the training answers and selects: nothing independent "
            "checks it. Name another in select.judge."
        )
    return bench


def _cycles(bench: Bench) -> list[CycleReport]:
    """Up to ``align.cycles`` of them; each starts from what the last one carried."""
    config = bench.session.config
    carried, _ = measured(bench, "target", bench.session.target.checkpoint)
    plateau = Plateau(config.gates.plateau, config.gates.plateau_gain)
    overalls = [_overall(carried)]
    reports: list[CycleReport] = []
    for number in range(1, config.align.cycles + 1):
        report = run_cycle(bench, number, carried)
        carried = next(c for c in report.candidates if c.name == report.carried)
        overalls.append(_overall(carried))
        report = summary.with_gate(report, plateau.gate(overalls))
        reports.append(report)
        summary.write_cycle(report, bench.session.store.root)
        if report.stopped:
            bench.session.progress.say(f"no further cycle: {report.stopped}")
            break
    return reports


def _overall(candidate: Candidate) -> float:
    worst = candidate.measure("overall").worst
    return 0.0 if worst is None else worst


def _outcome(bench: Bench, parts: split.Parts, cycles: Sequence[CycleReport]) -> summary.Outcome:
    """Open the sealed test for the target and for what was carried."""
    carried = next(c for c in cycles[-1].candidates if c.name == cycles[-1].carried)
    before = _on_test(bench, parts.test, "target", bench.session.target.checkpoint)
    after = _on_test(bench, parts.test, carried.name, carried.checkpoint)
    beside = _baselines(bench, parts)
    return summary.Outcome(
        session=bench.session,
        metric=bench.metric,
        parts={"train": parts.train, "valid": parts.valid, "test": parts.test},
        flows=parts.flows,
        cycles=cycles,
        carried=carried,
        before=before,
        after=after,
        baselines=beside,
        gates=_ship_gates(bench, carried, after, beside),
        one_judge=bench.one_judge,
    )


def _on_test(bench: Bench, prompts: Sequence[Prompt], name: str, checkpoint: Checkpoint) -> list[Judged]:
    session = bench.session
    session.store.event("sealed test opened", candidate=name, checkpoint=checkpoint.id)
    responses = session.answers([Ask(prompt) for prompt in prompts], checkpoint, f"{name}, sealed test")
    return session.judged(responses, bench.selects, f"{name}, sealed test")


def _baselines(bench: Bench, parts: split.Parts) -> Mapping[str, list[Judged]]:
    guard = baselines.tfidf_guard(parts.train, parts.test, bench.session.launch.seed)
    return {**baselines.constants(parts.test), baselines.GUARD: guard}


def _ship_gates(
    bench: Bench, carried: Candidate, after: list[Judged], beside: Mapping[str, list[Judged]]
) -> list[Gate]:
    """Every constraint by its bound on test (KL: on valid), and the paired lower bound above every constant."""
    measures = (*evaluate.evaluate(after, [bench.metric]), carried.measure("kl"))
    rng = np.random.default_rng(bench.session.launch.seed)
    constants = [rows for name, rows in beside.items() if name in baselines.CONSTANTS]
    beaten = [select.beats(after, rows, bench.metric, rng) for rows in constants]
    return [limit.gate(measures) for limit in bench.constraints] + beaten
