"""Types of the names in ``__init__.py``, for editors and type checkers."""

from bedside.alignment.single_stage import Chat as Chat
from bedside.alignment.single_stage import Evaluation as Evaluation
from bedside.alignment.single_stage import Selection as Selection
from bedside.alignment.starting import InitQuestion as InitQuestion
from bedside.alignment.starting import InitRequest as InitRequest
from bedside.alignment.stopping import StoppingReport as StoppingReport
from bedside.api.attacks import attack as attack
from bedside.api.attacks import transform_prompts as transform_prompts
from bedside.api.configs import ConfigSource as ConfigSource
from bedside.api.configs import init as init
from bedside.api.configs import list_plugins as list_plugins
from bedside.api.configs import load as load
from bedside.api.configs import resolve as resolve
from bedside.api.dialogues import ComfortRun as ComfortRun
from bedside.api.dialogues import RewriteResult as RewriteResult
from bedside.api.dialogues import rewrite as rewrite
from bedside.api.dialogues import run_comfort as run_comfort
from bedside.api.exporting import Exported as Exported
from bedside.api.exporting import ExportRequest as ExportRequest
from bedside.api.exporting import export as export
from bedside.api.judges import audit as audit
from bedside.api.judges import train_classifier as train_classifier
from bedside.api.judges import train_judge as train_judge
from bedside.api.loop import CheckResult as CheckResult
from bedside.api.loop import ReleasedCheckpoint as ReleasedCheckpoint
from bedside.api.loop import Run as Run
from bedside.api.loop import align as align
from bedside.api.loop import check as check
from bedside.api.loop import doctor as doctor
from bedside.api.loop import read_run as read_run
from bedside.api.loop import select as select
from bedside.api.loop import stopping as stopping
from bedside.api.loop import write_report as write_report
from bedside.api.monitors import BaselineRequest as BaselineRequest
from bedside.api.monitors import monitor_baseline as monitor_baseline
from bedside.api.monitors import monitor_harvest as monitor_harvest
from bedside.api.monitors import monitor_replay as monitor_replay
from bedside.api.monitors import monitor_watch as monitor_watch
from bedside.api.opening import open_judge as open_judge
from bedside.api.opening import open_model as open_model
from bedside.api.pages import LocalPages as LocalPages
from bedside.api.pages import view as view
from bedside.api.people import Erasure as Erasure
from bedside.api.people import chat as chat
from bedside.api.people import confirm_labels as confirm_labels
from bedside.api.people import erase as erase
from bedside.api.people import label as label
from bedside.api.reviews import PackedReview as PackedReview
from bedside.api.reviews import ReviewAgreement as ReviewAgreement
from bedside.api.reviews import UnblindedReview as UnblindedReview
from bedside.api.reviews import adjudicate_review as adjudicate_review
from bedside.api.reviews import export_review as export_review
from bedside.api.reviews import import_review as import_review
from bedside.api.reviews import lock_review as lock_review
from bedside.api.reviews import pack_review as pack_review
from bedside.api.reviews import review_agreement as review_agreement
from bedside.api.reviews import serve_review as serve_review
from bedside.api.reviews import unblind_review as unblind_review
from bedside.api.stages import GenerationResult as GenerationResult
from bedside.api.stages import JudgeResult as JudgeResult
from bedside.api.stages import LabelSample as LabelSample
from bedside.api.stages import TrainingResult as TrainingResult
from bedside.api.stages import evaluate as evaluate
from bedside.api.stages import generate as generate
from bedside.api.stages import judge as judge
from bedside.api.stages import monitor as monitor
from bedside.api.stages import review as review
from bedside.api.stages import train as train
from bedside.api.targets import TargetComparison as TargetComparison
from bedside.api.targets import align_targets as align_targets
from bedside.api.trail import approve as approve
from bedside.api.trail import verify as verify
from bedside.api.trail import write_card as write_card
from bedside.config.loader import Loaded as Loaded
from bedside.config.plugins import Plugin as Plugin
from bedside.config.plugins import PluginField as PluginField
from bedside.config.plugins import register as register
from bedside.config.schema import Config as Config
from bedside.core.attack_results import AttackReport as AttackReport
from bedside.core.audit_results import Audit as Audit
from bedside.core.audit_results import AuditReport as AuditReport
from bedside.core.errors import BedsideError as BedsideError
from bedside.core.errors import ConfigError as ConfigError
from bedside.core.errors import DataError as DataError
from bedside.core.errors import ModelError as ModelError
from bedside.core.errors import StageError as StageError
from bedside.core.extras import MissingExtra as MissingExtra
from bedside.core.gates import Finding as Finding
from bedside.core.gates import Gate as Gate
from bedside.core.gates import GateState as GateState
from bedside.core.measures import Measure as Measure
from bedside.core.monitor_results import BaselineResult as BaselineResult
from bedside.core.monitor_results import HarvestResult as HarvestResult
from bedside.core.monitor_results import ReplayReport as ReplayReport
from bedside.core.monitor_results import WatchStatus as WatchStatus
from bedside.core.protocols import Attack as Attack
from bedside.core.protocols import Dataset as Dataset
from bedside.core.protocols import Generator as Generator
from bedside.core.protocols import Judge as Judge
from bedside.core.protocols import Launch as Launch
from bedside.core.protocols import Metric as Metric
from bedside.core.protocols import Objective as Objective
from bedside.core.protocols import Progress as Progress
from bedside.core.protocols import SilentProgress as SilentProgress
from bedside.core.results import ComfortSummary as ComfortSummary
from bedside.core.results import RunSummary as RunSummary
from bedside.core.types import Checkpoint as Checkpoint
from bedside.core.types import Completion as Completion
from bedside.core.types import Conversation as Conversation
from bedside.core.types import JudgedResponse as JudgedResponse
from bedside.core.types import Message as Message
from bedside.core.types import Prompt as Prompt
from bedside.core.types import Response as Response
from bedside.core.types import Sampling as Sampling
from bedside.core.types import Stance as Stance
from bedside.core.types import Verdict as Verdict
from bedside.data.labelling import LabellingResult as LabellingResult
from bedside.data.responses import AnswerFile as AnswerFile
from bedside.deployment.attack import AttackRequest as AttackRequest
from bedside.deployment.monitor import MonitorResult as MonitorResult
from bedside.judge_audit.audit import AuditRequest as AuditRequest
from bedside.judge_audit.finetune import JudgeTraining as JudgeTraining
from bedside.judge_audit.train_classifier import ClassifierTraining as ClassifierTraining
from bedside.run.approvals import Approval as Approval
from bedside.stats.measures import mean as mean
from bedside.stats.measures import share as share

