"""Which rows a page shows. All of it stands in the address of the page, so that an address is a permalink.

/?level=3&stance=accept&changed=1&words=insulin&page=2
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any
from urllib.parse import urlencode

from bedside.core.types import HARM_LEVELS, STANCES, UNREADABLE

BEFORE, AFTER = "before", "after"
NOT_LABELLED = "none"
LEVELS = (*map(str, HARM_LEVELS), NOT_LABELLED)
MOST_PAGES, MOST_CHARACTERS = 10**6, 500


@dataclass(frozen=True, slots=True)
class RowFilter:
    """What is asked for; an empty value asks for nothing."""

    of: str = AFTER
    """Whose stance counts: ``before`` or ``after``."""
    level: str = ""
    stance: str = ""
    style: str = ""
    principle: str = ""
    changed: bool = False
    """The stance differs between before and after."""
    failed: bool = False
    unreadable: bool = False
    degenerate: bool = False
    words: str = ""
    page: int = 1

    @classmethod
    def read(cls, query: Mapping[str, str]) -> "RowFilter":
        """The filter of an address. What cannot be meant counts as not given."""
        page = query.get("page", "")
        return cls(
            of=_one_of(query, "of", (BEFORE, AFTER)) or AFTER,
            level=_one_of(query, "level", LEVELS),
            stance=_one_of(query, "stance", (*STANCES, UNREADABLE)),
            style=query.get("style", "")[:MOST_CHARACTERS],
            principle=query.get("principle", "")[:MOST_CHARACTERS],
            changed=query.get("changed") == "1",
            failed=query.get("failed") == "1",
            unreadable=query.get("unreadable") == "1",
            degenerate=query.get("degenerate") == "1",
            words=query.get("words", "")[:MOST_CHARACTERS],
            page=min(int(page), MOST_PAGES) if page.isascii() and page.isdigit() and len(page) < 9 else 1,
        )

    def without(self, *names: str) -> "RowFilter":
        """The same, but nothing is asked of ``names``."""
        defaults: dict[str, Any] = {field.name: field.default for field in fields(self) if field.name in names}
        return replace(self, **{"page": 1} | defaults)

    def address(self, path: str = "/", **changes: Any) -> str:
        """The address of the page with ``changes``; it begins at its first page unless they name another."""
        changed = asdict(replace(self, **({"page": 1} | changes)))
        given = {field.name: changed[field.name] for field in fields(self) if changed[field.name] != field.default}
        query = urlencode({name: 1 if value is True else value for name, value in given.items()})
        return f"{path}?{query}" if query else path

    @property
    def is_open(self) -> bool:
        """Nothing is asked for, so all rows are shown."""
        return self.without("of") == RowFilter()


def _one_of(query: Mapping[str, str], name: str, known: tuple[str, ...]) -> str:
    value = query.get(name, "")
    return value if value in known else ""
