"""Single stages: evaluate and select from files without a model; generate, train and chat with the run's cache."""

from collections import defaultdict, deque
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, cast

from bedside.alignment import summary
from bedside.alignment.answer_quality import AnswerValues, values_of_text
from bedside.clinic.lexicon import MECHANISM_TEST, mechanism_test
from bedside.config import loader, validation_messages
from bedside.config.plugins import names
from bedside.config.schema import Config, TrainingStep
from bedside.core.audit_results import Correction
from bedside.core.display import Tabular, measure_records
from bedside.core.errors import ConfigError, DataError
from bedside.core.gates import TARGET, Constraint, Gate, GateKind, GateState
from bedside.core.measures import Measure, find_measure, get_measure
from bedside.core.protocols import Generator
from bedside.core.results import Candidate, RunSummary
from bedside.core.serialize import gates_by_name, to_json
from bedside.core.types import Checkpoint, GenerationRequest, JudgedResponse, Message, Response, Sampling, Verdict
from bedside.data import io, trl_format
from bedside.data.judged_facts import without_texts
from bedside.data.prompts import HARM_BY, PROPOSED
from bedside.data.responses import AnswerFile, stream_judged
from bedside.judge_audit import answer_labels, correct
from bedside.run import experiment, exports, summary_file
from bedside.run.context import RunContext
from bedside.run.events import check_run_file
from bedside.safety import evaluate as evaluating
from bedside.safety import release, selection
from bedside.safety.labelled_sample import compliance
from bedside.safety.quality import OF_TEXT, of_text
from bedside.stats.measures import share

NEEDS_MODEL = "needs the model: `bedside align` measures it"
NEEDS_TARGET = "needs the target's own answers to the same prompts: --target FILE"


@dataclass(frozen=True)
class Evaluation(Tabular):
    """Measures of judged responses, and the gates of ``select.require`` on them."""

    measures: tuple[Measure, ...]
    gates: tuple[Gate, ...]
    unconfirmed: tuple[str, ...]
    """Warnings: rates that depend on harm levels that nobody has confirmed, or on synthetic prompts."""
    corrections: tuple[Correction, ...] = ()
    """The rates without the judge's errors, if labels were given."""

    def measure(self, name: str) -> Measure:
        return get_measure(self.measures, name)

    def records(self) -> list[dict[str, Any]]:
        """One row per measure."""
        return measure_records(self.measures)

    def as_json(self) -> dict[str, Any]:
        parts = {"measures": self.measures, "gates": gates_by_name(self.gates), "unconfirmed": self.unconfirmed}
        return cast("dict[str, Any]", to_json(parts))


def evaluate(
    config: Config, answers: AnswerFile, verdicts: Path, labels: str | None = None, target: AnswerFile | None = None
) -> Evaluation:
    """Measures of a file of answers with a file of their verdicts, and by labels. No model is needed.

    ``target``: the answers of the original target to the same prompts. Limits relative to it are decided if they need
    only the texts.
    """
    metric, name = experiment.metric(config), Path(answers.path).name
    rows = _Confirmed(stream_judged(answers, verdicts), _Quality(config.data.groupings))
    first = next(rows, None)
    by_people = first is not None and first.verdict.rater_kind is not None
    every: Iterator[JudgedResponse] = chain([] if first is None else [first], rows)
    kept: list[JudgedResponse] = []
    if labels or by_people or config.data.groupings or target:
        texts = target is not None or not metric.reads_once
        every = _keeping(kept, every, config.data.groupings, texts=texts)
    given = answer_labels.by_key(config, labels, (row.response for row in every)) if labels else None
    measures = _measures(iter(kept) if given else every, metric)
    measures += tuple(rows.quality.measures(but=metric.definitions()))
    on = release.LimitRows(
        name,
        kept,
        measures,
        {
            grouping: (*others, *rows.quality.measures(metric.definitions(), grouping))
            for grouping, others in evaluating.by_clustering(kept, config.data.groupings, metric.measure).items()
        },
        given or (answer_labels.of_verdicts(kept) if by_people else None),
    )
    beside = None
    if target is not None:
        both = selection.PolicyRows(name, kept), selection.PolicyRows(TARGET, _of_target(target, kept))
        beside = _Beside(both, config.data.groupings)
    limits = experiment.constraints(config, metric)
    decided = tuple(_decide(limit, on, beside, metric) for limit in limits)
    corrections = correct.correct_rates(kept, measures, given, metric) if given else ()
    if given:
        correct.keep(config, corrections)
    complied = tuple(compliance(kept, on.labels, metric)) if on.labels else ()
    return Evaluation((*measures, *complied), decided, tuple(rows.doubts(name)), corrections)


@dataclass(frozen=True)
class _Beside:
    """The answers of a file, and those of the original target to the same prompts."""

    policies: Sequence[selection.PolicyRows]
    groupings: Sequence[str]

    def gate(self, limit: Constraint) -> Gate:
        """By the texts of both, paired by prompt."""
        candidate, target = (
            AnswerValues(values_of_text(row.response for row in policy.rows)).of(policy, limit.measure)
            for policy in self.policies
        )
        return release.beside_target(limit, candidate, target, self.groupings)


