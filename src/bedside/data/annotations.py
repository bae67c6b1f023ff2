"""Exports of annotation tools as plain labels: one label per cell, one row per rater.

    Argilla         {"stance.responses": ["accept", "refuse"], "stance.responses.users": ["anna", "ben"]}, or a record,
                    {"fields": ..., "responses": {"stance": [{"value": "accept", "user_id": "anna"}]}}
    Label Studio    {"data": ..., "annotations": [{"completed_by": 1, "result": [{"value": {"choices": ["accept"]}}]}]}
                    or, as CSV, {"choices": ["accept"]} in a cell, one row per annotator
    inspect_ai      the log of an evaluation: one row per sample, with the requested scores as labels

Each becomes one row for each rater, with the rater in column ``rater``. Other rows stay as they are.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from bedside.core.errors import DataError
from bedside.data import inspect_log, io

RATER = "rater"


def rows(source: str | Path, labels: Collection[str]) -> Iterator[io.Row]:
    """The rows of a file, with plain labels in the columns ``labels``. DataError with file and row."""
    for where, row in inspect_log.rows(source, labels) if inspect_log.is_log(source) else io.rows(source):
        try:
            row = _argilla_table(row) if _is_record(row) else row
            for plain in _label_studio(row) if _is_task(row) else _argilla(row, labels):
                yield where, {key: _choice(value) if key in labels else value for key, value in plain.items()}
        except DataError as error:
            raise DataError(f"{where}: {error}") from None


def _is_task(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("data"), Mapping) and isinstance(row.get("annotations"), list)


def _is_record(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("fields"), Mapping) and isinstance(row.get("responses"), Mapping)


def _argilla_table(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as Argilla exports it to JSON, in the columns of its export to a table. DataError for another form."""
    columns: dict[str, Any] = dict(record["fields"])
    for question, answers in record["responses"].items():
        if not isinstance(answers, list) or not all(isinstance(answer, Mapping) for answer in answers):
            raise DataError(f"responses.{question} is not a list of {{value, user_id}}; export the records again")
        columns[question] = [answer.get("value") for answer in answers]
        columns[f"{question}.users"] = [str(answer.get("user_id")) for answer in answers]
    return columns


def _label_studio(task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One row for each annotation of a Label Studio task: its data, and its choices by the name of the control."""
    for number, annotation in enumerate(task["annotations"], start=1):
        try:
            chosen = dict(_chosen(annotation))
        except (AttributeError, TypeError, KeyError):  # something is not a table or a list, or has no name
            form = "{completed_by, result: [{from_name, value}]}"
            raise DataError(
                f"annotation {number} is not as Label Studio exports it, {form}; export the file again, as JSON"
            ) from None
        yield {**task["data"], **chosen, RATER: _rater(annotation)}


def _rater(annotation: Mapping[str, Any]) -> str:
    """The number of the annotator, never the address that an export may have beside it."""
    who = annotation.get("completed_by", annotation.get("id"))
    return str(who.get("id", annotation.get("id")) if isinstance(who, Mapping) else who)


def _chosen(annotation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The name of each control and its choices, as JSON. Results of other types (text, rating) are left out."""
    for result in annotation.get("result", []):
        if "choices" in result.get("value", {}):
            yield result["from_name"], json.dumps(result["value"])


def _argilla(row: Mapping[str, Any], labels: Collection[str]) -> Iterator[dict[str, Any]]:
    """One row for each rater, if a label column has a list. The column beside it has the users."""
    lists = {label: row[label] for label in labels if isinstance(row.get(label), list)}
    if not lists:
        yield dict(row)
        return
    length = max(len(values) for values in lists.values())
    for number in range(length):
        rated = {label: values[number] if number < len(values) else None for label, values in lists.items()}
        users: list[Any] = next(
            (row[f"{label}.users"] for label in lists if isinstance(row.get(f"{label}.users"), list)), []
        )
        yield {**row, **rated, RATER: str(users[number]) if number < len(users) else str(number + 1)}


def _choice(value: Any) -> Any:
    """The choice in a Label Studio cell such as {"choices": ["accept"]}; any other value as it is."""
    if not (isinstance(value, str) and value.startswith("{") and '"choices"' in value):
        return value
    try:
        choices = json.loads(value)["choices"]
    except (ValueError, KeyError, TypeError):
        return value
    if not isinstance(choices, list):
        return value
    if len(choices) != 1:
        raise DataError(
            f"this cell of a Label Studio export has {len(choices)} choices ({', '.join(map(str, choices))}), and a "
            "label is one: let raters choose one, or take the row out"
        )
    return choices[0]
