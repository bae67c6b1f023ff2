"""The whole run: split the data, run cycles, open the sealed test once, say what may ship and why.

    train teaches · valid selects · test is opened at the end and gives every reported number

``align(session)`` is what the command line and a notebook both call. Calling it again reads what is finished
and goes on with what is not.
"""

from bedside.core.reports import Candidate, CycleReport, RunSummary
from bedside.flows import exports, rules, sealed, summary
from bedside.flows.cycle import Bench, measured, run_cycle
from bedside.flows.session import Session
from bedside.stages import split
from bedside.stages.gates import Plateau


def align(session: Session) -> RunSummary:
    """Run or resume, write ``summary.json``, and return what it says."""
    parts = rules.read_parts(session.config, session.launch)
    bench = _bench(session, parts)
    cycles = _cycles(bench)
    told = summary.of(sealed.outcome(bench, parts, cycles))
    summary.write(told, session.store.root)
    exports.shipped(session.store.root, told.ships)
    return told


def _bench(session: Session, parts: split.Parts) -> Bench:
    config = session.config
    judges = {name: session.open(config.judges[name]) for name in {config.align.judge, config.selecting_judge}}
    metric = rules.metric(config)
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
