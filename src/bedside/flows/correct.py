"""`bedside evaluate --labels`: the judge's errors taken out of the rates, by labels on the same answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bedside.core.audits import Correction
from bedside.core.errors import ConfigError, DataError
from bedside.core.protocols import Judge, Launch, TwoClasses
from bedside.flows import figures, found, summary
from bedside.kernel.answers import Answers
from bedside.kernel.registry import open_plugin
from bedside.kernel.schema import Config
from bedside.kernel.tables import write_json
from bedside.stages import correct

LABELS = "labels"


def corrected(config: Config, answers: Answers, verdicts: Path, labels: str) -> tuple[Correction, ...]:
    """Raw and corrected shares by level; kept in the run's folder where there is one, for its report."""
    plugin = config.judges.get(labels)
    if plugin is None or plugin.kind != LABELS:
        raise ConfigError(
            f"--labels is {labels!r}; name a judge of kind labels (judges has {', '.join(config.judges)})"
        )
    experts: Judge = open_plugin(plugin, Launch(), {})
    rows = figures.read(answers, verdicts)
    truth = experts.judge([row.response for row in rows])
    if not any(verdict.stance for verdict in truth):
        raise DataError(
            f"{labels} has a label for none of {answers.path}: only labels on these very answers correct them"
        )
    two = isinstance(experts, TwoClasses) and experts.two_classes
    told = tuple(correct.correct(rows, truth, np.random.default_rng(config.seed), two=two))
    run = Path(config.runs) / config.run
    if run.is_dir():
        write_json(run / found.CORRECTION, told)
    return told


def as_json(told: Sequence[Correction]) -> list[dict[str, Any]]:
    return [
        {
            "level": one.level,
            "label": one.label,
            "method": one.method,
            "raw": summary.short(one.raw),
            "corrected": summary.short(one.corrected),
            "labelled": one.labelled,
            "why_not": one.why_not,
        }
        for one in told
    ]
