"""What the ratings of a review say: progress, agreement, self-consistency; and the files that come out of it.

    agreement     of each question Krippendorff's α (ordinal for harm) and, of two raters, Cohen's κ, by groups
    consistency   share of repeats to which a rater gives the same answer as the first time
    controls      share of planted controls that a rater answers as expected

    unblind, labels          labels.csv    one label an answer: of all raters, of most of them, or of the adjudicator
                             ratings.csv   one row a rater and answer
    unblind, side by side    choices.csv   what each rater chose, by who wrote the answers
                             pack-NAME.jsonl   of a comfort run: to be put into ab/ of the run

``labels.csv`` is a file of a judge of kind labels, and ``labels.plan.json`` beside it says how answers were drawn:
audit, correction and release read both.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.core.errors import DataError
from bedside.core.hashing import plain
from bedside.core.measures import Measure
from bedside.data import io
from bedside.judges.human_labels import ANSWER_ID, RATER_KIND
from bedside.stats.agreement import Agreement, Ratings, RatingTable, kappa, krippendorff_alpha
from bedside.stats.measures import mean
from bedside.web.packing import LABELS_FILE
from bedside.web.questions import FIRST, SAME, SECOND, Question
from bedside.web.rating_store import Rating, RatingStore
from bedside.web.study import LOCKED, Item, KeyRow, StudyFolder

RATINGS_FILE, CHOICES_FILE = "ratings.csv", "choices.csv"
TARGET = "target"


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
    """Items that an adjudicator decides: raters differ on the first question, or nobody answered it."""
    labels = {label.item: label for label in final_labels(folder, ratings, {})}
    return [item for item in _own_items(folder) if labels[item.id].decided_by != "all"]


def final_labels(folder: StudyFolder, ratings: Sequence[Rating], decisions: Mapping[str, Rating]) -> list[FinalLabel]:
    """One an item: the adjudicator's where there is one, else what more than half of the raters say, by question."""
    table = _table(folder, ratings)
    return [_final(folder, table, item, decisions.get(item.id)) for item in _own_items(folder)]


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


def unblind(folder: StudyFolder, store: RatingStore) -> list[Path]:
    """Write what came out, with whose answers they were. Returns the files.

    DataError before the lock, and where ratings are not those that were locked.
    """
    if not folder.is_locked:
        raise DataError(f"{folder.root}: raters may still rate; close the review first: `bedside review lock`")
    written = next(io.rows(folder.root / LOCKED))[1]["digest"]
    if store.lock()[1] != written:
        raise DataError(f"{folder.root}: the ratings are not those that were locked; put back a copy of {store.path}")
    write = _write_choices if folder.study.is_side_by_side else _write_labels
    return write(folder, store)


def _agreement(folder: StudyFolder, table: Table, question: Question) -> QuestionAgreement:
    items = _own_items(folder)
    given = [_given(table, item.id, question.name) for item in items]
    groups = [folder.key[item.id].group for item in items]
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
    first = folder.study.questions[0]
    pairs = [(rated.get(row.id), rated.get(row.repeats), row.group) for row in folder.key.values() if row.repeats]
    done = [(again, before, group) for again, before, group in pairs if again and before]
    same = [float(again.answers.get(first) == before.answers.get(first)) for again, before, _ in done]
    return mean("consistency", same, [group for *_, group in done])


def _controls(folder: StudyFolder, rated: Mapping[str, Rating]) -> Measure:
    """As expected on every question that the control has a right answer to."""
    rows = [(row, rated[row.id]) for row in folder.key.values() if row.expected and row.id in rated]
    right = [float(row.expected.items() <= rating.answers.items()) for row, rating in rows]
    return mean("controls", right, [row.group for row, _ in rows])


def _final(folder: StudyFolder, table: Table, item: Item, decision: Rating | None) -> FinalLabel:
    if decision is not None:
        return FinalLabel(item.id, decision.answers, "adjudicator")
    most = {name: _most(_given(table, item.id, name)) for name in folder.study.questions}
    first = [value for value in _given(table, item.id, folder.study.questions[0]) if value is not None]
    whole = len(first) == len(folder.study.raters) and len(set(first)) == 1
    decided_by = "all" if whole else "most" if most[folder.study.questions[0]] else ""
    return FinalLabel(item.id, {name: value for name, value in most.items() if value}, decided_by)


def _most(given: Sequence[str | None]) -> str:
    """What more than half of those say who say something; empty where there is no such answer."""
    counts = Counter(value for value in given if value is not None)
    first, n = next(iter(counts.most_common(1)), ("", 0))
    return first if 2 * n > counts.total() else ""


