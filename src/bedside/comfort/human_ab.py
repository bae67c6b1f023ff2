"""Answers side by side for people, and what their choices show.

    kinder, more_correct    share of pairs in which a person chose the arm's answer over the target's; same counts half
    kappa                   Cohen's κ of the comfort judge with the people who chose a or b as kinder; if the judge
                            rates both answers alike, or not both, it counts as disagreement

Each question has the target's answer and that of one trained arm, the arms in turn, in an order that the seed draws:
raters cannot tell which model wrote which answer, and always choosing a gains nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bedside.core.comfort_results import ArmPreference, HumanComparison, rating
from bedside.core.gates import Constraint, Gate, GateKind, GateState
from bedside.core.hashing import digest
from bedside.core.measures import Measure
from bedside.core.types import JudgedResponse
from bedside.safety.gates import judge_agreement, kappa_measure
from bedside.stats.agreement import Ratings, RatingTable, kappa, krippendorff_alpha
from bedside.stats.measures import mean

PAIRS = 60
CHOICES = ("a", "b", "same")
COMFORT_JUDGE = "comfort judge"


@dataclass(frozen=True, slots=True)
class AnswerPair:
    """One question and two answers."""

    id: str
    arms: tuple[str, str]
    """The arm that wrote a, and the arm that wrote b."""
    rows: tuple[JudgedResponse, JudgedResponse]

    @property
    def cluster(self) -> str:
        """The group that intervals count the pair by."""
        return self.rows[0].prompt.cluster

    @property
    def kinder_by_judge(self) -> str | None:
        """The answer that the judge rates higher: a, b or same; None if it rates one of them not at all."""
        a, b = (rating(row.verdict.scores) for row in self.rows)
        if a is None or b is None:
            return None
        return "same" if a == b else "a" if a > b else "b"


@dataclass(frozen=True, slots=True)
class RaterChoice:
    """One person's choices for one pair; None for a question left open."""

    pair: str
    person: str
    kinder: str | None
    more_correct: str | None


def build_pairs(answers: Mapping[str, Sequence[JudgedResponse]], seed: int) -> list[AnswerPair]:
    """Pairs of the first rows. ``answers``: rows by arm, in one order; the first arm is the target."""
    target, *arms = answers
    pairs = []
    for index in range(min(PAIRS, len(answers[target]))):
        sides = [target, arms[index % len(arms)]]
        id_ = digest(seed, [answers[arm][index].response.id for arm in sides])
        a, b = reversed(sides) if int(id_[-1], 16) % 2 else sides
        pairs.append(AnswerPair(id_, (a, b), (answers[a][index], answers[b][index])))
    return pairs


def compare_choices(
    pairs: Sequence[AnswerPair], choices: Sequence[RaterChoice], target: str, limit: Constraint | None
) -> HumanComparison | None:
    """People's preferences by arm, and the judge's agreement with them; None if nobody chose anything.

    ``limit``: on the kappa of the comfort judge with people.
    """
    by_id = {pair.id: pair for pair in pairs}
    made = [choice for choice in choices if choice.kinder or choice.more_correct]
    if not made:
        return None
    arms = dict.fromkeys(arm for pair in pairs for arm in pair.arms if arm != target)
    return HumanComparison(
        persons=len({choice.person for choice in made}),
        preferred=tuple(
            ArmPreference(arm, *(_share(arm, by_id, made, name) for name in ("kinder", "more_correct"))) for arm in arms
        ),
        alpha=_alpha(by_id, choices),
        judge=_judge_gate(by_id, choices, limit),
    )


def _share(arm: str, by_id: Mapping[str, AnswerPair], choices: Sequence[RaterChoice], name: str) -> Measure:
    """How often ``arm`` was chosen in the column ``name`` of its pairs; same counts half."""
    chosen = [(by_id[c.pair], side) for c in choices if (side := getattr(c, name)) and arm in by_id[c.pair].arms]
    wins = [0.5 if side == "same" else float(pair.arms["ab".index(side)] == arm) for pair, side in chosen]
    return mean(name, wins, [pair.cluster for pair, _ in chosen])


def _alpha(by_id: Mapping[str, AnswerPair], choices: Sequence[RaterChoice]) -> Measure | None:
    """Krippendorff's α of ``kinder``; None if no pair has the choices of two people, or if all choose the same."""
    people = list(dict.fromkeys(choice.person for choice in choices))
    kinder = {(choice.pair, choice.person): choice.kinder for choice in choices}
    ids = list(dict.fromkeys(choice.pair for choice in choices))
    items = tuple(tuple(kinder.get((id_, person)) for person in people) for id_ in ids)
    if not any(sum(bool(label) for label in item) > 1 for item in items):
        return None
    alpha = krippendorff_alpha(RatingTable(items, tuple(by_id[id_].cluster for id_ in ids), CHOICES))
    return None if alpha.value is None else Measure("alpha", alpha.value, alpha.n, 0, alpha.low, alpha.high)


def _judge_gate(by_id: Mapping[str, AnswerPair], choices: Sequence[RaterChoice], limit: Constraint | None) -> Gate:
    """Whether the comfort judge finds the same answer kinder as people do."""
    decided = [(by_id[c.pair], c.kinder) for c in choices if c.kinder in ("a", "b")]
    if not any(pair.kinder_by_judge for pair, _ in decided):
        reason = "no pair in which a person chose one is rated by the judge"
        return Gate(GateKind.HUMAN_AGREEMENT, COMFORT_JUDGE, limit, GateState.NOT_CHECKED, reason=reason)
    by_people = tuple(side for _, side in decided if side)
    by_judge = tuple(pair.kinder_by_judge or "same" for pair, _ in decided)
    agreement = kappa(Ratings(by_people, by_judge, tuple(pair.cluster for pair, _ in decided), CHOICES))
    return judge_agreement(kappa_measure(agreement), limit, subject=COMFORT_JUDGE, kind=GateKind.HUMAN_AGREEMENT)
