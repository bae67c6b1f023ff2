"""What the ratings of a review say: progress, agreement, self-consistency, and what counts of each item.

agreement     of each question Krippendorff's α (ordinal for harm) and, of two raters, Cohen's κ, by groups; of
              claims, over all claims
consistency   share of repeats to which a rater gives the same answer as the first time
controls      share of planted controls that a rater answers as expected
what counts   what the adjudicator says, else what all raters say, else what more than half of them say
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bedside.core.errors import DataError
from bedside.core.gates import TARGET
from bedside.core.hashing import plain
from bedside.core.measures import Measure
from bedside.data import io
from bedside.stats.agreement import Agreement, Ratings, RatingTable, kappa, krippendorff_alpha
from bedside.stats.measures import mean
from bedside.web.questions import FIRST, SAME, SECOND, Question
from bedside.web.rating_store import Rating, RatingStore
from bedside.web.study import LOCKED, Item, KeyRow, StudyFolder


@dataclass(frozen=True, slots=True)
class RaterProgress:
    """How far one rater is."""

    rater: str
    rated: int
    skipped: int
    total: int
    consistency: Measure
    controls: Measure


@dataclass(frozen=True, slots=True)
class QuestionAgreement:
    """How far raters agree on one question."""

    question: str
    alpha: Measure
    kappa: Measure | None
    """Of two raters; None where there are more, or no item that both answered."""
    equal: Measure
    """Share of items with two answers or more that are all the same."""


@dataclass(frozen=True, slots=True)
class FinalLabel:
    """What counts of one item, and who decided it."""

    item: str
    answers: Mapping[str, str]
    decided_by: str
    """``all``, ``most``, ``adjudicator``, or empty where nobody did."""


@dataclass(frozen=True, slots=True)
class LockedReview:
    """What a lock closed."""

    events: int
    digest: str
    left: Mapping[str, int]
    """Rater to how many items have no rating."""


Table = dict[str, dict[str, Rating]]
"""Rater to item to what counts, skips left out."""


def progress(folder: StudyFolder, ratings: Sequence[Rating]) -> list[RaterProgress]:
    """One row a rater."""
    table, skipped = _table(folder, ratings), Counter(rating.rater for rating in ratings if rating.skipped)
    return [
        RaterProgress(
            rater,
            len(table[rater]),
            skipped[rater],
            len(folder.items),
            _consistency(folder, table[rater]),
            _controls(folder, table[rater]),
        )
        for rater in folder.study.raters
    ]


def agreement(folder: StudyFolder, ratings: Sequence[Rating]) -> list[QuestionAgreement]:
    """One row a question, over what is neither control nor repeat."""
    table = _table(folder, ratings)
    return [_agreement(folder, table, question) for question in folder.study.asked]


def disputed(folder: StudyFolder, ratings: Sequence[Rating]) -> list[Item]:
    """Items that an adjudicator decides: raters differ on the first question or on a claim, or somebody left it out."""
    labels = {label.item: label for label in final_labels(folder, ratings, {})}
    return [item for item in own_items(folder) if labels[item.id].decided_by != "all"]


def final_labels(folder: StudyFolder, ratings: Sequence[Rating], decisions: Mapping[str, Rating]) -> list[FinalLabel]:
    """One an item: the adjudicator's where there is one, else what more than half of the raters say, by question."""
    table = _table(folder, ratings)
    return [_final(folder, table, item, decisions.get(item.id)) for item in own_items(folder)]


def unanimous(folder: StudyFolder, ratings: Sequence[Rating], item: Item) -> dict[str, str]:
    """What every rater says of an item, by question; only where they say the same."""
    table = _table(folder, ratings)
    given = {one.name: _given(table, item.id, one.name) for one in folder.study.asked_of(item)}
    return {name: str(values[0]) for name, values in given.items() if _is_unanimous(values)}


def decided(folder: StudyFolder, store: RatingStore) -> dict[str, int]:
    """Who decided how many items."""
    labels = final_labels(folder, store.all(), store.decisions())
    return dict(Counter(label.decided_by or "nobody" for label in labels))


def lock(folder: StudyFolder, store: RatingStore, *, incomplete: bool) -> LockedReview:
    """Close the review. DataError where a rater has items left, unless ``incomplete``."""
    left = {rater: len(folder.items) - len(store.of(rater)) for rater in folder.study.raters}
    left = {rater: n for rater, n in left.items() if n}
    if left and not incomplete:
        who = ", ".join(f"{rater} has {n} of {len(folder.items)} left" for rater, n in left.items())
        raise DataError(f"{folder.root}: {who}; let them finish, or lock what there is with --incomplete")
    events, locked_digest = store.lock()
    result = LockedReview(events, locked_digest, left)
    io.write_text(folder.root / LOCKED, json.dumps(plain(result)) + "\n", folder.root)
    return result