__version__: str

__all__ = [
    "AnswerFile",
    "Approval",
    "Attack",
    "AttackReport",
    "AttackRequest",
    "Audit",
    "AuditReport",
    "AuditRequest",
    "BaselineRequest",
    "BaselineResult",
    "BedsideError",
    "Chat",
    "CheckResult",
    "Checkpoint",
    "ClassifierTraining",
    "ComfortRun",
    "ComfortSummary",
    "Completion",
    "Config",
    "ConfigError",
    "ConfigSource",
    "Conversation",
    "DataError",
    "Dataset",
    "Erasure",
    "Evaluation",
    "ExportRequest",
    "Exported",
    "Finding",
    "Gate",
    "GateState",
    "GenerationResult",
    "Generator",
    "HarvestResult",
    "InitQuestion",
    "InitRequest",
    "Judge",
    "JudgeResult",
    "JudgeTraining",
    "JudgedResponse",
    "LabelSample",
    "LabellingResult",
    "Launch",
    "Loaded",
    "LocalPages",
    "Measure",
    "Message",
    "Metric",
    "MissingExtra",
    "ModelError",
    "MonitorResult",
    "Objective",
    "PackedReview",
    "Plugin",
    "PluginField",
    "Progress",
    "Prompt",
    "ReleasedCheckpoint",
    "ReplayReport",
    "Response",
    "ReviewAgreement",
    "RewriteResult",
    "Run",
    "RunSummary",
    "Sampling",
    "Selection",
    "SilentProgress",
    "StageError",
    "Stance",
    "StoppingReport",
    "TargetComparison",
    "TrainingResult",
    "UnblindedReview",
    "Verdict",
    "WatchStatus",
    "__version__",
    "adjudicate_review",
    "align",
    "align_targets",
    "approve",
    "attack",
    "audit",
    "chat",
    "check",
    "confirm_labels",
    "doctor",
    "erase",
    "evaluate",
    "export",
    "export_review",
    "generate",
    "import_review",
    "init",
    "judge",
    "label",
    "list_plugins",
    "load",
    "lock_review",
    "mean",
    "monitor",
    "monitor_baseline",
    "monitor_harvest",
    "monitor_replay",
    "monitor_watch",
    "open_judge",
    "open_model",
    "pack_review",
    "read_run",
    "register",
    "resolve",
    "review",
    "review_agreement",
    "rewrite",
    "run_comfort",
    "select",
    "serve_review",
    "share",
    "stopping",
    "train",
    "train_classifier",
    "train_judge",
    "transform_prompts",
    "unblind_review",
    "verify",
    "view",
    "write_card",
    "write_report",
]
