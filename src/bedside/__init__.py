"""Bedside makes a healthcare chat assistant safe, helpful, accurate and kind, and shows the evidence.

Every name below is loaded when it is first used, so importing this loads neither torch nor numpy. The verbs are in
``bedside.api``; ``__init__.pyi`` gives editors the types.
"""

import importlib
from typing import Any

__version__ = "0.2.0"
_NAMES = {
    "alignment.single_stage": "Chat Evaluation Selection",
    "alignment.starting": "InitQuestion InitRequest",
    "alignment.stopping": "StoppingReport",
    "api.attacks": "attack transform_prompts",
    "api.configs": "ConfigSource init list_plugins load resolve",
    "api.exporting": "ExportRequest Exported export",
    "api.opening": "open_judge open_model",
    "api.loop": "CheckResult ReleasedCheckpoint Run align check doctor read_run select stopping write_report",
    "api.targets": "TargetComparison align_targets",
    "api.dialogues": "ComfortRun RewriteResult rewrite run_comfort",
    "api.stages": (
        "GenerationResult JudgeResult LabelSample TrainingResult evaluate generate judge monitor review train"
    ),
    "api.judges": "audit train_classifier train_judge",
    "api.monitors": "BaselineRequest monitor_baseline monitor_harvest monitor_replay monitor_watch",
    "api.pages": "LocalPages view",
    "api.reviews": (
        "PackedReview ReviewAgreement UnblindedReview adjudicate_review export_review import_review lock_review "
        "pack_review review_agreement serve_review unblind_review"
    ),
    "api.people": "Erasure chat confirm_labels erase label",
    "api.trail": "approve verify write_card",
    "config.loader": "Loaded",
    "config.plugins": "Plugin PluginField register",
    "config.schema": "Config",
    "core.attack_results": "AttackReport",
    "core.audit_results": "Audit AuditReport",
    "core.errors": "BedsideError ConfigError DataError ModelError StageError",
    "core.extras": "MissingExtra",
    "core.monitor_results": "BaselineResult HarvestResult ReplayReport WatchStatus",
    "core.protocols": "Attack Dataset Generator Judge Launch Metric Objective Progress SilentProgress",
    "core.gates": "Finding Gate GateState",
    "core.measures": "Measure",
    "core.results": "ComfortSummary RunSummary",
    "core.types": "Checkpoint Completion Conversation JudgedResponse Message Prompt Response Sampling Stance Verdict",
    "data.labelling": "LabellingResult",
    "data.responses": "AnswerFile",
    "deployment.attack": "AttackRequest",
    "deployment.monitor": "MonitorResult",
    "judge_audit.audit": "AuditRequest",
    "judge_audit.finetune": "JudgeTraining",
    "judge_audit.train_classifier": "ClassifierTraining",
    "run.approvals": "Approval",
    "stats.measures": "mean share",
}
"""The names that each module offers here."""
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'bedside' has no attribute {name!r}")
    globals()[name] = getattr(importlib.import_module(f"bedside.{_MODULES[name]}"), name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
