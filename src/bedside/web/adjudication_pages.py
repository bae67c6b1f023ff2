"""`bedside review adjudicate`: one person decides the items on which raters differ, after the lock.

/LINK/          the items to decide
/LINK/item/2    one of them, with what each rater said, and the same form
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from bedside.web.links import ADJUDICATOR, SignedPages
from bedside.web.questions import FIRST, LETTERS, SECOND
from bedside.web.rating_store import Rating, RatingStore
from bedside.web.review_pages import NO_PAGE, page_of_damage, page_of_error
from bedside.web.study import Item, StudyFolder


@dataclass(frozen=True, slots=True)
class RaterView:
    """What one rater said of an item, in the words of the form."""

    words: dict[str, str]
    note: str


@dataclass(frozen=True)
class AdjudicationPages(SignedPages):
    """The pages of one adjudicator."""

    folder: StudyFolder
    store: RatingStore
    name: str
    key: str | None = None

    @cached_property
    def disputed(self) -> Sequence[Item]:
        """Ratings are locked, so these stay."""
        return results.disputed(self.folder, self.store.all())

    @property
    def address(self) -> str:
        """The path of the pages."""
        return self.links.path(ADJUDICATOR, self.name)

    def application(self) -> ASGIApp:
        routes = [
            Route("/{token}/", self.start),
            Route("/{token}/item/{place:int}", self.item),
            Route("/{token}/item/{place:int}", self.sent, methods=["POST"]),
        ]
        handlers = {403: page_of_error, 404: page_of_error, DataError: page_of_damage}
        return Starlette(routes=[*static.ROUTES, *routes], exception_handlers=handlers)

    async def start(self, request: Request) -> Response:
        self._require_link(request)
        decided = self.store.decisions()
        rows = [(place, item.id in decided) for place, item in enumerate(self.disputed, start=1)]
        page = render_page(
            "review_disputes.html", base=self.address, rows=rows, next=self._next(), decided=len(decided)
        )
        return HTMLResponse(page)

    async def item(self, request: Request) -> Response:
        saved = request.query_params.get("saved", "")
        return self._page(self._place(request), saved=saved if saved.isdigit() else "")

    async def sent(self, request: Request) -> Response:
        place, fields = self._place(request), await guard.form(request)
        if not self.signer.signed(fields.get("token", ""), ADJUDICATOR, self.name, str(place)):
            raise HTTPException(403, "This form is too old, or was not made by this page. Go back and load it anew.")
        rating, wrong = self._read(self.disputed[place - 1], fields)
        if wrong:
            return self._page(place, rating, wrong)
        self.store.decide(rating)
        ahead = self._next(place)
        return RedirectResponse(f"{self.address}{f'item/{ahead}?saved={place}' if ahead else ''}", 303)

    def _read(self, item: Item, fields: Mapping[str, str]) -> tuple[Rating, str]:
        return forms.read(self.folder.study.asked_of(item), Rating(self.name, item.id), fields)

    def _page(self, place: int, rating: Rating | None = None, wrong: str = "", saved: str = "") -> Response:
        item, decisions = self.disputed[place - 1], self.store.decisions()
        kept = rating or decisions.get(item.id) or self._agreed(item)
        answers = [item.answers[(FIRST, SECOND).index(side)] for side in (FIRST, SECOND)[: len(item.answers)]]
        page = render_page(
            "review_decide.html", study=self.folder.study, base=self.address, item=item, place=place, wrong=wrong,
            total=len(self.disputed), decided=len(decisions), answers=answers, letters=LETTERS, saved=saved,
            views=self._views(item), shown=kept.answers, note=kept.note, questions=self.folder.study.asked_of(item),
            token=self.signer.token(ADJUDICATOR, self.name, str(place)),
        )  # fmt: skip
        return HTMLResponse(page, 422 if wrong else 200)

    def _agreed(self, item: Item) -> Rating:
        """Of the claims of an answer, what the raters say alike: it need not be decided again."""
        if not self.folder.study.rates_claims:
            return Rating("", item.id)
        return Rating("", item.id, results.unanimous(self.folder, self.store.all(), item))

    def _views(self, item: Item) -> list[RaterView]:
        """In the order of the raters, who are not named."""
        words = {
            question.name: {choice.value: choice.words for choice in question.choices}
            for question in self.folder.study.asked_of(item)
        }
        of_item = {rating.rater: rating for rating in self.store.all() if rating.item == item.id}
        blank = Rating("", item.id)
        rated = [of_item.get(rater, blank) for rater in self.folder.study.raters]
        return [RaterView({name: words[name][value] for name, value in one.answers.items()}, one.note) for one in rated]

    def _next(self, after: int = 0) -> int | None:
        decided = self.store.decisions()
        left = [place for place, item in enumerate(self.disputed, start=1) if item.id not in decided]
        return next((place for place in left if place > after), left[0] if left else None)

    def _place(self, request: Request) -> int:
        self._require_link(request)
        place: int = request.path_params["place"]
        if not 1 <= place <= len(self.disputed):
            raise HTTPException(404, NO_PAGE)
        return place

    def _require_link(self, request: Request) -> None:
        if self.links.who(request.path_params["token"], ADJUDICATOR, (self.name,)) is None:
            raise HTTPException(404, NO_PAGE)
