"""Figures from files, without a model: what `bedside evaluate` and `bedside select` print."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.core.errors import DataError
from bedside.core.identity import plain
from bedside.core.reports import Candidate, Gate, Measure, RunSummary
from bedside.core.types import Judged, Verdict
from bedside.flows import rules, summary
from bedside.kernel import rows
from bedside.kernel.answers import Answers
from bedside.kernel.schema import Config
from bedside.stages import evaluate as evaluating
from bedside.stages import select
from bedside.stages.judge import join


@dataclass(frozen=True)
class Evaluation:
    """Measures of judged responses, and the gates of ``select.require`` on them."""

    measures: tuple[Measure, ...]
    gates: tuple[Gate, ...]
    unconfirmed: tuple[str, ...]
    """What rests on harm levels that nobody has confirmed."""

    def as_json(self) -> dict[str, Any]:
        return {
            "measures": summary.shorts(self.measures),
            "gates": summary.decisions(self.gates),
            "unconfirmed": list(self.unconfirmed),
        }


def evaluate(config: Config, answers: Answers, verdicts: Path) -> Evaluation:
    """Measures of a file of answers beside a file of their verdicts. No model is needed."""
    judged = read(answers, verdicts)
    metric = rules.metric(config)
    measures = evaluating.evaluate(judged, [metric])
    names = {measure.name for measure in measures}
    limits = [limit for limit in rules.constraints(config, metric) if limit.measure in names]
    unconfirmed = summary.unconfirmed({Path(answers.path).name: [row.prompt for row in judged]})
    return Evaluation(measures, tuple(limit.gate(measures) for limit in limits), tuple(unconfirmed))


def read(answers: Answers, verdicts: Path) -> list[Judged]:
    """A file of answers, in its order, beside a file of their verdicts. DataError where one has none."""
    by_id = {verdict.response: verdict for verdict in rows.read(verdicts, Verdict)}
    answered = answers.every()
    missing = sum(response.id not in by_id for response in answered)
    if missing == len(answered):
        raise DataError(
            f"{verdicts.name}: its verdicts are of other responses than {answers.path}; name those, or judge it"
        )
    if missing:
        raise DataError(
            f"{verdicts.name}: {missing} of {len(answered)} responses have no verdict; judge {answers.path} again"
        )
    return join(answered, [by_id[response.id] for response in answered])


def selection(told: RunSummary) -> dict[str, Any]:
    """What was carried, what ships, and the alphas at which the winner of the last cycle changes."""
    candidates = candidates_of(told)
    return {
        "ships": told.ships,
        "carried": told.carried,
        "candidates": {c.name: summary.shorts(c.measures) for c in candidates},
        "winners": [plain(segment) for segment in select.flip_points(select.lines(candidates))],
        "winners_feasible": [plain(segment) for segment in feasible_winners(candidates)],
        "constraints": {c.name: summary.decisions(select.constraints_of(told.gates, c.measures)) for c in candidates},
        "comparisons": summary.decisions(paired(told)),
        "advice": {str(alpha): words for alpha, words in select.ADVICE.items()},
    }


def feasible_winners(candidates: Sequence[Candidate]) -> tuple[select.Segment, ...]:
    """Winners along α among the candidates that meet every constraint by their point values."""
    return select.flip_points(select.lines([c for c in candidates if c.feasible]))


def paired(told: RunSummary) -> list[Gate]:
    """Every comparison on the same prompts of the sealed test: those that decide, then the others."""
    return [gate for gate in (*told.gates, *told.comparisons) if gate.limit == "> 0"]


def candidates_of(told: RunSummary) -> list[Candidate]:
    """Every candidate of every cycle, once."""
    found = {c.name: c for report in told.cycles for c in report.candidates}
    return list(found.values())
