"""`bedside audit`: judges against a reference, and under attack, on answers from a file.

    answers ─sample by level and style─▶ judged by the reference and by each candidate ─▶ Audit
                                          some again, and in each order of the labels   ─▶ flips
    hostile strings around fixed answers ─▶ judged by each candidate                    ─▶ Hostile

Everything goes through the run's store, so an audit that was interrupted continues. ``audit.json`` in the run's
folder is what the report's section 5 reads.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bedside.config import validation_messages
from bedside.config.plugins import Plugin, find, names
from bedside.config.schema import Config
from bedside.core.audit_results import Audit, Audits, Hostile
from bedside.core.errors import ConfigError, DataError
from bedside.core.hashing import plain
from bedside.core.protocols import ByOrder, Judge, TwoClasses
from bedside.core.results import Measure, decisions, passed, short, shorts
from bedside.core.types import Judged, Response, Verdict
from bedside.data import splits
from bedside.data.io import write_json
from bedside.data.responses import Answers
from bedside.judge_audit import adversarial, correct
from bedside.judge_audit import agreement_report as auditing
from bedside.judges import prompting
from bedside.run import endpoints, generation
from bedside.run.session import Session
from bedside.safety import gates

AGAIN = 100
"""Answers that are judged a second time, and in each order of the labels."""
ATTACKED = 6
"""Answers of one's own that are attacked."""
LABELS = "labels"
"""Key of a reference that the command line described, not the config."""
ANSWERS = 500


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for."""

    judges: tuple[str, ...] = ()
    """Keys of ``judges``, or kinds that need no configuration. Empty: the judge of ``align``."""
    against: str | None = None
    """Key of the reference. None: the judge of ``select``."""
    answers: Path | None = None
    labels: tuple[str, ...] = ()
    """Columns of ``answers`` that hold experts' labels: they are the reference then."""
    values: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    n: int = ANSWERS
    hostile: bool = False

    @property
    def described(self) -> bool:
        """True where the command line itself says which column is the reference."""
        return bool(self.labels or self.values)


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """The candidates and the reference as plug-ins, by key."""

    candidates: Mapping[str, Plugin]
    reference: tuple[str, Plugin] | None
    """None where nothing is compared: an attack needs no reference."""

    @property
    def plugins(self) -> list[Plugin]:
        return [*self.candidates.values(), *([self.reference[1]] if self.reference else [])]


def bench(config: Config, asked: Asked) -> AuditPlan:
    """Who is audited against whom. ConfigError where nobody is, or a judge against itself."""
    candidates = {key: plugin(config, key) for key in asked.judges or (config.align.judge,)}
    if asked.described:
        if asked.answers is None:
            raise ConfigError("--label says which column of ANSWERS holds labels; give the file")
        return AuditPlan(candidates, (LABELS, labelled(asked)))
    compares = asked.answers is not None or asked.against is not None
    if not compares and asked.hostile:
        return AuditPlan(candidates, None)
    against = asked.against or config.selecting_judge
    if against in candidates:
        raise ConfigError(
            f"judge {against} would be held against itself; name another in --against, or labels in --label COLUMN"
        )
    return AuditPlan(candidates, (against, plugin(config, against)))


def plugin(config: Config, key: str) -> Plugin:
    """The judge called ``key``, or the kind of that name where it needs no configuration."""
    if key in config.judges:
        chosen: Plugin = config.judges[key]
        return chosen
    if key not in names("judge"):
        raise unknown(key, [*config.judges, *names("judge")])
    try:
        return find("judge", key).model_validate({"kind": key})
    except ValidationError:
        raise ConfigError(f"judge {key!r} needs a configuration; name it under judges in the config") from None


def unknown(key: str, known: Sequence[str]) -> ConfigError:
    """Nobody is called ``key`` among the judges ``known``: their keys in the config, and kinds where those will do."""
    return ConfigError(f"no judge is called {key!r}; {validation_messages.nearest(key, dict.fromkeys(known))}")