def _agreement(folder: StudyFolder, table: Table, question: Question) -> QuestionAgreement:
    items = own_items(folder)
    asked = [(item, name.name) for item in items for name in question.about(item.claims)]
    given = [_given(table, item.id, name) for item, name in asked]
    groups = [folder.key[item.id].group for item, _ in asked]
    both = [(row, group) for row, group in zip(given, groups, strict=True) if sum(v is not None for v in row) > 1]
    if not both:
        nothing = Measure("agreement", None, 0)
        return QuestionAgreement(question.name, nothing, None, nothing)
    rows, clusters = [row for row, _ in both], tuple(group for _, group in both)
    ratings = RatingTable(tuple(rows), clusters, question.values)
    alpha = krippendorff_alpha(ratings, "ordinal" if question.ordinal else "nominal")
    equal = [float(len({value for value in row if value is not None}) == 1) for row in rows]
    kappa_of_two = _kappa(rows, clusters, question) if len(folder.study.raters) == 2 else None
    return QuestionAgreement(
        question.name,
        _measure("alpha", alpha, clusters),
        kappa_of_two,
        mean("equal", equal, clusters),
    )


def _kappa(rows: Sequence[tuple[str | None, ...]], groups: tuple[str, ...], question: Question) -> Measure:
    """Of two raters who both answered."""
    first, second = (tuple(str(row[rater]) for row in rows) for rater in (0, 1))
    return _measure("kappa", kappa(Ratings(first, second, groups, question.values)), groups)


def _measure(name: str, agreed: Agreement, groups: Sequence[str]) -> Measure:
    return Measure(name, agreed.value, agreed.n, 0, agreed.low, agreed.high, groups=len(set(groups)))


def _given(table: Table, item: str, question: str) -> tuple[str | None, ...]:
    """What each rater answered; None where one did not."""
    return tuple(rated[item].answers.get(question) if item in rated else None for rated in table.values())


def _consistency(folder: StudyFolder, rated: Mapping[str, Rating]) -> Measure:
    names = {item.id: folder.study.decided_by(item) for item in folder.items}
    pairs = [(rated.get(row.id), rated.get(row.repeats), row) for row in folder.key.values() if row.repeats]
    done = [(again, before, row) for again, before, row in pairs if again and before]
    same = [
        (float(again.answers.get(name) == before.answers.get(name)), row.group)
        for again, before, row in done
        for name in names[row.id]
    ]
    return mean("consistency", [value for value, _ in same], [group for _, group in same])


def _controls(folder: StudyFolder, rated: Mapping[str, Rating]) -> Measure:
    """As expected on every question that the control has a right answer to."""
    rows = [(row, rated[row.id]) for row in folder.key.values() if row.expected and row.id in rated]
    right = [float(row.expected.items() <= rating.answers.items()) for row, rating in rows]
    return mean("controls", right, [row.group for row, _ in rows])


def _final(folder: StudyFolder, table: Table, item: Item, decision: Rating | None) -> FinalLabel:
    if decision is not None:
        return FinalLabel(item.id, decision.answers, "adjudicator")
    most = {one.name: _most(_given(table, item.id, one.name)) for one in folder.study.asked_of(item)}
    deciding = folder.study.decided_by(item)
    alike = all(_is_unanimous(_given(table, item.id, name)) for name in deciding)
    decided_by = "all" if alike else "most" if all(most[name] for name in deciding) else ""
    return FinalLabel(item.id, {name: value for name, value in most.items() if value}, decided_by)


def _is_unanimous(given: Sequence[str | None]) -> bool:
    """Whether every rater says something, and all say the same."""
    return None not in given and len(set(given)) == 1


def _most(given: Sequence[str | None]) -> str:
    """What more than half of those say who say something; empty where there is no such answer."""
    counts = Counter(value for value in given if value is not None)
    first, n = next(iter(counts.most_common(1)), ("", 0))
    return first if 2 * n > counts.total() else ""


def preferences(folder: StudyFolder, ratings: Sequence[Rating]) -> dict[str, list[Measure]]:
    """Arm to how often it was chosen, question by question, over the other answer; both alike counts half.

    Of two arms only one is given: not the target.
    """
    arms = list(dict.fromkeys(arm for row in folder.key.values() for arm in row.arms))
    compared = [arm for arm in arms if arm != TARGET] if TARGET in arms else sorted(arms)[1:]
    return {arm: [_preference(folder, ratings, arm, name) for name in folder.study.questions] for arm in compared}


def _preference(folder: StudyFolder, ratings: Sequence[Rating], arm: str, question: str) -> Measure:
    rows = [(folder.key[r.item], chosen) for r in ratings if (chosen := r.answers.get(question))]
    some = [(row, chosen) for row, chosen in rows if arm in row.arms and not row.repeats]
    wins = [0.5 if chosen == SAME else float(arm_of(row, chosen) == arm) for row, chosen in some]
    return mean(question, wins, [row.group for row, _ in some])


def arm_of(key: KeyRow, chosen: str) -> str:
    return {FIRST: key.arms[0], SECOND: key.arms[1]}.get(chosen, chosen)


def _table(folder: StudyFolder, ratings: Sequence[Rating]) -> Table:
    rated: Table = {rater: {} for rater in folder.study.raters}
    for rating in ratings:
        if rating.counts and rating.rater in rated:
            rated[rating.rater][rating.item] = rating
    return rated


def own_items(folder: StudyFolder) -> list[Item]:
    """What is neither control nor repeat."""
    return [item for item in folder.items if folder.key[item.id].arms and not folder.key[item.id].repeats]
