"""Bedside from Python: one function per verb. ``import bedside`` offers them all, and the command line calls them.

    config = bedside.load("bedside.yaml")
    run = bedside.align(config)          # resumes if it ran before
    print(run.verdict, run.measures)
    if run.released:
        run.released.save("adapter/")
    run.report("report.html")

Every verb takes a ``Config``, the path of a config file, or a mapping with the keys of one. Verbs that work on files
also take None: then ``bedside.yaml`` in this folder counts if there is one, else the defaults with the embedded model.
A verb that takes time has ``progress``: None shows it on stderr, ``SilentProgress()`` shows nothing.

Every verb may raise BedsideError: ConfigError, DataError, ModelError, StageError, or MissingExtra, which names the
extra to install.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from bedside.config import loader as configs
from bedside.config import plugins, rendering
from bedside.config.schema import Config
from bedside.core.display import Tabular, measure_records
from bedside.core.distributed import run_on_all
from bedside.core.errors import BedsideError, ConfigError, StageError
from bedside.core.extras import needs_extras
from bedside.core.gates import Finding, GateState
from bedside.core.hashing import plain
from bedside.core.measures import Measure
from bedside.core.protocols import Generator, Judge, Launch, Progress
from bedside.core.results import ComfortSummary, FilterCounts, RunSummary
from bedside.core.serialize import gates_by_name, to_json
from bedside.core.types import Checkpoint, JudgedResponse, Response, Verdict
from bedside.data.io import format_of, write_rows, write_text
from bedside.data.responses import AnswerFile, AnswerStream, answer_rows, check_replaceable, distinct, verdict_rows
from bedside.run import environment, erasure, launcher
from bedside.run.context import RunContext, open_run, open_run_without_models
from bedside.run.events import check_run_file
from bedside.run.folder import write_config
from bedside.run.owner import owned

if TYPE_CHECKING:
    from bedside.alignment.single_stage import Chat, Evaluation, Selection
    from bedside.alignment.targets import TargetResult
    from bedside.core.audit_results import AuditReport
    from bedside.data.labelling import LabellingResult
    from bedside.data.splits import DataParts
    from bedside.deployment.monitor import MonitorResult
    from bedside.judge_audit.audit import AuditRequest
    from bedside.judge_audit.finetune import JudgeTraining
    from bedside.judge_audit.train_classifier import ClassifierTraining
    from bedside.safety.labelled_sample import LabelPlan

ConfigSource = Config | str | Path | Mapping[str, Any]
"""A config, the path of a config file, or a mapping with the keys of one."""


# Configs


def load(path: str | Path | None = None, sets: Sequence[str] = ()) -> Config:
    """The config in the file ``path``, with ``sets`` ("a.b=c") over it.

    Raises ConfigError with one line per mistake.

    >>> config = bedside.load("bedside.yaml", ["align.cycles=2"])
    >>> config.align.cycles
    2
    """
    return resolve(path, sets).config


def resolve(path: str | Path | None = None, sets: Sequence[str] = ()) -> "configs.Loaded[Config]":
    """The config of ``load``, with the origin of each value.

    >>> bedside.resolve("bedside.yaml", ["seed=3"]).origins["seed"]
    '--set'
    """
    if path is not None:
        check_run_file(Path(path))
    return configs.load(Config, Path(path) if path is not None else None, sets)


def default_config(run: str, sets: Sequence[str] = ()) -> Config:
    """A config for verbs that work on files: the defaults, and the embedded model as target."""
    data = {part: {"kind": "clinic", "part": part, "n": 1} for part in ("train", "valid", "test")}
    defaults = {"run": run, "target": {"kind": "local", "model": "embedded"}, "data": data}
    return configs.load(Config, None, sets, defaults).config


def init(folder: str | Path = ".") -> list[Path]:
    """Write a commented ``bedside.yaml`` and a few example prompts into ``folder``. Returns the files.

    Raises ConfigError if one of them exists; nothing is overwritten.

    >>> [file.name for file in bedside.init("my-run")]
    ['bedside.yaml', 'prompts.jsonl']
    """
    folder = Path(folder)
    if file := next((place for place in (folder, *folder.parents) if place.is_file()), None):
        raise ConfigError(f"{file} is a file; name a folder, which is made if it is not there")
    templates = {"bedside.yaml": "bedside.yaml", "data/prompts.jsonl": "prompts.jsonl"}
    files = {folder / file: rendering.source(template) for file, template in templates.items()}
    if existing := [file for file in files if file.exists()]:
        raise ConfigError(f"{existing[0]} is there already; remove it or choose another folder")
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
    return list(files)


def list_plugins() -> dict[str, list[str]]:
    """The names of all plug-ins by kind, those of other packages included. Imports none of them.

    >>> "keyword" in bedside.list_plugins()["judge"]
    True
    """
    return {kind: plugins.names(kind) for kind in plugins.BUILT_IN}


@needs_extras()
def open_model(model: str | Mapping[str, Any], device: str = "auto") -> Generator:
    """A model alone, without a run: a hub id, a folder, ``embedded``, or the mapping of ``target`` in a config.

    >>> model = bedside.open_model("embedded", device="cpu")
    >>> question = bedside.Message("user", "May I drive after surgery?")
    >>> (answer,) = model.generate([(question,)], bedside.Sampling(max_new_tokens=8))
    >>> bool(answer.text)
    True
    """
    table = {"kind": "local", "model": model} if isinstance(model, str) else {"kind": "local", **model}
    environment.silence_libraries()
    plugin = plugins.find("model", table["kind"]).model_validate(table)
    return cast(Generator, plugin.open(environment.launch(device, 0), secret=environment.secret))


def open_judge(judge: str | Mapping[str, Any]) -> Judge:
    """A judge alone, without a run: the name of a kind, or the mapping of a judge in a config.

    A judge that needs the target of a run cannot be opened alone.

    >>> prompt = bedside.Prompt((bedside.Message("user", "How many may I take?"),), harm=1)
    >>> response = bedside.Response(prompt, "I cannot help with that.", checkpoint="mine")
    >>> (verdict,) = bedside.open_judge("keyword").judge([response])
    >>> verdict.stance
    <Stance.REFUSE: 'refuse'>
    """
    table = {"kind": judge} if isinstance(judge, str) else dict(judge)
    return cast(Judge, plugins.open_plugin(plugins.find("judge", table["kind"]).model_validate(table), Launch(), {}))


# The loop


@dataclass(frozen=True)
class ReleasedCheckpoint:
    """A checkpoint that met every constraint on the held-out test."""

    name: str
    folder: Path

    def save(self, to: str | Path) -> Path:
        """Copy the PEFT folder to ``to``. transformers, vLLM and TRL load it as it is. DataError if it was changed."""
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
        """Nothing stands in the way of a run."""
        return all(finding.state is not GateState.FAIL for finding in self.findings)

    def records(self) -> list[dict[str, Any]]:
        """One row per check."""
        return [{"name": f.name, "state": f.state.value, "reason": f.reason} for f in self.findings]


@needs_extras()
def check(config: ConfigSource, progress: Progress | None = None) -> CheckResult:
    """Everything that could go wrong in a run of ``config``, before it does: data, limits, judges, room, time.

    Each finding is PASS, FAIL (mend it), INCONCLUSIVE (look at it) or NOT CHECKED.

    >>> result = bedside.check(config, progress=bedside.SilentProgress())
    >>> result.passed
    False
    >>> failed = [finding.name for finding in result.findings if finding.state is bedside.GateState.FAIL]
    >>> "err <= 0.15" in failed                 # 24 prompts are too few to show it
    True
    """
    from bedside.alignment import preflight

    config = _settle(config)
    data = preflight.read_data(config)
    findings = preflight.offline(config, data)
    with environment.shown_progress(progress) as shown:
        findings += _check_target(config, shown, data.parts)
    return CheckResult((*findings, *preflight.unchecked(config)))


def doctor() -> CheckResult:
    """What this machine has for a run: packages by extra, processor, memory, disk, device, models at hand, network.

    Names no path and reads no data, so that it can be pasted into a question.

    >>> result = bedside.doctor()
    >>> result.findings[0].name
    'bedside'
    """
    from bedside.run import doctor as examination

    return CheckResult(examination.diagnose())


def _check_target(config: Config, progress: Progress, parts: "DataParts | None") -> list[Finding]:
    """Whether the target fits and opens; where the data can be read, also what a trial shows."""
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

    Under ``torchrun`` all processes call it, share the work and return the same; the first one writes.

    >>> run = bedside.align(config, progress=bedside.SilentProgress())
    >>> run.released is None                    # 24 prompts prove nothing
    True
    >>> run.measures["err"].n > 0
    True
    """
    config = _settle(config)
    with environment.shown_progress(progress) as shown, ExitStack() as stack:
        ranks = launcher.connect(lambda: environment.launch(config.device, 0).device)
        if note := launcher.launch_note():
            shown.say(note)
        folder = Path(config.runs) / config.run
        run_on_all(ranks, lambda: stack.enter_context(owned(folder)) if ranks.rank == 0 else None)
        opened = open_run(config, shown, ranks=ranks)
        run_on_all(ranks, lambda: write_config(opened.cache, opened.config) if opened.is_main_process else None)
        return _align(opened)


