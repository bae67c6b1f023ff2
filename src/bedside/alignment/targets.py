"""Several targets. Each has its own run, and its judge is audited on its answers before its loop begins.

    NAME with targets A, B    ->    runs/NAME-A/, runs/NAME-B/    one config but for ``run`` and ``target``

A folder's name depends on its target alone, so a shorter or longer list uses the same runs again.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bedside.alignment import single_stage
from bedside.config.plugins import Plugin, find
from bedside.config.schema import Config
from bedside.core.audit_results import Audit
from bedside.core.errors import ConfigError
from bedside.core.gates import GateState
from bedside.core.hashing import digest
from bedside.core.measures import Measure, find_measure
from bedside.core.results import RunSummary
from bedside.data.io import write_jsonl
from bedside.judge_audit import audit as auditing
from bedside.judge_audit import correct
from bedside.run.context import RunContext
from bedside.run.events import EventLog

ANSWERS = "audit-answers.jsonl"
"""File in the run folder with the target's answers to valid, on which its judge is audited."""
LONGEST_NAME = 60


@dataclass(frozen=True)
class TargetResult:
    """The result for one target: a finished run, or the reason why there is none."""

    target: str
    """The model, as it was named in the list."""
    run: str
    """Name of its run."""
    judge: str
    """Key of the judge that labels the training answers."""
    audit: Audit | None = None
    """κ of that judge with the selecting judge. None if one judge does both, or if the target failed before."""
    summary: RunSummary | None = None
    error: str = ""
    """Why there is no finished run; empty if there is one."""

    @property
    def exit_code(self) -> int:
        """Exit code of `bedside align` for this target alone: 0, 1 for an error, 3 if nothing may be released."""
        if self.summary is None:
            return 1
        return 0 if self.summary.released is not None or self.summary.rehearsal else 3

    @property
    def kappa(self) -> Measure | None:
        """The judge's κ that its limit uses: within harm levels, if they are known."""
        measures = () if self.audit is None else self.audit.measures
        return find_measure(measures, "kappa_stratified") or find_measure(measures, "kappa")

    @property
    def trusted(self) -> GateState:
        """Whether kappa reaches its limit."""
        return GateState.NOT_CHECKED if self.audit is None else self.audit.gates[0].state

    @property
    def steps(self) -> Mapping[str, tuple[Measure, ...]]:
        """The loop: the target and each cycle's selected checkpoint on valid, then both ends on the held-out test."""
        if self.summary is None:
            return {}
        cycles = self.summary.cycles
        before = {"before": cycles[0].candidates[0].measures} if cycles else {}
        after = {f"cycle {cycle.cycle}": cycle.selected_candidate.measures for cycle in cycles}
        return before | after | {"test, before": self.summary.before, "test, after": self.summary.after}


def configs(config: Config, models: Sequence[str]) -> dict[str, Config]:
    """The config of the run of each model. ConfigError for an empty list, or if two models would share a folder.

    The model of the file keeps the file's ``target``. Any other gets the defaults, because ``revision`` or
    ``chat_template`` of the file are not meant for it.
    """
    if isinstance(models, str) or not models or not all(models):
        raise ConfigError(
            f"--targets is {models!r}; it names models, none of them empty: --targets embedded,path/to/model, or in "
            "Python a list of them"
        )
    own: dict[str, Config] = {}
    for model in models:
        run = f"{config.run}-{folder_name(model)}"
        if other := next((name for name, taken in own.items() if taken.run.casefold() == run.casefold()), None):
            raise ConfigError(f"--targets: {other} and {model} would share the run {run}; leave one out or rename it")
        own[model] = config.model_copy(update={"run": run, "target": _target(config.target, model)})
    return own


def _target(of_file: Plugin, model: str) -> Plugin:
    kind = find("model", "local")
    named = isinstance(of_file, kind) and getattr(of_file, "model", None) == model
    return of_file if named else kind.model_validate({"kind": "local", "model": model})


def folder_name(model: str) -> str:
    """``model`` as a part of a folder's name.

    >>> folder_name("meta-llama/Llama-3.2-3B-Instruct")
    'meta-llama-Llama-3.2-3B-Instruct'
    """
    name = re.sub(r"[^\w.-]+", "-", model).strip("-.")
    if 0 < len(name) <= LONGEST_NAME:
        return name
    return f"{name[-LONGEST_NAME:]}-{digest(model)[-8:]}".lstrip("-.")


def audit_judge(run: RunContext) -> Audit | None:
    """κ of the training judge with the selecting judge on the target's answers to valid; None if they are one."""
    config = run.config
    if config.align.judge == config.selecting_judge:
        return None
    answers = run.folder / ANSWERS
    write_jsonl(answers, single_stage.generate(run, "valid", None))
    request = auditing.AuditRequest(judges=(config.align.judge,), answers=answers)
    report = auditing.measure_judges(run, auditing.plan_audit(config, request), request)
    if not _holds_another_audit(run):
        auditing.keep(run, report)
    return report.audits[0]


def _holds_another_audit(run: RunContext) -> bool:
    """Whether the run folder has an audit with more than ``audit_judge`` does: labels, attacks, other judges."""
    if not EventLog(run.folder).intact(run.folder / correct.AUDIT):
        return False
    written = correct.read_report(run.folder)
    ours = (run.config.align.judge, run.config.selecting_judge)
    return written is not None and bool(
        written.adversarial or written.scale or any((a.judge, a.reference) != ours for a in written.audits)
    )