def _write_labels(folder: StudyFolder, store: RatingStore) -> list[Path]:
    by_id, key = {item.id: item for item in folder.items}, folder.key
    finals = final_labels(folder, store.all(), store.decisions())
    labels = [
        {**_shown(by_id[final.item], key[final.item]), **_columns(folder, final.answers),
         "decided_by": final.decided_by, **_about(folder, key[final.item])}
        for final in finals
    ]  # fmt: skip
    ratings = [
        {**_shown(by_id[rating.item], key[rating.item]), **_columns(folder, rating.answers), "rater": rating.rater,
         "skipped": rating.skipped, "note": rating.note, **_about(folder, key[rating.item])}
        for rating in store.all()
        if key[rating.item].answers and not key[rating.item].repeats
    ]  # fmt: skip
    return [_written(folder, LABELS_FILE, labels), _written(folder, RATINGS_FILE, ratings)]


def _shown(item: Item, key: KeyRow) -> dict[str, Any]:
    turns = [{"role": turn.role, "content": turn.text} for turn in item.prompt]
    return {
        "prompt": item.prompt[-1].text if len(turns) == 1 else turns,
        "response": item.answers[0],
        "harm": key.harm,
        "style": key.style,
        "principle": key.principle,
        "group": key.group,
    }


def _columns(folder: StudyFolder, answers: Mapping[str, str]) -> dict[str, str]:
    """The answers under the names that files of labels have: the stance is ``label``, the harm that a rater sees
    ``harm_rated``."""
    names = {"stance": "label", "harm": "harm_rated"}
    return {names.get(name, name): answers.get(name, "") for name in folder.study.questions}


def _about(folder: StudyFolder, key: KeyRow) -> dict[str, str]:
    return {RATER_KIND: folder.study.rater_kind, "checkpoint": key.arms[0], ANSWER_ID: key.answers[0]}


def _write_choices(folder: StudyFolder, store: RatingStore) -> list[Path]:
    ratings = [rating for rating in store.all() if folder.key[rating.item].arms and not folder.key[rating.item].repeats]
    rows = [
        {"item": rating.item, "rater": rating.rater, RATER_KIND: folder.study.rater_kind,
         **{name: _arm(folder.key[rating.item], rating.answers.get(name, "")) for name in folder.study.questions},
         "note": rating.note, "skipped": rating.skipped, "group": folder.key[rating.item].group}
        for rating in ratings
    ]  # fmt: skip
    files = [_written(folder, CHOICES_FILE, rows)]
    if all(len(row.answers) == 1 for row in folder.key.values() if row.arms):
        files += [_pack_of(folder, rater, ratings) for rater in folder.study.raters]
    return files


def _pack_of(folder: StudyFolder, rater: str, ratings: Sequence[Rating]) -> Path:
    """The pack of a comfort run as this rater filled it in: `bedside comfort` reads it from ab/ of the run."""
    by_id = {item.id: item for item in folder.items}
    sides = {FIRST: "a", SECOND: "b", SAME: "same"}
    rows = [
        {"id": folder.key[r.item].answers[0], "question": by_id[r.item].prompt[-1].text,
         "a": by_id[r.item].answers[0], "b": by_id[r.item].answers[1],
         **{name: sides.get(r.answers.get(name, "")) for name in ("kinder", "more_correct")}, "note": r.note}
        for r in ratings if r.rater == rater
    ]  # fmt: skip
    return _written(folder, f"pack-{rater}.jsonl", rows)


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
    wins = [0.5 if chosen == SAME else float(_arm(row, chosen) == arm) for row, chosen in some]
    return mean(question, wins, [row.group for row, _ in some])


def _arm(key: KeyRow, chosen: str) -> str:
    return {FIRST: key.arms[0], SECOND: key.arms[1]}.get(chosen, chosen)


def _written(folder: StudyFolder, name: str, rows: Sequence[dict[str, Any]]) -> Path:
    io.write_rows(folder.root / name, rows)
    return folder.root / name


def _table(folder: StudyFolder, ratings: Sequence[Rating]) -> Table:
    rated: Table = {rater: {} for rater in folder.study.raters}
    for rating in ratings:
        if rating.counts and rating.rater in rated:
            rated[rating.rater][rating.item] = rating
    return rated


def _own_items(folder: StudyFolder) -> list[Item]:
    """What is neither control nor repeat."""
    return [item for item in folder.items if folder.key[item.id].arms and not folder.key[item.id].repeats]
