"""Opens what a run's config names: the judges, models, datasets and objectives, and the target under an adapter."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bedside.config.plugins import Plugin, asks_for, model_errors_at, open_plugin
from bedside.config.schema import Config
from bedside.core.errors import ConfigError
from bedside.core.protocols import Launch, Policy, declared_endpoints
from bedside.core.types import Checkpoint
from bedside.models.budget import Budget, Spend
from bedside.run import endpoints


@dataclass(frozen=True)
class Opener:
    """Opens plug-ins for one run, on one machine, with one target."""

    config: Config
    launch: Launch
    folder: Path
    """The run folder. Paths of checkpoints are relative to it."""
    target: Policy
    resources: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Budget, secrets and judgement cache, by the names that plug-ins declare in ``needs``."""

    def open(self, plugin: Plugin, policy: Checkpoint | None = None) -> Any:
        """``plugin``, opened. A plug-in that needs the policy in training gets ``policy``, by default the target."""
        resources: dict[str, Any] = {**self.resources, "target": self.target}
        if asks_for(plugin, "policy"):
            resources["policy"] = self.policy(policy or self.target.checkpoint)
        judge_keys = (f"judges.{key}" for key, judge in self.config.judges.items() if judge is plugin)
        with model_errors_at(next(judge_keys, plugin.kind)):
            opened = open_plugin(plugin, self.launch, resources)
        if self.launch.world > 1 and declared_endpoints(opened):
            raise ConfigError(
                f"{plugin.kind} calls an endpoint, and {self.launch.world} processes would each count their own "
                "spending; start one process: it keeps `concurrency` calls in flight"
            )
        return opened

    def policy(self, checkpoint: Checkpoint) -> Policy:
        """The target under the adapter of ``checkpoint``. ConfigError for an adapter on an endpoint."""
        if checkpoint.id == self.target.checkpoint.id and checkpoint.path is None:
            return self.target
        self.require_local_target("load an adapter")
        return self.target.with_adapter(None if checkpoint.path is None else self.folder / checkpoint.path, checkpoint)

    def require_local_target(self, action: str = "be trained") -> None:
        """ConfigError where the target is behind an endpoint: its weights are not on this machine."""
        if not isinstance(self.target, Policy):
            raise ConfigError(
                f"target: {endpoints.model_name(self.target)} is an endpoint: it answers and is judged, it cannot "
                f"{action} here; name a local folder or a hub id in target.model"
            )

    def without_judgement_cache(self) -> "Opener":
        """The same, but judges opened by it judge everything anew: for trials and audits."""
        return replace(
            self, resources={name: value for name, value in self.resources.items() if name != "judgement_cache"}
        )

    def spending(self) -> Mapping[str, Spend]:
        """What this run has spent so far, by endpoint."""
        budget: Budget | None = self.resources.get("budget")
        return dict(budget.spent) if budget else {}