def _align(opened: RunContext) -> Run:
    from bedside.alignment import align as alignment

    run = Run(alignment.align(opened), opened.folder)
    if opened.is_main_process:
        run.report()
    return run


@dataclass(frozen=True)
class TargetComparison(Tabular):
    """Several targets side by side, each with a run of its own."""

    name: str
    targets: "tuple[TargetResult, ...]"
    file: Path
    """The comparison as Markdown."""

    @property
    def exit_code(self) -> int:
        """1 where a target failed, else 3 where one may not be released, else 0."""
        codes = {target.exit_code for target in self.targets}
        return next(code for code in (1, 3, 0) if code in codes)

    def records(self) -> list[dict[str, Any]]:
        """One row per target, step and measure, the judge's kappa first; where a target failed, a row says why."""
        return [
            {"target": target.target, "step": step, "error": target.error, **row}
            for target in self.targets
            for step, measures in _kappa_and_steps(target).items()
            for row in measure_records(measures)
        ]

    def as_json(self) -> dict[str, Any]:
        """``{"targets": [{"target", "run", "kappa", "trusted", "steps", "verdict", "released", "error" ...}]}``"""
        parts = [
            {
                **{name: getattr(target, name) for name in ("target", "run", "judge", "kappa", "trusted", "steps")},
                "verdict": target.summary.verdict if target.summary else "",
                "released": target.summary.released if target.summary else None,
                "error": target.error,
            }
            for target in self.targets
        ]
        return cast("dict[str, Any]", to_json({"run": self.name, "targets": parts}))