def audit(session: Session, who: AuditPlan, asked: Asked) -> Audits:
    """Run the audit, write ``audit.json``, and return what it says. Nothing is answered from earlier judgements."""
    session = session.without_memory()
    opened = {key: session.open(candidate) for key, candidate in who.candidates.items()}
    told = Audits() if who.reference is None else _compared(session, who.reference, opened, asked)
    if asked.hostile:
        told = replace(told, hostile=_attacked(session, opened, _own(who, asked)))
    write_json(session.store.root / correct.AUDIT, told)
    return told


def as_json(told: Audits) -> dict[str, Any]:
    return {
        "answers": told.answers,
        "left_out": dict(told.left_out),
        "mix": dict(told.mix),
        "raters": shorts(told.raters),
        "audits": {audit.judge: _audit_json(audit) for audit in told.audits},
        "hostile": {
            one.judge: {a.kind: {"flips": short(a.flips), "towards": short(a.towards)} for a in one.attacks}
            for one in told.hostile
        },
    }


def trusted(told: Audits) -> bool:
    """True where every gate passed or was switched off."""
    return passed(gate for audit in told.audits for gate in audit.gates)


def _audit_json(audit: Audit) -> dict[str, Any]:
    return {
        "reference": audit.reference,
        "labels": list(audit.labels),
        "measures": {m.name: _bounded(m) for m in audit.measures},
        "gates": decisions(audit.gates),
        "confusion": [plain(cell) for cell in audit.confusion],
        "curve": [plain(step) for step in audit.curve],
        "members": {member.name: short(member.kappa) for member in audit.members},
        "together": [plain(pair) for pair in audit.together],
        "beats": plain(audit.beats),
        "notes": list(audit.notes),
    }


def _bounded(measure: Measure) -> dict[str, Any]:
    """With the bound that decides, where there is one."""
    return short(measure) | ({"lower_bound": measure.worst_low} if measure.worst_low is not None else {})


def labelled(asked: Asked) -> Plugin:
    """The judge that the command line describes: the labels in columns of ``answers``."""
    label = list(asked.labels) or ["label"]
    told = {"path": str(asked.answers), "columns": dict(asked.columns), "values": dict(asked.values)}
    kind = find("judge", LABELS)
    try:
        return kind.model_validate(told | {"label": label if len(label) > 1 else label[0]})
    except ValidationError as error:
        mistakes = validation_messages.told(error, kind).errors(include_url=False)
        raise ConfigError(
            "\n".join(f"{validation_messages.place(m['loc'])}: {m['ctx']['told']}" for m in mistakes)
        ) from None


def _compared(session: Session, reference: tuple[str, Plugin], opened: Mapping[str, Judge], asked: Asked) -> Audits:
    key, plugin = reference
    truth: Judge = session.open(plugin)
    responses = _grouped(_answers(plugin, asked))
    if plugin.kind == LABELS:
        responses = [r for r, v in zip(responses, truth.judge(responses), strict=True) if v.votes]
    if not responses:
        raise DataError(f"{key} has a label for none of the answers; are they the answers that were labelled?")
    drawn = auditing.sample(responses, asked.n, session.launch.seed)
    told = session.judged(drawn, truth, f"reference {key}")
    two = isinstance(truth, TwoClasses) and truth.two_classes
    audits, left_out = [], dict[str, int]()
    for name, candidate in opened.items():
        done, left_out = _one(session, name, candidate, (key, told), two=two)
        audits.append(done)
    return Audits(
        answers=len(drawn) - sum(left_out.values()),
        left_out=left_out | ({"not drawn": len(responses) - len(drawn)} if len(responses) > len(drawn) else {}),
        mix=_mix([row for row in told if row.stance is not None]),
        raters=auditing.raters([row.verdict for row in told], [row.prompt.group or "" for row in told], two=two),
        audits=tuple(audits),
    )


