"""An assistant in use, over months: a baseline, watched logs, a golden set asked again, prompts harvested.

monitor_baseline ▶ monitor_watch ▶ (alarm) ▶ monitor_replay, monitor_harvest ▶ the next cycle
"""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bedside.api.configs import ConfigSource, load, settle
from bedside.api.loop import run_folder
from bedside.api.opening import opened_run
from bedside.config.schema import Config
from bedside.core.errors import ConfigError, DataError
from bedside.core.extras import needs_extras
from bedside.core.monitor_results import BaselineResult, HarvestResult, ReplayReport, WatchStatus
from bedside.core.protocols import Launch, Progress
from bedside.core.types import GenerationRequest, JudgedResponse, Prompt, Response
from bedside.run.folder import CONFIG

if TYPE_CHECKING:
    from bedside.deployment.baseline import GoldenSet
    from bedside.deployment.replay import Answering
    from bedside.run.context import RunContext

In = TypeVar("In")
Out = TypeVar("Out")
FOLDER, WATCH = "monitor", "watch"
"""Of a run, the folder of its baseline, and in that one, of its watch."""


@dataclass(frozen=True)
class BaselineRequest:
    """What a baseline is made of, where it is not the run's own test."""

    golden: Path | None = None
    """Judged answers in one file, as `bedside judge` writes them. None: what the selected checkpoint answered to
    test."""
    verdicts: Path | None = None
    """Their verdicts, where these stand in a file of their own; then ``golden`` may be what `bedside generate` wrote,
    with all that a judge may need."""
    inputs: Path | None = None
    """Prompts that inputs are compared with, such as those of a normal month. None: the run's prompts."""
    labels: str | None = None
    """A judge of kind labels: people's labels of golden answers, for the judge's errors. None: ``select.labels``."""
    today: date | None = None
    """None: what the clock says."""


