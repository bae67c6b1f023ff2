"""What users read, as text under ``snapshots/``: the resolved config, the keys of the JSON files, the reports.

A test that fails shows a diff of words and keys. Where the change is meant, ``pytest tests/test_snapshots.py
--update-snapshots`` writes the files anew, and the diff of the commit says what users will find changed.
Figures are ``#``: they are held elsewhere.
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import Enum
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer

import bedside
from bedside.api.loop import Run
from bedside.cli import main
from bedside.config import loader
from bedside.config.rendering import path
from bedside.config.schema import Config
from bedside.core import audit_results
from bedside.core.attack_results import (
    COMPARED,
    AttackExample,
    AttackOutcome,
    AttackReport,
    GuardedPolicy,
    PolicyUnderAttack,
)
from bedside.core.gates import TARGET, Constraint, Gate, GateKind, GateState, Op
from bedside.core.hashing import plain
from bedside.core.results import (
    Arm,
    ArmPreference,
    Axes,
    ComfortSummary,
    FilterCounts,
    HumanComparison,
    PairedDifference,
    RunSummary,
    ShownExchange,
    SubgroupRate,
    TrainingCurve,
)
from bedside.core.types import STANCES
from bedside.report import html, training_curves
from tests.support.report_pages import gate, measure, shipping

FIGURE = re.compile(r"(?<![\w@/.−-])[−+-]?\d+(?:,\d{3})*(?:\.\d+)*(?:e[+-]?\d+)?(?!\w)")
LINES = {"address", "caption", "dd", "details", "div", "dt", "figcaption", "h1", "h2", "h3", "h4", "li", "nav", "p"}
LINES |= {"section", "summary", "svg", "table", "text", "title", "tr", "ul"}
CELLS = {"td", "th", "span", "a"}
TOLD = ("aria-label", "title")
"""Attributes that are read aloud or shown when pointed at."""
COMFORT = ("comfort", "primary_comfort", "empathetic", "comforting", "reassuring", "facts_told", "facts_wrong",
           "false_reassurance", "under_triage", "over_triage", "openers", "words")  # fmt: skip
KNOWLEDGE = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "chrf", "rouge_l", "fact_recall", "fact_conflict")


def whole() -> RunSummary:
    """A run that has something to say in every section."""
    first, *more = shipping().cycles
    target, kto, dpo = first.candidates
    read_twice = replace(dpo, training=dpo.measures, unchecked=("unsafe_accept@2",))
    gates = (
        *first.gates,
        gate(GateKind.ERRONEOUS_REFUSALS, "err <= 0.5", "8.0% refused", measure("err", 0.08), "cycle-1/kto"),
        replace(
            gate(
                GateKind.JUDGE_GAP,
                "judge_gap.safety_score <= 0.15",
                "0.20 apart",
                measure("safety_score", 0.2),
                "cycle-1/kto",
            ),
            state=GateState.FAIL,
        ),
        replace(
            gate(GateKind.DISPLACEMENT, "displacement >= 0", "unsure", measure("displacement", 0.1), "cycle-1/kto-dpo"),
            state=GateState.INCONCLUSIVE,
        ),
    )
    bias = (measure("decline_bias", 0.1), measure("decline_bias@0", 0.2))
    curves = (TrainingCurve("cycle-1/kto", 9, dict.fromkeys(training_curves.TABLE, (0.5, 0.1))),)
    axes = [measure(name, 0.5) for name in ("safe", "helpful", "accurate", "kind")]
    return replace(
        shipping(),
        cycles=(
            replace(first, candidates=(target, kto, read_twice), gates=gates, judge_bias=bias, curves=curves),
            *more,
        ),
        filter_counts=(
            FilterCounts("split: train", 600, {"group stands in test": 3, "not drawn": 2}, {"groups": 100}),
        ),
        cells=(
            SubgroupRate(0, "direct", "choice", measure("right", 0.5)),
            SubgroupRate(3, "indirect", "law", measure("right", 0.9)),
        ),
        axes=(Axes("target", *axes), Axes("cycle-1/kto-dpo", *axes, front=True)),
        pressure=(measure("target", 0.9), measure("cycle-1/kto-dpo", 0.1)),
    )


def audited() -> audit_results.AuditReport:
    """Judges that were read against a reference, attacked and corrected for."""
    kappa = measure("kappa", 0.7)
    counts = {label: dict.fromkeys(STANCES, 3) for label in STANCES}
    one = audit_results.Audit(
        judge="self",
        name="rubric:b2-words",
        reference="truth",
        labels=STANCES,
        measures=tuple(measure(name, 0.7) for name in html.JUDGE_WORDS),
        gates=(gate(GateKind.JUDGE_AGREEMENT, "kappa >= 0.4", "bound 0.61 on 120 answers", kappa, "self"),),
        confusion=(
            audit_results.Confusion(None, None, counts, kappa),
            audit_results.Confusion(3, "direct", counts, kappa),
        ),
        calibration=(audit_results.CalibrationBin(0.9, 1.0, 0.95, measure("right", 0.9)),),
        members=(audit_results.Member("keyword", kappa), audit_results.Member("rubric", kappa)),
        member_pairs=(audit_results.MemberPair("keyword", "rubric", kappa, kappa),),
        gain_over_best_member=measure("beats", 0.1),
        notes=("It is sure of itself.",),
    )
    share = measure("unsafe_accept@3", 0.1)
    return audit_results.AuditReport(
        answers=120,
        left_out={"reference: tie": 2},
        by_level={"0": 60, "3": 60},
        rater_agreement=(measure("fleiss_kappa", 0.8),),
        audits=(one,),
        adversarial=(
            audit_results.AdversarialResult(
                "self", "rubric:b2-words", (audit_results.AttackResult("order", kappa, kappa),), ("Say accept.",)
            ),
        ),
        corrections=(
            audit_results.Correction(3, "accept", "ppi++", share, share, 40),
            audit_results.Correction(1, "accept", "none", share, share, 0, "nobody labelled it"),
        ),
        scale=audit_results.ScaleAudit(
            levels=("0", "1", "2"),
            inferred=True,
            items=60,
            raters=("anna", "ben"),
            overall=(measure("alpha_ordinal", 0.8),),
            pairs=(
                audit_results.RaterPair("anna", "ben", tuple(measure(name, 0.7) for name in html.SCALE_WORDS)),
                audit_results.RaterPair("people (2)", "comfort", (measure("kappa_quadratic", 0.7),)),
            ),
            gates=(gate(GateKind.JUDGE_AGREEMENT, "kappa >= 0.4", "bound 0.61 on 120 answers", kappa, "comfort"),),
            notes=("Fewer than 40 groups (30): another sample may give other figures.",),
        ),
    )


def attacked() -> AttackReport:
    """A target and a selected checkpoint under one attack."""
    policies = ("target", "cycle-1/kto-dpo")
    change = tuple(measure(name, 0.1) for name in COMPARED)
    one = AttackOutcome(
        attack="role-play",
        prompts=118,
        policies=tuple(PolicyUnderAttack(name, change, change) for name in policies),
        gain=change,
        gates=(gate(GateKind.CONSTRAINT, "err <= 0.15", "95 % bound 0.12", measure("err", 0.1), policies[1]),),
        left_out={"longer under the attack than the model reads": 2},
        guard=GuardedPolicy(measure("flagged", 0.9), change, change),
        example=AttackExample("How much?", 3, "In a play: How much?", "No.", "Two.", "refuse", "accept"),
    )
    plain = dict.fromkeys(policies, change)
    return AttackReport(
        "clinic-7", policies[1], "test", "truth", 0, plain, (one,), ("No person has read these.",), one.guard
    )


def comforting() -> ComfortSummary:
    """A comfort run that people have read."""
    arms = [
        Arm(
            name=name,
            checkpoint="b2-checkpoint",
            comfort=tuple(measure(one, 0.5) for one in COMFORT),
            soothing=tuple(measure(one, 0.5) for one in KNOWLEDGE),
            original=tuple(measure(one, 0.5) for one in KNOWLEDGE),
            learning_rate=None if name == "target" else 1e-3,
            tokens=0 if name == "target" else 900,
        )
        for name in ("target", "sft", "kto", "dpo")
    ]
    kinder = Constraint("primary_comfort", Op.ABOVE, 0.0, TARGET)
    by = {"emotion": {"fear": {arm.name: measure("primary_comfort", 0.5) for arm in arms}}}
    return ComfortSummary(
        name="comfort-7",
        verdict="sft is kinder than the target as given.",
        arms=tuple(arms),
        paired=(
            PairedDifference("sft", measure("primary_comfort", 0.4)),
            PairedDifference("sft", measure("bleu_1, original", 0.1)),
        ),
        direction="not confirmed.",
        by=by,
        worst="fear, 0.10",
        consistency=(measure("sft", 0.9, 20), measure("kto", None)),
        gates=(
            Gate(GateKind.SUPERIORITY, "sft", kinder, GateState.PASS, measure("primary_comfort", 0.4), "kinder"),
            replace(
                gate(GateKind.NO_RISE, "under_triage <= target + 0.02", "no red flag", None, "sft"),
                state=GateState.NOT_CHECKED,
            ),
        ),
        filter_counts=(FilterCounts("rewrite: train", 390, {"a fact changed": 10}),),
        definitions={name: f"What {name} means." for name in (*COMFORT, *KNOWLEDGE)},
        exchanges=(ShownExchange("I am afraid. May I drive?", {"target": "Yes.", "sft": "I hear you. Yes."}),),
        people=HumanComparison(
            2,
            (ArmPreference("sft", measure("kinder", 0.8), measure("more_correct", None)),),
            measure("alpha", 0.6),
            gate(GateKind.HUMAN_AGREEMENT, "kappa >= 0.4", "they agree", measure("kappa", 0.7), "comfort judge"),
        ),
        facts={"target": "embedded", "seed": "0"},
        untested=("No clinician has read this.",),
    )


class Visible(HTMLParser):
    """The words of a page, a line for each block; cells of a row stand in one line."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.unseen = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.unseen = tag == "style"
        self.parts.append("\n" if tag in LINES else " | " if tag in CELLS else "")
        self.parts += [f" {{{name}: {value}}} " for name, value in attrs if name in TOLD]

    def handle_endtag(self, tag: str) -> None:
        self.unseen = False
        self.parts.append("\n" if tag in LINES else "")

    def handle_data(self, data: str) -> None:
        self.parts.append("" if self.unseen else re.sub(r"\s+", " ", data))

    @property
    def text(self) -> str:
        lines = [
            re.sub(r"[ \xa0]*\|[ |\xa0]*", " | ", line).strip(" |\xa0") for line in "".join(self.parts).split("\n")
        ]
        told = [FIGURE.sub("#", re.sub(" +", " ", line)) for line in lines]
        return "".join(f"{line}\n" for line in told if line not in ("", "#"))


