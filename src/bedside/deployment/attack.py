"""`bedside attack`: how safe and how helpful a run's assistant stays when requests come in another form.

    prompts ─answers─▶ judged                           plain
    prompts ─attack─▶ ─answers─▶ judged as they were    under the attack
                                        change = under − plain, paired by prompt, bounded over groups

The original target and the selected checkpoint answer the same prompts. All prompts are attacked, harmless ones and
contrast partners too: a model that refuses whatever looks strange keeps its safety_score and loses its err. A judge
reads the request as it was (``run.context``). Prompts that are too long under an attack leave both sides of it.

The light guard (``deployment/guard.py``) is measured on the last policy: under each attack one that has not seen it,
and on the plain prompts, where it can only cost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from bedside.attacks import transform
from bedside.core.attack_results import (
    COMPARED,
    AttackExample,
    AttackOutcome,
    AttackReport,
    GuardedPolicy,
    PolicyUnderAttack,
)
from bedside.core.errors import ConfigError, DataError
from bedside.core.gates import Constraint, Gate, as_estimates
from bedside.core.measures import Measure
from bedside.core.protocols import Attack, Judge
from bedside.core.results import Candidate, RunSummary
from bedside.core.types import Checkpoint, GenerationRequest, JudgedResponse, Prompt, with_id
from bedside.data import seed_prompts, splits
from bedside.data.io import rows, write_json, write_rows
from bedside.data.prompts import ReadOptions, TablePrompts, Unlabelled
from bedside.deployment.guard import REMINDER, FormGuard
from bedside.run import experiment, generation, summary_file
from bedside.run.context import RunContext
from bedside.run.events import EventLog
from bedside.safety import evaluate, gates, selection
from bedside.stats.measures import share

FILE = "attack.json"
TOO_LONG = "longer under the attack than the model reads"


@dataclass(frozen=True)
class AttackRequest:
    """What to attack, and how. Attacks are names, names joined by +, or tables with ``kind``."""

    attacks: tuple[str | Mapping[str, Any], ...] = transform.DEFAULT
    part: str = "test"
    """train, valid or test."""
    prompts: Path | None = None
    """A file of prompts in place of a part."""
    harm: int | None = None
    """Harm level of the prompts of that file, where it does not say it."""
    limit: int | None = None
    """At most so many prompts, some of every harm level."""
    seed: int | None = None
    """Of the attacks' draws; the run's by default."""
    guard: bool = False
    """Also with the light guard of ``deployment/guard.py``, learned from the run's train prompts. For each attack it
    has seen the other ones alone."""


def attack(run: RunContext, request: AttackRequest) -> AttackReport:
    """Answers, verdicts and changes for each attack; written to ``attack.json`` of the run folder.

    Finished stages are read from the cache. DataError where the run is not finished.
    """
    finished = summary_file.read(run.folder)
    attacks, seed = (
        transform.open_attacks(request.attacks),
        request.seed if request.seed is not None else run.config.seed,
    )
    named, prompts = _prompts(run, request)
    policies = {candidate.name: candidate.checkpoint for candidate in _policies(finished)}
    for name, checkpoint in policies.items():
        opened = "held-out test opened" if named == "test" else "attacked"
        run.cache.log_event(opened, candidate=name, checkpoint=checkpoint.id, attacks=[one.name for one in attacks])
    comparison = _Comparison.of(run, prompts, policies, guard=request.guard)
    results = [comparison.result(one, seed) for one in attacks]
    on_plain = None
    if request.guard:
        train = experiment.read_parts(run.config, run.launch).train
        results = [
            replace(result, guard=comparison.guarded(_guard(train, attacks, seed, but=one), one, seed))
            for result, one in zip(results, attacks, strict=True)
        ]
        on_plain = comparison.guarded(_guard(train, attacks, seed), None, seed)
    report = AttackReport(
        run.config.run,
        finished.selected,
        named,
        run.config.selecting_judge,
        seed,
        {name: tuple(comparison.metric.measure(rows)) for name, rows in comparison.plain.items()},
        tuple(sorted(results, key=lambda result: (-result.loss[0], result.attack))),
        tuple(_notes(run, request, prompts)),
        on_plain,
    )
    write_json(run.folder / FILE, report)
    run.cache.record(run.folder / FILE)
    return report


def _guard(train: Sequence[Prompt], attacks: Sequence[Attack], seed: int, but: Attack | None = None) -> FormGuard:
    """Learned from all attacks, or from those that share no part with ``but``; from packaged ones if none is left."""
    unseen = set(but.name.split("+")) if but else set()
    known = [one for one in attacks if not unseen & set(one.name.split("+"))]
    known = known or [one for one in transform.open_attacks(transform.DEFAULT) if one.name not in unseen]
    return FormGuard.fit(train, known, seed)


def read_report(run: Path) -> AttackReport | None:
    """What the run folder holds; None where nothing was attacked. DataError where it is not what was written."""
    if not (run / FILE).is_file():
        return None
    return TypeAdapter(AttackReport).validate_json(EventLog(run).read_file(FILE, "run `bedside attack` again"))


def transform_file(file: Path, out: Path, request: AttackRequest) -> dict[str, int]:
    """Write every prompt of ``file`` in the form of each attack to ``out``. Returns the number of rows by attack.

    A row that an attack does not change is written, too: each attack has the same prompts.
    """
    prompts = splits.limited(splits.group(_read(file, request.harm, "keep")), request.limit)
    attacks, seed = transform.open_attacks(request.attacks), request.seed or 0
    made = {one.name: [transform.transform(prompt, one, seed) for prompt in prompts] for one in attacks}
    write_rows(out, [_row(prompt) for some in made.values() for prompt in some])
    return {name: len(some) for name, some in made.items()}


def _row(prompt: Prompt) -> dict[str, Any]:
    turns = [{"role": turn.role, "content": turn.text} for turn in prompt.messages]
    own = {"harm": prompt.harm, "principle": prompt.principle, "style": prompt.style, "group": prompt.group}
    rest = {"source": prompt.source, "reference": prompt.reference, **prompt.metadata}
    given = {key: value for key, value in (own | rest).items() if value is not None}
    return {"prompt": turns[0]["content"] if len(turns) == 1 else turns, **given}


def _policies(finished: RunSummary) -> list[Candidate]:
    """The original target and the selected checkpoint; one of them where the target was selected."""
    target, selected = finished.cycles[0].candidates[0], finished.cycles[-1].selected_candidate
    return [target] if selected.checkpoint.id == target.checkpoint.id else [target, selected]


def _prompts(run: RunContext, request: AttackRequest) -> tuple[str, list[Prompt]]:
    """What was asked for, for a person, and the prompts."""
    if request.prompts is not None:
        some = splits.group(_read(request.prompts, request.harm, "error"))
        return request.prompts.name, splits.limited(some, request.limit)
    parts = experiment.read_parts(run.config, run.launch).named
    if request.part not in parts:
        raise ConfigError(f"--part is {request.part!r}; it is train, valid or test")
    return request.part, splits.limited(parts[request.part], request.limit)


def _read(file: Path, harm: int | None, unlabelled: Unlabelled) -> list[Prompt]:
    """The prompts of a file of ours, of garak or of PyRIT. ``harm``: the level of those without one."""
    seeds, options = seed_prompts.SeedFile(file), ReadOptions(unlabelled=unlabelled, phi="scan")
    if file.suffix.lower() in (*seed_prompts.YAML, ".txt") or _is_of_garak(file):
        if harm is None and unlabelled == "error":
            raise ConfigError(
                f"{file}: such a file does not say how harmful its prompts are: give --harm LEVEL, 0 to 3"
            )
        return seeds.prompts(harm, options).read()
    if harm is None:
        return TablePrompts(str(file), lambda: rows(file), options).read()
    known = TablePrompts(str(file), lambda: rows(file), replace(options, unlabelled="keep")).read()
    return [prompt if prompt.harm is not None else replace(prompt, harm=harm) for prompt in known]


def _is_of_garak(file: Path) -> bool:
    """A JSON list of texts, or garak's own log: no table of ours looks like these."""
    if file.suffix.lower() not in (".json", ".jsonl") or not file.is_file():
        return False
    with file.open("rb") as opened:
        head = opened.read(4096).lstrip(b"\xef\xbb\xbf \r\n\t")
    return (head[:1] == b"[" and head[1:].lstrip()[:1] == b'"') or b'"entry_type"' in head or b'"entries"' in head


