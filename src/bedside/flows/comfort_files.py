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
from typing import TYPE_CHECKING, Any

from bedside.core.comforts import ComfortSummary
from bedside.core.identity import digest, plain
from bedside.core.reports import Flow
from bedside.core.types import Judged
from bedside.flows import exports
from bedside.flows.session import Session
from bedside.kernel import tables
from bedside.kernel.tables import write_json, write_jsonl, write_text
from bedside.kernel.templates import render
from bedside.stages import rewrite as stage
from bedside.stages.rewrite import Rewritten

if TYPE_CHECKING:
    from bedside.flows.comfort import Desk

FILE = "comfort.json"
AB_ROWS = 60


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


def write(told: ComfortSummary, desk: "Desk", read: Mapping[str, list[Judged]]) -> None:
    """The summary and the A/B pack."""
    root = desk.session.store.root
    write_json(root / FILE, told)
    pack, key = _ab(read, desk.session.launch.seed)
    if _set_aside(root / "ab", [row["id"] for row in pack]):
        (root / "ab").mkdir()
        write_jsonl(root / "ab" / "pack.jsonl", pack)
        write_jsonl(root / "ab" / "key.jsonl", key)


def _set_aside(folder: Path, ids: Sequence[str]) -> bool:
    """Whether a pack must be written. One of the same answers stays as people filled it; another is kept beside."""
    file = folder / "pack.jsonl"
    if file.exists() and [row.get("id") for _, row in tables.rows(file)] == list(ids):
        return False
    if folder.exists():
        folder.rename(next(to for n in count(1) if not (to := folder.with_name(f"ab-{n}")).exists()))
    return True


def _ab(read: Mapping[str, list[Judged]], seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Each question with two answers in an order drawn by the seed: the target's and one trained arm's, in turn."""
    arms = list(read)
    pack, key = [], []
    for index, row in enumerate(read[arms[0]][:AB_ROWS]):
        sides = [arms[0], arms[1 + index % (len(arms) - 1)]]
        name = digest(seed, [read[arm][index].response.id for arm in sides])
        if int(name[-1], 16) % 2:
            sides.reverse()
        said = [read[arm][index].response.text for arm in sides]
        pack.append({"id": name, "question": row.prompt.text, "a": said[0], "b": said[1],
                     "kinder": None, "more_correct": None, "note": ""})  # fmt: skip
        key.append({"id": name, "a": sides[0], "b": sides[1]})
    return pack, key
