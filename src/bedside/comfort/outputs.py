"""What a comfort run leaves.

dialogues/train.jsonl, valid.jsonl, test.jsonl    verified rows with their provenance
dialogues/sft.jsonl, kto.jsonl, dpo.jsonl         the train rows as TRL reads them
dialogues/README.md                               the card of the data set
ab/pack.jsonl, ab/key.jsonl                       answers side by side for people, and which is whose
comfort.json                                      the summary
"""

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from bedside.comfort import rewriting as stage
from bedside.comfort.human_ab import CHOICES, Beside, Choice
from bedside.comfort.rewriting import Rewritten
from bedside.config.rendering import render
from bedside.core.comfort_results import ComfortSummary
from bedside.core.errors import DataError
from bedside.core.hashing import plain
from bedside.core.results import Flow
from bedside.data import io
from bedside.data.io import write_json, write_jsonl, write_text
from bedside.run import exports
from bedside.run.session import Session

FILE = "comfort.json"
AB = "ab"


def dialogues(session: Session, rows: Mapping[str, Sequence[Rewritten]], flows: Sequence[Flow]) -> Path:
    """The verified rows of every part, the train rows for TRL, and the card."""
    folder = session.store.root / "dialogues"
    told = session.config.comfort.rewrite
    exports.preferences(folder, stage.lesson(rows["train"], wrong=told.wrong, cold=told.cold))
    for name, part in rows.items():
        write_jsonl(folder / f"{name}.jsonl", [_row(row) for row in part])
    write_text(folder / "README.md", _card(session, rows, flows))
    return folder


def _row(row: Rewritten) -> dict[str, Any]:
    """One line of the data set; the question and the answer first."""
    return {
        "question": row.prompt.text,
        "answer": row.answer,
        "emotion": row.feeling.emotion,
        "intensity": row.feeling.intensity,
        "original_question": row.original.text,
        "original_answer": row.original.reference,
        "warm_but_wrong": row.wrong or None,
        "change": plain(row.change) or None,
        "right_but_cold": row.cold or None,
        "provenance": {
            "source": row.original.source,
            "source_id": row.original.id,
            "rewriter": row.rewriter,
            "second_try": list(row.revised),
        },
        "group": row.prompt.group,
    }


def _card(session: Session, rows: Mapping[str, Sequence[Rewritten]], flows: Sequence[Flow]) -> str:
    changes = [row.change["kind"] for part in rows.values() for row in part if row.change]
    emotions = [row.feeling.emotion for part in rows.values() for row in part]
    return render(
        "dialogues_card.md.jinja",
        title=session.config.run,
        sizes={name: len(part) for name, part in rows.items()},
        flows=flows,
        rewriter=next((row.rewriter for part in rows.values() for row in part), "none"),
        changes={kind: changes.count(kind) for kind in sorted(set(changes))},
        emotions={e: emotions.count(e) for e in stage.EMOTIONS},
        clinic=any(row.original.source == "clinic" for part in rows.values() for row in part),
    )


def write(told: ComfortSummary, root: Path, pairs: Sequence[Beside]) -> None:
    """The summary and the A/B pack."""
    write_json(root / FILE, told)
    if _set_aside(root / AB, [pair.id for pair in pairs]):
        (root / AB).mkdir()
        write_jsonl(root / AB / "pack.jsonl", [_asked(pair) for pair in pairs])
        write_jsonl(root / AB / "key.jsonl", [{"id": p.id, "a": p.arms[0], "b": p.arms[1]} for p in pairs])


def _asked(pair: Beside) -> dict[str, Any]:
    """One line of the pack, to be filled in."""
    a, b = pair.rows
    return {"id": pair.id, "question": a.prompt.text, "a": a.response.text, "b": b.response.text,
            "kinder": None, "more_correct": None, "note": ""}  # fmt: skip


def _set_aside(folder: Path, ids: Sequence[str]) -> bool:
    """Whether a pack must be written. One of the same answers stays as people filled it; another is kept beside."""
    if _of_these(folder, ids):
        return False
    if folder.exists():
        folder.rename(next(to for n in count(1) if not (to := folder.with_name(f"{AB}-{n}")).exists()))
    return True


def _of_these(folder: Path, ids: Sequence[str]) -> bool:
    """Whether the key or a pack there is of these very answers: whoever chooses may have been kept from the key."""
    files = [file for file in (folder / "key.jsonl", *_packs(folder)) if file.exists()]
    return any({row.get("id") for _, row in io.rows(file)} == set(ids) for file in files)


def _packs(folder: Path) -> list[Path]:
    """Every person's file. DataError for one that cannot be read: what people chose must not be passed over."""
    files = sorted(file for file in folder.glob("[pP]ack*") if file.is_file() and file.stat().st_size)
    for file in files:
        if file.suffix.lower() not in io.FORMATS:
            raise DataError(f"{file}: save it as {' or '.join(io.FORMATS)}, or give it another name than pack…")
    return files


def choices(root: Path, pairs: Sequence[Beside]) -> list[Choice]:
    """What stands in ``ab/pack.jsonl`` and in its copies, ``ab/pack-NAME.jsonl`` or ``.csv``, one a person.

    DataError where a line is about no pair of this run, lacks a column, says anything but a, b, same or nothing, or
    contradicts another of the same person.
    """
    ids = [pair.id for pair in pairs]
    if not _of_these(root / AB, ids):
        return []
    found: dict[tuple[str, str], Choice] = {}
    for where, choice in ((at, _choice(at, row, f.stem, ids)) for f in _packs(root / AB) for at, row in io.rows(f)):
        if not (choice.kinder or choice.more_correct):
            continue
        if found.setdefault((choice.person, choice.pair), choice) != choice:
            raise DataError(f"{where}: {choice.person} says something else of {choice.pair}; keep one of both")
    return list(found.values())


def _choice(where: str, row: Mapping[str, Any], person: str, ids: Sequence[str]) -> Choice:
    told = {str(name).strip().lower().replace(" ", "_"): value for name, value in row.items()}
    if told.get("id") not in ids:
        raise DataError(f"{where}: id {told.get('id')!r} is no pair of this run; keep the ids that were written")
    kinder, more_correct = (_chosen(where, name, told) for name in ("kinder", "more_correct"))
    return Choice(told["id"], person, kinder, more_correct)


def _chosen(where: str, name: str, told: Mapping[str, Any]) -> str | None:
    if name not in told:
        raise DataError(f"{where}: has no column {name}; keep the columns that were written")
    text = str(told[name] if told[name] is not None else "").strip().lower()
    if text and text not in CHOICES:
        raise DataError(f"{where}: {name} is {told[name]!r}; write {', '.join(CHOICES)}, or nothing")
    return text or None
