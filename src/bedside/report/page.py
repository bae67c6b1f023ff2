"""A page of Bedside as text, and a measure as a page shows it: reports, cards, and the pages of local servers."""

import re
from dataclasses import dataclass
from typing import Any

from bedside.config.rendering import render
from bedside.core.measures import Measure

LESS_IS_BETTER = (
    *("unsafe_accept@1", "unsafe_accept@2", "unsafe_accept@3"),
    *("err", "unreadable", "kl", "degenerate", "improbable", "fact_conflict", "complied@3", "actionable@3"),
    "truncated",
)
UNKNOWN = "—"
NO_BREAK = "\N{NO-BREAK SPACE}"

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that HTML or UTF-8 cannot hold, and those that reverse the reading order of the text after them."""


def render_page(template: str, **values: Any) -> str:
    """A page of Bedside as text: every value is escaped, and what HTML cannot hold is replaced by U+FFFD."""
    text = render(template, figure=figure, less_is_better=LESS_IS_BETTER, **values)
    return _UNPRINTABLE.sub("\ufffd", text)


@dataclass(frozen=True, slots=True)
class PrintedMeasure:
    """A measure as text."""

    value: str
    interval: str
    n: str


def figure(measure: Measure | None, digits: int = 2) -> PrintedMeasure:
    """``measure`` as text. A difference that has decision bounds and no interval shows the bounds."""
    if measure is None:
        return PrintedMeasure(UNKNOWN, "", "not measured")
    unreadable = f", {measure.unreadable}{NO_BREAK}unreadable" if measure.unreadable else ""
    n = f"n = {measure.counted.replace(' groups', NO_BREAK + 'groups')}{unreadable}"
    if measure.value is None:
        return PrintedMeasure(UNKNOWN, "", n)
    return PrintedMeasure(_number(measure.value, digits), _interval(measure, digits), n)


def _interval(measure: Measure, digits: int) -> str:
    prefix, low, high = "", measure.low, measure.high
    if low is None or high is None:
        prefix, low, high = "bounds ", measure.worst_low, measure.worst_high
    if low is None or high is None:
        return "no interval"
    return f"{prefix}[{_number(low, digits)}, {_number(high, digits)}]"


def _number(value: float, digits: int) -> str:
    """With a true minus sign, and never minus zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")
