"""Signed links: a rater's link opens that rater's pages and no other's, the lead's link opens the progress page.

The link is what a rater has instead of a password: it can be neither guessed nor made from another one. ``--host`` with
a key mixes the key in, so that links of a local server do not open the same review on a network.
"""

from collections.abc import Sequence
from functools import cached_property

from itsdangerous import BadSignature, URLSafeSerializer

from bedside.web import guard
from bedside.web.study import StudyFolder

RATER, LEAD, ADJUDICATOR = "rater", "lead", "adjudicator"


class Links:
    """The links of one review."""

    def __init__(self, secret: str, key: str | None = None) -> None:
        self._signer = URLSafeSerializer(f"{secret}{key or ''}", salt="link")

    def path(self, role: str, name: str = "") -> str:
        """Where the pages of ``name`` begin."""
        return f"/{self._signer.dumps([role, name])}/"

    def who(self, token: str, role: str, names: Sequence[str]) -> str | None:
        """Whose link it is; None where it is no link of this review and role."""
        try:
            signed, name = self._signer.loads(token)
        except (BadSignature, ValueError, TypeError):
            return None
        return name if signed == role and name in names else None


class SignedPages:
    """Pages of a review that are opened by its signed links and take its signed forms."""

    folder: StudyFolder
    key: str | None

    @cached_property
    def links(self) -> Links:
        return Links(self.folder.secret, self.key)

    @cached_property
    def signer(self) -> guard.FormSigner:
        return guard.FormSigner(self.folder.secret)
