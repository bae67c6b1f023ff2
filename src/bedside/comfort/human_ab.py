"""Answers side by side for people, and what their choices show.

    kinder, more_correct    share of pairs in which a person chose the arm's answer over the target's; same counts half
    kappa                   Cohen's κ of the comfort judge with the people who chose a or b as kinder; if the judge
                            rates both answers alike, or not both, it counts as disagreement

Each question has the target's answer and that of one trained arm, the arms in turn, in an order that the seed draws:
raters cannot tell which model wrote which answer, and always choosing a gains nothing. People fill in files in ``ab/``
of the run:

    pack.jsonl                           one pair a line: question, answers a and b, and the columns to fill in
    pack-NAME.jsonl, pack-NAME.csv       copies that people filled in, one a person
    key.jsonl                            which model wrote a, and which wrote b
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from bedside.core.errors import DataError
from bedside.core.gates import Constraint, Gate, GateKind, GateState
from bedside.core.hashing import digest
from bedside.core.measures import Measure
from bedside.core.results import ArmPreference, HumanComparison, rating
from bedside.core.types import JudgedResponse
from bedside.data import io
from bedside.safety.gates import judge_agreement, kappa_measure
from bedside.stats.agreement import Ratings, RatingTable, kappa, krippendorff_alpha
from bedside.stats.measures import mean

FOLDER = "ab"
PAIRS = 60
CHOICES = ("a", "b", "same")
COMFORT_JUDGE = "comfort judge"


@dataclass(frozen=True, slots=True)
class AnswerPair:
    """One question and two answers."""

    id: str
    arms: tuple[str, str]
    """The arm that wrote a, and the arm that wrote b."""
    rows: tuple[JudgedResponse, JudgedResponse]

    @property
    def cluster(self) -> str:
        """The group that intervals count the pair by."""
        return self.rows[0].prompt.cluster

    @property
    def kinder_by_judge(self) -> str | None:
        """The answer that the judge rates higher: a, b or same; None if it rates one of them not at all."""
        a, b = (rating(row.verdict.scores) for row in self.rows)
        if a is None or b is None:
            return None
        return "same" if a == b else "a" if a > b else "b"


@dataclass(frozen=True, slots=True)
class RaterChoice:
    """One person's choices for one pair; None for a question left open."""

    pair: str
    person: str
    kinder: str | None
    more_correct: str | None


def build_pairs(answers: Mapping[str, Sequence[JudgedResponse]], seed: int) -> list[AnswerPair]:
    """Pairs of the first rows. ``answers``: rows by arm, in one order; the first arm is the target."""
    target, *arms = answers
    pairs = []
    for index in range(min(PAIRS, len(answers[target]))):
        sides = [target, arms[index % len(arms)]]
        id_ = digest(seed, [answers[arm][index].response.id for arm in sides])
        a, b = reversed(sides) if int(id_[-1], 16) % 2 else sides
        pairs.append(AnswerPair(id_, (a, b), (answers[a][index], answers[b][index])))
    return pairs


def compare_choices(
    pairs: Sequence[AnswerPair], choices: Sequence[RaterChoice], target: str, limit: Constraint | None
) -> HumanComparison | None:
    """People's preferences by arm, and the judge's agreement with them; None if nobody chose anything.

    ``limit``: on the kappa of the comfort judge with people.
    """
    by_id = {pair.id: pair for pair in pairs}
    made = [choice for choice in choices if choice.kinder or choice.more_correct]
    if not made:
        return None
    arms = dict.fromkeys(arm for pair in pairs for arm in pair.arms if arm != target)
    return HumanComparison(
        persons=len({choice.person for choice in made}),
        preferred=tuple(
            ArmPreference(arm, *(_share(arm, by_id, made, name) for name in ("kinder", "more_correct"))) for arm in arms
        ),
        alpha=_alpha(by_id, choices),
        judge=_judge_gate(by_id, choices, limit),
    )


def pack_line(pair: AnswerPair) -> dict[str, Any]:
    """One line of the pack, to be filled in."""
    a, b = pair.rows
    return {"id": pair.id, "question": a.prompt.text, "a": a.response.text, "b": b.response.text,
            "kinder": None, "more_correct": None, "note": ""}  # fmt: skip


def write_pack(root: Path, pairs: Sequence[AnswerPair]) -> None:
    """Write the pack and its key under ``root``.

    A pack of the same pairs stays as people filled it in. A pack of other pairs is renamed, never overwritten.
    """
    folder = root / FOLDER
    if _is_about(folder, pairs):
        return
    if folder.exists():
        folder.rename(next(to for n in count(1) if not (to := folder.with_name(f"{FOLDER}-{n}")).exists()))
    io.write_jsonl(folder / "pack.jsonl", [pack_line(pair) for pair in pairs])
    io.write_jsonl(folder / "key.jsonl", [{"id": p.id, "a": p.arms[0], "b": p.arms[1]} for p in pairs])


