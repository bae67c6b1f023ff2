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
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from bedside.core.errors import DataError
from bedside.core.hashing import digest
from bedside.core.types import Message
from bedside.data import io
from bedside.safety.labelled_sample import PLAN as PLAN_ENDING
from bedside.safety.labelled_sample import LabelPlan
from bedside.web.questions import CLAIMS, FIRST, LABELS, QUESTIONS, SECOND, SIDE_BY_SIDE, SKIP_REASONS, Question

FILE, ITEMS, KEY, SECRET, LOCKED = "review.json", "items.jsonl", "key.jsonl", "links.key", "locked.json"
LABELS_FILE = "labels.csv"
PLAN = LABELS_FILE.partition(".")[0] + PLAN_ENDING
KINDS = (LABELS, CLAIMS, SIDE_BY_SIDE)
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
        if self.kind not in KINDS or not self.questions or not QUESTIONS.keys() >= set(self.questions):
            raise DataError("a review has a known kind and known questions")
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

    def is_whole(self, item: Item) -> bool:
        """Whether an item is as its kind of review has them, and its key is about it."""
        row = self.key[item.id]
        answers, both = len(item.answers), len(row.arms) in (0, len(item.answers))
        right_number = answers == (2 if self.study.is_side_by_side else 1) and bool(item.prompt)
        known = row.repeats in ("", *self.key) and (not row.arms or bool(row.answers))
        return right_number and both and known and bool(item.claims) == self.study.rates_claims

    def can_hold(self, item: str, answers: Mapping[str, str], skipped: str) -> bool:
        """Whether the form of ``item`` gives these answers, or this skip."""
        asked = {one.name: one.values for one in self.study.asked_of(self._by_id[item])} if item in self._by_id else {}
        known = item in self._by_id and skipped in ("", *SKIP_REASONS)
        return known and all(value in asked.get(name, ()) for name, value in answers.items())

    @cached_property
    def _by_id(self) -> dict[str, Item]:
        return {item.id: item for item in self.items}

    @property
    def secret(self) -> str:
        """What links and forms are signed with. DataError where the file is gone."""
        try:
            secret = (self.root / SECRET).read_bytes().decode("ascii").strip()
        except (OSError, UnicodeDecodeError):
            secret = ""
        if not secret:
            raise DataError(f"{self.root / SECRET}: what links are signed with is gone; put back a copy")
        return secret

    @property
    def is_locked(self) -> bool:
        return (self.root / LOCKED).is_file()


def write(
    root: Path, study: Study, items: Sequence[Item], key: Sequence[KeyRow], plan: LabelPlan | None = None
) -> StudyFolder:
    """Write a new review, ``review.json`` last: where it is not there, nobody has begun and a second try goes on.

    ``plan``: by which labels were drawn. DataError where the folder holds something else: it may be somebody's work.
    """
    names = {path.name for path in root.iterdir() if not path.match(".*.draft")} if root.exists() else set()
    if names - {SECRET, ITEMS, KEY, PLAN}:
        raise DataError(f"{root} already holds something, maybe somebody's work; name another with -o, or move it")
    io.make_private(root)
    if SECRET not in names:
        io.write_text(root / SECRET, secrets.token_urlsafe(32) + "\n", root)
    write_items(root, items, key)
    if plan:
        io.write_json(root / PLAN, plan)
    io.write_text(root / FILE, _line(study) + "\n", root)
    return StudyFolder(root, study, tuple(items), {row.id: row for row in key})


def write_items(root: Path, items: Sequence[Item], key: Sequence[KeyRow]) -> None:
    """What raters are shown, and what is kept from them."""
    io.write_text(root / ITEMS, "".join(f"{_line(item)}\n" for item in items), root)
    io.write_text(root / KEY, "".join(f"{_line(row)}\n" for row in key), root)


def read(root: Path) -> StudyFolder:
    """The review in ``root``. DataError where there is none, or a file is not what was written."""
    if not (root / FILE).is_file():
        raise DataError(f"{root}: no review here; `bedside review pack RUN -o {root}` makes one")
    studies = _read(root / FILE, Study)
    items, key = _read(root / ITEMS, Item), _read(root / KEY, KeyRow)
    ids = [item.id for item in items]
    by_id = {row.id: row for row in key if row.id in set(ids)}  # an erasure that was killed may have left more
    if len(by_id) < len(ids):
        raise DataError(f"{root / KEY} is the key of other items than {ITEMS}; put back the two that were packed")
    folder = StudyFolder(root, studies[0], tuple(items), by_id) if len(studies) == 1 else None
    if folder is None or not all(map(folder.is_whole, items)):
        raise _not_as_written(root / FILE)
    return folder


def _line(row: object) -> str:
    return TypeAdapter(type(row)).dump_json(row).decode("utf-8")


def _read(path: Path, row_type: type[T]) -> list[T]:
    try:
        return [TypeAdapter(row_type).validate_json(line) for line in path.read_bytes().splitlines()]
    except (OSError, ValueError, RecursionError):  # ValidationError is a ValueError
        raise _not_as_written(path) from None


def _not_as_written(path: Path) -> DataError:
    return DataError(f"{path}: is not as `bedside review pack` wrote it; put back a copy, or pack anew")
