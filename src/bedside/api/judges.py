"""Audits and training of judges."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bedside.api.configs import ConfigSource, settle
from bedside.api.opening import opened_run
from bedside.core.extras import needs_extras
from bedside.core.protocols import Progress

if TYPE_CHECKING:
    from bedside.core.audit_results import AuditReport
    from bedside.judge_audit.audit import AuditRequest
    from bedside.judge_audit.finetune import JudgeTraining
    from bedside.judge_audit.train_classifier import ClassifierTraining


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

    settled = settle(config, "audit")
    plan = auditing.plan_audit(settled, request)
    with opened_run(settled, progress, judges=plan.plugins) as opened:
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
    """Train the target as a judge on labelled answers, and write the PEFT folder ``out``. A quarter is held out.

    ``labels``: a file with the columns prompt, response and label, or the mapping of a judge of kind labels:
    ``{"path": "read.csv", "label": "human", "label_map": {"yes": "accept"}}``.

    >>> training = bedside.train_judge("labelled.csv", "tuned", progress=bedside.SilentProgress())
    >>> training.train_rows + training.held_out
    80
    """
    from bedside.judge_audit import finetune
    from bedside.judge_audit.audit import labels_judge

    table = dict(labels) if isinstance(labels, Mapping) else {"path": str(labels)}
    with opened_run(settle(config, "judge"), progress) as opened:
        return finetune.train(opened, labels_judge(table), Path(out), learning_rate)


def train_classifier(
    labels: str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    reads: Literal["answer", "exchange"] = "answer",
    config: ConfigSource | None = None,
) -> "ClassifierTraining":
    """Train a judge of kind classifier on labelled answers, and write it to ``out``. This takes a second and no model.

    ``labels``: as for ``train_judge``. ``reads``: the answer's words, or those of question and answer without the
    answer's refusal phrases. Each answer is judged by a part of the classifier that was not trained on its scenario.

    >>> training = bedside.train_classifier("labelled.csv", "words")
    >>> training.answers, training.audit.measure("agreement").n
    (80, 80)
    """
    from bedside.judge_audit import train_classifier as training
    from bedside.judge_audit.audit import labels_judge

    labelled = labels_judge(dict(labels) if isinstance(labels, Mapping) else {"path": str(labels)})
    return training.train(labelled, Path(out), reads, settle(config, "judge"))
