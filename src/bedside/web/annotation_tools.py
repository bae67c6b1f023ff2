"""A review in Label Studio or Argilla: tasks out, their exports in (``data/annotations.py`` reads both).

    label-studio.json    [{"data": {"item": ..., "prompt": ..., "response": ...}}]
    label-studio.xml     the labelling interface with the questions of the review
    argilla.json         [{"id": ..., "fields": {"item": ..., "prompt": ..., "response": ...}}]
    argilla.yaml         the questions

These tools show every rater the same order and the same sides, so that raters who talk with each other are less blind
than on the pages of Bedside.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import yaml

from bedside.config.validation_messages import short
from bedside.core.errors import DataError
from bedside.data import annotations, io
from bedside.web import forms
from bedside.web.rating_store import Rating, RatingStore
from bedside.web.study import Item, StudyFolder

LABEL_STUDIO, ARGILLA = "label-studio", "argilla"
FORMS = (LABEL_STUDIO, ARGILLA)


def write(folder: StudyFolder, form: str) -> list[Path]:
    """The tasks and their questions, in the folder of the review."""
    _require_one_form(folder)
    fields = [_fields(item) for item in folder.items]
    tasks = folder.root / f"{form}.json"
    if form == LABEL_STUDIO:
        io.write_json(tasks, [{"data": row} for row in fields])
        questions = tasks.with_suffix(".xml")
        io.write_text(questions, "\n".join(_interface(folder)) + "\n", folder.root)
    else:
        io.write_json(tasks, [{"id": row["item"], "fields": row} for row in fields])
        questions = tasks.with_suffix(".yaml")
        io.write_text(questions, yaml.safe_dump({"questions": _questions(folder)}, sort_keys=False), folder.root)
    return [tasks, questions]


def receive(folder: StudyFolder, store: RatingStore, source: Path, names: Mapping[str, str]) -> int:
    """Keep the ratings of an export that are new, all or none. ``names``: the tool's raters to those of the review.

    Rows without an answer to a needed question are left out. DataError for an unknown item or rater.
    """
    _require_one_form(folder)
    kept, new = {rater: store.of(rater) for rater in folder.study.raters}, {}
    for where, row in annotations.rows(source, folder.study.questions):
        item = next((item.id for item in folder.items if item.id == row.get("item")), None)
        if item is None:
            raise DataError(f"{where}: item {short(row.get('item'))} is none of this review; export with its item")
        rating, wrong = forms.read(folder.study.asked, Rating(_rater(where, row, folder, names), item), _answers(row))
        if not wrong and rating != kept[rating.rater].get(item):
            new[rating.rater, item] = rating
    store.rate_all(list(new.values()))
    return len(new)


def _require_one_form(folder: StudyFolder) -> None:
    """DataError where every answer has questions of its own, which these tools cannot ask."""
    if folder.study.rates_claims:
        raise DataError(
            f"{folder.root}: every answer has claims of its own, which Label Studio and Argilla cannot ask about; "
            "use the pages, or `bedside review export` as html"
        )


def _answers(row: Mapping[str, object]) -> dict[str, str]:
    return {name: "" if value is None else str(value) for name, value in row.items()}


def _rater(where: str, row: Mapping[str, object], folder: StudyFolder, names: Mapping[str, str]) -> str:
    theirs = str(row.get(annotations.RATER))
    ours, shown = names.get(theirs, theirs), short(theirs).strip("'")
    if ours not in folder.study.raters:
        known = ", ".join(folder.study.raters)
        raise DataError(f"{where}: rater {shown} is none of {known}; say who it is: --rater {shown}=NAME")
    return ours


def _fields(item: Item) -> dict[str, str]:
    turns = item.prompt
    prompt = turns[-1].text if len(turns) == 1 else "\n\n".join(f"{turn.role}: {turn.text}" for turn in turns)
    return {"item": item.id, "prompt": prompt} | dict(zip(_columns(item.answers), item.answers, strict=True))


def _columns(answers: Sequence[str]) -> tuple[str, ...]:
    return ("response",) if len(answers) == 1 else ("answer_a", "answer_b")


def _interface(folder: StudyFolder) -> Iterator[str]:
    yield "<View>"
    for name in ("prompt", *_columns(folder.items[0].answers)):
        yield f'  <Header value="{name}"/>\n  <Text name="{name}" value="${name}"/>'
    for question in folder.study.asked:
        yield f"  <Header value={quoteattr(question.words)}/>"
        needed = ' required="true"' if question.required else ""
        yield f'  <Choices name="{question.name}" toName="prompt" choice="single"{needed}>'
        yield from (f'    <Choice value="{value}"/>' for value in question.values)
        yield "  </Choices>"
    yield "</View>"


def _questions(folder: StudyFolder) -> list[dict[str, object]]:
    return [
        {"name": question.name, "title": question.words, "type": "label_selection", "required": question.required,
         "labels": {option.value: option.words for option in question.choices}}
        for question in folder.study.asked
    ]  # fmt: skip