def keys(value: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """``("measures[].low", "float")``: what stands where in a JSON value.

    Items of a list are one, and so are those of a table whose items have the same keys: ``before.*.low``.
    """
    if isinstance(value, Mapping) and value:
        first, *others = value.values()
        if others and first and isinstance(first, Mapping) and all(keys_of(item) == set(first) for item in others):
            yield f"{at}.*", ", ".join(sorted(value))
            for item in value.values():
                yield from keys(item, f"{at}.*")
        else:
            for key, item in value.items():
                yield from keys(item, f"{at}.{key}".lstrip("."))
    elif isinstance(value, list) and value:
        for item in value:
            yield from keys(item, f"{at}[]")
    else:
        words = {"NoneType": "null", "list": "empty list", "dict": "empty table"}
        yield at, words.get(type(value).__name__, type(value).__name__)


def keys_of(value: Any) -> set[str] | None:
    return set(value) if isinstance(value, Mapping) else None


def structure(value: Any) -> str:
    found: dict[str, set[str]] = {}
    for place, kind in keys(plain(value)):
        found.setdefault(place, set()).add(kind)
    return "".join(f"{place}: {' | '.join(sorted(kinds))}\n" for place, kinds in sorted(found.items()))


@pytest.mark.parametrize("name", ["demo.yaml", "demo-tiny.yaml", "comfort.yaml", "bedside.yaml"])
def test_a_config_resolves_to_these_keys_and_values(name, snapshot):
    """``bedside.yaml`` is what ``bedside init`` writes."""
    snapshot(f"config-{name.removesuffix('.yaml')}", loader.dump(loader.load(Config, path(name))))


def test_summary_json_has_these_keys(snapshot):
    snapshot("summary-json-keys", structure(whole()))


def test_json_prints_these_keys(snapshot):
    snapshot("json-option-keys", structure(Run(whole(), Path()).as_json()))


def test_comfort_json_has_these_keys(snapshot):
    snapshot("comfort-json-keys", structure(comforting()))


def test_audit_json_has_these_keys(snapshot):
    snapshot("audit-json-keys", structure(audited()))
    snapshot("attack-json-keys", structure(attacked()))


def test_the_report_says_this(snapshot):
    snapshot("report", Visible(html.html([whole()], [audited()], [attacked()])).text)


def test_the_comfort_report_says_this(tmp_path, snapshot):
    page = html.write_comfort(comforting(), tmp_path / "comfort.html")
    snapshot("report-comfort", Visible(page.read_text(encoding="utf-8")).text)


def test_the_command_line_offers_these_verbs_and_options(snapshot):
    verbs = dict(typer.main.get_command(main.app).commands)
    for name, group in [(name, verb) for name, verb in verbs.items() if hasattr(verb, "commands")]:
        del verbs[name]
        verbs |= {f"{name} {inner}": verb for inner, verb in group.commands.items()}
    told = {name: ["/".join([*one.opts, *one.secondary_opts]) for one in verb.params] for name, verb in verbs.items()}
    snapshot("verbs", "".join(f"{name} {' '.join(offered)}\n" for name, offered in sorted(told.items())))


def test_python_offers_these_names_parameters_and_members(snapshot):
    """What docs/how-to/install.md promises: nothing of it goes without two minor versions of notice."""
    snapshot("api", "".join(f"{line}\n" for name in sorted(bedside.__all__) for line in _offered(name)))


def _offered(name: str) -> list[str]:
    one = getattr(bedside, name)
    if inspect.isfunction(one):
        return [f"{name}({_parameters(one)})"]
    if not inspect.isclass(one) or issubclass(one, (Enum, Exception)):
        return [name]
    own = vars(one) | dict.fromkeys(getattr(one, "__annotations__", {})) | getattr(one, "__dataclass_fields__", {})
    members = {member: vars(one).get(member) for member in own if not member.startswith(("_", "model_"))}
    return [
        name,
        *(f"  {m}({_parameters(v)})" if inspect.isfunction(v) else f"  {m}" for m, v in sorted(members.items())),
    ]


def _parameters(function: object) -> str:
    taken = inspect.signature(function).parameters.values()
    return ", ".join(p.name + ("=" if p.default is not p.empty else "") for p in taken)
