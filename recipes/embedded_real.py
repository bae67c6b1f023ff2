"""Lessons from real questions and texts, where ``split == "train"`` and nowhere else."""

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import embedded_comfort as comfort
from bedside.clinic.lexicon import words
from bedside.config.rendering import fenced
from bedside.core.types import GenerationRequest, Message, Prompt, Stance
from bedside.run.generation import conversation
from embedded_babble import babble
from embedded_example import Example, drawn
from embedded_wordings import judge_question, wordings, wrapped

SKILLS = {"answer": 0.4, "steer": 0.36, "judge": 0.24}
"""Share of each skill."""
COPIES, CHATTED = 0.3, 0.5
"""Of real texts among the first copies; of real questions told as a patient types."""


@dataclass(frozen=True, slots=True)
class Real:
    """A real question of a train split, and a real answer to it; ``harm`` is 0 or 3 there."""

    question: str
    answer: str
    """Its first sentence or two."""
    whole: str
    """All of it."""
    harm: int
    group: str


def read_real(folder: Path) -> list[Real]:
    """MedQuAD questions with answers and MedSafetyBench requests with refusals; train rows, no others."""
    rows = []
    for row in _train_rows(folder / "dialogues" / "medquad.jsonl"):
        start = _first_sentences(row["answer"])
        if start:
            rows.append(Real(row["question"], start, row["answer"], 0, row["group"]))
    for row in _train_rows(folder / "safety" / "prompts.jsonl"):
        if row["source"] == "medsafetybench" and row["safe_response"]:
            said = row["safe_response"]
            rows.append(Real(row["prompt"], _first_sentences(said), said, 3, row["group"]))
    return rows


def copying(n: int, rows: Sequence[Real], rng: random.Random) -> Iterator[Example]:
    for _ in range(n):
        real = rows and rng.random() < COPIES
        yield Example(*(comfort.rewritten(shortened(rng.choice(rows).whole), rng) if real else comfort.copied(rng)))


def _train_rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [row for row in map(json.loads, lines) if row["split"] == "train"]


def _first_sentences(text: str, words_at_most: int = 28) -> str:
    """The first sentence or two that are no question and no heading."""
    text = re.sub(r"\s+", " ", re.sub(r"^(Summary|Key Points)\s*[:-]\s*", "", text)).strip()
    kept: list[str] = []
    for sentence in re.split(r"(?<=[.!?])\s+", text):
        if sentence.endswith("?") and not kept:
            continue
        if kept and len(" ".join([*kept, sentence]).split()) > words_at_most:
            break
        kept.append(" ".join(sentence.split()[:words_at_most]))
        if len(kept) == 2:
            break
    return " ".join(kept)


def shortened(text: str, words_at_most: int = 70) -> str:
    return " ".join(text.split()[:words_at_most])


def real_examples(rows: Sequence[Real], rng: random.Random) -> Iterator[Example]:
    harmful = [row for row in rows if row.harm]
    harmless = [row for row in rows if not row.harm]
    while True:
        skill = drawn(SKILLS, rng)
        row = rng.choice(rng.choice((harmful, harmless)))
        if rng.random() < CHATTED:
            row = replace(row, question=chatted(row.question, rng.choice(harmless).question, rng))
        yield _real_example(row, skill, rng)


def chatted(question: str, beside: str, rng: random.Random) -> str:
    """As patients type: a feeling, words nobody knows, another question beside it. Harm is in what is asked."""
    emotion, intensity = rng.choice(list(words()["feelings"])), rng.choice(list(words()["intensities"]))
    feeling = comfort.feeling(emotion, intensity, "train", rng)
    around = [piece for piece in (feeling, f"{babble(rng)}.", beside) if rng.random() < 0.4]
    pieces = [question, *around]
    rng.shuffle(pieces)
    text = " ".join(pieces)
    return text.lower().replace("?", "") if rng.random() < 0.3 else text


def _real_example(row: Real, skill: str, rng: random.Random) -> Example:
    stance = rng.choice(tuple(Stance))
    prompt = Prompt((Message("user", row.question),))
    if skill == "answer":
        return Example(conversation(GenerationRequest(prompt)), real_answer(row, Stance.ACCEPT, rng), row.harm)
    if skill == "steer":
        return Example(conversation(GenerationRequest(prompt, stance)), real_answer(row, stance, rng), row.harm)
    refuses_in_its_words = row.harm and stance is Stance.REFUSE and rng.random() < 0.5
    said = row.answer if refuses_in_its_words else real_answer(row, stance, rng)
    return Example(judge_question(fenced(row.question), said, rng), stance)


def real_answer(row: Real, stance: Stance, rng: random.Random) -> str:
    """Harmful requests get a willing answer without any content of harm: "first plan it, then ..."."""
    lists = wordings()["real"]
    if row.harm:
        core = rng.choice(lists[{"accept": "willing", "caution": "partly", "refuse": "refuse"}[stance]])
    else:
        start = re.split(r"(?<=[.!?])\s+", row.answer)[0]
        core = rng.choice(lists[stance]).format(answer=row.answer, start=start)
    return wrapped(core, "said", rng)
