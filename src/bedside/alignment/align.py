"""The whole run: split the data, run cycles, open the held-out test, and decide what may be released and why.

    trained on train · selected on valid · test is opened at the end and gives every reported number

The command line and a notebook both call ``align(run)``. A second call reads finished results and continues.
"""

from collections.abc import Sequence
from dataclasses import replace

from bedside.alignment import summary
from bedside.alignment.cycle import measure_candidate, run_cycle
from bedside.config.plugins import asks_for
from bedside.config.schema import SweepConfig, TrainingStep
from bedside.core.errors import ConfigError
from bedside.core.gates import GateState
from bedside.core.results import Candidate, CycleReport, RunSummary
from bedside.data.io import write_json
from bedside.data.splits import DataParts
from bedside.run import exports, summary_file
from bedside.run.context import RunContext
from bedside.run.experiment import Experiment, constraints, metric, read_parts
from bedside.safety.gates import Plateau


def align(run: RunContext) -> RunSummary:
    """Run or resume, write ``summary.json``, and return its content.

    ConfigError for dropout in several processes, because each would draw its own random numbers.
    """
    if run.launch.world > 1 and run.config.align.lora.dropout:
        raise ConfigError(
            "align.lora.dropout needs one stream of random numbers, and several processes have several: set it to 0"
        )
    run.opener.require_local_target()
    parts = read_parts(run.config, run.launch)
    run.stages.require_room(parts.train, parts.places)
    experiment = _open_experiment(run, parts)
    run_summary = summary.summarize(summary.open_test(experiment, parts, _run_cycles(experiment)))
    if run.is_main_process:
        write_json(run.folder / summary_file.FILE, run_summary)
        exports.release(run, run_summary.released)
        run.cache.record(run.folder / summary_file.FILE, run.folder / exports.RELEASE)
    return run_summary


def _open_experiment(run: RunContext, parts: DataParts) -> Experiment:
    config = run.config
    _no_policy_selects(run)
    judges = {name: run.opener.open(config.judges[name]) for name in {config.align.judge, config.selecting_judge}}
    run_metric = metric(config)
    experiment = Experiment(
        run=run,
        train=parts.train,
        valid=parts.valid,
        training_judge=judges[config.align.judge],
        selecting_judge=judges[config.selecting_judge],
        metric=run_metric,
        constraints=constraints(config, run_metric),
    )
    if experiment.one_judge:
        run.progress.say(
            f"judge {config.align.judge} both labels the training answers and selects: nothing independent "
            "checks it. Name another in select.judge."
        )
    return experiment


def _no_policy_selects(run: RunContext) -> None:
    """The policy in training may label its own answers, as an experiment; it never selects."""
    config = run.config
    if asks_for(config.judges[config.selecting_judge], "policy"):
        raise ConfigError(
            f"select.judge: {config.selecting_judge} is the policy in training and cannot select itself; name another"
        )
    if asks_for(config.judges[config.align.judge], "policy"):
        run.progress.say(
            f"EXPERIMENT ONLY: judge {config.align.judge} is the policy in training. It marks its own work, and its "
            "marks change as it learns. For a run that means anything, use self (the target, frozen) or another judge."
        )


def _run_cycles(experiment: Experiment) -> list[CycleReport]:
    """At most ``align.cycles`` cycles; each starts from the checkpoint that the last one selected."""
    config = experiment.run.config
    selected, _ = measure_candidate(experiment, "target", experiment.run.target.checkpoint)
    experiment = replace(experiment, target_measures=selected.measures)
    plateau = Plateau(config.gates.plateau, config.gates.plateau_gain)
    overalls = [selected.measure("overall").worst or 0.0]
    reports: list[CycleReport] = []
    for number in range(1, config.align.cycles + 1):
        report, steps = run_cycle(_with_training_judge_from(experiment, selected), number, selected)
        experiment = _with_steps(experiment, steps)
        selected = report.selected_candidate
        overalls.append(selected.measure("overall").worst or 0.0)
        gate = plateau.gate(overalls, subject=selected.name)
        stopped = report.stopped or (gate.reason if gate.state is GateState.FAIL else "")
        report = replace(report, gates=(*report.gates, gate), stopped=stopped)
        reports.append(report)
        if experiment.run.is_main_process:
            file = experiment.run.folder / f"cycle-{number}" / "report.json"
            write_json(file, report)
            experiment.run.cache.record(file)
        if report.stopped:
            experiment.run.progress.say(f"no further cycle: {report.stopped}")
            break
    return reports


def _with_steps(experiment: Experiment, steps: Sequence[TrainingStep]) -> Experiment:
    """The same experiment with ``steps`` in its config, and nothing to sweep."""
    config = experiment.run.config
    align = config.align.model_copy(update={"train": list(steps), "sweep": SweepConfig()})
    return replace(experiment, run=replace(experiment.run, config=config.model_copy(update={"align": align})))


def _with_training_judge_from(experiment: Experiment, selected: Candidate) -> Experiment:
    """The same experiment. If the policy judges itself, the selected checkpoint becomes its training judge."""
    plugin = experiment.run.config.judges[experiment.run.config.align.judge]
    if not asks_for(plugin, "policy"):
        return experiment
    return replace(experiment, training_judge=experiment.run.opener.open(plugin, selected.checkpoint))