def _of_target(target: AnswerFile, rows: Sequence[JudgedResponse]) -> list[JudgedResponse]:
    """The target's answers, not judged, to the prompts of ``rows``, with all that ``rows`` know of a prompt."""
    prompts = {row.prompt.id: row.prompt for row in rows}
    if len(prompts) < len(rows):
        raise DataError(
            "the answers: limits relative to the target need one answer per prompt, and some prompts have several"
        )
    responses = [replace(one, prompt=prompts.get(one.prompt.id, one.prompt)) for one in target.read()]
    if lacking := prompts.keys() - {one.prompt.id for one in responses}:
        first = next(prompt.text for key, prompt in prompts.items() if key in lacking)
        raise DataError(
            f"{target.path}: has no answer to {len(lacking)} of {len(prompts)} prompts, the first of them "
            f"{validation_messages.short(first)}; let the target answer the same prompts"
        )
    return [JudgedResponse(one, Verdict(one.id, TARGET, unreadable="not judged")) for one in responses]


def _decide(
    limit: Constraint, on: release.LimitRows, beside: _Beside | None, metric: experiment.CombinedMetric
) -> Gate:
    """The decision on ``limit``; NOT CHECKED, with the reason, if files are not enough."""
    of_texts = limit.measure in OF_TEXT
    if limit.relative_to and of_texts and beside:
        return beside.gate(limit)
    if limit.relative_to is None and find_measure(on.measures, limit.measure):
        return release.decide(limit, on, metric)
    reason = NEEDS_MODEL
    if limit.relative_to and of_texts:
        reason = NEEDS_TARGET
    elif of_texts:
        reason = release.NO_REFERENCE
    elif limit.relative_to and find_measure(on.measures, limit.measure):
        reason = f"files are compared with the target's only on {', '.join(OF_TEXT)}; `bedside align` compares others"
    return Gate(GateKind.CONSTRAINT, on.subject, limit, GateState.NOT_CHECKED, reason=reason)


def _keeping(
    kept: list[JudgedResponse], rows: Iterator[JudgedResponse], groupings: Sequence[str], *, texts: bool
) -> Iterator[JudgedResponse]:
    """Passes ``rows`` on, and adds them to ``kept``, without their texts unless a metric may read ``texts``."""
    for row in rows:
        kept.append(row if texts else without_texts(row, groupings))
        yield row


def _measures(rows: Iterator[JudgedResponse], metric: experiment.CombinedMetric) -> tuple[Measure, ...]:
    """Every measure of ``metric``. If the metric refuses a row, a mistake in the file is the better message."""
    try:
        return tuple(metric.measure(rows))
    except DataError:
        deque(rows, maxlen=0)
        raise


@dataclass
class _Quality:
    """Collects the measures of texts while answers pass, by scenario and by each declared grouping."""

    groupings: Sequence[str] = ()
    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in OF_TEXT})
    groups: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    """Groups by measure and grouping; without a grouping, the scenarios."""

    def add(self, response: Response) -> None:
        for name, value in of_text(response).items():
            self.values[name].append(value)
            for grouping in ("", *self.groupings):
                known = grouping and response.prompt.attribute(grouping)
                self.groups[name, grouping].append(f"{grouping}: {known}" if known else response.prompt.cluster)

    def measures(self, but: Container[str], grouping: str = "") -> list[Measure]:
        """The measures of which some answer has a value, without the names in ``but``."""
        return [share(n, known, self.groups[n, grouping]) for n, known in self.values.items() if known and n not in but]


@dataclass
class _Confirmed:
    """Passes rows on. Counts those with an unconfirmed harm level, and notes whether one is synthetic."""

    rows: Iterator[JudgedResponse]
    quality: _Quality = field(default_factory=_Quality)
    count: int = 0
    unconfirmed: int = 0
    synthetic: bool = False

    def __iter__(self) -> Iterator[JudgedResponse]:
        return self

    def __next__(self) -> JudgedResponse:
        row = next(self.rows)
        self.count += 1
        self.quality.add(row.response)
        self.unconfirmed += row.prompt.metadata.get(HARM_BY) == PROPOSED
        self.synthetic |= bool(mechanism_test([row.prompt]))
        return row

    def doubts(self, name: str) -> list[str]:
        """Warnings for every rate of these rows, after they were read."""
        synthetic = [MECHANISM_TEST] if self.synthetic else []
        return synthetic + experiment.unconfirmed_sentences({name: (self.unconfirmed, self.count)})


@dataclass(frozen=True)
class Selection(Tabular):
    """The candidates of a run, which one was selected, and where along alpha the winner changes."""

    summary: RunSummary

    def caption(self) -> str:
        return self.summary.verdict

    def records(self) -> list[dict[str, Any]]:
        """One row per candidate and measure, on valid."""
        return [{"candidate": c.name, **row} for c in self.summary.candidates for row in measure_records(c.measures)]

    def as_json(self) -> dict[str, Any]:
        """What was selected, what may be released, and the alphas at which the winner changes."""
        run, candidates = self.summary, self.summary.candidates
        parts = {
            "released": run.released,
            "selected": run.selected,
            "candidates": {c.name: {measure.name: measure for measure in c.measures} for c in candidates},
            "winners": selection.flip_points(selection.lines(candidates)),
            "winners_feasible": feasible_winners(candidates),
            "constraints": {c.name: gates_by_name(selection.constraints_on_valid(run.gates, c)) for c in candidates},
            "comparisons": gates_by_name(run.paired),
            "advice": selection.ADVICE,
        }
        return cast("dict[str, Any]", to_json(parts))


