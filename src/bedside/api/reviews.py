"""Reviews, in which people rate answers: pack, serve, lock, adjudicate, unblind.

pack_review ▶ serve_review ▶ lock_review ▶ adjudicate_review ▶ unblind_review ▶ labels.csv: audit, align, evaluate
                              review_agreement at any time
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bedside.api.loop import run_folder
from bedside.api.pages import LocalPages, ServedPages
from bedside.core.display import Tabular, figures, measure_records
from bedside.core.errors import DataError
from bedside.core.extras import needs_extras
from bedside.core.measures import Measure
from bedside.core.serialize import to_json

if TYPE_CHECKING:
    from bedside.web.accuracy import ClaimAccuracy
    from bedside.web.rating_store import RatingStore
    from bedside.web.results import LockedReview, QuestionAgreement, RaterProgress
    from bedside.web.study import Study, StudyFolder

PORT = 8766


@dataclass(frozen=True)
class PackedReview(Tabular):
    """A review that is ready for its raters."""

    folder: Path
    study: "Study"
    items: int
    controls: int
    repeats: int

    def records(self) -> list[dict[str, Any]]:
        """One row per rater."""
        counts = {"items": self.items, "controls": self.controls, "repeats": self.repeats}
        return [{"rater": rater, **counts} for rater in self.study.raters]


@dataclass(frozen=True)
class ReviewAgreement(Tabular):
    """The raters' progress and their agreement."""

    progress: "tuple[RaterProgress, ...]"
    questions: "tuple[QuestionAgreement, ...]"
    accuracy: "ClaimAccuracy | None" = None
    """Of a locked review of claims: what they are worth, by checkpoint, and the gates."""

    def records(self) -> list[dict[str, Any]]:
        """One row per question and measure."""
        measures = {
            row.question: {"alpha": row.alpha, "kappa": row.kappa, "equal": row.equal} for row in self.questions
        }
        return [
            {"question": question, "measure": name, **figures(measure)}
            for question, named in measures.items()
            for name, measure in named.items()
            if measure is not None
        ]

    def as_json(self) -> dict[str, Any]:
        """Progress and agreement; of claims also what they are worth."""
        whole = {"progress": self.progress, "questions": self.questions, "accuracy": self.accuracy}
        return cast("dict[str, Any]", to_json(whole))


@dataclass(frozen=True)
class UnblindedReview(Tabular):
    """The result of a review."""

    files: tuple[Path, ...]
    rater_kind: str
    decided_by: Mapping[str, int]
    """Number of items decided by ``all``, ``most``, ``adjudicator`` or ``nobody``."""
    preferences: Mapping[str, tuple[Measure, ...]]
    """Side by side only: arm to how often it was chosen over the other answer."""
    accuracy: "ClaimAccuracy | None" = None
    """Of claims only: what they are worth, by checkpoint, and the gates."""

    def records(self) -> list[dict[str, Any]]:
        """One row per arm and question; of labels, who decided how many; of claims, a row per arm and measure."""
        if self.accuracy:
            return _by_arm(self.accuracy.measures)
        if not self.preferences:
            return [{"decided by": who, "items": n} for who, n in self.decided_by.items()]
        return _by_arm(self.preferences)


def _by_arm(measured: Mapping[str, tuple[Measure, ...]]) -> list[dict[str, Any]]:
    return [{"arm": arm, **row} for arm, measures in measured.items() for row in measure_records(measures)]


def pack_review(
    runs: str | Path | Sequence[str | Path],
    out: str | Path,
    raters: Sequence[str],
    preset: str = "release",
    more: Mapping[str, Any] | None = None,
) -> PackedReview:
    """Draw a review from a finished run, or pairs from two runs, and write it to the folder ``out``.

    ``preset``: release (labels that decide a limit on severe harm), expert-100 (100 answers of all harm levels),
    comfort-ab (answers before and after, side by side) or accuracy (every claim of both, one by one). ``more``: what
    differs from it, of sample, levels, controls, repeats, seed, and rater_kind, ``person`` or ``model``. DataError
    where ``out`` holds something.

    >>> fewer = {"sample": 8, "controls": 2, "repeats": 2}
    >>> bedside.pack_review("tour", "review", ["anna", "ben"], "expert-100", fewer).items >= 10
    True
    """
    from bedside.web import packing

    named = [runs] if isinstance(runs, (str, Path)) else runs
    design = packing.Design(tuple(raters), preset, **(more or {}))
    folder = packing.pack([run_folder(run) for run in named], Path(out), design)
    controls = sum(bool(row.expected) for row in folder.key.values())
    repeats = sum(bool(row.repeats) for row in folder.key.values())
    return PackedReview(folder.root, folder.study, len(folder.items), controls, repeats)


@needs_extras()
def serve_review(folder: str | Path) -> LocalPages:
    """The pages of a review: a link for each rater, and one for its leader.

    A rating is on the disk before the rater's next page appears. Raises DataError for a folder without a review, and
    on a network disk.

    >>> list(bedside.serve_review("review").open(None).paths)
    ['lead', 'anna', 'ben']
    """
    from bedside.web import rating_store, study
    from bedside.web.review_pages import ReviewPages

    opened = study.read(Path(folder))
    rating_store.require_local_disk(opened.root)

    def pages(key: str | None) -> ServedPages:
        served = ReviewPages(opened, rating_store.RatingStore(opened.root), key)
        return ServedPages(served.application(), served.addresses())

    return LocalPages(pages, PORT)


