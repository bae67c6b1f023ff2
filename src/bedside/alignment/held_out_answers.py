"""The judged answers to the held-out test of a finished run, from its store. This opens no model and no data.

answers    store/generate/…   its spec names the checkpoint, and its prompts have the digest that the summary names
verdicts   store/judge/…      its inputs are those answers, and its spec names the selecting judge
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml

from bedside.config.plugins import find, open_plugin
from bedside.core.errors import DataError
from bedside.core.hashing import digest, digest_rows
from bedside.core.protocols import Launch
from bedside.core.results import Candidate, RunSummary
from bedside.core.types import GenerationRequest, JudgedResponse, Response, Verdict
from bedside.judges import prompting
from bedside.run.stage_cache import ROWS, StageDir, StageOutput
from bedside.safety.metrics import SafetyMetric

T = TypeVar("T")

JUDGE_NAMES = "selecting judge's name in every verdict"
"""The fact of a summary that has this name."""


@dataclass(frozen=True, slots=True)
class HeldOutAnswers:
    """One checkpoint's answers to the test and the selecting judge's verdicts, row by row."""

    name: str
    """Name of the candidate: ``target``, ``cycle-1/kto``."""
    checkpoint: str
    """``Checkpoint.id``."""
    responses: StageOutput[Response]
    verdicts: StageOutput[Verdict]

    def judged(self) -> list[JudgedResponse]:
        """The rows that metrics read."""
        return prompting.join(self.responses, self.verdicts)


def read(run: Path, summary: RunSummary) -> tuple[HeldOutAnswers, HeldOutAnswers]:
    """The answers of the original target, and those of the selected checkpoint; equal if that is the target.

    DataError if the store no longer has them, or if the run's version did not record its judge.
    """
    target, selected = compared(summary)
    before = _of(run, summary, target)
    return before, before if selected.checkpoint.id == before.checkpoint else _of(run, summary, selected)


def compared(summary: RunSummary) -> tuple[Candidate, Candidate]:
    """The target as given, and the selected checkpoint. DataError if the summary does not say which they are."""
    try:
        return summary.cycles[0].candidates[0], summary.cycles[-1].selected_candidate
    except (IndexError, StopIteration):
        raise _incomplete(summary, "which checkpoints it compared and selected") from None


def metric(summary: RunSummary) -> SafetyMetric:
    """The safety metric by whose rules this run counted failures."""
    try:
        select = yaml.safe_load(summary.facts["configuration"])["select"]
        plugin = find("metric", "safety").model_validate({key: select[key] for key in ("alpha", "err", "preset")})
    except (KeyError, TypeError, ValueError, RecursionError, yaml.YAMLError):  # ValidationError is a ValueError
        raise _incomplete(summary, "how failures were counted (select of its configuration)") from None
    opened: SafetyMetric = open_plugin(plugin, Launch(), {})
    return opened


def _of(run: Path, summary: RunSummary, candidate: Candidate) -> HeldOutAnswers:
    answers = _answers(run, summary, candidate.checkpoint.id)
    judges = summary.facts.get(JUDGE_NAMES, "").split(", ")
    judged = [stage for stage in _finished(run, "judge") if stage.record()["inputs"] == answers.digest]
    for stage in judged:
        if stage.record()["spec"] in judges:
            return HeldOutAnswers(candidate.name, candidate.checkpoint.id, answers, _output(stage, Verdict))
    raise _gone(run, f"the verdicts on what {candidate.name} answered to the test")


def _answers(run: Path, summary: RunSummary, checkpoint: str) -> StageOutput[Response]:
    """The stage in which ``checkpoint`` answered the test prompts, unchanged."""
    if "test" not in summary.mix or "data, test" not in summary.facts:
        raise _incomplete(summary, "which prompts its held-out test has")
    n, test = sum(summary.mix["test"].values()), summary.facts["data, test"].rpartition(" ")[2]
    stages = [stage for stage in _finished(run, "generate") if stage.record()["rows"] == n]
    asked = [(stage, _output(stage, Response)) for stage in stages if stage.record()["spec"][0] == checkpoint]
    of_test = [(stage, rows) for stage, rows in asked if digest([row.prompt.id for row in rows]) == test]
    for stage, rows in of_test:
        if len(of_test) == 1 or _without_instructions(stage, rows):
            return rows
    raise _gone(run, f"what checkpoint {checkpoint} answered to the test")


def _without_instructions(stage: StageDir, rows: StageOutput[Response]) -> bool:
    """Whether the prompts were asked as they are, under no system turn of a baseline."""
    requests = [GenerationRequest(row.prompt) for row in rows]
    return bool(stage.record()["inputs"] == digest_rows(requests))


def _finished(run: Path, stage: str) -> Iterator[StageDir]:
    folders = sorted((run / "store" / stage).glob("*"))
    return (done for folder in folders if (done := StageDir(folder)).finished)


def _output(stage: StageDir, row_type: type[T]) -> StageOutput[T]:
    return StageOutput(stage.path / ROWS, row_type, stage.record()["files"][ROWS])


def _incomplete(summary: RunSummary, what: str) -> DataError:
    return DataError(
        f"run {summary.name}: its summary.json does not say {what}; the same `bedside align` command writes it again"
    )


def _gone(run: Path, what: str) -> DataError:
    return DataError(f"{run}: its store does not hold {what}; the same `bedside align` command makes it again")
