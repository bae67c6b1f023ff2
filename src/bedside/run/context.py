"""One run on this machine: its config, what opens its plug-ins, and the cache of its stages."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from bedside.config.plugins import model_errors_at, open_plugin
from bedside.config.schema import Config
from bedside.core.distributed import Ranks, SingleRank
from bedside.core.protocols import Launch, Policy, Progress
from bedside.run import endpoints, environment, launcher
from bedside.run.opener import Opener
from bedside.run.stage_cache import StageCache
from bedside.run.stages import Stages


@dataclass(frozen=True)
class RunContext:
    """What every step of a run works with."""

    config: Config
    opener: Opener
    cache: StageCache

    @property
    def stages(self) -> Stages:
        """Answers, judgements, log-probabilities and trainings, each answered from the cache where it is finished."""
        return Stages(self.config, self.opener, self.cache)

    @property
    def target(self) -> Policy:
        return self.opener.target

    @property
    def launch(self) -> Launch:
        return self.opener.launch

    @property
    def progress(self) -> Progress:
        return self.cache.progress

    @property
    def folder(self) -> Path:
        """The run folder: config, cached stages, events, report."""
        return self.cache.root

    @property
    def is_main_process(self) -> bool:
        """This process writes the files that a person reads."""
        return self.cache.is_main_process

    def without_judgement_cache(self) -> "RunContext":
        """The same run, but its judges judge everything anew: for trials and audits."""
        return replace(self, opener=self.opener.without_judgement_cache())


def open_run(config: Config, progress: Progress, *, target: bool = True, ranks: Ranks | None = None) -> RunContext:
    """The run of ``config`` on this machine; the target is loaded only where ``target`` is true.

    ``ranks``: the processes that share the run. Without them a launcher's second process is a ConfigError.
    """
    if ranks is None:
        launcher.require_one_process("this")
    environment.require_reporter(config.report_to)
    launch = environment.launch(config.device, config.seed)
    environment.silence_libraries()
    folder = Path(config.runs) / config.run
    cache = StageCache(folder, environment.numerics(launch), progress, ranks=ranks or SingleRank())
    resources = endpoints.resources(config, cache, environment.secret)
    with model_errors_at("target"):
        policy = open_plugin(config.target, launch, resources) if target else None
    return RunContext(config, Opener(config, launch, folder, cast("Policy", policy), resources), cache)
