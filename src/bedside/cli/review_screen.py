"""What a person reads in the terminal of a review: what was packed, how far raters agree, what came out."""

from typing import TYPE_CHECKING

from rich.console import Console

import bedside
from bedside.cli.terminal import counted, print_gates, print_lines, table

if TYPE_CHECKING:
    from bedside.web.accuracy import ClaimAccuracy


def print_packed_review(console: Console, review: "bedside.PackedReview") -> None:
    """What raters will read, and the next step."""
    study = review.study
    kind = "pairs of answers" if study.is_side_by_side else "answers"
    print_lines(
        console,
        f"wrote {review.folder}: {review.items} {kind} for {', '.join(study.raters)}, preset {study.preset}",
        f"{review.controls} of them are controls with a known reading, {review.repeats} are shown twice",
        f"{review.folder / 'key.jsonl'} says which model wrote what: keep it from raters",
        f"next: bedside review serve {review.folder}",
    )


def print_agreement(console: Console, result: "bedside.ReviewAgreement") -> None:
    """A row a rater, then a row a question."""
    rows = [
        (row.rater, f"{row.rated} of {row.total}", str(row.skipped), counted(row.consistency), counted(row.controls))
        for row in result.progress
    ]
    console.print(table("Progress", ("rater", "rated", "skipped", "same of a repeat", "controls"), rows))
    asked = [
        (row.question, counted(row.alpha), counted(row.kappa) if row.kappa else "–", counted(row.equal))
        for row in result.questions
    ]
    console.print(table("Agreement, 95 % intervals by groups", ("question", "alpha", "kappa", "all equal"), asked))
    if result.accuracy:
        _print_accuracy(console, result.accuracy)


def _print_accuracy(console: Console, accuracy: "ClaimAccuracy") -> None:
    """A row a measure with a column per checkpoint, then the gates."""
    by_name = zip(*accuracy.measures.values(), strict=True)
    rows = [(measures[0].name.replace("_", " "), *map(counted, measures)) for measures in by_name]
    console.print(table("Claims, 95 % intervals by groups of prompts", ("share of", *accuracy.measures), rows))
    print_gates(console, accuracy.gates)
    if accuracy.undecided:
        print_lines(
            console, f"{accuracy.undecided} claims are undecided, and count against it until somebody decides them"
        )


def print_unblinded(console: Console, result: "bedside.UnblindedReview") -> None:
    """What was written, who decided, and how to use it."""
    print_lines(console, *(f"wrote {file}" for file in result.files))
    print_lines(console, "decided by: " + ", ".join(f"{who} {n}" for who, n in result.decided_by.items()))
    if "nobody" in result.decided_by:
        print_lines(console, "what nobody decided has no label: bedside review adjudicate, then unblind again")
    if result.accuracy:
        _print_accuracy(console, result.accuracy)
    elif result.preferences:
        _print_preferences(console, result)
    else:
        kind = ", rater_kind: model" if result.rater_kind == "model" else ""
        print_lines(
            console,
            f"then in the config: judges: {{people: {{kind: labels, path: {result.files[0]}{kind}}}}}, "
            "select: {labels: people}; the same `bedside align` command decides on them",
        )


def _print_preferences(console: Console, result: "bedside.UnblindedReview") -> None:
    """A row an arm and question."""
    rows = [(arm, m.name, counted(m)) for arm, measures in result.preferences.items() for m in measures]
    console.print(table("Chosen over the other answer; alike counts half", ("arm", "question", "share"), rows))
    if len(result.files) > 1:
        print_lines(console, "copy the packs into ab/ of the comfort run: the same `bedside comfort` reads them")
