"""Whole runs: check, align, read again, report."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bedside.api.configs import ConfigSource, settle
from bedside.config.schema import Config
from bedside.core.display import Tabular, measure_records
from bedside.core.distributed import run_on_all
from bedside.core.errors import BedsideError
from bedside.core.extras import needs_extras
from bedside.core.gates import Finding, GateState
from bedside.core.measures import Measure
from bedside.core.protocols import Progress
from bedside.core.results import RunSummary
from bedside.core.serialize import gates_by_name, to_json
from bedside.run import environment, launcher
from bedside.run.context import RunContext, open_run
from bedside.run.events import check_run_file
from bedside.run.folder import write_config
from bedside.run.owner import owned

if TYPE_CHECKING:
    from bedside.alignment.single_stage import Selection
    from bedside.alignment.stopping import StoppingReport
    from bedside.data.splits import DataParts


@dataclass(frozen=True)
class ReleasedCheckpoint:
    """A checkpoint that met every constraint on the held-out test."""

    name: str
    folder: Path

    def save(self, to: str | Path) -> Path:
        """Copy the PEFT folder to ``to``. transformers, vLLM and TRL load it without changes. DataError if it was
        changed."""
        check_run_file(self.folder)
        return Path(shutil.copytree(self.folder, to, dirs_exist_ok=True))


@dataclass(frozen=True)
class Run(Tabular):
    """A finished run: its summary and its folder."""

    summary: RunSummary
    folder: Path

    @property
    def verdict(self) -> str:
        """One sentence: what may be released, or why nothing may."""
        return self.summary.verdict

    @property
    def measures(self) -> Mapping[str, Measure]:
        """The measures of the selected checkpoint on the held-out test, by name."""
        return {measure.name: measure for measure in self.summary.after}

    @property
    def released(self) -> ReleasedCheckpoint | None:
        """The checkpoint that may be released; None if none may."""
        return ReleasedCheckpoint(self.summary.released, self.folder / "release") if self.summary.released else None

    def caption(self) -> str:
        return self.verdict

    def records(self) -> list[dict[str, Any]]:
        """One row per policy and measure, on the held-out test."""
        policies = self.summary.policies.items()
        return [{"policy": name, **row} for name, ms in policies for row in measure_records(ms)]

    def as_json(self) -> dict[str, Any]:
        """``{"measures": {name: {"value", "n", "groups", "unreadable", "low", "high" ...}}, "gates": ...}``"""
        run = self.summary
        parts = {
            "schema_version": run.schema_version,
            "run": run.name,
            "verdict": run.verdict,
            "released": run.released,
            "measures": run.after,
            "before": run.before,
            "baselines": {baseline.name: baseline.measures for baseline in run.baselines},
            "by": run.by,
            "gates": gates_by_name(run.gates),
            "comparisons": gates_by_name(run.comparisons),
            "stopped": run.cycles[-1].stopped if run.cycles else "",
            "untested": run.untested,
            **({"axes": {axes.name: axes for axes in run.axes}, "pressure": run.pressure or {}} if run.axes else {}),
        }
        return cast("dict[str, Any]", to_json(parts))

    def report(self, to: str | Path | None = None) -> Path:
        """Write the report as one HTML file; by default into the run's folder."""
        return write_report(self.folder, to or self.folder / "report.html")