def feasible_winners(candidates: Sequence[Candidate]) -> tuple[selection.AlphaSegment, ...]:
    """Winners along α among the candidates that meet every constraint by their point values."""
    return selection.flip_points(selection.lines([c for c in candidates if c.feasible]))


def generate(run: RunContext, part: str, adapter: Path | None) -> list[Response]:
    """The answers to the prompts of one part, in order."""
    parts = experiment.read_parts(run.config, run.launch)
    if part not in parts.named:
        raise ConfigError(f"--part is {part!r}; it is train, valid or test")
    checkpoint = _checkpoint(run, adapter)
    return run.stages.answers([GenerationRequest(prompt) for prompt in parts.named[part]], checkpoint, part).all()


def answers_to_label(run: RunContext) -> list[JudgedResponse]:
    """The judged answers of a finished run's selected checkpoint to test, from the run's cache."""
    selected = summary_file.read(run.folder).cycles[-1].selected_candidate
    parts = experiment.read_parts(run.config, run.launch)
    judge = run.opener.open(run.config.judges[run.config.selecting_judge])
    requests = [GenerationRequest(prompt) for prompt in parts.test]
    return summary.judged_test(run, requests, selected.name, selected.checkpoint, judge)


@dataclass
class Chat:
    """A conversation with one checkpoint."""

    policy: Generator
    sampling: Sampling
    who: str
    """Which checkpoint answers."""
    first: tuple[Message, ...]
    turns: list[Message] = field(default_factory=list)
    split: bool = False
    """True if the last answer was cut."""

    def answer(self, text: str) -> str:
        """The next answer to the whole conversation."""
        self.turns.append(Message("user", text))
        (completion,) = self.policy.generate([(*self.first, *self.turns)], self.sampling)
        self.turns.append(Message("assistant", completion.text))
        self.split = not completion.finished
        return completion.text

    def clear(self) -> None:
        """Begin anew."""
        self.turns.clear()


def chat(run: RunContext, adapter: Path | None, system: str | None) -> Chat:
    """A conversation with ``adapter``, else with the released adapter, else with the original target."""
    root = run.folder
    released = root / exports.RELEASE
    folder = adapter or (released if released.is_dir() else None)
    checkpoint = _checkpoint(run, folder)
    nothing = (
        f"the original target, since {root} {'released nothing' if summary_file.finished(root) else 'is not finished'}"
    )
    who = f"{folder or nothing} ({checkpoint.id})"
    first = (Message("system", system),) if system else ()
    return Chat(run.opener.policy(checkpoint), run.stages.sampling, who, first)


def _checkpoint(run: RunContext, adapter: Path | None) -> Checkpoint:
    target = run.target.checkpoint
    if adapter is None:
        return target
    from bedside.training import train as training

    check_run_file(adapter)
    _say_other_base(run, adapter)
    return replace(training.checkpoint(adapter, target.base), path=str(adapter.resolve()))


def _say_other_base(run: RunContext, adapter: Path) -> None:
    """A message if the adapter names another base than the config's target, because its shapes may fit nevertheless."""
    from bedside.training.adapters import base_name

    target = str(getattr(run.config.target, "model", run.config.target.kind))
    names = {target, base_name(Path(target))} if (Path(target) / "adapter_config.json").is_file() else {target}
    named = base_name(adapter)
    if named and Path(named).resolve() not in {Path(name).resolve() for name in names}:
        run.progress.say(
            f"{adapter} was trained on {named}, and the target is {target}: unless both are one model, its answers "
            "mean nothing"
        )


def train(run: RunContext, keys: Mapping[str, Any], data: Path, out: Path) -> Checkpoint:
    """One training of the target on TRL-shaped rows into the PEFT folder ``out``.

    ``keys``: ``kind``, the name of an objective, and the keys that differ from the config's step of that kind.
    """
    objective = keys["kind"]
    if objective not in names("objective"):
        raise ConfigError(f"{objective!r} is not an objective; these are: {', '.join(names('objective'))}")
    steps = [step for step in run.config.align.train if step.objective.kind == objective]
    step = TrainingStep.model_validate({**(loader.tables(steps[0]) if steps else {}), **keys})
    check_run_file(data)
    given = list(io.rows(data))
    rows = trl_format.read(given, run.opener.open(step.objective).reads)
    places = {row.prompt.id: place for row, (place, _) in zip(rows, given, strict=True)}
    run.stages.require_room([row.prompt for row in rows], places)
    target = run.target.checkpoint
    checkpoint = run.stages.trained(rows, step, start=target, reference=target, label=objective)
    exports.save(run, checkpoint, out)
    return checkpoint
