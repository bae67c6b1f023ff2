"""How a result is shown: as an HTML table in a notebook, as a pandas data frame, as plain rows."""

from collections.abc import Iterable
from html import escape
from typing import Any, Protocol, cast, runtime_checkable

from bedside.core.extras import needs_extras
from bedside.core.measures import Measure
from bedside.core.serialize import to_json

SHOWN_ROWS = 50
FIGURES = ("value", "n", "groups", "unreadable", "low", "high")
"""The columns that show a measure in a row."""


@runtime_checkable
class Tabular(Protocol):
    """A result with rows. It defines ``records``; the other methods follow from that."""

    def records(self) -> list[dict[str, Any]]:
        """One dictionary per row. All rows have the same keys, in the same order."""

    def caption(self) -> str:
        """One sentence above the table; empty if there is nothing to say."""
        return ""

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return cast("dict[str, Any]", to_json(self))

    @needs_extras()
    def to_dataframe(self) -> Any:
        """``records`` as a pandas.DataFrame. Raises MissingExtra without the extra ``pandas``."""
        import pandas

        return pandas.DataFrame(self.records())

    def _repr_html_(self) -> str:
        rows = self.records()
        head = "".join(f"<th>{escape(str(key))}</th>" for key in (rows[0] if rows else {}))
        more = f"<p>and {len(rows) - SHOWN_ROWS} more rows</p>" if len(rows) > SHOWN_ROWS else ""
        body = "".join(
            f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row.values())}</tr>" for row in rows[:SHOWN_ROWS]
        )
        return f"<p>{escape(self.caption())}</p><table><tr>{head}</tr>{body}</table>{more}"


def measure_records(measures: Iterable[Measure]) -> list[dict[str, Any]]:
    """One row per measure: value, n, groups, unreadable, and the 95 % interval."""
    return [{"measure": measure.name, **figures(measure)} for measure in measures]


def figures(measure: Measure) -> dict[str, Any]:
    """``FIGURES`` of one measure."""
    return {key: getattr(measure, key) for key in FIGURES}


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else escape(str(value))
