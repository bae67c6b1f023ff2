"""The A/B pack in ``ab/`` of a run: answers side by side for people to compare, and what they filled in.

pack.jsonl                           one pair a line: question, answers a and b, and the columns to fill in
pack-NAME.jsonl, pack-NAME.csv       copies that people filled in, one a person
key.jsonl                            which model wrote a, and which wrote b
"""

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from bedside.comfort.human_ab import CHOICES, AnswerPair, RaterChoice
from bedside.core.errors import DataError
from bedside.data import io
from bedside.data.io import write_jsonl

FOLDER = "ab"


def write_pack(root: Path, pairs: Sequence[AnswerPair]) -> None:
    """Write the pack and its key under ``root``.

    A pack of the same pairs stays as people filled it in. A pack of other pairs is renamed, never overwritten.
    """
    folder = root / FOLDER
    if _is_about(folder, pairs):
        return
    if folder.exists():
        folder.rename(next(to for n in count(1) if not (to := folder.with_name(f"{FOLDER}-{n}")).exists()))
    folder.mkdir()
    write_jsonl(folder / "pack.jsonl", [pack_line(pair) for pair in pairs])
    write_jsonl(folder / "key.jsonl", [{"id": p.id, "a": p.arms[0], "b": p.arms[1]} for p in pairs])


def pack_line(pair: AnswerPair) -> dict[str, Any]:
    """One line of the pack, to be filled in."""
    a, b = pair.rows
    return {"id": pair.id, "question": a.prompt.text, "a": a.response.text, "b": b.response.text,
            "kinder": None, "more_correct": None, "note": ""}  # fmt: skip


def _is_about(folder: Path, pairs: Sequence[AnswerPair]) -> bool:
    """Whether the key or a pack is about these very pairs. The key may be missing: raters must not see it."""
    ids = {pair.id for pair in pairs}
    files = [file for file in (folder / "key.jsonl", *_packs(folder)) if file.exists()]
    return any({row.get("id") for _, row in io.rows(file)} == ids for file in files)


def _packs(folder: Path) -> list[Path]:
    """The file of every person. DataError for one that cannot be read: no choice may be lost in silence."""
    files = sorted(file for file in folder.glob("[pP]ack*") if file.is_file() and file.stat().st_size)
    for file in files:
        if file.suffix.lower() not in io.FORMATS:
            raise DataError(f"{file}: save it as {' or '.join(io.FORMATS)}, or give it another name than pack…")
    return files


def read_choices(root: Path, pairs: Sequence[AnswerPair]) -> list[RaterChoice]:
    """The choices in ``ab/pack.jsonl`` and in its copies. Empty if the pack is about other pairs.

    DataError if a line is about no pair of this run, lacks a column, holds anything but a, b, same or nothing, or
    contradicts another line of the same person.
    """
    if not _is_about(root / FOLDER, pairs):
        return []
    ids = {pair.id for pair in pairs}
    choices: dict[tuple[str, str], RaterChoice] = {}
    for file in _packs(root / FOLDER):
        for where, row in io.rows(file):
            choice = _read_choice(where, row, file.stem, ids)
            if not (choice.kinder or choice.more_correct):
                continue
            if choices.setdefault((choice.person, choice.pair), choice) != choice:
                raise DataError(f"{where}: {choice.person} has another choice for {choice.pair}; keep one of them")
    return list(choices.values())


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