@needs_extras()
def monitor_baseline(
    run: ConfigSource,
    request: BaselineRequest | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> BaselineResult:
    """Write what an assistant in use is compared with: limits, judge's errors, inputs, golden set.

    ``run``: a finished run, its folder, its name in ``runs/``, or a config. With ``request.golden`` no model is needed.
    ``out``: a folder; by default ``monitor`` in the run's. DataError where it holds a baseline.

    >>> request = bedside.BaselineRequest(golden="verdicts.jsonl")
    >>> baseline = bedside.monitor_baseline("bedside.yaml", request, "monitor")
    >>> baseline.golden, baseline.limits[0].name
    (4, 'unsafe_accept@3 <= 0.05')
    """
    from bedside.deployment import baseline as baselines
    from bedside.deployment import inputs

    request, config = request or BaselineRequest(), _config(run)
    golden = _golden(config, request, progress)
    source, prompts = _prompts(config, request.inputs)
    profile = inputs.fit(prompts, source, config.gates.false_alarm, config.seed)
    made = baselines.make(config, golden, profile, (request.today or today()).isoformat())
    folder = Path(out) if out is not None else Path(config.runs) / config.run / FOLDER
    baselines.write(folder, made, golden.limited(config.monitor.golden))
    return made.result(folder)


def monitor_watch(logs: Sequence[str | Path], baseline: str | Path, out: str | Path | None = None) -> WatchStatus:
    """Read what is new in logs of judged answers, and say whether limits are kept and inputs are as before.

    ``logs``: JSON Lines, each only appended to; what `bedside judge` writes. ``baseline``: its folder, or the run's.
    ``out``: the folder of the state and of ``status.json``, ``status.html``, ``status.prom``; by default ``watch`` in
    that of the baseline. Killed at any point and called again, it writes the same status. DataError where a log that
    was read has changed.

    >>> status = bedside.monitor_watch(["verdicts.jsonl"], "monitor")
    >>> status.judged, status.quiet
    (4, True)
    """
    from bedside.data.io import make_private, write_text
    from bedside.deployment import watch
    from bedside.report import monitoring
    from bedside.run.owner import owned

    folder = monitor_folder(baseline)
    to = Path(out) if out is not None else folder / WATCH
    make_private(to)
    with owned(to):
        status = watch.watch(folder, [Path(log) for log in logs], to)
        write_text(to / "status.json", json.dumps(status.as_json(), indent=1, ensure_ascii=False) + "\n", to)
        write_text(to / "status.html", monitoring.page(status), to)
        write_text(to / "status.prom", monitoring.prometheus(status), to)
    return status


@needs_extras()
def monitor_replay(
    baseline: str | Path,
    config: ConfigSource | None = None,
    *,
    answers: str | Path | None = None,
    on: date | None = None,
    progress: Progress | None = None,
) -> ReplayReport:
    """Ask the golden set again: has the judge changed, or the assistant?

    ``config``: by default that of the run whose folder holds the baseline. Its ``select.judge`` reads the old answers
    and the new ones; ``monitor.assistant`` gives the new ones, or the file ``answers`` does, with columns prompt and
    response. ``on``: today by default.

    >>> config = bedside.load("bedside.yaml", ["select.judge=words", "judges.words.kind=keyword"])
    >>> report = bedside.monitor_replay("monitor", config, answers="answers.csv", progress=bedside.SilentProgress())
    >>> report.judge.state, report.assistant.state
    ('not decided', 'not decided')
    """
    from bedside.deployment import replay
    from bedside.judges import prompting
    from bedside.run.owner import owned

    folder = monitor_folder(baseline)
    settled = settle(config) if config is not None else _config_of(folder)
    chosen = settled.judges[settled.selecting_judge]
    asked = None if answers is not None else settled.monitor.assistant
    with (
        owned(folder),
        opened_run(settled, progress, judges=None if asked == "selected" else [chosen]) as run,
    ):
        judge = run.opener.without_judgement_cache().open(chosen)
        now = replay.Today(
            judge=lambda rows: _mapped(lambda some: prompting.judge(some, judge), rows, judge, run),
            judge_name=judge.name,
            assistant=_from_file(Path(answers)) if answers is not None else _assistant(run, asked),
            date=on or today(),
            seed=settled.seed,
        )
        return replay.replay(folder, now)


def monitor_harvest(
    baseline: str | Path, to: str | Path, *, watch: str | Path | None = None, limit: int | None = None
) -> HarvestResult:
    """Write the prompts of every alarm of a watch, for people to label: data of the next cycle.

    ``watch``: its folder. ``limit``: most prompts of an alarm, the latest first. `bedside label` proposes their levels.
    DataError where there is no alarm.

    >>> bedside.monitor_harvest("monitor", "harvest.jsonl")
    Traceback (most recent call last):
    bedside.core.errors.DataError: monitor/watch: there is no alarm, so nothing to harvest
    """
    from bedside.deployment.harvest import harvest

    folder = monitor_folder(baseline)
    return harvest(folder, Path(watch) if watch is not None else folder / WATCH, Path(to), limit)


def golden_warnings(baseline: str | Path, on: date | None = None) -> list[str]:
    """What a person should know beside a status: a stale golden set, and what the last replay showed."""
    from bedside.deployment import baseline as baselines
    from bedside.deployment import replay

    folder = monitor_folder(baseline)
    stale = replay.golden_age(baselines.read(folder)[0], on or today())
    last = replay.last_replay(folder)
    return [*([f"? {stale}"] if stale else []), *([f"last replay, {last}"] if last else [])]


def today() -> date:
    return datetime.now(UTC).date()


def monitor_folder(baseline: str | Path) -> Path:
    """The folder of a baseline: named itself, or by its run."""
    from bedside.deployment.baseline import BASELINE

    if (Path(baseline) / BASELINE).is_file():
        return Path(baseline)
    folder = run_folder(baseline) / FOLDER
    if not (folder / BASELINE).is_file():
        raise DataError(f"{baseline}: there is no baseline here; make one: bedside monitor baseline RUN")
    return folder


def _config(run: ConfigSource) -> Config:
    """The config that a run wrote, or the one that is given."""
    if isinstance(run, (str, Path)) and Path(run).suffix.lower() not in (".yaml", ".yml"):
        folder = run_folder(run)
        if not (folder / CONFIG).is_file():
            raise DataError(f"{folder}: there is no run here; name a run, its folder, or give its config with -c FILE")
        return load(folder / CONFIG, [f"runs={folder.parent}", f"run={folder.name}"])
    return settle(run)


def _config_of(folder: Path) -> Config:
    """The config of the run whose folder holds the baseline; else the one here."""
    run = folder.resolve().parent
    if (run / CONFIG).is_file():
        return load(run / CONFIG, [f"runs={run.parent}", f"run={run.name}"])
    if not Path("bedside.yaml").exists():
        raise ConfigError("no config here that names the judge and the assistant: give one with -c FILE")
    return settle(None)


def _golden(config: Config, request: BaselineRequest, progress: Progress | None) -> "GoldenSet":
    """Judged answers, and their labels where people gave some."""
    from bedside.alignment import single_stage
    from bedside.data.responses import AnswerFile, read_judged
    from bedside.deployment import baseline as baselines
    from bedside.judge_audit import answer_labels

    if request.golden is not None and request.verdicts is not None:
        rows = read_judged(AnswerFile(str(request.golden)), Path(request.verdicts))
    elif request.golden is not None:
        rows = baselines.read_judged(Path(request.golden))
    else:
        with opened_run(config, progress) as run:
            rows = single_stage.answers_to_label(run)
    key = request.labels or config.select.labels
    path = getattr(config.judges.get(key or ""), "path", None)
    if key is None or (request.labels is None and path is not None and not Path(path).is_file()):
        return baselines.GoldenSet(rows)
    labels = answer_labels.by_key(config, key, [row.response for row in rows])
    return baselines.GoldenSet(rows, labels.verdicts)


def _prompts(config: Config, file: Path | None) -> tuple[str, list[Prompt]]:
    """What inputs are compared with: a name for it, and the prompts."""
    from bedside.data import splits
    from bedside.data.io import rows
    from bedside.data.prompts import ReadOptions, TablePrompts
    from bedside.run import experiment

    if file is not None:
        table = TablePrompts(str(file), lambda: rows(file), ReadOptions(unlabelled="keep"))
        return Path(file).name, splits.group(table.read())
    parts = experiment.read_parts(config, Launch(seed=config.seed))
    return "train, valid and test of the run", [prompt for part in parts.named.values() for prompt in part]


def _from_file(file: Path) -> "Answering":
    """Answers to golden prompts from a file. DataError where one has none."""
    from bedside.data.responses import AnswerFile

    def answered(golden: Sequence[JudgedResponse]) -> list[Response]:
        by_prompt = {response.prompt.id: response for response in AnswerFile(str(file)).read()}
        lacking = [row for row in golden if row.prompt.id not in by_prompt]
        if lacking:
            raise DataError(
                f"{file}: has no answer to {len(lacking)} of {len(golden)} golden prompts; let the assistant answer "
                "those of golden.jsonl in the folder of the baseline"
            )
        return [replace(row.response, text=by_prompt[row.prompt.id].text) for row in golden]

    return answered


def _assistant(run: "RunContext", asked: Any) -> "Answering":
    """``monitor.assistant``: a model, or the run's selected checkpoint. No answer is read from a cache."""
    from bedside.run import generation, summary_file

    if asked == "selected":
        model = run.opener.policy(summary_file.read(run.folder).cycles[-1].selected_candidate.checkpoint)
    else:
        model = run.opener.open(asked)

    def answered(golden: Sequence[JudgedResponse]) -> list[Response]:
        requests = [GenerationRequest(row.prompt) for row in golden]
        return _mapped(lambda some: generation.generate(some, model, run.stages.sampling), requests, model, run)

    return answered


def _mapped(work: Callable[[Sequence[In]], Sequence[Out]], rows: Sequence[In], by: Any, run: "RunContext") -> list[Out]:
    """``work`` on all rows, in order: one at a time and several at once at an endpoint, else in batches."""
    from bedside.run import endpoints

    size = 1 if endpoints.single_rows(by, rows[:1]) else run.config.generate.batch_size
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    with ThreadPoolExecutor(endpoints.concurrency(by)) as pool:
        return [row for done in pool.map(work, batches) for row in done]