def read_choices(root: Path, pairs: Sequence[AnswerPair]) -> list[RaterChoice]:
    """The choices in ``ab/pack.jsonl`` and in its copies. Empty if the pack is about other pairs.

    DataError if a line is about no pair of this run, lacks a column, holds anything but a, b, same or nothing, or
    contradicts another line of the same person.
    """
    if not _is_about(root / FOLDER, pairs):
        return []
    ids = {pair.id for pair in pairs}
    choices: dict[tuple[str, str], RaterChoice] = {}
    for file in _pack_files(root / FOLDER):
        for where, row in io.rows(file):
            choice = _read_choice(where, row, file.stem, ids)
            if not (choice.kinder or choice.more_correct):
                continue
            if choices.setdefault((choice.person, choice.pair), choice) != choice:
                raise DataError(f"{where}: {choice.person} has another choice for {choice.pair}; keep one of them")
    return list(choices.values())


def _share(arm: str, by_id: Mapping[str, AnswerPair], choices: Sequence[RaterChoice], name: str) -> Measure:
    """How often ``arm`` was chosen in the column ``name`` of its pairs; same counts half."""
    chosen = [(by_id[c.pair], side) for c in choices if (side := getattr(c, name)) and arm in by_id[c.pair].arms]
    wins = [0.5 if side == "same" else float(pair.arms["ab".index(side)] == arm) for pair, side in chosen]
    return mean(name, wins, [pair.cluster for pair, _ in chosen])


def _alpha(by_id: Mapping[str, AnswerPair], choices: Sequence[RaterChoice]) -> Measure | None:
    """Krippendorff's α of ``kinder``; None if no pair has the choices of two people, or if all choose the same."""
    people = list(dict.fromkeys(choice.person for choice in choices))
    kinder = {(choice.pair, choice.person): choice.kinder for choice in choices}
    ids = list(dict.fromkeys(choice.pair for choice in choices))
    items = tuple(tuple(kinder.get((id_, person)) for person in people) for id_ in ids)
    if not any(sum(bool(label) for label in item) > 1 for item in items):
        return None
    alpha = krippendorff_alpha(RatingTable(items, tuple(by_id[id_].cluster for id_ in ids), CHOICES))
    return None if alpha.value is None else Measure("alpha", alpha.value, alpha.n, 0, alpha.low, alpha.high)


def _judge_gate(by_id: Mapping[str, AnswerPair], choices: Sequence[RaterChoice], limit: Constraint | None) -> Gate:
    """Whether the comfort judge finds the same answer kinder as people do."""
    decided = [(by_id[c.pair], c.kinder) for c in choices if c.kinder in ("a", "b")]
    if not any(pair.kinder_by_judge for pair, _ in decided):
        reason = "no pair in which a person chose one is rated by the judge"
        return Gate(GateKind.HUMAN_AGREEMENT, COMFORT_JUDGE, limit, GateState.NOT_CHECKED, reason=reason)
    by_people = tuple(side for _, side in decided if side)
    by_judge = tuple(pair.kinder_by_judge or "same" for pair, _ in decided)
    agreement = kappa(Ratings(by_people, by_judge, tuple(pair.cluster for pair, _ in decided), CHOICES))
    return judge_agreement(kappa_measure(agreement), limit, subject=COMFORT_JUDGE, kind=GateKind.HUMAN_AGREEMENT)


def _is_about(folder: Path, pairs: Sequence[AnswerPair]) -> bool:
    """Whether the key or a pack is about these very pairs. The key may be missing: raters must not see it."""
    ids = {pair.id for pair in pairs}
    files = [file for file in (folder / "key.jsonl", *_pack_files(folder)) if file.exists()]
    return any({row.get("id") for _, row in io.rows(file)} == ids for file in files)


def _pack_files(folder: Path) -> list[Path]:
    """The file of every person. DataError for one that cannot be read: no choice may be lost in silence."""
    files = sorted(file for file in folder.glob("[pP]ack*") if file.is_file() and file.stat().st_size)
    for file in files:
        if file.suffix.lower() not in io.FORMATS:
            raise DataError(f"{file}: save it as {' or '.join(io.FORMATS)}, or give it another name than pack…")
    return files


def _read_choice(where: str, row: Mapping[str, Any], person: str, ids: set[str]) -> RaterChoice:
    columns = {str(name).strip().lower().replace(" ", "_"): value for name, value in row.items()}
    if columns.get("id") not in ids:
        raise DataError(f"{where}: id {columns.get('id')!r} is no pair of this run; keep the ids that were written")
    kinder, more_correct = (_read_cell(where, name, columns) for name in ("kinder", "more_correct"))
    return RaterChoice(columns["id"], person, kinder, more_correct)


def _read_cell(where: str, name: str, columns: Mapping[str, Any]) -> str | None:
    if name not in columns:
        raise DataError(f"{where}: has no column {name}; keep the columns that were written")
    text = str(columns[name] if columns[name] is not None else "").strip().lower()
    if text and text not in CHOICES:
        raise DataError(f"{where}: {name} is {columns[name]!r}; write {', '.join(CHOICES)}, or nothing")
    return text or None
