"""`bedside review serve`: the pages of raters and of whoever leads the review.

    /LINK/          what is asked, the content warning, the keys; then the next item
    /LINK/item/3    one item and its form; what is sent is on the disk before the next page comes
    /LINK/items     all items, to be changed until the review is locked
    /LINK/lead      progress, agreement, self-consistency: the lead's link only

A page knows its rater by the signed link alone, and shows nothing of another rater.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from bedside.core.errors import DataError
from bedside.report.page import render_page
from bedside.web import forms, guard, results, static
from bedside.web.links import LEAD, RATER, SignedPages
from bedside.web.questions import FIRST, LETTERS, SECOND, SKIP_REASONS
from bedside.web.rating_store import Rating, RatingStore, ReviewLocked
from bedside.web.study import Item, StudyFolder

NO_PAGE = "There is no such page. Use the link that you were given, whole."


@dataclass(frozen=True)
class ReviewPages(SignedPages):
    """The pages of one review."""

    folder: StudyFolder
    store: RatingStore
    key: str | None = None
    """Of a server that other machines reach."""

    @cached_property
    def orders(self) -> dict[str, list[Item]]:
        """Each rater's items in their order."""
        return {rater: self.folder.order(rater) for rater in self.folder.study.raters}

    def addresses(self) -> dict[str, str]:
        """Who to the path of their pages; the lead first."""
        raters = {rater: self.links.path(RATER, rater) for rater in self.folder.study.raters}
        return {LEAD: self.links.path(LEAD) + "lead"} | raters

    def application(self) -> ASGIApp:
        routes = [
            Route("/{token}/", self.start),
            Route("/{token}/item/{place:int}", self.item),
            Route("/{token}/item/{place:int}", self.sent, methods=["POST"]),
            Route("/{token}/undo", self.undo, methods=["POST"]),
            Route("/{token}/items", self.items),
            Route("/{token}/lead", self.lead),
        ]
        handlers = {404: page_of_error, 403: page_of_error, 409: page_of_error, DataError: page_of_damage}
        return Starlette(routes=[*static.ROUTES, *routes], exception_handlers=handlers)

    async def start(self, request: Request) -> Response:
        rater = self._rater(request)
        return self._page("review_start.html", rater, next=self._next(rater))

    async def item(self, request: Request) -> Response:
        rater, place = self._rater(request), self._place(request)
        saved, undone = request.query_params.get("saved", ""), "undone" in request.query_params
        before = self.store.last_sent(rater, self.orders[rater][place - 1].id) if undone else None
        return self._item_page(rater, place, before, saved=saved if saved.isdigit() else "")

    async def sent(self, request: Request) -> Response:
        """A rating or a skip. The next page comes when it is on the disk."""
        rater, place = self._rater(request), self._place(request)
        fields = await guard.form(request)
        self._require_signed(fields, rater, str(place))
        rating, wrong = self._read(rater, self.orders[rater][place - 1], fields)
        if wrong:
            return self._item_page(rater, place, rating, wrong)
        self._keep(rating)
        ahead = self._next(rater, place)
        return RedirectResponse(f"{self._base(rater)}{f'item/{ahead}?saved={place}' if ahead else 'items'}", 303)

    async def undo(self, request: Request) -> Response:
        rater, fields = self._rater(request), await guard.form(request)
        self._require_signed(fields, rater, "undo")
        try:
            last = self.store.undo(rater)
        except ReviewLocked as error:
            raise HTTPException(409, str(error)) from None
        if last is None:
            return RedirectResponse(self._base(rater), 303)
        place = [item.id for item in self.orders[rater]].index(last) + 1
        return RedirectResponse(f"{self._base(rater)}item/{place}?undone=1", 303)

    async def items(self, request: Request) -> Response:
        rater = self._rater(request)
        ratings = self.store.of(rater)
        rows = [(place, ratings.get(item.id)) for place, item in enumerate(self.orders[rater], start=1)]
        return self._page("review_items.html", rater, rows=rows, next=self._next(rater), skips=SKIP_REASONS)

    async def lead(self, request: Request) -> Response:
        if self.links.who(request.path_params["token"], LEAD, ("",)) is None:
            raise _no_such_page()
        rows = results.agreement(self.folder, self.store.all())
        progress = results.progress(self.folder, self.store.all())
        page = render_page("review_lead.html", study=self.folder.study, progress=progress, measures=rows,
                           total=len(self.folder.items), locked=self.folder.is_locked)  # fmt: skip
        return HTMLResponse(page)

    def _item_page(
        self, rater: str, place: int, rating: Rating | None = None, wrong: str = "", saved: str = ""
    ) -> Response:
        item, ratings = self.orders[rater][place - 1], self.store.of(rater)
        kept = rating or ratings.get(item.id)
        sides = self.folder.sides(rater, item)
        answers = [item.answers[(FIRST, SECOND).index(side)] for side in sides]
        page = self._rendered(
            "review_item.html", rater, item=item, place=place, answers=answers, kept=kept, wrong=wrong, saved=saved,
            questions=self.folder.study.asked_of(item),
            shown=forms.as_shown(kept.answers, sides) if kept else {}, skips=SKIP_REASONS, letters=LETTERS,
            token=self.signer.token(rater, str(place)),
        )  # fmt: skip
        return HTMLResponse(page, 422 if wrong else 200)

    def _read(self, rater: str, item: Item, fields: Mapping[str, str]) -> tuple[Rating, str]:
        """The rating of a form, and what is missing in it."""
        rating, wrong = forms.read(self.folder.study.asked_of(item), Rating(rater, item.id), fields)
        return replace(rating, answers=forms.as_shown(rating.answers, self.folder.sides(rater, item))), wrong

    def _keep(self, rating: Rating) -> None:
        try:
            self.store.rate(rating)
        except ReviewLocked as error:
            raise HTTPException(409, str(error)) from None

    def _next(self, rater: str, after: int = 0) -> int | None:
        """The next item without a rating, behind ``after`` or else from the start; None where all have one."""
        rated = self.store.of(rater)
        left = [place for place, item in enumerate(self.orders[rater], start=1) if item.id not in rated]
        return next((place for place in left if place > after), left[0] if left else None)

    def _rater(self, request: Request) -> str:
        rater = self.links.who(request.path_params["token"], RATER, self.folder.study.raters)
        if rater is None:
            raise _no_such_page()
        return rater

    def _place(self, request: Request) -> int:
        place: int = request.path_params["place"]
        if not 1 <= place <= len(self.folder.items):
            raise _no_such_page()
        return place

    def _require_signed(self, fields: Mapping[str, str], *about: str) -> None:
        if not self.signer.signed(fields.get("token", ""), *about):
            raise HTTPException(403, "This form is too old, or was not made by this page. Go back and load it anew.")

    def _base(self, rater: str) -> str:
        return self.links.path(RATER, rater)

    def _page(self, template: str, rater: str, **values: object) -> Response:
        return HTMLResponse(self._rendered(template, rater, **values))

    def _rendered(self, template: str, rater: str, **values: object) -> str:
        base, study = self._base(rater), self.folder.study
        undo, rated = self.signer.token(rater, "undo"), len(self.store.of(rater))
        return render_page(template, base=base, study=study, rater=rater, total=len(self.folder.items), undo=undo,
                           rated=rated, locked=self.folder.is_locked, **values)  # fmt: skip


def _no_such_page() -> HTTPException:
    return HTTPException(404, NO_PAGE)


async def page_of_damage(request: Request, error: Exception) -> Response:
    """Where the ratings are not as they were written. It names the file, not the folders of this machine."""
    words = f"Tell whoever leads this review: {re.sub(r'^[^,:]*/', '', str(error))}"
    return HTMLResponse(render_page("review_error.html", words=words), 500)


async def page_of_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = error.detail if " " in error.detail.strip() and error.detail != "Not Found" else NO_PAGE
    return HTMLResponse(render_page("review_error.html", words=words), error.status_code)
