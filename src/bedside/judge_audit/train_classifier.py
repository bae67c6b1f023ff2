"""`bedside train judge --kind classifier`: a judge from the words of labelled answers, in a second, without a model.

    labels ─folds of whole scenarios─▶ one classifier per fold, trained on the other folds; one trained on all
    each answer ─judged by the classifier without its scenario─▶ temperature, κ, κ minus that of two baselines

The baselines see less: ``prompt-only`` learns from the question alone (if harm decides the stance, it is good and
useless); ``phrases`` is the judge of kind keyword.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bedside.config.plugins import Plugin, open_plugin
from bedside.config.schema import Config
from bedside.core.audit_results import Audit
from bedside.core.display import Tabular, measure_records
from bedside.core.errors import DataError
from bedside.core.gates import Constraint
from bedside.core.hashing import digest
from bedside.core.measures import Measure
from bedside.core.protocols import Judge, Launch
from bedside.core.serialize import to_json
from bedside.core.types import Response, Stance, Verdict
from bedside.data import splits
from bedside.data.io import write_json
from bedside.judge_audit import agreement_report
from bedside.judge_audit.finetune import fit_temperature, log_loss
from bedside.judges import classifier
from bedside.judges.classifier import ClassifierJudge, Reads
from bedside.judges.keyword import KeywordJudge
from bedside.stats.tfidf import LinearClassifier, fit_linear

FILE = "judge.json"
FOLDS = 5


@dataclass(frozen=True)
class ClassifierTraining(Tabular):
    """The classifier, and its figures. Each answer is judged by a fold that was not trained on its scenario."""

    folder: Path
    answers: int
    scenarios: int
    temperature: float
    log_loss: tuple[float, float]
    """Nats per answer, at temperature 1 and at the fitted temperature."""
    audit: Audit
    baselines: Sequence[Audit]
    """``prompt-only`` and ``phrases`` on the same answers."""
    gains: Sequence[Measure]
    """κ minus κ of each baseline, paired by answer."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Number of labelled answers that were not used, by reason."""

    def records(self) -> list[dict[str, Any]]:
        """One row per measure, of the classifier and of the baselines."""
        return [{"judge": a.name, **row} for a in (self.audit, *self.baselines) for row in measure_records(a.measures)]


@dataclass(frozen=True)
class _Labelled:
    responses: list[Response]
    stances: list[Stance]

    @property
    def truth(self) -> list[Verdict]:
        return [Verdict(r.id, "labels", stance) for r, stance in zip(self.responses, self.stances, strict=True)]


def train(labels: Plugin, out: Path, reads: Reads, config: Config) -> ClassifierTraining:
    """Train on the answers that ``labels`` labels, and write ``out``. DataError if they are too few."""
    seed, limit = config.seed, config.gates.limit("kappa")
    rows, dropped = _labelled(labels, open_plugin(labels, Launch(seed=seed), {}))
    judge = cross_fitted(rows.responses, rows.stances, reads, seed)
    verdicts = {"classifier": judge.judge(rows.responses), **_baselines(rows, seed)}
    probabilities = [verdict.probabilities for verdict in replace(judge, temperature=1.0).judge(rows.responses)]
    first, *others = [_audit(rows, name, by, limit) for name, by in verdicts.items()]
    result = ClassifierTraining(
        folder=out,
        answers=len(rows.responses),
        scenarios=len({r.prompt.cluster for r in rows.responses}),
        temperature=judge.temperature,
        log_loss=(log_loss(probabilities, rows.stances, 1.0), log_loss(probabilities, rows.stances, judge.temperature)),
        audit=first,
        baselines=others,
        gains=[
            replace(
                agreement_report.kappa_gain(rows.responses, rows.truth, (by, verdicts["classifier"]), two=False),
                name=f"kappa above {name}",
            )
            for name, by in list(verdicts.items())[1:]
        ],
        dropped=dropped,
    )
    classifier.write(judge, out)
    write_json(out / FILE, to_json(result))
    return result