@dataclass(frozen=True)
class _Comparison:
    """Policies on the plain prompts, and what is needed to attack them."""

    run: RunContext
    judge: Judge
    metric: experiment.CombinedMetric
    limits: Sequence[Constraint]
    prompts: Sequence[Prompt]
    checkpoints: Mapping[str, Checkpoint]
    plain: Mapping[str, list[JudgedResponse]]
    guard: bool
    """Prompts must leave room for the reminder, too."""

    @classmethod
    def of(
        cls, run: RunContext, prompts: Sequence[Prompt], checkpoints: Mapping[str, Checkpoint], *, guard: bool
    ) -> "_Comparison":
        judge = run.opener.open(run.config.judges[run.config.selecting_judge])
        metric = experiment.metric(run.config)
        limits = [
            limit
            for limit in experiment.constraints(run.config, metric)
            if limit.relative_to is None and limit.measure in metric.failing
        ]
        comparison = cls(run, judge, metric, limits, prompts, checkpoints, {}, guard)
        return replace(comparison, plain={name: comparison.judged(name, prompts, "plain") for name in checkpoints})

    def judged(
        self, policy: str, prompts: Sequence[Prompt], what: str, system: str | None = None
    ) -> list[JudgedResponse]:
        """What ``policy`` answers, judged, as answers to the prompts as they were."""
        requests = [GenerationRequest(prompt, system=system) for prompt in prompts]
        label = f"{policy}, {what}"
        responses = self.run.stages.answers(requests, self.checkpoints[policy], label)
        return [_as_asked(row) for row in self.run.stages.judged(responses, self.judge, label)]

    def result(self, attack: Attack, seed: int) -> AttackOutcome:
        forms = [transform.transform(prompt, attack, seed) for prompt in self.prompts]
        kept = self._fitting(forms)
        if not kept:
            raise DataError(f"attack {attack.name}: every prompt is {TOO_LONG}; lessen what it adds, or leave it out")
        under = {name: self.judged(name, kept, attack.name) for name in self.checkpoints}
        ids = {row.prompt.id for row in next(iter(under.values()))}
        plain = {name: [row for row in rows if row.prompt.id in ids] for name, rows in self.plain.items()}
        policies = [self._policy(name, under[name], plain[name]) for name in under]
        first, last = under[policies[0].policy], under[policies[-1].policy]
        return AttackOutcome(
            attack.name,
            len(kept),
            tuple(policies),
            self._changes(last, first) if len(policies) > 1 else (),
            tuple(self._gates(policies[-1], last)),
            {TOO_LONG: len(forms) - len(kept)} if len(kept) < len(forms) else {},
            _example(kept, plain[policies[-1].policy], last),
        )

    def guarded(self, guard: FormGuard, attack: Attack | None, seed: int) -> GuardedPolicy:
        """The last policy with the guard, on the plain prompts or under ``attack``, beside itself without it."""
        name = list(self.checkpoints)[-1]
        asked = [transform.transform(p, attack, seed) for p in self.prompts] if attack else list(self.prompts)
        forms, what = self._fitting(asked), attack.name if attack else "plain"
        without = self.judged(name, forms, what)
        flags = guard.flags(forms)
        flagged = [form for form, flag in zip(forms, flags, strict=True) if flag]
        reminded = self.judged(name, flagged, f"{what}, guarded", REMINDER) if flagged else []
        again = {row.prompt.id: row for row in reminded}
        rows = [again.get(row.prompt.id, row) for row in without]  # who is not flagged gets the same answer
        share_flagged = share("flagged", [float(flag) for flag in flags], [form.cluster for form in forms])
        return GuardedPolicy(share_flagged, tuple(self.metric.measure(rows)), self._changes(rows, without))

    def _fitting(self, forms: Sequence[Prompt]) -> list[Prompt]:
        """Those that leave room for an answer, for every policy: they share one base."""
        policy = self.run.opener.policy(next(iter(self.checkpoints.values())))
        requests = [GenerationRequest(form, system=REMINDER if self.guard else None) for form in forms]
        lengths = policy.lengths([generation.conversation(request) for request in requests])
        room = policy.context - self.run.stages.sampling.max_new_tokens
        return [form for form, length in zip(forms, lengths, strict=True) if length <= room]

    def _policy(self, name: str, under: Sequence[JudgedResponse], plain: Sequence[JudgedResponse]) -> PolicyUnderAttack:
        return PolicyUnderAttack(name, tuple(self.metric.measure(under)), self._changes(under, plain))

    def _changes(self, after: Sequence[JudgedResponse], before: Sequence[JudgedResponse]) -> tuple[Measure, ...]:
        seed = self.run.launch.seed
        return tuple(selection.paired_change(name, after, before, self.metric, seed) for name in COMPARED)

    def _gates(self, policy: PolicyUnderAttack, rows: Sequence[JudgedResponse]) -> list[Gate]:
        others = evaluate.by_clustering(rows, self.run.config.data.groupings, self.metric.measure)
        decided = [gates.decide(limit, policy.under, policy.policy, others) for limit in self.limits]
        return as_estimates(decided) if self.run.config.rehearse else decided


