"""The whole run: split the data, run cycles, open the sealed test once, say what may ship and why.

    train teaches · valid selects · test is opened at the end and gives every reported number

``align(session)`` is what the command line and a notebook both call. Calling it again reads what is finished
and goes on with what is not.
"""

from dataclasses import replace

from bedside.alignment import held_out_test, summary
from bedside.alignment.cycle import measured, run_cycle
from bedside.config.plugins import asks_for
from bedside.core.errors import ConfigError
from bedside.core.results import Candidate, CycleReport, RunSummary
from bedside.data import splits
from bedside.run import experiment, exports
from bedside.run.experiment import Experiment
from bedside.run.session import Session
from bedside.safety.gates import Plateau


def align(session: Session) -> RunSummary:
    """Run or resume, write ``summary.json``, and return what it says."""
    session.require_training()
    _require_no_dropout(session)
    parts = experiment.read_parts(session.config, session.launch)
    bench = _bench(session, parts)
    cycles = _cycles(bench)
    told = summary.of(held_out_test.outcome(bench, parts, cycles))
    if session.first:
        summary.write(told, session.store.root)
        exports.shipped(session.store.root, told.ships)
    return told


def _bench(session: Session, parts: splits.Parts) -> Experiment:
    config = session.config
    _no_policy_selects(session)
    judges = {name: session.open(config.judges[name]) for name in {config.align.judge, config.selecting_judge}}
    metric = experiment.metric(config)
    bench = Experiment(
        session=session,
        train=parts.train,
        valid=parts.valid,
        trains=judges[config.align.judge],
        selects=judges[config.selecting_judge],
        metric=metric,
        constraints=experiment.constraints(config, metric),
    )
    if bench.one_judge:
        session.progress.say(
            f"judge {config.align.judge} both labels the training answers and selects: nothing independent "
            "checks it. Name another in select.judge."
        )
    return bench


def _require_no_dropout(session: Session) -> None:
    """ConfigError where several processes would each draw their own."""
    if session.store.ranks.world > 1 and session.config.align.lora.dropout:
        raise ConfigError("align.lora.dropout draws from one stream, and several processes have several: set it to 0")


def _no_policy_selects(session: Session) -> None:
    """The policy in training may label its own answers, as an experiment; it never says which of it is best."""
    config = session.config
    if asks_for(config.judges[config.selecting_judge], "policy"):
        raise ConfigError(
            f"select.judge: {config.selecting_judge} is the policy in training and cannot select itself; name another"
        )
    if asks_for(config.judges[config.align.judge], "policy"):
        session.progress.say(
            f"EXPERIMENT ONLY: judge {config.align.judge} is the policy in training. It marks its own work, and its "
            "marks change as it learns. For a run that means anything, use self (the target, frozen) or another judge."
        )


def _cycles(bench: Experiment) -> list[CycleReport]:
    """Up to ``align.cycles`` of them; each starts from what the last one carried."""
    config = bench.session.config
    carried, _ = measured(bench, "target", bench.session.target.checkpoint)
    plateau = Plateau(config.gates.plateau, config.gates.plateau_gain)
    overalls = [_overall(carried)]
    reports: list[CycleReport] = []
    for number in range(1, config.align.cycles + 1):
        report = run_cycle(_judged_by(bench, carried), number, carried)
        carried = next(c for c in report.candidates if c.name == report.carried)
        overalls.append(_overall(carried))
        report = summary.with_gate(report, plateau.gate(overalls))
        reports.append(report)
        if bench.session.first:
            summary.write_cycle(report, bench.session.store.root)
        if report.stopped:
            bench.session.progress.say(f"no further cycle: {report.stopped}")
            break
    return reports


def _judged_by(bench: Experiment, carried: Candidate) -> Experiment:
    """The same bench, its training judge moved on to what was carried, where the judge is the policy itself."""
    plugin = bench.session.config.judges[bench.session.config.align.judge]
    if not asks_for(plugin, "policy"):
        return bench
    return replace(bench, trains=bench.session.open(plugin, carried.checkpoint))


def _overall(candidate: Candidate) -> float:
    worst = candidate.measure("overall").worst
    return 0.0 if worst is None else worst