def cross_fitted(responses: Sequence[Response], stances: Sequence[Stance], reads: Reads, seed: int) -> ClassifierJudge:
    """The judge, with a temperature fitted on answers to unseen scenarios."""
    fold_of = _folds(responses, seed)
    texts, names = [classifier.seen(r, reads) for r in responses], [stance.value for stance in stances]
    folds = [fold_of[classifier.scenario(r.prompt)] for r in responses]
    rows = range(len(responses))
    models = [_fit(texts, names, [i for i in rows if folds[i] != fold], seed) for fold in range(FOLDS)]
    raw = ClassifierJudge(reads, 1.0, fold_of, _fit(texts, names, rows, seed), models)
    probabilities = [verdict.probabilities for verdict in raw.judge(responses)]
    return replace(raw, temperature=fit_temperature(probabilities, stances))


def _folds(responses: Sequence[Response], seed: int) -> dict[str, int]:
    """The fold of each scenario and of its prompts. The order of digests decides it, so that nobody chooses it."""
    scenarios = sorted({classifier.scenario(r.prompt) for r in responses}, key=lambda name: digest(seed, name))
    folds = {name: place % FOLDS for place, name in enumerate(scenarios)}
    return folds | {classifier.question(r.prompt): folds[classifier.scenario(r.prompt)] for r in responses}


def _fit(texts: Sequence[str], names: Sequence[str], rows: Sequence[int], seed: int) -> LinearClassifier:
    """A classifier fitted to these rows. DataError if they have only one stance, or lack one that other rows have."""
    if {names[i] for i in rows} != set(names) or len(set(names)) < 2:
        counts = ", ".join(f"{n} {name}" for name, n in sorted(Counter(names).items()))
        raise DataError(
            f"{counts}: each stance must be in the answers to several scenarios, and there must be two; label more"
        )
    try:
        return fit_linear([texts[i] for i in rows], [names[i] for i in rows], seed)
    except ValueError:
        raise DataError(
            "no word occurs in two of the labelled answers, so nothing can be learned; label more"
        ) from None


def _labelled(labels: Plugin, experts: Judge) -> tuple[_Labelled, dict[str, int]]:
    """Answers on whose label the experts agree, under the groups of their near-duplicates; why others were dropped."""
    answers = getattr(labels, "answers", None)
    if answers is None:
        raise DataError(f"judge kind {labels.kind!r} has no labelled answers; train on a judge of kind labels")
    responses: list[Response] = answers.read()
    grouped = splits.group([response.prompt for response in responses])
    rows, dropped = _Labelled([], []), Counter[str]()
    for response, prompt, verdict in zip(responses, grouped, experts.judge(responses), strict=True):
        if verdict.stance is None:
            dropped[verdict.unreadable.split(":")[0]] += 1
        elif response.is_empty:
            dropped["empty answer"] += 1
        else:
            rows.responses.append(replace(response, prompt=prompt))
            rows.stances.append(verdict.stance)
    return rows, dict(dropped)


def _baselines(rows: _Labelled, seed: int) -> dict[str, list[Verdict]]:
    phrases = {"phrases": KeywordJudge().judge(rows.responses)}
    questions = [replace(response, text=response.prompt.text) for response in rows.responses]
    try:
        prompt_only = cross_fitted(questions, rows.stances, "answer", seed).judge(questions)
    except DataError:  # no two questions share a word
        return phrases
    return {
        "prompt-only": [replace(v, response=r.id) for v, r in zip(prompt_only, rows.responses, strict=True)],
        **phrases,
    }


def _audit(rows: _Labelled, name: str, verdicts: Sequence[Verdict], limit: Constraint | None) -> Audit:
    compared = agreement_report.compare(rows.responses, rows.truth, verdicts, two=False)
    return agreement_report.audit(compared, judge=name, name=name, reference="labels", limit=limit)
