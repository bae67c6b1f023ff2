"""The form of one item: what a rater or an adjudicator sends, as a rating."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bedside.web.questions import FIRST, SAME, SECOND, SKIP_REASONS, Question
from bedside.web.rating_store import Rating

MOST_NOTE = 2000


def read(asked: Sequence[Question], blank: Rating, fields: Mapping[str, str]) -> tuple[Rating, str]:
    """``blank`` with what the form says, and what is missing in it: empty where it is whole.

    Of each question only one of its own choices is taken.
    """
    note = fields.get("note", "").strip()[:MOST_NOTE].encode("utf-8", "replace").decode("utf-8")
    if fields.get("action") == "skip":
        reason = fields.get("reason", "")
        known = reason in SKIP_REASONS
        return replace(blank, note=note, skipped=reason if known else ""), "" if known else "Say why you skip it."
    given = {question.name: fields.get(question.name, "") for question in asked}
    chosen = {question.name: given[question.name] for question in asked if given[question.name] in question.values}
    missing = [question.words for question in asked if question.required and question.name not in chosen]
    return replace(blank, answers=chosen, note=note), f"Not answered yet: {missing[0]}" if missing else ""


def as_shown(answers: Mapping[str, str], sides: tuple[str, ...]) -> dict[str, str]:
    """Choices of the key as choices of A and B on the page, and back: where the sides are swapped, so are they."""
    if sides[0] == FIRST:
        return dict(answers)
    swapped = {FIRST: SECOND, SECOND: FIRST, SAME: SAME}
    return {name: swapped.get(value, value) for name, value in answers.items()}