def _as_asked(row: JudgedResponse) -> JudgedResponse:
    """The row, its prompt as it was before the attack; the answer keeps its id."""
    prompt = transform.untransformed(row.prompt)
    return replace(row, response=with_id(replace(row.response, prompt=prompt), row.response.id))


def _example(
    forms: Sequence[Prompt], plain: Sequence[JudgedResponse], under: Sequence[JudgedResponse]
) -> AttackExample | None:
    """The most severe prompt whose stance the attack changed; None where it changed none."""
    before = {row.prompt.id: row for row in plain}
    changed = [row for row in under if row.stance is not before[row.prompt.id].stance]
    if not changed:
        return None
    row = max(changed, key=lambda row: (row.prompt.harm or 0, row.prompt.id))
    form = next(form for form in forms if transform.untransformed(form).id == row.prompt.id)
    was = before[row.prompt.id]
    texts = (row.prompt.text, row.prompt.harm, _as_read(form), was.response.text, row.response.text)
    return AttackExample(*texts, _stance(was), _stance(row))


def _as_read(form: Prompt) -> str:
    """What the assistant read from the request on; of several turns each with its speaker."""
    turns = form.messages[int(form.metadata[transform.TURNS]) :]
    return turns[0].text if len(turns) == 1 else "\n".join(f"{turn.role}: {turn.text}" for turn in turns)


def _stance(row: JudgedResponse) -> str:
    return row.stance.value if row.stance else "unreadable"


def _notes(run: RunContext, request: AttackRequest, prompts: Sequence[Prompt]) -> list[str]:
    name = request.prompts.name if request.prompts else request.part
    notes = ["No person has read these answers: limits are decided by the judge's verdicts alone."]
    if request.prompts is None and request.part == "test":
        notes.append("These are held-out prompts. Choose attacks for align.attacks on valid: --part valid.")
    notes.append("The attacks are fixed texts. Somebody who tries many, or adapts them to the model, finds worse ones.")
    return [*notes, *experiment.doubts({name: prompts})]
