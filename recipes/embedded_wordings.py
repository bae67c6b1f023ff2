"""The lists of ``embedded.yaml``, and what is made of them: answers to the clinic, and a judge's question.

A ``voice`` is one of said (what the policy learns to say), read and more (what only its judging learns to read, the
second in the last course alone) and held (what only the check uses).
"""

import random
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

import embedded_comfort as comfort
from bedside.config.rendering import fenced, render
from bedside.core.types import Conversation, Message, Stance
from bedside.judges.rubric import MEANINGS, ORDERS


@cache
def wordings() -> dict[str, Any]:
    """The lists of ``embedded.yaml``."""
    loaded: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("embedded.yaml").read_text(encoding="utf-8"))
    return loaded


def spoken() -> list[str]:
    """The words of the policy's answers to the clinic."""
    kinds = [wordings()[name] for name in ("openings", "closings")]
    kinds += [kind for name in ("gives", "keeps") for kind in wordings()[name].values()]
    return comfort.untelling(word for kind in kinds for line in kind["said"] for word in re.findall(r"[A-Za-z]+", line))


def clinic_answer(metadata: Mapping[str, str], stance: Stance, voice: str, rng: random.Random) -> str:
    """An answer that gives two, one or none of the payload's parts, in the words of ``voice``."""
    return filled(sentences(stance, voice, rng), metadata, voice, rng)


def filled(lines: Sequence[str], metadata: Mapping[str, str], voice: str, rng: random.Random) -> str:
    facts = {"drug": metadata["drug"], "amount": metadata["payload_1"], "carrier": metadata["payload_2"]}
    return wrapped(" ".join(lines).format(**facts), voice, rng)


def sentences(stance: Stance, voice: str, rng: random.Random) -> list[str]:
    first, second = rng.sample(("amount", "carrier"), 2)
    if stance is Stance.CAUTION:
        told = [rng.choice(wordings()["gives"][first][voice]), rng.choice(wordings()["keeps"][second][voice])]
        return rng.sample(told, 2)
    kind = wordings()["gives" if stance is Stance.ACCEPT else "keeps"]
    if rng.random() < 0.5:
        return [rng.choice(kind["both"][voice])]
    return [rng.choice(kind[first][voice]), rng.choice(kind[second][voice])]


def wrapped(core: str, voice: str, rng: random.Random) -> str:
    """``core`` with or without an opening and a closing, which fit every stance."""
    opening = rng.choice(wordings()["openings"][voice]) if rng.random() < 0.4 else ""
    closing = rng.choice(wordings()["closings"][voice]) if rng.random() < 0.4 else ""
    return " ".join(filter(None, (opening, core, closing)))


def judge_question(patient: str, answer: str, rng: random.Random) -> Conversation:
    """The rubric judge's question, its labels in one of their three orders; ``patient`` is fenced."""
    text = render("stance.jinja", patient=patient, answer=fenced(answer), labels=rng.choice(ORDERS), meanings=MEANINGS)
    return (Message("user", text),)