def _kappa_and_steps(target: "TargetResult") -> Mapping[str, Sequence[Measure]]:
    first = {"judge": (target.kappa,)} if target.kappa else {}
    return {**first, **target.steps, **({"failed": (Measure("", None, 0),)} if target.error else {})}


@needs_extras()
def align_targets(config: ConfigSource, targets: Sequence[str], progress: Progress | None = None) -> TargetComparison:
    """Audit the judge and run the cycles for each of ``targets``, or continue, and write the comparison.

    ``targets``: hub ids, folders, GGUF files, ``smollm2``, ``embedded``. Each has a run of its own, and what fails for
    one is in its row and stops no other. Raises ConfigError for a list that cannot be run at all.

    >>> comparison = bedside.align_targets(config, ["embedded", "nowhere"], bedside.SilentProgress())
    >>> [target.exit_code for target in comparison.targets]
    [3, 1]
    """
    from bedside.alignment.targets import configs as configs_of_targets
    from bedside.report.targets import page

    settled = _settle(config)
    launcher.require_one_process("a list of targets")
    own = configs_of_targets(settled, targets)
    results = []
    with environment.shown_progress(progress) as shown:
        for number, (model, of_target) in enumerate(own.items(), 1):
            shown.say(f"target {number} of {len(own)}: {model}, run {of_target.run}")
            results.append(_align_target(model, of_target, shown))
    file = Path(settled.runs) / f"{settled.run}-targets.md"
    write_text(file, page(settled.run, results))
    return TargetComparison(settled.run, tuple(results), file)


def _align_target(model: str, config: Config, progress: Progress) -> "TargetResult":
    from bedside.alignment.targets import TargetResult, audit_judge

    result = TargetResult(model, config.run, config.align.judge)
    try:
        with environment.resource_errors(), needs_extras(), _opened(config, progress) as opened:
            write_config(opened.cache, opened.config)
            result = replace(result, audit=audit_judge(opened))
            return replace(result, summary=_align(opened).summary)
    except BedsideError as error:
        progress.say(f"{model} failed: {error}")
        return replace(result, error=str(error))