def _one(
    session: Session, key: str, candidate: Judge, reference: tuple[str, Sequence[Judged]], *, two: bool
) -> tuple[Audit, dict[str, int]]:
    """One candidate's audit, with flips and gates; and why answers were left out."""
    against, told = reference
    drawn = [row.response for row in told]
    read = session.judged(drawn, candidate, f"{key}")
    verdicts = [row.verdict for row in read]
    rows, left_out = auditing.compare(drawn, [row.verdict for row in told], verdicts, two=two)
    limits = session.config.gates
    found = auditing.audit(rows, judge=key, name=candidate.name, reference=against, least=limits.kappa_min)
    flips = _flips(session, key, candidate, drawn[:AGAIN], verdicts[:AGAIN])
    unreadable = gates.unreadable(found.measure("unreadable"), limits.unreadable_max)
    return replace(found, measures=(*found.measures, *flips), gates=(*found.gates, unreadable)), left_out


def _flips(session: Session, key: str, by: Judge, rows: Sequence[Response], first: Sequence[Verdict]) -> list[Measure]:
    """Asked again among other neighbours; and in each order of the labels, where the judge can say that."""
    again = session.store.map(
        "judge",
        [by.name, "again"],
        rows,
        lambda batch: list(reversed(prompting.judge(list(reversed(batch)), by))),
        Verdict,
        endpoints.rowwise(by, rows)
        or generation.plan([1] * len(rows), max(1, session.config.generate.batch_size // 2)),
        lanes=endpoints.lanes(by),
        label=f"{key}: judge again",
    )
    found = [auditing.flips("repeat_flips", rows, list(zip(first, again, strict=True)))]
    if isinstance(by, ByOrder):
        orders = session.store.map(
            "judge",
            [by.name, "each order"],
            rows,
            by.by_order,
            list[Verdict],
            endpoints.rowwise(by, rows)
            or generation.plan([len(row.text) for row in rows], session.config.generate.batch_size),
            lanes=endpoints.lanes(by),
            label=f"{key}: each order of the labels",
        )
        found.append(auditing.flips("order_flips", rows, orders.all()))
    return found


def _attacked(session: Session, opened: Mapping[str, Judge], own: Sequence[Response]) -> tuple[Hostile, ...]:
    answers = adversarial.fixed(own) if own else adversarial.shipped()
    return tuple(_under_attack(session, key, by, answers) for key, by in opened.items())


def _under_attack(session: Session, key: str, by: Judge, answers: Sequence[adversarial.Fixed]) -> Hostile:
    before = session.judged([adversarial.plain(answer) for answer in answers], by, f"{key}: fixed answers")
    cases = adversarial.cases(answers, [row.stance for row in before])
    every = {r.id: r for case in cases for r in (case.before, case.after)}
    done = session.judged(list(every.values()), by, f"{key}: hostile strings")
    return adversarial.measured(key, by.name, cases, {row.response.id: row.verdict for row in done})


def _own(who: AuditPlan, asked: Asked) -> list[Response]:
    """Answers of one's own to attack; none where no file was named."""
    if asked.answers is None:
        return []
    reference = who.reference[1] if who.reference else None
    return auditing.sample(_grouped(_answers(reference, asked)), ATTACKED, 0)


def _answers(reference: Plugin | None, asked: Asked) -> list[Response]:
    """The answers of the file named, else those that the experts labelled."""
    labelled: Answers | None = getattr(reference, "answers", None)
    path = str(asked.answers) if asked.answers is not None else None
    if labelled is not None and path in (None, labelled.path):
        return labelled.read()
    if path is None:
        raise ConfigError("give a file of answers: what `bedside generate` wrote, or columns prompt and response")
    return Answers(path, asked.columns).read()


def _grouped(responses: Sequence[Response]) -> list[Response]:
    """Each answer with the group of its prompt; near-duplicate prompts are one."""
    prompts = splits.group([response.prompt for response in responses])
    return [replace(response, prompt=prompt) for response, prompt in zip(responses, prompts, strict=True)]


def _mix(rows: Sequence[Judged]) -> dict[str, int]:
    counts = Counter("not labelled" if row.prompt.harm is None else str(row.prompt.harm) for row in rows)
    return dict(sorted(counts.items()))
