"""What rewritten dialogues teach: hard negatives, and the rows that SFT, KTO and DPO train on.

Each verified answer has two hard negatives: *warm but wrong* (one fact changed; the change is recorded) and *right but
cold* (the original facts in a voice that does not care).
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from bedside.comfort.types import RewrittenDialogue
from bedside.core.hashing import digest
from bedside.core.types import Demonstration, PreferenceData, PreferencePair, UnpairedPreference
from bedside.factuality import corruptions
from bedside.factuality.fact_check import check

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
