"""The folder of a review: what raters are shown, and apart from it what is kept from them.

review.json        the questions, the raters, the seed
items.jsonl        prompt and answers, without who wrote them: what a rater may see
key.jsonl          whose answers they are, which are controls or repeats: opened by `bedside review unblind`
labels.plan.json   what was drawn with which probability; what decides a release reads it beside labels.csv
ratings.sqlite     every rating, skip and undo, in the order in which they came
links.key          what the raters' links are signed with; its owner's alone
locked.json        the number and the digest of the ratings that `bedside review lock` closed
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from bedside.core.errors import DataError
from bedside.core.hashing import digest
from bedside.core.types import Message
from bedside.data import io
from bedside.web.questions import CLAIMS, FIRST, QUESTIONS, SECOND, SIDE_BY_SIDE, Question

FILE, ITEMS, KEY, SECRET, LOCKED = "review.json", "items.jsonl", "key.jsonl", "links.key", "locked.json"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Item:
    """What a rater reads at once."""

    id: str
    prompt: tuple[Message, ...]
    answers: tuple[str, ...]
    """One, or two to be compared."""
    claims: tuple[str, ...] = ()
    """Of the answer, where each is rated."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The turns, by the name that a prompt has for them."""
        return self.prompt


@dataclass(frozen=True, slots=True)
class KeyRow:
    """What is kept from raters about one item."""

    id: str
    answers: tuple[str, ...] = ()
    """``Response.id`` of each; empty for a control."""
    arms: tuple[str, ...] = ()
    """Who wrote each."""
    group: str = ""
    """The cluster that intervals count by."""
    harm: int | None = None
    style: str | None = None
    principle: str | None = None
    judged: str = ""
    """What the run's judge says of the answer; empty for two answers."""
    expected: Mapping[str, str] = field(default_factory=dict)
    """Of a planted control: question to the only right choice."""
    repeats: str = ""
    """The item that this one shows again."""


@dataclass(frozen=True, slots=True)
class Study:
    """One review."""

    name: str
    kind: str
    preset: str
    questions: tuple[str, ...]
    raters: tuple[str, ...]
    rater_kind: str
    """``person`` or ``model``: by labels of models nothing is released."""
    seed: int
    break_after: int = 20
    """Ratings after which a break is suggested."""

    def __post_init__(self) -> None:
        if not self.raters or len(set(self.raters)) < len(self.raters):
            raise DataError("name each rater once: --rater anna --rater ben")
        for name in self.raters:
            if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii() or len(name) > 40:
                raise DataError(f"rater {name!r}: a name has letters, digits, - and _ only, at most 40")

    @property
    def asked(self) -> tuple[Question, ...]:
        return tuple(QUESTIONS[name] for name in self.questions)

    def asked_of(self, item: Item) -> tuple[Question, ...]:
        """What the form of ``item`` asks."""
        return tuple(one for question in self.asked for one in question.about(item.claims))

    def decided_by(self, item: Item) -> tuple[str, ...]:
        """Names of the questions on which raters must agree: the first one, or that of every claim."""
        return tuple(one.name for one in self.asked[0].about(item.claims))

    @property
    def rates_claims(self) -> bool:
        return self.kind == CLAIMS

    @property
    def is_side_by_side(self) -> bool:
        return self.kind == SIDE_BY_SIDE


@dataclass(frozen=True)
class StudyFolder:
    """A review on disk."""

    root: Path
    study: Study
    items: tuple[Item, ...]
    key: Mapping[str, KeyRow]

    def order(self, rater: str) -> list[Item]:
        """All items in the rater's own order, a repeat half of them behind what it repeats, or as far as it goes."""
        ranked = sorted(self.items, key=lambda item: digest(self.study.seed, rater, item.id))
        again = {row.repeats: row.id for row in self.key.values() if row.repeats}
        by_id = {item.id: item for item in ranked}
        firsts = [item for item in ranked if not self.key[item.id].repeats]
        early = sorted(firsts, key=lambda item: item.id not in again)[: -(-len(ranked) // 2)]
        head = [item for item in firsts if item in early]
        tail = [item for item in firsts if item not in early]
        for place, item in enumerate(head):
            if item.id in again:
                tail.insert(min(place, len(tail)), by_id[again[item.id]])
        return head + tail

    def sides(self, rater: str, item: Item) -> tuple[str, ...]:
        """Which answer the rater sees first: drawn for each rater and item."""
        if len(item.answers) == 1:
            return (FIRST,)
        swapped = int(digest(self.study.seed, "side", rater, item.id)[-1], 16) % 2
        return (SECOND, FIRST) if swapped else (FIRST, SECOND)

    @property
    def secret(self) -> str:
        """What links and forms are signed with."""
        return (self.root / SECRET).read_text(encoding="utf-8").strip()

    @property
    def is_locked(self) -> bool:
        return (self.root / LOCKED).is_file()


def write(root: Path, study: Study, items: Sequence[Item], key: Sequence[KeyRow]) -> StudyFolder:
    """Write a new review. DataError where the folder holds something: it may be somebody's work."""
    if root.exists() and any(root.iterdir()):
        raise DataError(f"{root} already holds something, maybe somebody's work; name another with -o, or move it")
    io.make_private(root)
    io.write_text(root / SECRET, secrets.token_urlsafe(32) + "\n", root)
    io.write_text(root / ITEMS, "".join(f"{_line(item)}\n" for item in items), root)
    io.write_text(root / KEY, "".join(f"{_line(row)}\n" for row in key), root)
    io.write_text(root / FILE, _line(study) + "\n", root)
    return StudyFolder(root, study, tuple(items), {row.id: row for row in key})


def read(root: Path) -> StudyFolder:
    """The review in ``root``. DataError where there is none, or a file is not what was written."""
    if not (root / FILE).is_file():
        raise DataError(f"{root}: no review here; `bedside review pack RUN -o {root}` makes one")
    study = _read(root / FILE, Study)[0]
    items, key = _read(root / ITEMS, Item), _read(root / KEY, KeyRow)
    if [item.id for item in items] != [row.id for row in key]:
        raise DataError(f"{root / KEY} is the key of other items than {ITEMS}; put back the two that were packed")
    return StudyFolder(root, study, tuple(items), {row.id: row for row in key})


def _line(row: object) -> str:
    return TypeAdapter(type(row)).dump_json(row).decode("utf-8")


def _read(path: Path, row_type: type[T]) -> list[T]:
    try:
        return [TypeAdapter(row_type).validate_json(line) for line in path.read_bytes().splitlines()]
    except (OSError, ValidationError):
        raise DataError(f"{path}: is not as `bedside review pack` wrote it; put back a copy, or pack anew") from None