def lock_review(folder: str | Path, *, incomplete: bool = False) -> "LockedReview":
    """Close a review: it accepts no more ratings. DataError if raters have items left, unless ``incomplete``.

    >>> sorted(bedside.lock_review("review", incomplete=True).left)
    ['anna', 'ben']
    """
    from bedside.web import rating_store, results, study

    opened = study.read(Path(folder))
    with closing(rating_store.RatingStore(opened.root)) as store:
        return results.lock(opened, store, incomplete=incomplete)


@needs_extras()
def adjudicate_review(folder: str | Path, by: str) -> LocalPages:
    """The pages on which ``by`` decides the items on which raters differ. DataError before the lock.

    >>> list(bedside.adjudicate_review("review", "carol").open(None).paths)
    ['carol']
    """
    from bedside.web import rating_store, study
    from bedside.web.adjudication_pages import AdjudicationPages

    opened = study.read(Path(folder))
    if not opened.is_locked:
        raise DataError(f"{folder}: raters may still rate; close the review first: `bedside review lock {folder}`")

    def pages(key: str | None) -> ServedPages:
        served = AdjudicationPages(opened, rating_store.RatingStore(opened.root), by, key)
        return ServedPages(served.application(), {by: served.address})

    return LocalPages(pages, PORT)


def unblind_review(folder: str | Path) -> UnblindedReview:
    """Write the labels of a locked review with whose answers they are: labels.csv, choices.csv of pairs, or claims.csv.

    A judge of kind labels reads labels.csv, for audits, corrections and releases. DataError before the lock, or if the
    ratings were changed after it.

    >>> [file.name for file in bedside.unblind_review("review").files]
    ['labels.csv', 'ratings.csv']
    """
    from bedside.web import rating_store, results, study, unblinding

    opened = study.read(Path(folder))
    with closing(rating_store.RatingStore(opened.root)) as store:
        files, decided = unblinding.unblind(opened, store), results.decided(opened, store)
        counted = results.preferences(opened, store.all()) if opened.study.is_side_by_side else {}
        accuracy = _accuracy(opened, store)
    preferences = {arm: tuple(measures) for arm, measures in counted.items()}
    return UnblindedReview(tuple(files), opened.study.rater_kind, decided, preferences, accuracy)


def _accuracy(opened: "StudyFolder", store: "RatingStore") -> "ClaimAccuracy | None":
    """What claims are worth, by checkpoint: once raters can change nothing, for it says whose answers they are."""
    from bedside.web import accuracy, results

    if not (opened.is_locked and opened.study.rates_claims):
        return None
    return accuracy.measure(opened, results.final_labels(opened, store.all(), store.decisions()))


@needs_extras()
def export_review(folder: str | Path, form: str = "html") -> list[Path]:
    """Write a review for raters without the server, in its own folder. Returns the files.

    ``form``: html (one file per rater), label-studio or argilla (tasks and questions). ``import_review`` reads what
    raters send back. DataError for another form.

    >>> [file.name for file in bedside.export_review("review")]
    ['offline-anna.html', 'offline-ben.html']
    """
    from bedside.web import annotation_tools, offline, study

    opened = study.read(Path(folder))
    if form == "html":
        return offline.write(opened)
    if form not in annotation_tools.FORMS:
        raise DataError(f"--format {form}: name one of html, {', '.join(annotation_tools.FORMS)}")
    return annotation_tools.write(opened, form)


@needs_extras()
def import_review(folder: str | Path, files: Sequence[str | Path], raters: Mapping[str, str] | None = None) -> int:
    """Read ratings from files that raters sent back. Returns how many are new.

    ``raters``: the review's name of each rater, by the name in Label Studio or Argilla. DataError for answers of
    another review, and after the lock.

    >>> bedside.import_review("review", [])
    0
    """
    from bedside.web import annotation_tools, offline, rating_store, study

    opened, new = study.read(Path(folder)), 0
    with closing(rating_store.RatingStore(opened.root)) as store:
        for file in map(Path, files):
            content = _content(file)
            if offline.is_answers(content):
                new += offline.receive(opened, store, content, file.name)
            else:
                new += annotation_tools.receive(opened, store, file, raters or {})
    return new


def _content(file: Path) -> Any:
    """The file's JSON; None if it is no JSON, so that another reader may try."""
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return None


def review_agreement(folder: str | Path) -> ReviewAgreement:
    """Each rater's progress and consistency on repeats, and the raters' agreement: α and κ with intervals.

    Of claims, once the review is locked, also what they are worth by checkpoint, with the gates.

    >>> bedside.review_agreement("review").progress[0].rated
    0
    """
    from bedside.web import rating_store, results, study

    opened = study.read(Path(folder))
    with closing(rating_store.RatingStore(opened.root)) as store:
        ratings, accuracy = store.all(), _accuracy(opened, store)
    by_question = tuple(results.agreement(opened, ratings))
    return ReviewAgreement(tuple(results.progress(opened, ratings)), by_question, accuracy)
