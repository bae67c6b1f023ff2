"""Figures from files, without a model: what `bedside evaluate` and `bedside select` print."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.config.schema import Config
from bedside.core.hashing import plain
from bedside.core.results import Candidate, Gate, Measure, RunSummary, decisions, shorts
from bedside.data.responses import Answers
from bedside.judges import judged_files
from bedside.run import experiment
from bedside.run.experiment import unconfirmed
from bedside.safety import evaluate as evaluating
from bedside.safety import selection


@dataclass(frozen=True)
class Evaluation:
    """Measures of judged responses, and the gates of ``select.require`` on them."""

    measures: tuple[Measure, ...]
    gates: tuple[Gate, ...]
    unconfirmed: tuple[str, ...]
    """What rests on harm levels that nobody has confirmed."""

    def as_json(self) -> dict[str, Any]:
        return {
            "measures": shorts(self.measures),
            "gates": decisions(self.gates),
            "unconfirmed": list(self.unconfirmed),
        }


def evaluate(config: Config, answers: Answers, verdicts: Path) -> Evaluation:
    """Measures of a file of answers beside a file of their verdicts. No model is needed."""
    judged = judged_files.read(answers, verdicts)
    metric = experiment.metric(config)
    measures = evaluating.evaluate(judged, [metric])
    names = {measure.name for measure in measures}
    limits = [limit for limit in experiment.constraints(config, metric) if limit.measure in names]
    doubts = unconfirmed({Path(answers.path).name: [row.prompt for row in judged]})
    return Evaluation(measures, tuple(limit.gate(measures) for limit in limits), tuple(doubts))


def selection_report(told: RunSummary) -> dict[str, Any]:
    """What was carried, what ships, and the alphas at which the winner of the last cycle changes."""
    candidates = candidates_of(told)
    return {
        "ships": told.ships,
        "carried": told.carried,
        "candidates": {c.name: shorts(c.measures) for c in candidates},
        "winners": [plain(segment) for segment in selection.flip_points(selection.lines(candidates))],
        "winners_feasible": [plain(segment) for segment in feasible_winners(candidates)],
        "constraints": {c.name: decisions(selection.constraints_of(told.gates, c.measures)) for c in candidates},
        "comparisons": decisions(paired(told)),
        "advice": {str(alpha): words for alpha, words in selection.ADVICE.items()},
    }


def feasible_winners(candidates: Sequence[Candidate]) -> tuple[selection.Segment, ...]:
    """Winners along α among the candidates that meet every constraint by their point values."""
    return selection.flip_points(selection.lines([c for c in candidates if c.feasible]))


def paired(told: RunSummary) -> list[Gate]:
    """Every comparison on the same prompts of the sealed test: those that decide, then the others."""
    return [gate for gate in (*told.gates, *told.comparisons) if gate.limit == "> 0"]


def candidates_of(told: RunSummary) -> list[Candidate]:
    """Every candidate of every cycle, once."""
    found = {c.name: c for report in told.cycles for c in report.candidates}
    return list(found.values())
