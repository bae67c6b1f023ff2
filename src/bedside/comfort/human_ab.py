"""Answers side by side for people, and what they say of them.

    kinder, more_correct    share of pairs in which a person chose the arm's answer over the target's; same counts half
    kappa                   Cohen's κ of the comfort judge with the people who chose a or b as kinder; a judge that
                            rates both alike, or not both, is counted as one who disagrees

Each question has the target's answer and one trained arm's, the arms in turn, in an order that the seed draws: who
reads them cannot tell whose is whose, and always choosing a gains nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from bedside.core.comfort_results import People, Preferred, rating
from bedside.core.hashing import digest
from bedside.core.results import Gate, GateState, Measure
from bedside.core.types import Judged
from bedside.stats.agreement import Ratings, kappa
from bedside.stats.inter_rater import Panel, krippendorff_alpha
from bedside.stats.measures import mean

PAIRS = 60
CHOICES = ("a", "b", "same")
KAPPA = "comfort judge: kappa with people"
Decide = Callable[[Measure], Gate]
"""May a judge of this κ be believed? As ``stages.audit.gate`` says of any judge."""


@dataclass(frozen=True, slots=True)
class Beside:
    """One question and two answers."""

    id: str
    arms: tuple[str, str]
    """Whose answer is a, and whose is b."""
    rows: tuple[Judged, Judged]


@dataclass(frozen=True, slots=True)
class Choice:
    """What one person says of one pair; None where nothing was said."""

    pair: str
    person: str
    kinder: str | None
    more_correct: str | None


def pairs(read: Mapping[str, Sequence[Judged]], seed: int) -> list[Beside]:
    """Pairs of the first rows; the first arm of ``read`` is the target."""
    arms, found = list(read), []
    for index in range(min(PAIRS, len(read[arms[0]]))):
        sides = [arms[0], arms[1 + index % (len(arms) - 1)]]
        name = digest(seed, [read[arm][index].response.id for arm in sides])
        first, second = reversed(sides) if int(name[-1], 16) % 2 else sides
        found.append(Beside(name, (first, second), (read[first][index], read[second][index])))
    return found


def said(pairs: Sequence[Beside], choices: Sequence[Choice], target: str, decide: Decide) -> People | None:
    """What people say of each arm, and whether the judge says the same, by ``decide``; None where nobody spoke."""
    by_id = {pair.id: pair for pair in pairs}
    if not any(choice.kinder or choice.more_correct for choice in choices):
        return None
    arms = dict.fromkeys(arm for pair in pairs for arm in pair.arms if arm != target)
    return People(
        persons=len({choice.person for choice in choices if choice.kinder or choice.more_correct}),
        preferred=tuple(_preferred(arm, by_id, choices) for arm in arms),
        alpha=_alpha(by_id, choices),
        judge=_judge(by_id, choices, decide),
    )


def _preferred(arm: str, by_id: Mapping[str, Beside], choices: Sequence[Choice]) -> Preferred:
    return Preferred(arm, *(_share(arm, by_id, choices, name) for name in ("kinder", "more_correct")))


def _share(arm: str, by_id: Mapping[str, Beside], choices: Sequence[Choice], name: str) -> Measure:
    told = [(by_id[c.pair], chosen) for c in choices if (chosen := getattr(c, name)) and arm in by_id[c.pair].arms]
    return mean(name, [_worth(arm, pair, chosen) for pair, chosen in told], [_case(pair) for pair, _ in told])


def _worth(arm: str, pair: Beside, choice: str) -> float:
    return 0.5 if choice == "same" else float(pair.arms["ab".index(choice)] == arm)


def _case(pair: Beside) -> str:
    return pair.rows[0].prompt.cluster


def _alpha(by_id: Mapping[str, Beside], choices: Sequence[Choice]) -> Measure | None:
    """Krippendorff's α of who is kinder; None where no pair has two people's word, or where all say the same."""
    people = list(dict.fromkeys(choice.person for choice in choices))
    told = {(choice.pair, choice.person): choice.kinder for choice in choices}
    asked = list(dict.fromkeys(choice.pair for choice in choices))
    items = tuple(tuple(told.get((pair, person)) for person in people) for pair in asked)
    if not any(len([label for label in item if label]) > 1 for item in items):
        return None
    found = krippendorff_alpha(Panel(items, tuple(_case(by_id[pair]) for pair in asked), CHOICES))
    return None if found.value is None else Measure("alpha", found.value, found.n, 0, found.low, found.high)


def _judge(by_id: Mapping[str, Beside], choices: Sequence[Choice], decide: Decide) -> Gate:
    """Does the comfort judge find that answer kinder which people do?"""
    decided = [(by_id[c.pair], c.kinder) for c in choices if c.kinder in ("a", "b")]
    if not any(_kinder(pair) for pair, _ in decided):
        return Gate(KAPPA, GateState.NOT_CHECKED, reason="no pair in which a person chose one is rated by the judge")
    first, second = tuple(chosen for _, chosen in decided if chosen), tuple(_kinder(p) or "same" for p, _ in decided)
    found = kappa(Ratings(first, second, tuple(_case(pair) for pair, _ in decided), CHOICES))
    value, low, high = found.value, found.low, found.high
    told = Measure("kappa", value, found.n, 0, low, high, worst=value, worst_low=found.lower_bound, worst_high=high)
    return replace(decide(told), name=KAPPA)


def _kinder(pair: Beside) -> str | None:
    """The answer that the judge rates higher; None where it could not rate one."""
    a, b = (rating(row.verdict.scores) for row in pair.rows)
    if a is None or b is None:
        return None
    return "same" if a == b else "a" if a > b else "b"
