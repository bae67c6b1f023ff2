"""`bedside audit`: compares judges with a reference, and attacks them, on answers from a file.

    answers ─sample by level and style─▶ judged by the reference and by each candidate ─▶ Audit
                                         some again, and in each order of the labels   ─▶ flip rates
    adversarial strings around fixed answers ─▶ judged by each candidate                   ─▶ AdversarialResult

Every judgement is a cached stage of the run, so an interrupted audit continues. The report's section on the judge reads
``audit.json`` in the run folder.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import ValidationError

from bedside.config import validation_messages
from bedside.config.plugins import Plugin, find, names
from bedside.config.schema import Config
from bedside.core.audit_results import AdversarialResult, Audit, AuditReport
from bedside.core.errors import ConfigError, DataError
from bedside.core.measures import Measure
from bedside.core.protocols import Judge, LabelOrderJudge, TwoClassJudge
from bedside.core.types import JudgedResponse, Response, Verdict
from bedside.data import splits
from bedside.data.io import write_json
from bedside.data.ratings import RatingFile, refuse_copies
from bedside.data.responses import AnswerFile
from bedside.judge_audit import adversarial, agreement_report, answer_labels, correct
from bedside.judge_audit.scale_audit import audit_scale
from bedside.judges import prompting
from bedside.run import endpoints, generation
from bedside.run.context import RunContext
from bedside.safety import gates, judge_bias

LIMIT = 500
"""How many answers are compared by default."""
REPEATED = 100
"""How many answers are judged a second time, and in each order of the labels."""
ATTACKED = 6
"""How many of the user's own answers are attacked."""


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """The options of the command."""

    judges: tuple[str, ...] = ()
    """Keys of ``judges``, or kinds that need no configuration. Empty: the judge of ``align``."""
    reference: str | None = None
    """Key of the reference. None: the judge of ``select``."""
    answers: Path | None = None
    labels: tuple[str, ...] = ()
    """Columns of ``answers`` with experts' labels. If given, they are the reference."""
    label_map: Mapping[str, str] = field(default_factory=dict)
    """The stance of each label in the file."""
    columns: Mapping[str, str] = field(default_factory=dict)
    limit: int = LIMIT
    adversarial: bool = False
    scale: Literal["stance", "ordinal"] = "stance"
    """ordinal: the labels are ratings on an ordered scale."""
    levels: tuple[str, ...] = ()
    """The scale of ``ordinal``, least level first. Empty: the labels are integers."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """The greatest possible score, by column of a judge's scores. Only for ``ordinal``."""

    @property
    def ratings(self) -> RatingFile:
        """The labels as ratings on a scale. ConfigError without a file."""
        if self.answers is None:
            raise ConfigError("--scale ordinal reads columns of ratings; give the file")
        return RatingFile(str(self.answers), self.labels, self.levels, self.scores, self.columns, self.label_map)


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """The candidates and the reference as plug-ins, by key."""

    candidates: Mapping[str, Plugin]
    reference: tuple[str, Plugin] | None
    """None if nothing is compared, because an attack needs no reference."""

    @property
    def plugins(self) -> list[Plugin]:
        return [*self.candidates.values(), *([self.reference[1]] if self.reference else [])]


def plan_audit(config: Config, request: AuditRequest) -> AuditPlan:
    """The judges to audit and their reference. ConfigError if a judge is unknown, or is its own reference."""
    if request.scale == "ordinal":
        return _plan_scale(config, request)
    if request.levels or request.scores:
        raise ConfigError("--levels and --score describe ratings on a scale; add --scale ordinal")
    candidates = {key: judge_plugin(config, key) for key in request.judges or (config.align.judge,)}
    if request.labels or request.label_map:
        if request.answers is None:
            raise ConfigError("--label names a column of labels in ANSWERS; give the file")
        return AuditPlan(candidates, (answer_labels.KIND, labels_plugin(request)))
    if request.adversarial and request.answers is None and request.reference is None:
        return AuditPlan(candidates, None)
    reference = request.reference or config.selecting_judge
    if reference in candidates:
        raise ConfigError(
            f"judge {reference} cannot be its own reference; name another in --reference, or labels in --label COLUMN"
        )
    return AuditPlan(candidates, (reference, judge_plugin(config, reference)))


