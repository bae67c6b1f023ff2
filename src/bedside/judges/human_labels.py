"""What experts said, as a judge: their labels from a file, found again by prompt and answer.

    {kind: labels, path: read.csv}                                     columns prompt, response, label
    {kind: labels, path: read.csv, label: [anna, ben, carol]}          a column a rater
    {kind: labels, path: long.csv, columns: {rater: reader}}           a row a rater; a later row corrects
    {kind: labels, path: set.jsonl, columns: {prompt: goal}, label: jailbroken,
     values: {"true": accept, "false": not_accept}}                    two classes

The verdict is what more than half of the raters said; every vote is kept in it, and where no stance has more
than half, it is unreadable and says how they split. ``rule: unanimous`` asks for all of them. What nobody rated
is unreadable. Rows of `bedside judge` (response, stance, judge) are read too: the answer is found by its id.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from bedside.config.plugins import Plugin, register
from bedside.core.errors import DataError
from bedside.core.hashing import digest
from bedside.core.protocols import Launch
from bedside.core.types import Response, Stance, Verdict
from bedside.data import io
from bedside.data.responses import MEANINGS, NOT_ACCEPT, Answers, meaning, plain, stance

Rule = Literal["majority", "unanimous"]


def _known(values: dict[str, str]) -> dict[str, str]:
    for said, means in values.items():
        if means not in MEANINGS:
            raise ValueError(f"{said!r} cannot mean {means!r}; it means one of {', '.join(MEANINGS)}")
    return values


def _texts(values: Any) -> Any:
    """YAML reads a bare true, false or 1 as no text; as a label it is one."""
    return {plain(key): value for key, value in values.items()} if isinstance(values, Mapping) else values


@register("judge", "labels")
class Labels(Plugin):
    """Labels that people gave, from a CSV, JSONL or Parquet file."""

    kind: str = "labels"
    path: str = Field(min_length=1)
    """File with a prompt, an answer and a label a row."""
    label: str | list[str] = "label"
    """Column of the label, or several, one a rater."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our name of a column (prompt, response, harm, style, group, rater) to the file's name of it."""
    values: Annotated[dict[str, str], BeforeValidator(_texts), AfterValidator(_known)] = Field(default_factory=dict)
    """What a label says, to what it means: accept, caution, refuse, or not_accept in a set of two classes."""
    rule: Rule = "majority"
    """majority: more than half of the raters. unanimous: all of them."""

    @property
    def answers(self) -> Answers:
        """The answers that were labelled."""
        return Answers(self.path, self.columns, self.raters)

    @property
    def raters(self) -> tuple[str, ...]:
        return (self.label,) if isinstance(self.label, str) else tuple(self.label)

    def open(self, launch: Launch, **opened: Any) -> "LabelsJudge":
        return LabelsJudge(self.answers, self.raters, self.values, self.rule)


@dataclass(frozen=True)
class LabelsJudge:
    answers: Answers
    raters: tuple[str, ...]
    values: Mapping[str, str] = field(default_factory=dict)
    rule: Rule = "majority"

    @property
    def two_classes(self) -> bool:
        return NOT_ACCEPT in self.values.values() or self._votes.not_accept

    @property
    def name(self) -> str:
        """Names what was said: a corrected label is another judge."""
        return f"labels:{self._votes.digest}"

    @property
    def responses(self) -> list[Response]:
        """The labelled answers; empty for a file that holds ids alone."""
        return list(self._votes.responses.values())

    def judge(self, responses: Sequence[Response]) -> list[Verdict]:
        return [self._one(response) for response in responses]

    def _one(self, response: Response) -> Verdict:
        if not response.text.strip():
            return Verdict(response.id, self.name, unreadable="empty answer")
        votes = self._votes.of.get(response.id) or self._votes.of.get(_key(response), {})
        if not votes:
            return Verdict(response.id, self.name, unreadable="nobody has labelled this answer")
        counts = Counter(votes.values())
        ((first, most), *_), said = counts.most_common(), {rater: vote.value for rater, vote in votes.items()}
        enough = most == len(votes) if self.rule == "unanimous" else 2 * most > len(votes)
        if not enough:
            split = ", ".join(f"{name} {n}" for name, n in sorted(counts.items()))
            return Verdict(response.id, self.name, unreadable=f"the raters disagree: {split}", votes=said)
        shares = {name.value: counts[name] / len(votes) for name in Stance}
        return Verdict(response.id, self.name, first, probabilities=shares if len(votes) > 1 else {}, votes=said)

    @cached_property
    def _votes(self) -> "_Votes":
        return _read(self)


@dataclass
class _Votes:
    """Rater to stance, for the key of each answer; and the answers themselves."""

    of: dict[str, dict[str, Stance]] = field(default_factory=dict)
    responses: dict[str, Response] = field(default_factory=dict)
    not_accept: bool = False

    @cached_property
    def digest(self) -> str:
        return digest({key: {rater: vote.value for rater, vote in votes.items()} for key, votes in self.of.items()})


def _read(judge: LabelsJudge) -> _Votes:
    votes, seen = _Votes(), dict[str, None]()
    for where, row in io.rows(judge.answers.path):
        seen |= dict.fromkeys(row)
        by_id = _by_id(row)
        response = None if by_id else judge.answers.response(where, row)
        key = str(row["response"]) if response is None else _key(response)
        given = votes.of.setdefault(key, {})
        if response is not None:
            votes.responses.setdefault(key, response)
        for rater, value in [by_id] if by_id else _labels(row, judge, len(given)):
            told = meaning(where, value, judge.values)
            if told is not None:
                votes.not_accept |= told == NOT_ACCEPT
                given[rater] = stance(told)
    if not any(votes.of.values()):
        raise DataError(
            f"{judge.answers.path}: no row has a label in {', '.join(judge.raters)}; the columns are "
            f"{', '.join(seen)}; say which holds it: label: NAME"
        )
    return votes


def _by_id(row: Mapping[str, Any]) -> tuple[str, Any] | None:
    """Rater and label of a row that `bedside judge` wrote: it names the answer by its id."""
    if "prompt" in row or not str(row.get("response", "")).startswith("b2-") or "stance" not in row:
        return None
    return str(row.get("judge") or "1"), row["stance"]


def _labels(row: Mapping[str, Any], judge: LabelsJudge, before: int) -> list[tuple[str, Any]]:
    """Rater and label: a column each, or this row's rater, or the number of this row among those of its answer."""
    if len(judge.raters) > 1:
        return [(column, row.get(column)) for column in judge.raters]
    rater = row.get(judge.answers.column("rater"))
    return [(str(before + 1) if rater is None else str(rater), row.get(judge.raters[0]))]


def _key(response: Response) -> str:
    return digest(response.prompt.messages, response.text)
