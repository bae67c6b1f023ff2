"""Several targets, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bedside.api.configs import ConfigSource, settle
from bedside.api.loop import aligned
from bedside.api.opening import opened_run
from bedside.config.schema import Config
from bedside.core.display import Tabular, measure_records
from bedside.core.errors import BedsideError
from bedside.core.extras import needs_extras
from bedside.core.measures import Measure
from bedside.core.protocols import Progress
from bedside.core.serialize import to_json
from bedside.data.io import write_text
from bedside.run import environment, launcher
from bedside.run.folder import write_config

if TYPE_CHECKING:
    from bedside.alignment.targets import TargetResult


@dataclass(frozen=True)
class TargetComparison(Tabular):
    """Several targets side by side, each with a run of its own."""

    name: str
    targets: "tuple[TargetResult, ...]"
    file: Path
    """The comparison as Markdown."""

    @property
    def exit_code(self) -> int:
        """1 if a target failed, else 3 if one may not be released, else 0."""
        codes = {target.exit_code for target in self.targets}
        return next(code for code in (1, 3, 0) if code in codes)

    def records(self) -> list[dict[str, Any]]:
        """One row per target, step and measure, with the judge's kappa first. For a failed target, one row with the
        reason."""
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

    ``targets``: hub ids, folders, GGUF files, ``smollm2``, ``embedded``. Each has its own run. If one fails, its row
    has the reason, and the others continue. Raises ConfigError for a list that cannot be run at all.

    >>> comparison = bedside.align_targets(config, ["embedded", "nowhere"], bedside.SilentProgress())
    >>> [target.exit_code for target in comparison.targets]
    [3, 1]
    """
    from bedside.alignment.targets import configs as configs_of_targets
    from bedside.report.targets import page

    settled = settle(config)
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
        with environment.resource_errors(), needs_extras(), opened_run(config, progress) as opened:
            write_config(opened.cache, opened.config)
            result = replace(result, audit=audit_judge(opened))
            return replace(result, summary=aligned(opened).summary)
    except BedsideError as error:
        progress.say(f"{model} failed: {error}")
        return replace(result, error=str(error))