def _plan_scale(config: Config, request: AuditRequest) -> AuditPlan:
    """The judges to compare with ratings: only those that are named, because ratings need no judge."""
    if request.adversarial or request.reference:
        raise ConfigError("--scale ordinal compares ratings: leave out --adversarial and --reference")
    return AuditPlan({key: judge_plugin(config, key) for key in request.judges}, None)


def judge_plugin(config: Config, key: str) -> Plugin:
    """The judge at ``key`` of ``judges``, or the kind ``key`` if that needs no configuration."""
    if key in config.judges:
        return cast("Plugin", config.judges[key])
    if key not in names("judge"):
        hint = validation_messages.did_you_mean(key, {*config.judges, *names("judge")})
        raise ConfigError(f"no judge is called {key!r}; {hint}")
    try:
        return find("judge", key).model_validate({"kind": key})
    except ValidationError:
        raise ConfigError(f"judge {key!r} needs a configuration; name it under judges in the config") from None


def labels_plugin(request: AuditRequest) -> Plugin:
    """The judge of kind labels that the options describe: columns of ``answers`` with experts' labels."""
    return labels_judge(
        {
            "path": str(request.answers),
            "label": list(request.labels) if len(request.labels) > 1 else (*request.labels, "label")[0],
            "columns": dict(request.columns),
            "label_map": dict(request.label_map),
        }
    )


def labels_judge(fields: Mapping[str, Any]) -> Plugin:
    """The judge of kind labels with these ``fields``. ConfigError with one line per mistake."""
    kind = find("judge", answer_labels.KIND)
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        mistakes = (f"{place}: {sentence}" for place, sentence in validation_messages.sentences(error, kind))
        raise ConfigError("\n".join(mistakes)) from None


def audit(run: RunContext, plan: AuditPlan, request: AuditRequest) -> AuditReport:
    """Run the audit, write ``audit.json``, and return the report."""
    report = measure_judges(run, plan, request)
    keep(run, report)
    return report


def keep(run: RunContext, report: AuditReport) -> None:
    """Write ``report`` into the run folder as ``audit.json``."""
    write_json(run.folder / correct.AUDIT, report)
    run.cache.record(run.folder / correct.AUDIT)


def measure_judges(run: RunContext, plan: AuditPlan, request: AuditRequest) -> AuditReport:
    """The report of the audit, which is not written. The judgement cache is not used."""
    run = run.without_judgement_cache()
    candidates: dict[str, Judge] = {key: run.opener.open(plugin) for key, plugin in plan.candidates.items()}
    if request.scale == "ordinal":
        report = AuditReport(scale=audit_scale(run, candidates, request.ratings, request.limit))
    else:
        report = _compare(run, plan.reference, candidates, request) if plan.reference else AuditReport()
    if request.adversarial:
        answers = _targets(plan, request)
        report = replace(
            report, adversarial=tuple(_attack(run, key, judge, answers) for key, judge in candidates.items())
        )
    return report


def _compare(
    run: RunContext, reference: tuple[str, Plugin], candidates: Mapping[str, Judge], request: AuditRequest
) -> AuditReport:
    key, plugin = reference
    truth: Judge = run.opener.open(plugin)
    responses = answers = _grouped(_answers(plugin, request))
    if plugin.kind == answer_labels.KIND:
        responses = [r for r, label in zip(responses, truth.judge(responses), strict=True) if label.votes]
    if not responses:
        first = "".join(f", the first of them {validation_messages.short(r.text)}" for r in answers[:1])
        file: Any = request.answers or getattr(plugin, "path", key)
        raise DataError(
            f"{file}: {key} labels none of the {len(answers)} answers{first}; name the answers that were labelled"
        )
    sampled = agreement_report.sample(responses, request.limit, run.launch.seed)
    rows = run.stages.judged(sampled, truth, f"reference {key}")
    two = isinstance(truth, TwoClassJudge) and truth.two_classes
    verdicts = [row.verdict for row in rows]
    raters = sorted({name for verdict in verdicts for name in verdict.votes})
    refuse_copies(f"reference {key}", {name: [verdict.votes.get(name) for verdict in verdicts] for name in raters})
    readable = [row.prompt.harm for row in rows if row.stance is not None]
    not_drawn = len(responses) - len(sampled)
    return AuditReport(
        answers=len(readable),
        left_out=agreement_report.unreadable_reasons(verdicts) | ({"not drawn": not_drawn} if not_drawn else {}),
        by_level=dict(sorted(Counter("not labelled" if level is None else str(level) for level in readable).items())),
        rater_agreement=agreement_report.rater_agreement(verdicts, [row.prompt.group or "" for row in rows], two=two),
        audits=tuple(_audit(run, name, judge, (key, rows), two=two) for name, judge in candidates.items()),
    )