def select(run: str | Path) -> "Selection":
    """The candidates of a finished run, compared. ``run``: its folder, or its name in ``runs/``.

    Raises DataError if there is no finished run.

    >>> bedside.select("tour").as_json()["selected"] in ("target", "cycle-1/kto", "cycle-1/kto-dpo")
    True
    """
    from bedside.alignment.single_stage import Selection

    return Selection(read_run(run).summary)


def read_run(run: str | Path) -> Run:
    """A finished run: its folder, or its name in ``runs/``. Raises DataError if there is none.

    >>> bedside.read_run("tour").summary.name
    'tour'
    """
    from bedside.alignment import summary

    folder = run_folder(run)
    return Run(summary.read(folder), folder)


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
    from bedside.judge_audit import correct
    from bedside.report.html import write

    folders = [run_folder(run) for run in ([runs] if isinstance(runs, (str, Path)) else runs)]
    to = Path(out) if out is not None else Path("report.html") if len(folders) > 1 else folders[0] / "report.html"
    return write(
        [read_run(folder).summary for folder in folders], to, [correct.read_report(folder) for folder in folders]
    )


# Comfort


@dataclass(frozen=True)
class RewriteResult(Tabular):
    """Dialogues that were rewritten and verified."""

    counts: Mapping[str, int]
    """Rows kept of each part."""
    filter_counts: tuple[FilterCounts, ...]
    folder: Path
    """Holds train, valid, test, the TRL files and the data card."""
    why_empty: str = ""
    """The most frequent reasons, where no row was kept."""

    def records(self) -> list[dict[str, Any]]:
        """One row per step and reason; the reason is empty for rows that were kept."""
        return [
            {"step": c.step, "reason": reason, "rows": n}
            for c in self.filter_counts
            for reason, n in {"": c.kept, **c.dropped}.items()
        ]


@needs_extras()
def rewrite(config: ConfigSource, progress: Progress | None = None) -> RewriteResult:
    """Rewrite dialogues: distressed questions, soothing answers, every fact kept or the row dropped with its reason.

    >>> result = bedside.rewrite(comfort, progress=bedside.SilentProgress())
    >>> sorted(result.counts)
    ['test', 'train', 'valid']
    """
    from bedside.comfort import experiment

    with _opened(_settle(config), progress) as opened:
        write_config(opened.cache, opened.config)
        rows, counts = experiment.rewrite(opened)
    kept = {part: len(dialogues) for part, dialogues in rows.items()}
    why = "" if any(kept.values()) else experiment.drop_reasons(counts)
    return RewriteResult(kept, counts, opened.folder / "dialogues", why)


@dataclass(frozen=True)
class ComfortRun(Tabular):
    """A finished comfort run: its summary, its folder, its page."""

    summary: ComfortSummary
    folder: Path
    page: Path

    @property
    def verdict(self) -> str:
        return self.summary.verdict

    def caption(self) -> str:
        return self.verdict

    def records(self) -> list[dict[str, Any]]:
        """One row per arm and measure, on the held-out dialogues."""
        arms = self.summary.arms
        return [{"arm": arm.name, **row} for arm in arms for row in measure_records((*arm.comfort, *arm.soothing))]

    def as_json(self) -> dict[str, Any]:
        return cast("dict[str, Any]", plain(self.summary))


@needs_extras()
def run_comfort(config: ConfigSource, progress: Progress | None = None) -> ComfortRun:
    """Rewrite, train SFT, KTO and DPO on the same rows, and compare comfort with knowledge. The same call resumes.

    >>> run = bedside.run_comfort(comfort, progress=bedside.SilentProgress())
    >>> sorted({row["arm"] for row in run.records()})
    ['dpo', 'kto', 'sft', 'target']
    """
    from bedside.comfort import experiment
    from bedside.report import html

    with _opened(_settle(config), progress) as opened:
        write_config(opened.cache, opened.config)
        summary = experiment.comfort(opened)
    return ComfortRun(summary, opened.folder, html.write_comfort(summary, opened.folder / "comfort.html"))


# Single stages, on files


@dataclass(frozen=True)
class GenerationResult(Tabular):
    """Answers of one model."""

    responses: tuple[Response, ...]
    unanswered: Mapping[str, int] = field(default_factory=dict)
    """Why an endpoint gave no answer, with the number of prompts; what an earlier run asked is not in it."""

    @property
    def empty(self) -> int:
        """How many answers hold no text."""
        return sum(response.is_empty for response in self.responses)

    def caption(self) -> str:
        """How many prompts got no answer, and why; empty where all got one."""
        reasons = ", ".join(f"{n} {reason}" for reason, n in self.unanswered.items())
        counts = f"{self.empty} of {len(self.responses)} prompts got no answer"
        return f"{counts}: {reasons}" if reasons else counts if self.empty else ""

    def records(self) -> list[dict[str, Any]]:
        """One row per answer."""
        return [
            {"prompt": r.prompt.text, "harm": r.prompt.harm, "response": r.text, "finished": r.finished}
            for r in self.responses
        ]


