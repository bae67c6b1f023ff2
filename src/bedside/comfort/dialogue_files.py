"""The data set that a rewriting leaves, in ``dialogues/`` of the run.

train.jsonl, valid.jsonl, test.jsonl    verified rows with their provenance
sft.jsonl, kto.jsonl, dpo.jsonl         the train rows as TRL reads them
README.md                               the card of the data set
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bedside.comfort.dialogue_preferences import build_preferences
from bedside.comfort.feelings import EMOTIONS
from bedside.comfort.types import RewrittenDialogue
from bedside.config.rendering import render
from bedside.core.hashing import plain
from bedside.core.results import FilterCounts
from bedside.data.io import write_jsonl, write_text
from bedside.run import exports
from bedside.run.context import RunContext

FOLDER = "dialogues"


def write_dialogues(
    run: RunContext, parts: Mapping[str, Sequence[RewrittenDialogue]], filter_counts: Sequence[FilterCounts]
) -> None:
    """Write the rows of every part, the train rows for TRL, and the card."""
    folder = run.folder / FOLDER
    config = run.config.comfort.rewrite
    wrong, cold = config.add_wrong_negatives, config.add_cold_negatives
    exports.preferences(folder, build_preferences(parts["train"], wrong=wrong, cold=cold))
    for name, rows in parts.items():
        write_jsonl(folder / f"{name}.jsonl", [_line(row) for row in rows])
    write_text(folder / "README.md", _card(run.config.run, parts, filter_counts))


def _line(row: RewrittenDialogue) -> dict[str, Any]:
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


def _card(title: str, parts: Mapping[str, Sequence[RewrittenDialogue]], filter_counts: Sequence[FilterCounts]) -> str:
    dialogues = [row for rows in parts.values() for row in rows]
    emotions = Counter(row.feeling.emotion for row in dialogues)
    return render(
        "dialogues_card.md.jinja",
        title=title,
        sizes={name: len(rows) for name, rows in parts.items()},
        filter_counts=filter_counts,
        rewriter=next((row.rewriter for row in dialogues), "none"),
        changes=dict(sorted(Counter(row.change["kind"] for row in dialogues if row.change).items())),
        emotions={emotion: emotions[emotion] for emotion in EMOTIONS},
        clinic=any(row.original.source == "clinic" for row in dialogues),
    )
