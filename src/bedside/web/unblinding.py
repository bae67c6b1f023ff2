"""The files that come out of a locked review, with whose answers they are.

    labels          labels.csv    one label an answer: of all raters, of most of them, or of the adjudicator
                    ratings.csv   one row a rater and answer
    claims          claims.csv    one label a claim; ratings.csv: one row a rater and claim
                    accuracy.json   shares of each checkpoint with intervals, and the gates
    side by side    choices.csv   what each rater chose, by who wrote the answers
                    pack-NAME.jsonl   of a comfort run: to be put into ab/ of the run

``labels.csv`` is a file of a judge of kind labels, and ``labels.plan.json`` beside it says how answers were drawn:
audit, correction and release read both.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bedside.core.errors import DataError
from bedside.core.serialize import to_json
from bedside.data import io
from bedside.judges.human_labels import ANSWER_ID, RATER_KIND
from bedside.web import accuracy
from bedside.web.questions import CLAIMS, FIRST, LABELS, SAME, SECOND, SIDE_BY_SIDE
from bedside.web.rating_store import Rating, RatingStore
from bedside.web.results import arm_of, final_labels
from bedside.web.study import LABELS_FILE, LOCKED, Item, KeyRow, StudyFolder

RATINGS_FILE, CHOICES_FILE, CLAIMS_FILE, ACCURACY_FILE = "ratings.csv", "choices.csv", "claims.csv", "accuracy.json"


def unblind(folder: StudyFolder, store: RatingStore) -> list[Path]:
    """Write what came out, with whose answers they were. Returns the files.

    DataError before the lock, and where ratings are not those that were locked.
    """
    if not folder.is_locked:
        raise DataError(f"{folder.root}: raters may still rate; close the review first: `bedside review lock`")
    written = [row.get("digest") for _, row in io.rows(folder.root / LOCKED)]
    store.lock()
    if len(written) != 1 or not store.follows(str(written[0])):
        raise DataError(f"{folder.root}: the ratings are not those that were locked; put back a copy of {store.path}")
    return _WRITERS[folder.study.kind](folder, store)


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


def _write_claims(folder: StudyFolder, store: RatingStore) -> list[Path]:
    finals = final_labels(folder, store.all(), store.decisions())
    claims = [
        {**row, "decided_by": final.decided_by if row["label"] else ""}
        for final in finals
        for row in _claims(folder, final.item, final.answers)
    ]
    ratings = [
        {**row, "rater": rating.rater, "skipped": rating.skipped, "note": rating.note}
        for rating in store.all()
        if folder.key[rating.item].answers and not folder.key[rating.item].repeats
        for row in _claims(folder, rating.item, rating.answers)
    ]
    figures = folder.root / ACCURACY_FILE
    io.write_text(figures, json.dumps(to_json(accuracy.measure(folder, finals)), indent=1) + "\n", folder.root)
    return [_written(folder, CLAIMS_FILE, claims), _written(folder, RATINGS_FILE, ratings), figures]


def _claims(folder: StudyFolder, item_id: str, answers: Mapping[str, str]) -> list[dict[str, Any]]:
    """One row a claim of the answer."""
    item, key = next(item for item in folder.items if item.id == item_id), folder.key[item_id]
    return [
        {**_shown(item, key), "number": number, "claim": claim, "label": answers.get(name, ""), **_about(folder, key)}
        for number, (claim, name) in enumerate(zip(item.claims, folder.study.decided_by(item), strict=True), start=1)
    ]


def _write_choices(folder: StudyFolder, store: RatingStore) -> list[Path]:
    ratings = [rating for rating in store.all() if folder.key[rating.item].arms and not folder.key[rating.item].repeats]
    rows = [
        {"item": rating.item, "rater": rating.rater, RATER_KIND: folder.study.rater_kind,
         **{name: arm_of(folder.key[rating.item], rating.answers.get(name, "")) for name in folder.study.questions},
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


def _written(folder: StudyFolder, name: str, rows: Sequence[dict[str, Any]]) -> Path:
    io.write_rows(folder.root / name, rows)
    return folder.root / name


_WRITERS: Mapping[str, Callable[[StudyFolder, RatingStore], list[Path]]] = {
    LABELS: _write_labels,
    CLAIMS: _write_claims,
    SIDE_BY_SIDE: _write_choices,
}