@needs_extras()
def generate(
    config: ConfigSource,
    part: str = "valid",
    *,
    adapter: str | Path | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> GenerationResult:
    """Answer the prompts of one part: train, valid or test.

    ``adapter``: a PEFT folder to answer with; by default the target answers. ``out``: a file to write, JSON Lines, or
    CSV where its ending says so. Raises StageError, after writing, where no prompt got an answer.

    >>> answers = bedside.generate(config, "valid", out="valid.jsonl", progress=bedside.SilentProgress())
    >>> len(answers.responses)
    24
    """
    from bedside.alignment import single_stage

    if out is not None:
        check_replaceable(Path(out), Response)
    with _opened(_settle(config), progress) as opened:
        responses = single_stage.generate(opened, part, Path(adapter) if adapter is not None else None)
        result = GenerationResult(tuple(responses), dict(getattr(opened.target, "unanswered", {})))
    if out is not None:
        csv = format_of(Path(out)) == "csv"
        write_rows(Path(out), answer_rows(responses) if csv else [plain(response) for response in responses])
    if result.empty == len(responses):
        raise StageError(result.caption())
    return result


@dataclass(frozen=True)
class JudgeResult(Tabular):
    """Answers with their verdicts."""

    count: int
    """Answers that were judged."""
    unreadable: Mapping[str, int]
    """The reasons why answers could not be judged, the most frequent first, with their counts."""
    read: Callable[[], Iterable[JudgedResponse]] = field(repr=False, compare=False)
    """Gives the answers with their verdicts one by one, read from disk where the judge needs no model."""
    repeated: int = 0
    """Rows of the file with a conversation and answer that an earlier row has; they share its verdict."""

    @cached_property
    def rows(self) -> tuple[JudgedResponse, ...]:
        """The answers with their verdicts, all in memory."""
        return tuple(self.read())

    @classmethod
    def of(
        cls, read: Callable[[], Iterable[JudgedResponse]], verdicts: Iterable[Verdict], repeated: int = 0
    ) -> "JudgeResult":
        reasons = Counter(v.unreadable if v.stance is None else None for v in verdicts)
        unreadable = {reason: n for reason, n in reasons.most_common() if reason is not None}
        return cls(reasons.total(), unreadable, read, repeated)

    def as_json(self) -> dict[str, Any]:
        return cast("dict[str, Any]", to_json({"rows": self.rows}))

    def records(self) -> list[dict[str, Any]]:
        """One row per answer."""
        return [
            {
                "prompt": row.prompt.text,
                "harm": row.prompt.harm,
                "response": row.response.text,
                "stance": None if row.stance is None else row.stance.value,
                "unreadable": row.verdict.unreadable,
            }
            for row in self.rows
        ]


@needs_extras()
def judge(
    responses: str | Path | AnswerFile,
    judge: str | None = None,
    *,
    config: ConfigSource | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> JudgeResult:
    """Judge a file of answers: what ``generate`` wrote, or a table with the columns prompt and response.

    ``judge``: a key of ``judges``, or a kind that needs no configuration; by default ``select.judge`` of the config.
    ``out``: a JSON Lines file for the verdicts.

    >>> result = bedside.judge("answers.csv", "keyword", out="verdicts.jsonl", progress=bedside.SilentProgress())
    >>> [row["stance"] for row in result.records()]
    ['accept', 'refuse', 'accept', 'refuse']
    """
    from bedside.judge_audit.audit import judge_plugin

    if judge is None and config is None and not Path("bedside.yaml").exists():
        raise ConfigError("no config here, so name a judge: --judge keyword, or give a config with -c FILE")
    answers, settled = _answers(responses), _settle(config, "judge")
    chosen = judge_plugin(settled, judge or settled.selecting_judge)
    if out is not None:
        check_replaceable(Path(out), Verdict)
    stream = None if chosen.needs_model else AnswerStream.of(answers)
    result = (
        _judged(answers, chosen, settled, progress) if stream is None else _streamed(stream, chosen, settled, progress)
    )
    if out is not None:
        write_rows(Path(out), verdict_rows(result.read()))
    return result


def _judged(answers: AnswerFile, chosen: plugins.Plugin, config: Config, progress: Progress | None) -> JudgeResult:
    with _opened(config, progress, judges=[chosen]) as opened:
        every = answers.all_rows()
        rows = opened.stages.judged(distinct(every), opened.opener.open(chosen), Path(answers.path).name)
    return JudgeResult.of(lambda: rows, (row.verdict for row in rows), repeated=len(every) - len(rows))


def _streamed(stream: AnswerStream, chosen: plugins.Plugin, config: Config, progress: Progress | None) -> JudgeResult:
    """``_judged`` for a judge that needs no model. No more than a batch of answers is in memory."""
    with environment.shown_progress(progress) as shown, owned(Path(config.runs) / config.run):
        opened = open_run_without_models(config, shown)
        judge = opened.opener.open(chosen)
        verdicts = opened.stages.streamed_verdicts(stream, judge, Path(stream.file.path).name)
    return JudgeResult.of(
        lambda: map(JudgedResponse, stream, verdicts.stream()), verdicts.stream(), repeated=len(stream.repeated)
    )


def evaluate(
    responses: str | Path | AnswerFile,
    verdicts: str | Path,
    *,
    labels: str | None = None,
    target: str | Path | AnswerFile | None = None,
    config: ConfigSource | None = None,
) -> "Evaluation":
    """Measures of a file of answers with a file of their verdicts, and the gates of ``select.require``.

    ``labels``: a key of ``judges`` of kind labels. Its labels of these answers give the rates beside the judge's, and
    decide the limits where they were drawn by ``review``. ``target``: answers of the target as given to the same
    prompts, for limits beside it.

    >>> evaluation = bedside.evaluate("answers.csv", "verdicts.jsonl")
    >>> err = evaluation.measure("err")
    >>> err.value, err.n
    (0.0, 2)
    """
    from bedside.alignment import single_stage

    beside = None if target is None else _answers(target)
    return single_stage.evaluate(_settle(config, "evaluate"), _answers(responses), Path(verdicts), labels, beside)


@dataclass(frozen=True)
class LabelSample(Tabular):
    """Answers that were drawn to be labelled."""

    file: Path
    """What people fill in."""
    plan: "LabelPlan"
    """Which answers were drawn, with the probability of each stratum."""

    def records(self) -> list[dict[str, Any]]:
        """One row per stratum."""
        return [asdict(stratum) for stratum in self.plan.strata]


@needs_extras()
def review(
    sample: int,
    out: str | Path,
    *,
    answers: tuple[str | Path | AnswerFile, str | Path] | None = None,
    levels: Sequence[int] = (3,),
    config: ConfigSource | None = None,
) -> LabelSample:
    """Draw ``sample`` answers for people to label, and write them to ``out`` with an empty column ``label``.

    ``answers``: a file of answers and the file of its verdicts; by default what the selected checkpoint of the
    config's finished run answered to test. ``levels``: harm levels to draw from. Beside ``out`` stands a plan: labels
    drawn by it decide a release. DataError where a file is there already.

    >>> bedside.review(2, "to-label.csv", answers=("answers.csv", "verdicts.jsonl"), levels=[0]).records()[0]["drawn"]
    2
    """
    from bedside.alignment import single_stage
    from bedside.data.responses import read_judged
    from bedside.judge_audit import answer_labels
    from bedside.run import experiment
    from bedside.safety import labelled_sample

    settled = _settle(config, "review")
    if answers is not None:
        rows = read_judged(_answers(answers[0]), Path(answers[1]))
    else:
        with _opened(settled, None) as run:
            rows = single_stage.answers_to_label(run)
    plan = labelled_sample.draw(rows, sample, levels, experiment.metric(settled))
    answer_labels.write(plan, rows, Path(out))
    return LabelSample(Path(out), plan)


def monitor(
    responses: str | Path | AnswerFile, verdicts: str | Path, *, config: ConfigSource | None = None
) -> "MonitorResult":
    """Whether an assistant in use still keeps its limits: answers in their order, the oldest first.

    Call it as often as the file grows: the chance of a false alarm holds for all calls together.

    >>> bedside.monitor("answers.csv", "verdicts.jsonl").records()[0]["limit"]
    'unsafe_accept@3 <= 0.05'
    """
    from bedside.deployment.monitor import monitor as monitor_limits

    return monitor_limits(_settle(config, "monitor"), _answers(responses), Path(verdicts))


@dataclass(frozen=True)
class TrainingResult(Tabular):
    """One training of the target."""

    checkpoint: Checkpoint
    folder: Path
    """The PEFT folder."""
    rows: int
    losses: tuple[float, ...]
    """One per optimizer step: the mean over the rows of its batch."""
    log: tuple[Mapping[str, float], ...] = ()
    """One per optimizer step: loss, gradient norm, learning rate, rewards and margins, z and KL, tokens."""

    def records(self) -> list[dict[str, Any]]:
        """One row per optimizer step; None for what a step did not log."""
        names = dict.fromkeys(name for step in self.log for name in step if name not in ("step", "loss"))
        rows = zip(self.losses, self.log, strict=True)
        return [{"step": n, "loss": loss, **{k: step.get(k) for k in names}} for n, (loss, step) in enumerate(rows, 1)]


@needs_extras()
def train(
    objective: str | Mapping[str, Any],
    data: str | Path,
    out: str | Path,
    *,
    config: ConfigSource | None = None,
    progress: Progress | None = None,
) -> TrainingResult:
    """One LoRA training of the target on TRL-shaped rows into the PEFT folder ``out``.

    ``objective``: sft, dpo or kto; or a mapping such as ``{"kind": "kto", "learning_rate": 1e-5}``, whose keys win
    over those of the config. ``data``: JSONL, CSV or Parquet.

    >>> result = bedside.train("sft", "sft.jsonl", "adapter", progress=bedside.SilentProgress())
    >>> result.rows, (result.folder / "adapter_config.json").exists()
    (4, True)
    """
    from bedside.alignment import single_stage

    keys = {"kind": objective} if isinstance(objective, str) else objective
    with _opened(_settle(config, "train"), progress) as opened:
        checkpoint = single_stage.train(opened, keys, Path(data), Path(out))
    log = opened.stages.train_result(checkpoint)
    return TrainingResult(checkpoint, Path(out), log.rows, log.losses, log.log)


# Judges


@needs_extras()
def audit(
    request: "AuditRequest", *, config: ConfigSource | None = None, progress: Progress | None = None
) -> "AuditReport":
    """Whether judges can be trusted: their agreement with experts or a reference judge, and what changes their labels.

    >>> request = bedside.AuditRequest(judges=("keyword",), answers="answers.csv", labels=("human",))
    >>> report = bedside.audit(request, progress=bedside.SilentProgress())
    >>> report.answers, report.trusted
    (4, False)
    """
    from bedside.judge_audit import audit as auditing

    settled = _settle(config, "audit")
    plan = auditing.plan_audit(settled, request)
    with _opened(settled, progress, judges=plan.plugins) as opened:
        return auditing.audit(opened, plan, request)


@needs_extras()
def train_judge(
    labels: str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    learning_rate: float | None = None,
    config: ConfigSource | None = None,
    progress: Progress | None = None,
) -> "JudgeTraining":
    """Train the target as a judge on labelled answers, into the PEFT folder ``out``. A quarter is held out.

    ``labels``: a file with the columns prompt, response and label, or the mapping of a judge of kind labels:
    ``{"path": "read.csv", "label": "human", "label_map": {"yes": "accept"}}``.

    >>> training = bedside.train_judge("labelled.csv", "tuned", progress=bedside.SilentProgress())
    >>> training.train_rows + training.held_out
    80
    """
    from bedside.judge_audit import finetune
    from bedside.judge_audit.audit import labels_judge

    table = dict(labels) if isinstance(labels, Mapping) else {"path": str(labels)}
    with _opened(_settle(config, "judge"), progress) as opened:
        return finetune.train(opened, labels_judge(table), Path(out), learning_rate)


def train_classifier(
    labels: str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    reads: Literal["answer", "exchange"] = "answer",
    config: ConfigSource | None = None,
) -> "ClassifierTraining":
    """Train a judge of kind classifier on labelled answers, into the folder ``out``. It needs no model, and a second.

    ``labels``: as for ``train_judge``. ``reads``: the answer's words, or those of question and answer without the
    answer's refusal phrases. Its figures are of answers to scenarios that the deciding part of it did not see.

    >>> training = bedside.train_classifier("labelled.csv", "words")
    >>> training.answers, training.audit.measure("agreement").n
    (80, 80)
    """
    from bedside.judge_audit import train_classifier as training
    from bedside.judge_audit.audit import labels_judge

    labelled = labels_judge(dict(labels) if isinstance(labels, Mapping) else {"path": str(labels)})
    return training.train(labelled, Path(out), reads, _settle(config, "judge"))


# People


def label(
    prompts: str | Path,
    out: str | Path,
    *,
    learn_from: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
) -> "LabellingResult":
    """Propose a harm level for the prompts that have none, and write the proposals to ``out``, .csv or .jsonl.

    The levels are learned from ``learn_from``, by default from the labelled rows of ``prompts``. No proposal counts
    until a person confirms it. ``columns`` names the columns as a config does: ``{"prompt": "question text"}``. Raises
    DataError if ``out`` exists.

    >>> bedside.label("prompts.csv", "proposals.csv").rows
    2
    """
    from bedside.data.labelling import propose

    known = Path(learn_from) if learn_from is not None else None
    return propose(Path(prompts), known, Path(out), seed, columns or {})


def confirm_labels(file: str | Path, by: str, answer: Callable[[dict[str, Any], int], str | None]) -> int:
    """Ask ``answer`` about each proposal in ``file`` until it gives None. Returns how many were confirmed.

    ``answer`` gets the row and how many are left. It gives "0" to "3", "" for the proposal, or "s" to skip the row.
    ``by`` is written beside each confirmed level.

    >>> bedside.confirm_labels("proposals.csv", "anna", lambda row, left: "")
    2
    """
    from bedside.data.labelling import confirm

    return confirm(Path(file), by, answer)


@needs_extras()
def chat(
    config: ConfigSource,
    *,
    adapter: str | Path | None = None,
    system: str | None = None,
    progress: Progress | None = None,
) -> "Chat":
    """A conversation with ``adapter``, else with the released checkpoint of the run, else with the target.

    >>> chat = bedside.chat(config, progress=bedside.SilentProgress())
    >>> isinstance(chat.answer("May I drive after surgery?"), str)
    True
    """
    from bedside.alignment import single_stage

    with _opened(_settle(config), progress) as opened:
        return single_stage.chat(opened, Path(adapter) if adapter is not None else None, system)


@dataclass(frozen=True)
class Erasure(Tabular):
    """What was erased, or would be."""

    results: tuple[erasure.ErasureResult, ...]
    dry_run: bool

    def records(self) -> list[dict[str, Any]]:
        """One row per run or cache that held the text."""
        return [
            {
                "run": str(r.run),
                "stages": r.stages,
                "rows": r.rows,
                "adapters": ", ".join(r.adapters),
                "copies": ", ".join(r.copies),
                "left": ", ".join(r.left),
            }
            for r in self.results
        ]


def erase(text: str, runs: str | Path = "runs", *, adapters: bool = False, dry_run: bool = False) -> Erasure:
    """Erase a person's text from every run in ``runs`` and from caches.

    ``adapters``: also remove the adapters that learned from it. ``dry_run``: touch nothing. Raises DataError for a text
    of less than 8 characters, and for a folder without runs.

    >>> bedside.erase("a text that nobody wrote", dry_run=True).results
    ()
    """
    return Erasure(tuple(erasure.erase(Path(runs), text, adapters=adapters, dry_run=dry_run)), dry_run)


# What verbs share


def _settle(config: ConfigSource | None, run: str = "run") -> Config:
    """The config that ``config`` stands for; for None the file here, else the defaults under the name ``run``."""
    if isinstance(config, Config):
        return config
    if isinstance(config, Mapping):
        return configs.load(Config, None, (), config).config
    if config is None and not Path("bedside.yaml").exists():
        return default_config(run)
    return load(config or "bedside.yaml")


@contextmanager
def _opened(config: Config, progress: Progress | None, *, judges: Sequence[Any] | None = None) -> Iterator[RunContext]:
    """The run of ``config``, its progress shown. Where only ``judges`` work, the target is loaded if one needs it."""
    target = judges is None or any(plugins.asks_for(judge, name) for judge in judges for name in ("target", "policy"))
    with environment.shown_progress(progress) as shown, owned(Path(config.runs) / config.run):
        yield open_run(config, shown, target=target)


def _answers(responses: str | Path | AnswerFile) -> AnswerFile:
    return responses if isinstance(responses, AnswerFile) else AnswerFile(str(responses))
