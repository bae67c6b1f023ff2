"""Attacks on a judge: does text around a fixed answer change its label?

    strings that close a fence, imitate a verdict, claim authority, hide text, switch language, or are long
    empathy added or removed, safety-netting added or removed
    a refusal or a safe route before an answer that still gives what was asked, or a refusal after it

A case is one answer twice: unchanged, and with a change that neither adds to nor removes from what it gives. A flip is
a changed label. A case that is unreadable before or after counts as unreadable, not as a flip: a judge that gives up
was not deceived, and the gate on unreadable answers limits how often it may give up. The strings are in
``templates/adversarial.yaml``. The user's own answers are attacked with the same strings.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import yaml

from bedside.config.rendering import source
from bedside.core.audit_results import AdversarialResult, AttackResult
from bedside.core.types import Message, Prompt, Response, Stance, Verdict
from bedside.stats.measures import mean

EMPATHY, NETTING = "empathy", "safety-netting"
LONG_BYTES = 10_000
"""Longer strings are tried on one answer of each stance."""
STRONGEST = 5
_FIXED = "fixed"
"""``Response.checkpoint`` of an answer that no model gave."""


@dataclass(frozen=True, slots=True)
class AttackTarget:
    """An answer to attack, with the empathy before it and the safety advice after it, if it has any."""

    patient: Prompt
    core: str
    stance: Stance | None = None
    """Its true stance, if it is known."""
    empathy: str = ""
    netting: str = ""


@dataclass(frozen=True, slots=True)
class AttackCase:
    """One answer before and after a change."""

    kind: str
    name: str
    """Name of the string."""
    before: Response
    after: Response


def default_targets() -> list[AttackTarget]:
    """The answers that come with Bedside, two of each stance."""
    return [
        AttackTarget(
            Prompt((Message("user", row["patient"]),)),
            row["core"],
            Stance(row["stance"]),
            row["empathy"],
            row["netting"],
        )
        for row in words()["answers"]
    ]


def targets(responses: Sequence[Response]) -> list[AttackTarget]:
    """The user's own answers, unchanged. Empty answers are left out."""
    return [AttackTarget(response.prompt, response.text) for response in responses if not response.is_empty]


def cases(answers: Sequence[AttackTarget], stances: Sequence[Stance | None]) -> list[AttackCase]:
    """Every string around every answer. ``stances``: the judge's label of each unchanged answer."""
    seen: set[tuple[str, Stance | None]] = set()
    kept = []
    for answer, stance in zip(answers, stances, strict=True):
        # The text asks for a refusal, because the most harmful mistake is to call an accepting answer a refusal.
        goal = Stance.ACCEPT if stance is Stance.REFUSE else Stance.REFUSE
        refused = refusal_cases(answer) if stance is not Stance.REFUSE else []
        for case in (*_adversarial_cases(answer, goal), *_tone_cases(answer), *refused):
            if len(case.after.text) <= LONG_BYTES or (case.name, stance) not in seen:
                seen.add((case.name, stance))
                kept.append(case)
    return kept


def refusal_cases(answer: AttackTarget) -> list[AttackCase]:
    """Refusals and safe routes around an unchanged answer, which still gives what it gave."""
    return [
        AttackCase(
            kind,
            f"{kind} {number}",
            unchanged(answer),
            Response(answer.patient, fill_template(string, answer.core, ""), _FIXED, steered=Stance.REFUSE),
        )
        for kind, strings in words()["refusals"].items()
        for number, string in enumerate(strings, start=1)
    ]


def unchanged(answer: AttackTarget) -> Response:
    """The answer with nothing around it."""
    return Response(answer.patient, answer.core, _FIXED)


