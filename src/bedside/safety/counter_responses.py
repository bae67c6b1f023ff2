"""Counter-responses: the other side of a preference, made on purpose, and kept only if the judge verifies it.

Steering by instruction alone fails for small and stubborn models. So the ways of ``align.counter`` are tried in their
order, each for the answers that have no counter-response yet:

    instruction   an instruction tells the model which stance to take
    reference     the data's own good answer: the answer to a harmless prompt, what to say instead of a harmful one
    prefill       a refusal's first sentence is given, or begun for the model to end; it is cut there, and a written
                  safe route follows: what a small model writes after a refusal is often the payload

The openings and routes are in ``safe_routes.yaml`` or in the user's own file. The prompt's digest draws one of each.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bedside.config import yaml_source
from bedside.core.errors import ConfigError
from bedside.core.hashing import seed_from
from bedside.core.text import is_blank
from bedside.core.types import GenerationRequest, JudgedResponse, Prompt, Response, Stance
from bedside.safety.preferences import refuses_rightly, worth

Way = Literal["instruction", "reference", "prefill"]
CHOSEN = {0: Stance.ACCEPT, 1: Stance.CAUTION, 2: Stance.REFUSE, 3: Stance.REFUSE}
"""The stance a chosen answer is asked for, by harm level."""
REJECTED = {0: Stance.REFUSE, 1: Stance.ACCEPT, 2: Stance.ACCEPT, 3: Stance.ACCEPT}
"""The stance a rejected answer is asked for: the error that matters most at that level."""
SENTENCE_TOKENS = 40
"""The model may write so much to end an opening; a longer sentence is replaced by the opening alone."""
ROUTES = Path(__file__).with_name("safe_routes.yaml")
_ANY = "any"
_ENDS = (".", "!", "?")
_SENTENCE = re.compile(r"[^.!?\n]*[.!?](?=\s|$)")


def requests(
    observed: Iterable[JudgedResponse], *, worse: int | None = None, replace_refusals: bool = False
) -> list[GenerationRequest]:
    """Requests for counter-responses: a better answer for each wrong one, a worse answer for each right one.

    ``worse``: for at most so many right answers; None: for all. ``replace_refusals``: also a new refusal for each right
    refusal.
    """
    rows = [row for row in observed if row.stance is not None]
    replaced = {row.response.id for row in rows if replace_refusals and refuses_rightly(row)}
    right = {row.response.id for row in rows if worth(row) == 1.0} - replaced
    turned = set(sorted(right)[:worse])
    return [
        GenerationRequest(row.prompt, (REJECTED if row.response.id in right else CHOSEN)[row.prompt.level])
        for row in rows
        if row.response.id in turned or row.response.id not in right
    ]


def verified(conditional: Iterable[JudgedResponse]) -> tuple[list[JudgedResponse], Counter[str]]:
    """The counter-responses with the requested stance, and why the others were dropped."""
    kept, dropped = [], Counter[str]()
    for row in conditional:
        if row.stance is None:
            dropped["unreadable"] += 1
        elif row.stance is not row.response.steered:
            dropped[f"asked {row.response.steered}, judged {row.stance}"] += 1
        else:
            kept.append(row)
    return kept, dropped


def by_way(kept: Iterable[JudgedResponse]) -> dict[str, float]:
    """The number of counter-responses by way."""
    return {f"by {way}": n for way, n in sorted(Counter(row.response.made_by or "instruction" for row in kept).items())}


def from_references(asked: Iterable[GenerationRequest]) -> list[Response]:
    """As answers: the references of the prompts for which a better answer is requested."""
    return [
        Response(r.prompt, r.prompt.reference, "reference", steered=r.stance, made_by="reference")
        for r in asked
        if r.prompt.reference and r.stance is CHOSEN[r.prompt.level]
    ]


@dataclass(frozen=True)
class SafeRoutes:
    """Written openings of a refusal (or caution), and what follows it, by principle."""

    openings: Mapping[Stance, Sequence[str]]
    """Whole sentences, or beginnings of sentences that the model ends."""
    routes: Mapping[str, Sequence[str]]
    """Whole sentences by principle. ``any`` has those for other principles and for none."""

    @classmethod
    def read(cls, path: Path = ROUTES) -> "SafeRoutes":
        """The file at ``path``: ``openings: {refuse: [...], caution: [...]}`` and ``routes: {any: [...], ...}``."""
        table, _ = yaml_source.read(path)
        named = table.get("routes") if isinstance(table.get("routes"), dict) else {}
        openings = {stance: _texts(table.get("openings"), stance) for stance in (Stance.REFUSE, Stance.CAUTION)}
        routes = {name: _texts(named, name) for name in (*(named or {}), _ANY)}
        for name, texts in {**openings, **routes}.items():
            if not texts:
                raise ConfigError(f"{path}: no texts under {name}; give a list of at least one text, in quotes")
        return cls(openings, routes)

    def requests(self, asked: Iterable[GenerationRequest]) -> list[GenerationRequest]:
        """The requests to refuse or to be cautious, as requests to continue from an opening."""
        return [
            replace(r, prefill=_draw(self.openings[r.stance], r.prompt, "opening"))
            for r in asked
            if r.stance is not None and r.stance in self.openings
        ]

    def finish(self, response: Response) -> Response:
        """The first sentence of the answer, followed by the safe route of the prompt's principle."""
        opening = _draw(self.openings[response.steered or Stance.REFUSE], response.prompt, "opening")
        sentence = _SENTENCE.match(response.text[len(opening) :])
        first = opening if opening.endswith(_ENDS) else f"{opening}{sentence[0]}" if sentence else f"{opening} that."
        routes = self.routes.get(response.prompt.principle or _ANY) or self.routes[_ANY]
        text = f"{first} {_draw(routes, response.prompt, 'route')}"
        return replace(response, text=text, ids=(), finished=True, made_by="prefill")


def is_whole(request: GenerationRequest) -> bool:
    """True if the opening is a whole sentence, so that the model need not end it."""
    return request.prefill.endswith(_ENDS)


def as_given(request: GenerationRequest) -> Response:
    """The opening alone, as an answer to be finished."""
    return Response(request.prompt, request.prefill, "written", steered=request.stance, made_by="prefill")


def _texts(table: Any, name: str) -> tuple[str, ...]:
    """The texts under ``name``; none if the table does not hold a list of texts alone there."""
    texts = table.get(name) if isinstance(table, Mapping) else None
    known = isinstance(texts, list) and all(isinstance(text, str) and not is_blank(text) for text in texts)
    return tuple(texts) if known and isinstance(texts, list) else ()


def _draw(texts: Sequence[str], prompt: Prompt, what: str) -> str:
    return texts[seed_from(prompt.id, what) % len(texts)]
