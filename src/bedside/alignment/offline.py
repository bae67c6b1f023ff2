"""Figures from files, without a model: what `bedside evaluate` and `bedside select` print."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.config.schema import Config
from bedside.core.audit_results import Correction
from bedside.core.display import Tabular, measure_records
from bedside.core.gates import COMPARISONS, Gate, gates_json
from bedside.core.hashing import plain
from bedside.core.measures import Measure, get_measure, measures_json
from bedside.core.results import Candidate, RunSummary
from bedside.data.responses import AnswerFile, read_judged
from bedside.run import experiment
from bedside.run.experiment import unconfirmed
from bedside.safety import evaluate as evaluating
from bedside.safety import gates, selection


@dataclass(frozen=True)
class Evaluation(Tabular):
    """Measures of judged responses, and the gates of ``select.require`` on them."""

    measures: tuple[Measure, ...]
    gates: tuple[Gate, ...]
    unconfirmed: tuple[str, ...]
    """What rests on harm levels that nobody has confirmed."""
    corrections: tuple[Correction, ...] = ()
    """The rates without the judge's errors, where labels were given."""

    def measure(self, name: str) -> Measure:
        return get_measure(self.measures, name)

    def records(self) -> list[dict[str, Any]]:
        """One row per measure."""
        return measure_records(self.measures)

    def as_json(self) -> dict[str, Any]:
        return {
            "measures": measures_json(self.measures),
            "gates": gates_json(self.gates),
            "unconfirmed": list(self.unconfirmed),
        }


def evaluate(config: Config, answers: AnswerFile, verdicts: Path) -> Evaluation:
    """Measures of a file of answers beside a file of their verdicts. No model is needed."""
    judged = read_judged(answers, verdicts)
    metric = experiment.metric(config)
    measures = evaluating.evaluate(judged, [metric])
    names = {measure.name for measure in measures}
    limits = [limit for limit in experiment.constraints(config, metric) if limit.measure in names]
    doubts = unconfirmed({Path(answers.path).name: [row.prompt for row in judged]})
    decided = tuple(gates.decide(limit, measures, Path(answers.path).name) for limit in limits)
    return Evaluation(measures, decided, tuple(doubts))


def selection_report(run: RunSummary) -> dict[str, Any]:
    """What was selected, what may be released, and the alphas at which the winner changes."""
    candidates = candidates_of(run)
    return {
        "released": run.released,
        "selected": run.selected,
        "candidates": {c.name: measures_json(c.measures) for c in candidates},
        "winners": [plain(segment) for segment in selection.flip_points(selection.lines(candidates))],
        "winners_feasible": [plain(segment) for segment in feasible_winners(candidates)],
        "constraints": {c.name: gates_json(selection.constraints_on_valid(run.gates, c)) for c in candidates},
        "comparisons": gates_json(paired(run)),
        "advice": {str(alpha): words for alpha, words in selection.ADVICE.items()},
    }


def feasible_winners(candidates: Sequence[Candidate]) -> tuple[selection.AlphaSegment, ...]:
    """Winners along α among the candidates that meet every constraint by their point values."""
    return selection.flip_points(selection.lines([c for c in candidates if c.feasible]))


def paired(run: RunSummary) -> list[Gate]:
    """Every comparison on the same prompts of the sealed test: those that decide, then the others."""
    return [gate for gate in (*run.gates, *run.comparisons) if gate.kind in COMPARISONS]


def candidates_of(run: RunSummary) -> list[Candidate]:
    """Every candidate of every cycle, once."""
    return list({c.name: c for report in run.cycles for c in report.candidates}.values())
