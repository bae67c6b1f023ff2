"""Verified dialogues: what they teach, and the data set that a rewriting leaves in ``dialogues/`` of the run.

Each verified answer has two hard negatives: *warm but wrong* (one fact changed; the change is recorded) and *right but
cold* (the original facts in a voice that does not care).

    train.jsonl, valid.jsonl, test.jsonl    verified rows with their provenance
    sft.jsonl, kto.jsonl, dpo.jsonl         the train rows as TRL reads them
    README.md                               the card of the data set
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bedside.clinic.lexicon import mechanism_test
from bedside.comfort.emotions import EMOTIONS, Feeling
from bedside.config.rendering import render
from bedside.core.hashing import digest, plain
from bedside.core.results import FilterCounts
from bedside.core.types import Demonstration, PreferenceData, PreferencePair, Prompt, UnpairedPreference
from bedside.data.io import write_jsonl, write_text
from bedside.factuality import corruptions
from bedside.factuality.fact_check import check
from bedside.run import exports
from bedside.run.context import RunContext

FOLDER = "dialogues"
COLD = ("Noted.", "The question is answered as follows.", "Facts only.", "See below.", "Standard reply.")
"""Openings of a voice that does not care. They are invented and state no fact."""
WRONG_KINDS = (
    "digit",
    "duration",
    "negation",
    "drug",
    "modality",
    "condition",
    "urgency",
    "exchanged",
    "unit",
    "invented",
    "rate",
)
"""Kinds of ``corruptions`` that a warm but wrong answer may have."""


@dataclass(frozen=True, slots=True)
class RewrittenDialogue:
    """One verified dialogue, and what it was made from."""

    prompt: Prompt
    """The distressed question. Metadata hold emotion and intensity, ``reference`` is the original answer."""
    answer: str
    """The soothing answer."""
    original: Prompt
    feeling: Feeling
    rewriter: str
    """Id of the checkpoint that wrote it."""
    revised: tuple[str, ...] = ()
    """Which sides took a second try: question, answer."""
    cold: str = ""
    """The original answer in a voice that does not care."""
    wrong: str = ""
    """The soothing answer with one fact changed; empty if no change is possible that the verifier sees."""
    change: Mapping[str, str] = field(default_factory=dict)
    """Kind, before and after of that change."""


def with_hard_negatives(dialogues: Sequence[RewrittenDialogue], seed: int) -> list[RewrittenDialogue]:
    """Each dialogue with its hard negatives. Drugs are swapped for others that the dialogues name."""
    drugs = sorted({d.original.metadata["drug"] for d in dialogues if "drug" in d.original.metadata})
    return [add_hard_negatives(dialogue, drugs, seed) for dialogue in dialogues]


def add_hard_negatives(dialogue: RewrittenDialogue, drugs: Sequence[str], seed: int) -> RewrittenDialogue:
    """``dialogue`` with a cold answer, and with a wrong one if the verifier sees a possible change.

    ``drugs``: names that a drug may be swapped for.
    """
    rng = random.Random(digest(seed, dialogue.prompt.id, dialogue.answer))
    original = dialogue.original.reference or ""
    facts = original if original and original in dialogue.answer else dialogue.answer
    corruption = corruptions.corrupt_any(WRONG_KINDS, facts, rng, drugs)
    dialogue = replace(dialogue, cold=f"{rng.choice(COLD)} {original}")
    if corruption is None:
        return dialogue
    wrong = dialogue.answer.replace(facts, corruption.text)
    if check(original, wrong, dialogue.prompt.text).intact:
        return dialogue
    change = {"kind": corruption.kind, "before": corruption.before, "after": corruption.after}
    return replace(dialogue, wrong=wrong, change=change)


def build_preferences(
    dialogues: Iterable[RewrittenDialogue], *, wrong: bool = True, cold: bool = True
) -> PreferenceData:
    """Chosen and desirable: the soothing answer. Rejected and undesirable: the original one and the hard negatives.

    ``wrong`` and ``cold`` say which kinds of hard negatives take part.
    """
    demonstrations: list[Demonstration] = []
    pairs: list[PreferencePair] = []
    unpaired: list[UnpairedPreference] = []
    for row in dialogues:
        negatives = (row.original.reference or "", row.wrong if wrong else "", row.cold if cold else "")
        worse = [text for text in negatives if text and text != row.answer]
        demonstrations.append(
            Demonstration(row.prompt, row.answer, emotion=row.feeling.emotion, provenance=row.rewriter)
        )
        pairs += [PreferencePair(row.prompt, row.answer, text) for text in worse]
        unpaired.append(UnpairedPreference(row.prompt, row.answer, label=True))
        unpaired += [UnpairedPreference(row.prompt, text, label=False) for text in worse]
    return PreferenceData(demonstrations, pairs, unpaired)


def write_dialogues(
    run: RunContext, parts: Mapping[str, Sequence[RewrittenDialogue]], filter_counts: Sequence[FilterCounts]
) -> None:
    """Write the rows of every part, the train rows for TRL, and the card."""
    folder = run.folder / FOLDER
    config = run.config.comfort.rewrite
    wrong, cold = config.add_wrong_negatives, config.add_cold_negatives
    files = exports.preferences(folder, build_preferences(parts["train"], wrong=wrong, cold=cold))
    for name, rows in parts.items():
        write_jsonl(folder / f"{name}.jsonl", [_line(row) for row in rows])
        files.append(folder / f"{name}.jsonl")
    run.cache.record(*files)
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
        mechanism_test=" ".join(mechanism_test(row.original for row in dialogues)),
    )