def _audit(
    run: RunContext, key: str, judge: Judge, reference: tuple[str, Sequence[JudgedResponse]], *, two: bool
) -> Audit:
    """The audit of one candidate, with its flip rates and gates."""
    name, truth = reference
    responses = [row.response for row in truth]
    judged = run.stages.judged(responses, judge, key)
    verdicts = [row.verdict for row in judged]
    rows = agreement_report.compare(responses, [row.verdict for row in truth], verdicts, two=two)
    bias = judge_bias.decline_bias(judged, truth, run.launch.seed)
    limits = run.config.gates
    audit = agreement_report.audit(rows, judge=key, name=judge.name, reference=name, limit=limits.limit("kappa"))
    unreadable = gates.unreadable(audit.measure("unreadable"), limits.limit("unreadable"), subject=key)
    return replace(
        audit,
        measures=(*audit.measures, *bias, *_flip_rates(run, key, judge, responses[:REPEATED], verdicts[:REPEATED])),
        gates=(*audit.gates, unreadable),
    )


def _flip_rates(
    run: RunContext, key: str, judge: Judge, rows: Sequence[Response], first: Sequence[Verdict]
) -> list[Measure]:
    """Verdicts of a second time, in other batches, and in each order of the labels if the judge supports it."""
    size = run.config.generate.batch_size
    by_row, concurrency = endpoints.single_rows(judge, rows), endpoints.concurrency(judge)
    again = run.cache.map(
        "judge",
        [judge.name, "again"],
        rows,
        lambda batch: list(reversed(prompting.judge(list(reversed(batch)), judge))),
        Verdict,
        by_row or generation.plan([1] * len(rows), max(1, size // 2)),
        concurrency=concurrency,
        label=f"{key}: judge again",
    )
    rates = [agreement_report.flip_rate("repeat_flips", rows, list(zip(first, again, strict=True)))]
    if isinstance(judge, LabelOrderJudge):
        orders = run.cache.map(
            "judge",
            [judge.name, "each order"],
            rows,
            judge.judge_by_order,
            list[Verdict],
            by_row or generation.plan([len(row.text) for row in rows], size),
            concurrency=concurrency,
            label=f"{key}: each order of the labels",
        )
        rates.append(agreement_report.flip_rate("order_flips", rows, orders.all()))
    return rates


def _attack(run: RunContext, key: str, judge: Judge, answers: Sequence[adversarial.AttackTarget]) -> AdversarialResult:
    before = run.stages.judged([adversarial.unchanged(answer) for answer in answers], judge, f"{key}: fixed answers")
    cases = adversarial.cases(answers, [row.stance for row in before])
    responses = list({r.id: r for case in cases for r in (case.before, case.after)}.values())
    judged = run.stages.judged(responses, judge, f"{key}: adversarial strings")
    return adversarial.flip_rates(key, judge.name, cases, {row.response.id: row.verdict for row in judged})


def _targets(plan: AuditPlan, request: AuditRequest) -> list[adversarial.AttackTarget]:
    """A sample of the user's answers. Without any, the answers that come with Bedside."""
    if request.answers is None:
        return adversarial.default_targets()
    own = agreement_report.sample(
        _grouped(_answers(plan.reference[1] if plan.reference else None, request)), ATTACKED, seed=0
    )
    return adversarial.targets(own) if own else adversarial.default_targets()


def _answers(reference: Plugin | None, request: AuditRequest) -> list[Response]:
    """The answers of the named file, else those that the experts labelled."""
    labelled: AnswerFile | None = getattr(reference, "answers", None)
    path = str(request.answers) if request.answers is not None else None
    if labelled is not None and path in (None, labelled.path):
        return labelled.read()
    if path is None:
        raise ConfigError("give a file of answers: what `bedside generate` wrote, or columns prompt and response")
    return AnswerFile(path, request.columns).read()


def _grouped(responses: Sequence[Response]) -> list[Response]:
    """Each answer with the group of its prompt; near-duplicate prompts share a group."""
    prompts = splits.group([response.prompt for response in responses])
    return [replace(response, prompt=prompt) for response, prompt in zip(responses, prompts, strict=True)]