@dataclass(frozen=True)
class CheckResult(Tabular):
    """What `bedside check` found."""

    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Nothing prevents a run."""
        return all(finding.state is not GateState.FAIL for finding in self.findings)

    def records(self) -> list[dict[str, Any]]:
        """One row per check."""
        return [{"name": f.name, "state": f.state.value, "reason": f.reason} for f in self.findings]


@needs_extras()
def check(config: ConfigSource, progress: Progress | None = None) -> CheckResult:
    """Find what could go wrong in a run of ``config`` before it starts: data, limits, judges, disk, memory, time.

    Each finding is PASS, FAIL (fix it), INCONCLUSIVE (look at it) or NOT CHECKED.

    >>> result = bedside.check(config, progress=bedside.SilentProgress())
    >>> result.passed
    False
    >>> failed = [finding.name for finding in result.findings if finding.state is bedside.GateState.FAIL]
    >>> "err <= 0.15" in failed                 # 24 prompts are too few to show it
    True
    """
    from bedside.alignment import preflight

    config = settle(config)
    data = preflight.read_data(config)
    findings = preflight.offline(config, data)
    with environment.shown_progress(progress) as shown:
        findings += _check_target(config, shown, data.parts)
    return CheckResult((*findings, *preflight.unchecked(config)))


def doctor() -> CheckResult:
    """What this machine has for a run: packages by extra, processor, memory, disk, device, models at hand, network.

    The result names no path and contains no data, so you can paste it into a question.

    >>> result = bedside.doctor()
    >>> result.findings[0].name
    'bedside'
    """
    from bedside.run import doctor as examination

    return CheckResult(examination.diagnose())


def _check_target(config: Config, progress: Progress, parts: "DataParts | None") -> list[Finding]:
    """Whether the target fits and opens. If the data can be read, also what a trial shows."""
    from bedside.alignment import preflight

    try:
        with needs_extras():
            launch = environment.launch(config.device, config.seed)
            too_large = preflight.weights(config, launch, environment.machine(Path(config.runs), launch.device))
            if too_large:
                return too_large
            opened = open_run(config, progress)
    except BedsideError as error:
        return [Finding("target", GateState.FAIL, reason=str(error).removeprefix("target: "))]
    name = getattr(config.target, "model", config.target.kind)
    opens = Finding("target", GateState.PASS, reason=f"{name} opens on {opened.launch.device}")
    free = environment.machine(opened.folder, opened.launch.device)
    return [opens, *(preflight.online(opened, free, parts) if parts else [])]


@needs_extras()
def align(config: ConfigSource, progress: Progress | None = None) -> Run:
    """Run the cycles of ``config``, or continue them where they were interrupted, and write the report.

    Under ``torchrun``, all processes call it, share the work and return the same result. Only the first one writes.

    >>> run = bedside.align(config, progress=bedside.SilentProgress())
    >>> run.released is None                    # 24 prompts prove nothing
    True
    >>> run.measures["err"].n > 0
    True
    """
    config = settle(config)
    with environment.shown_progress(progress) as shown, ExitStack() as stack:
        ranks = launcher.connect(lambda: environment.launch(config.device, 0).device)
        if note := launcher.launch_note():
            shown.say(note)
        folder = Path(config.runs) / config.run
        run_on_all(ranks, lambda: stack.enter_context(owned(folder)) if ranks.rank == 0 else None)
        opened = open_run(config, shown, ranks=ranks)
        run_on_all(ranks, lambda: write_config(opened.cache, opened.config) if opened.is_main_process else None)
        return aligned(opened)


def aligned(opened: RunContext) -> Run:
    from bedside.alignment import align as alignment
    from bedside.report.card import complete_release
    from bedside.web import kept_index

    run = Run(alignment.align(opened), opened.folder)
    if opened.is_main_process:
        run.report()
        if run.released:
            complete_release(opened.folder)
            opened.cache.record(run.released.folder)
        kept_index.write_index(opened.folder, run.summary, opened.progress)
    return run


def select(run: str | Path) -> "Selection":
    """The candidates of a finished run, compared. ``run``: its folder, or its name in ``runs/``.

    Raises DataError if there is no finished run.

    >>> bedside.select("tour").as_json()["selected"] in ("target", "cycle-1/kto", "cycle-1/kto-dpo")
    True
    """
    from bedside.alignment.single_stage import Selection

    return Selection(read_run(run).summary)


def stopping(run: str | Path, *, plateau: int = 3, gain: float = 0.01, most: int = 5) -> "StoppingReport":
    """When each stopping rule would have ended a finished run, and what it would have chosen, on valid.

    The rules: best of ``most`` cycles, no gain of at least ``gain`` over ``plateau`` cycles, the first feasible
    candidate, an expected gain below ``gain``. Raises DataError if there is no finished run.

    >>> [result.rule for result in bedside.stopping("tour").rules]
    ['best of 5', 'plateau of 3', 'first feasible', 'expected gain below 0.01']
    """
    from bedside.alignment.stopping import replay

    return replay(read_run(run).summary, plateau=plateau, gain=gain, most=most)


def read_run(run: str | Path) -> Run:
    """A finished run: its folder, or its name in ``runs/``. Raises DataError if there is none.

    >>> bedside.read_run("tour").summary.name
    'tour'
    """
    from bedside.run import summary_file

    folder = run_folder(run)
    return Run(summary_file.read(folder), folder)


def run_folder(run: str | Path) -> Path:
    """``run`` itself if it is a path or a folder here, else the folder of that name in ``runs/``."""
    folder = Path(run)
    return folder if len(folder.parts) > 1 or folder.is_dir() else Path("runs") / folder


def write_report(runs: str | Path | Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write one HTML file on a finished run, or on several side by side. Returns its path.

    ``out`` is ``report.html`` by default: in the run's folder for one run, in this folder for several.

    >>> bedside.write_report("tour", "report.html").name
    'report.html'
    """
    from bedside.deployment import attack
    from bedside.judge_audit import correct
    from bedside.report import failures
    from bedside.report.html import write

    folders = [run_folder(run) for run in ([runs] if isinstance(runs, (str, Path)) else runs)]
    to = Path(out) if out is not None else Path("report.html") if len(folders) > 1 else folders[0] / "report.html"
    summaries = [read_run(folder).summary for folder in folders]
    audits = [correct.read_report(folder) for folder in folders]
    rows = [failures.read(folder, summary) for folder, summary in zip(folders, summaries, strict=True)]
    return write(summaries, to, audits, [attack.read_report(folder) for folder in folders], rows)
