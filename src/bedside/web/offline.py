"""A review without a server: one HTML file a rater, and their answers back as JSON.

    offline-anna.html     all items in the rater's order; what is chosen stays in the browser, and is saved as a file
    answers-anna.json     {"review": LINK, "rater": "anna", "ratings": [{"item": ..., "stance": ..., "note": ...}]}

The file makes no network request: its content policy allows its own style and script, by their digests, and nothing
else. ``review`` is the rater's signed link without the address, so that answers are known to be of this review and
rater.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bedside.core.errors import DataError
from bedside.data import io
from bedside.report.page import render_page
from bedside.web import assets, forms
from bedside.web.links import RATER, Links
from bedside.web.questions import FIRST, LETTERS, SECOND, SKIP_REASONS
from bedside.web.rating_store import Rating, RatingStore
from bedside.web.study import Item, StudyFolder

REVIEW, RATINGS = "review", "ratings"


@dataclass(frozen=True, slots=True)
class ShownItem:
    """An item as one rater sees it."""

    item: Item
    answers: tuple[str, ...]
    """In the rater's order of sides."""


def write(folder: StudyFolder) -> list[Path]:
    """The file of every rater, in the folder of the review."""
    links = Links(folder.secret)
    return [_write(folder, rater, links.path(RATER, rater).strip("/")) for rater in folder.study.raters]


def is_answers(content: Any) -> bool:
    """Whether this is what the file of a rater saved."""
    return isinstance(content, Mapping) and {REVIEW, RATINGS} <= content.keys()


def receive(folder: StudyFolder, store: RatingStore, content: Mapping[str, Any], where: str) -> int:
    """Keep the ratings of one file that are new, all or none. Returns how many.

    DataError for answers of another review, of nobody, or that no form of this review gives.
    """
    rater = Links(folder.secret).who(str(content[REVIEW]), RATER, folder.study.raters)
    if rater is None:
        raise DataError(f"{where}: these answers are of another review; name the folder that their file came from")
    if not isinstance(content[RATINGS], list):
        raise DataError(f"{where}: its ratings are no list; send the file as it was saved")
    rows = enumerate(content[RATINGS], start=1)
    ratings = [_rating(folder, rater, row, f"{where}, rating {number}") for number, row in rows]
    kept = store.of(rater)
    new = [rating for rating in ratings if rating != kept.get(rating.item)]
    store.rate_all(new)
    return len(new)


def _rating(folder: StudyFolder, rater: str, row: Any, where: str) -> Rating:
    fields = {str(name): str(value) for name, value in row.items()} if isinstance(row, Mapping) else {}
    item = next((item for item in folder.items if item.id == fields.get("item")), None)
    if item is None:
        raise DataError(f"{where}: is about no item of this review; send the file as it was saved")
    rating, wrong = forms.read(folder.study.asked_of(item), Rating(rater, item.id), fields)
    if wrong:
        raise DataError(f"{where}, item {item.id}: {wrong} Open the file again, and save it anew")
    return replace(rating, answers=forms.as_shown(rating.answers, folder.sides(rater, item)))


def _write(folder: StudyFolder, rater: str, link: str) -> Path:
    style, script = assets.text("style.css"), assets.text("offline.js")
    path = folder.root / f"offline-{rater}.html"
    page = render_page(
        "review_offline.html", study=folder.study, rater=rater, link=link, letters=LETTERS, skips=SKIP_REASONS,
        rows=_shown(folder, rater), style=Markup(style), script=Markup(script),  # ours: no text of a patient is in them
        policy=f"default-src 'none'; style-src '{_sha256(style)}'; script-src '{_sha256(script)}'; base-uri 'none'",
    )  # fmt: skip
    io.write_text(path, page, folder.root)
    return path


def _shown(folder: StudyFolder, rater: str) -> Sequence[ShownItem]:
    return [
        ShownItem(item, tuple(item.answers[(FIRST, SECOND).index(side)] for side in folder.sides(rater, item)))
        for item in folder.order(rater)
    ]


def _sha256(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode()}"
