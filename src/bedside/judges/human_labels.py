"""Labels of experts as a judge: read from a file, matched by prompt and answer.

    {kind: labels, path: read.csv}                                     columns prompt, response, label
    {kind: labels, path: read.csv, label: [anna, ben, carol]}          one column per rater
    {kind: labels, path: long.csv, columns: {rater: reader}}           one row per rater; a later row corrects
    {kind: labels, path: set.jsonl, columns: {prompt: goal}, label: jailbroken,
     label_map: {"true": accept, "false": not_accept}}                 two classes

The verdict is the stance that more than half of the raters give, with every vote. If no stance has more than half, the
verdict is unreadable and lists the votes. ``rule: unanimous`` needs all raters. An answer without a label is
unreadable. Rows that `bedside judge` wrote (response, stance, judge) are also read: they name the answer by its id.

Beside the label there may be columns ``complied`` and ``actionable`` (yes, no, or empty for unknown). If the verdict
has a stance, its scores include the share of raters who say yes.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from bedside.config.plugins import Plugin, register
from bedside.core.errors import DataError
from bedside.core.hashing import digest
from bedside.core.protocols import Launch
from bedside.core.types import Response, Stance, Verdict
from bedside.data import annotations
from bedside.data.responses import (
    COMPLIANCE,
    MEANINGS,
    NOT_ACCEPT,
    AnswerFile,
    normalized_label,
    parse_label,
    parse_yes_no,
)

RATER_KIND, MODEL = "rater_kind", "model"
ANSWER_ID = "answer_id"
"""The column of the answer's id, in a file that `bedside review` wrote for labelling."""


def _check_meanings(values: dict[str, str]) -> dict[str, str]:
    for label, means in values.items():
        if means not in MEANINGS:
            raise ValueError(f"{label!r} cannot mean {means!r}; it means one of {', '.join(MEANINGS)}")
    return values


def _keys_as_text(values: Any) -> Any:
    """A label such as a bare true, false or 1 as text: YAML does not read it as text."""
    return {normalized_label(key): value for key, value in values.items()} if isinstance(values, Mapping) else values


def _once(label: str | list[str]) -> str | list[str]:
    twice = [] if isinstance(label, str) else sorted({name for name in label if label.count(name) > 1})
    if twice:
        raise ValueError(f"names {twice[0]} twice; name each rater's column once")
    return label


@register("judge", "labels")
class Labels(Plugin):
    """Labels by people, from a CSV, JSONL or Parquet file, as a judge."""

    kind: str = "labels"
    path: str = Field(min_length=1)
    """File with a prompt, an answer and a label per row."""
    label: Annotated[str | list[str], AfterValidator(_once)] = "label"
    """Column of the label, or several columns, one per rater."""
    columns: dict[str, str] = Field(default_factory=dict)
    """The file's names of our columns (prompt, response, harm, style, group, rater, complied, actionable)."""
    label_map: Annotated[dict[str, str], BeforeValidator(_keys_as_text), AfterValidator(_check_meanings)] = Field(
        default_factory=dict
    )
    """The meaning of each label: accept, caution, refuse, or not_accept if there are two classes."""
    rule: Literal["majority", "unanimous"] = "majority"
    """majority: more than half of the raters. unanimous: all of them."""
    rater_kind: Literal["person", "model"] = "person"
    """Who labelled. Labels by models release nothing; the verdict says what would be released. A file of `bedside
    review` has this information in a column ``rater_kind``: one row by a model is enough."""

    @property
    def answers(self) -> AnswerFile:
        """The answers that were labelled."""
        named = tuple(self.columns.get(name, name) for name in COMPLIANCE)
        return AnswerFile(self.path, self.columns, (*self.raters, *named))

    @property
    def raters(self) -> tuple[str, ...]:
        return (self.label,) if isinstance(self.label, str) else tuple(self.label)

    def open(self, launch: Launch, **opened: Any) -> "LabelsJudge":
        return LabelsJudge(self)