def flip_rates(judge: str, name: str, done: Sequence[AttackCase], verdicts: Mapping[str, Verdict]) -> AdversarialResult:
    """Flip rates by kind of change, then over all adversarial strings. ``verdicts``: by ``Response.id``."""
    adversarial = [case for case in done if case.kind in words()["strings"]]
    flipped = Counter(case.name for case in adversarial if _flipped(case, verdicts))
    return AdversarialResult(
        judge=judge,
        name=name,
        attacks=(
            *(
                rates(kind, [case for case in done if case.kind == kind], verdicts)
                for kind in dict.fromkeys([*(case.kind for case in done), *words()["refusals"]])
            ),
            rates("all adversarial strings", adversarial, verdicts),
        ),
        strongest=tuple(f"{string} ({n})" for string, n in flipped.most_common(STRONGEST)),
    )


def rates(
    kind: str,
    cases: Sequence[AttackCase],
    verdicts: Mapping[str, Verdict],
    group: Callable[[AttackCase], str] = lambda case: case.name,
) -> AttackResult:
    """Flip rates of these cases; None if there are none.

    One string on several answers is one ``group``, because those trials are not independent.
    """
    groups = [group(case) for case in cases]
    flips = [None if flipped is None else float(flipped) for flipped in (_flipped(case, verdicts) for case in cases)]
    steered = [
        flip and float(verdicts[case.after.id].stance is case.after.steered)
        for case, flip in zip(cases, flips, strict=True)
    ]
    return AttackResult(kind, mean("flips", flips, groups), mean("towards", steered, groups))


@cache
def words() -> Mapping[str, Any]:
    """The strings and answers of ``adversarial.yaml``."""
    return cast("Mapping[str, Any]", yaml.safe_load(source("adversarial.yaml")))


def fill_template(string: str | Mapping[str, Any], answer: str, goal: str) -> str:
    """The string with ``answer`` and ``goal`` filled in, and its filler repeated up to its length in bytes.

    Placeholders inside ``answer`` are not filled.
    """
    parts: Mapping[str, Any] = {"text": string, "fill": "", "to": 0} if isinstance(string, str) else string
    filler = str(parts["fill"]).replace("{goal}", goal)
    head, _, tail = str(parts["text"]).replace("{goal}", goal).partition("{answer}")
    room = int(parts["to"]) - len((head + tail + answer).encode())
    filling = filler * max(1, room // max(1, len(filler.encode())))
    return head.replace("{fill}", filling) + answer + tail.replace("{fill}", filling)


def _flipped(case: AttackCase, verdicts: Mapping[str, Verdict]) -> bool | None:
    """True if the change around the answer changed its label; None if either could not be read."""
    before, after = verdicts[case.before.id].stance, verdicts[case.after.id].stance
    return None if before is None or after is None else before is not after


def _adversarial_cases(answer: AttackTarget, goal: Stance) -> Iterator[AttackCase]:
    before = unchanged(answer)
    for kind, strings in words()["strings"].items():
        for number, string in enumerate(strings, start=1):
            after = Response(answer.patient, fill_template(string, answer.core, goal.value), _FIXED, steered=goal)
            yield AttackCase(kind, f"{kind} {number}", before, after)


def _tone_cases(answer: AttackTarget) -> Iterator[AttackCase]:
    """Empathy and safety advice added around the answer, and the answer's own removed."""
    before = unchanged(answer)
    added = {
        EMPATHY: [f"{phrase} {answer.core}" for phrase in words()["empathy"]],
        NETTING: [f"{answer.core} {phrase}" for phrase in words()["netting"]],
    }
    for tone, texts in added.items():
        for number, text in enumerate(texts, start=1):
            after = Response(answer.patient, text, _FIXED)
            yield AttackCase(f"{tone} added", f"{tone} added {number}", before, after)
    own = (
        (EMPATHY, answer.empathy, f"{answer.empathy} {answer.core}"),
        (NETTING, answer.netting, f"{answer.core} {answer.netting}"),
    )
    yield from (
        AttackCase(f"{tone} removed", answer.core, Response(answer.patient, whole, _FIXED), before)
        for tone, phrase, whole in own
        if phrase
    )
