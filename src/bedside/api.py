"""Bedside from Python: what ``import bedside`` offers.

config = bedside.load("bedside.yaml")
run = bedside.align(config)          # resumes if it ran before
print(run.verdict, run.measures)
if run.shipped:
    run.shipped.save("adapter/")
run.report("report.html")
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from bedside.config import loader as configs
from bedside.config.schema import Config
from bedside.core.distributed import Alone, Ranks, together
from bedside.core.errors import BedsideError, ConfigError
from bedside.core.protocols import Policy, Progress, Silent
from bedside.core.results import Gate, GateState, Measure, RunSummary
from bedside.data.io import write_text

if TYPE_CHECKING:
    from bedside.run.session import Session

MAY_CHANGE = (
    "align.cycles",
    "align.save_steps",
    "align.max_tokens_per_microbatch",
    "baselines",
    "budget",
    "cache",
    "device",
    "gates",
    "generate.batch_size",
    "judges",
    "metrics",
    "report_to",
    "runs",
    "select",
)
"""What a run may be continued with: more rows or cycles, other limits. The rest makes it another run."""


def load(path: str | Path | None = None, sets: Sequence[str] = ()) -> Config:
    """The config in ``path`` with ``sets`` ("a.b=c") over it. ConfigError with every mistake at once."""
    loaded = configs.load(Config, Path(path) if path is not None else None, sets)
    return loaded.config


@dataclass(frozen=True)
class Shipped:
    """A checkpoint that met every constraint on the sealed test."""

    name: str
    folder: Path

    def save(self, to: str | Path) -> Path:
        """Copy the PEFT folder to ``to``: transformers, vLLM and TRL load it as it is."""
        return Path(shutil.copytree(self.folder, to, dirs_exist_ok=True))


@dataclass(frozen=True)
class Run:
    """A finished run: its summary and its folder."""

    summary: RunSummary
    folder: Path

    @property
    def verdict(self) -> str:
        return self.summary.verdict

    @property
    def measures(self) -> Mapping[str, Measure]:
        """On the sealed test, by name."""
        return {measure.name: measure for measure in self.summary.after}

    @property
    def shipped(self) -> Shipped | None:
        """What may ship; None where nothing may."""
        return Shipped(self.summary.ships, self.folder / "ship") if self.summary.ships else None

    def as_json(self) -> dict[str, Any]:
        """``{"measures": {name: {"value", "n", "groups", "unreadable", "low", "high"}}, "gates": ...}``"""
        from bedside.alignment import summary

        return summary.as_json(self.summary)

    def report(self, to: str | Path | None = None) -> Path:
        """Write the report as one HTML file; by default into the run's folder."""
        from bedside.judge_audit import correct
        from bedside.report.html import write

        return write(
            [self.summary], Path(to) if to is not None else self.folder / "report.html", [correct.read(self.folder)]
        )


def align(config: Config, progress: Progress | None = None) -> Run:
    """Run the cycles of ``config``, or go on with them where they were interrupted; write the report.

    Under ``torchrun`` all processes call it, share the work and return the same; the first one writes.
    """
    from bedside.alignment import align as flow
    from bedside.run import environment, launcher

    progress, ranks = progress or Silent(), launcher.ranks(lambda: environment.launch(config.device, 0).device)
    if note := launcher.note():
        progress.say(note)
    opened = together(ranks, lambda: session(config, progress, ranks=ranks))
    together(ranks, lambda: _keep(opened.store.root, config) if opened.first else None)
    run = Run(flow.align(opened), opened.store.root)
    if opened.first:
        run.report()
    return run


def check(config: Config) -> list[Gate]:
    """What stands in the way of a run of ``config``: PASS, FAIL, INCONCLUSIVE (look at it) or NOT CHECKED."""
    from bedside.alignment import preflight as flow
    from bedside.run import environment

    found = flow.offline(config)
    try:
        launch = environment.launch(config.device, config.seed)
        tight = flow.weights(config, launch, environment.machine(Path(config.runs), launch.device))
        if tight:
            return [*found, *tight, *flow.unchecked(config)]
        opened = session(config, Silent())
    except BedsideError as error:
        return [
            *found,
            Gate("target", GateState.FAIL, reason=str(error).removeprefix("target: ")),
            *flow.unchecked(config),
        ]
    name = getattr(config.target, "model", config.target.kind)
    found.append(Gate("target", GateState.PASS, reason=f"{name} opens on {opened.launch.device}"))
    if any(gate.name == "data" and gate.state is GateState.FAIL for gate in found):
        return [*found, *flow.unchecked(config)]
    free = environment.machine(opened.store.root, opened.launch.device)
    return [*found, *flow.online(opened, free), *flow.unchecked(config)]


def session(config: Config, progress: Progress, *, target: bool = True, ranks: Ranks | None = None) -> "Session":
    """The run of ``config`` on this machine, opened: the target loaded where it is needed, the folder made.

    ``ranks``: who shares it; without them ConfigError in one of several processes.
    """
    from bedside.config.plugins import named, open_plugin
    from bedside.run import endpoints, environment, launcher
    from bedside.run.session import Session
    from bedside.run.stage_cache import Store

    if ranks is None:
        launcher.require_one_process("this")
    environment.reporter(config.report_to)
    launch = environment.launch(config.device, config.seed)
    environment.hush()
    store = Store(Path(config.runs) / config.run, environment.bits(launch), progress, ranks=ranks or Alone())
    outside = endpoints.outside(config, store, environment.secret)
    with named("target"):
        policy = open_plugin(config.target, launch, outside) if target else None
    return Session(config, store, launch, progress, cast("Policy", policy), outside)


def _keep(folder: Path, config: Config) -> None:
    """Write down what is run. ConfigError where the folder holds another experiment, whose files would go."""
    file = folder / "config.yaml"
    before = _flat(yaml.safe_load(file.read_bytes())) if file.is_file() else _flat(configs.tables(config))
    now = _flat(configs.tables(config))
    changed = [key for key in before if key in now and before[key] != now[key] and not _may_change(key)]
    if changed and any((folder / "store").glob("*/*")):
        was = ", ".join(f"{key} was {before.get(key)!r} and is {now.get(key)!r}" for key in changed[:3])
        more = f", and {len(changed) - 3} more keys differ" if len(changed) > 3 else ""
        raise ConfigError(
            f"{folder} holds another run: {was}{more}; name this one (--set run=NAME), remove that folder, or go on "
            f"as it was: --set {changed[0]}={json.dumps(before[changed[0]])}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(file, yaml.safe_dump(configs.tables(config), sort_keys=False))


def _may_change(key: str) -> bool:
    return key.startswith(MAY_CHANGE) or key.endswith(".limit")


def _flat(told: Any, at: str = "") -> dict[str, Any]:
    """Dotted path to value."""
    if not isinstance(told, dict):
        return {at: told}
    return {
        key: value for name, item in told.items() for key, value in _flat(item, f"{at}.{name}" if at else name).items()
    }