@dataclass(frozen=True)
class LabelsJudge:
    config: Labels

    @property
    def two_classes(self) -> bool:
        return NOT_ACCEPT in self.config.label_map.values() or self._labels.not_accept

    @cached_property
    def name(self) -> str:
        """Contains a digest of the labels, so that a corrected label makes it another judge."""
        by_a_model = MODEL in (self.config.rater_kind, *self._labels.rater_kinds)
        return f"{'model-' if by_a_model else ''}labels:{self._labels.digest}"

    def judge(self, responses: Sequence[Response]) -> list[Verdict]:
        return [self._verdict(response) for response in responses]

    def _verdict(self, response: Response) -> Verdict:
        if response.is_empty:
            return Verdict(response.id, self.name, unreadable="empty answer")
        labels = self._labels
        key = next((key for key in (response.id, _key(response)) if labels.stances.get(key)), "")
        stances = labels.stances.get(key, {})
        if not stances:
            return Verdict(response.id, self.name, unreadable="nobody has labelled this answer")
        counts = Counter(stances.values())
        votes = {rater: vote.value for rater, vote in stances.items()}
        (first, most), *_ = counts.most_common()
        enough = most == len(votes) if self.config.rule == "unanimous" else 2 * most > len(votes)
        if not enough:
            split = ", ".join(f"{name} {n}" for name, n in sorted(counts.items()))
            return Verdict(response.id, self.name, unreadable=f"the raters disagree: {split}", votes=votes)
        return Verdict(
            response.id,
            self.name,
            first,
            probabilities={name.value: counts[name] / len(votes) for name in Stance} if len(votes) > 1 else {},
            scores={name: sum(yes.values()) / len(yes) for name, yes in labels.compliance.get(key, {}).items()},
            votes=votes,
        )

    @cached_property
    def _labels(self) -> "_LabelledAnswers":
        labelled, columns = _LabelledAnswers(), dict[str, None]()
        for where, row in annotations.rows(self.config.path, self.config.raters):
            columns |= dict.fromkeys(row)
            labelled.rater_kinds.add(str(row.get(RATER_KIND, "")))
            by_id = _by_id(row)
            key = str(row["response"]) if by_id else _key(self.config.answers.response(where, row))
            votes = labelled.stances.setdefault(key, {})
            answered = labelled.compliance.setdefault(key, {})
            if row.get(ANSWER_ID):  # a spreadsheet may have changed the text
                labelled.stances[str(row[ANSWER_ID])], labelled.compliance[str(row[ANSWER_ID])] = votes, answered
            given = [by_id] if by_id else _labels(row, self.config, len(votes))
            for name, yes in _compliance(where, row, self.config):
                answered.setdefault(name, {})[given[0][0]] = yes
            for rater, value in given:
                label = parse_label(where, value, self.config.label_map)
                if label is not None:
                    labelled.not_accept |= label == NOT_ACCEPT
                    votes[rater] = Stance.REFUSE if label == NOT_ACCEPT else Stance(label)
        if not any(labelled.stances.values()):
            raise DataError(
                f"{self.config.path}: no row has a label in {', '.join(self.config.raters)}; the columns are "
                f"{', '.join(columns)}; give the one with the label: label: NAME"
            )
        return labelled


@dataclass
class _LabelledAnswers:
    """The stances of each answer by rater, by the answer's key or id."""

    stances: dict[str, dict[str, Stance]] = field(default_factory=dict)
    compliance: dict[str, dict[str, dict[str, bool]]] = field(default_factory=dict)
    """The values of ``COMPLIANCE`` for each answer, by rater, if the rater gave one."""
    not_accept: bool = False
    rater_kinds: set[str] = field(default_factory=set)
    """Who labelled, by the rows."""

    @cached_property
    def digest(self) -> str:
        votes = {key: {rater: vote.value for rater, vote in votes.items()} for key, votes in self.stances.items()}
        answers = {key: yes for key, yes in self.compliance.items() if yes}
        return digest(votes, answers) if answers else digest(votes)


def _by_id(row: Mapping[str, Any]) -> tuple[str, Any] | None:
    """Rater and label of a row that `bedside judge` wrote. Such a row names the answer by its id."""
    if not (str(row.get("response", "")).startswith("b2-") and {"judge", "stance"} <= row.keys()):
        return None
    return str(row.get("judge") or "1"), row["stance"]


def _labels(row: Mapping[str, Any], config: Labels, before: int) -> list[tuple[str, Any]]:
    """Raters and labels of a row: one column per rater, or one rater, named in a column or by the number of the row."""
    if len(config.raters) > 1:
        return [(column, row.get(column)) for column in config.raters]
    rater = row.get(config.answers.column("rater"))
    return [(str(before + 1) if rater is None else str(rater), row.get(config.raters[0]))]


def _compliance(where: str, row: Mapping[str, Any], config: Labels) -> Iterator[tuple[str, bool]]:
    """The row's values of ``COMPLIANCE``; nothing for an empty cell."""
    for name in COMPLIANCE:
        column = config.answers.column(name)
        yes = parse_yes_no(where, column, row.get(column))
        if yes is not None:
            yield name, yes


def _key(response: Response) -> str:
    return digest(response.prompt.messages, response.text)
