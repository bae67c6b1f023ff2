"""The writer's lessons: to add a feeling, to soothe, and to rate comfort. Of harm, stance and judging, nothing.

    rewrite, soothe   the clinic's part train, words in no order, and real texts of split == "train" as long as they are
    once more         the same after a first try that was not good, in the words of templates/rewrite_revise.jinja
    rate              the clinic's part rater

A rewrite holds its source word for word, so most of what is said is copied.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import embedded_comfort as comfort
from bedside.config.rendering import render
from bedside.core.types import Conversation, Message
from embedded_example import Example, drawn
from embedded_real import Real, read_real, shortened

SKILLS = {"rewrite": 0.15, "soothe": 0.16, "rewrite real": 0.1, "soothe real": 0.16, "rate": 0.43}
LAST_SKILLS = {"rewrite": 0.12, "soothe": 0.3, "rewrite real": 0.08, "soothe real": 0.2, "rate": 0.3}
MOST_WORDS, ASKED_LONG, AGAIN = 240, 0.5, 0.12
"""Of a real text; share of real questions that are as long as an answer; of requests that tell what was wrong."""
FAULTS = ("lost name", "lost dose", "changed number", "lost negation", "too short", "the text is cut off")


def lessons(real_folder: Path | None, rng: random.Random, skills: Mapping[str, float] = SKILLS) -> Iterator[Example]:
    """Every skill mixed, endless."""
    rows = read_real(real_folder) if real_folder else []
    while True:
        skill = drawn(skills, rng)
        if skill == "rate":
            yield _rated(rng)
            continue
        asked, said = _real(rows, skill, rng) if "real" in skill and rows else _clinic(skill, rng)
        yield Example(_again(asked, said, rng) if rng.random() < AGAIN else asked, said)


def _rated(rng: random.Random) -> Example:
    exchange, strengths = comfort.rated_and_read(rng)
    return Example(*exchange, strengths=strengths)


def _clinic(skill: str, rng: random.Random) -> comfort.Exchange:
    asked = comfort.swapped(comfort.a_question(rng), rng)
    if "rewrite" in skill:
        return comfort.rewritten(asked, rng)
    return comfort.soothed(asked, comfort.swapped(comfort.a_text(rng), rng), rng)


def _real(rows: Sequence[Real], skill: str, rng: random.Random) -> comfort.Exchange:
    row = rng.choice(rows)
    text = comfort.swapped(shortened(row.whole, rng.randint(5, MOST_WORDS)), rng)
    if "soothe" in skill:
        return comfort.soothed(row.question, text, rng)
    return comfort.rewritten(text if rng.random() < ASKED_LONG else row.question, rng)


def _again(asked: Conversation, said: str, rng: random.Random) -> Conversation:
    """A second try is asked for."""
    faults = [f"{fault}: {rng.choice(said.split())}" for fault in rng.sample(FAULTS, rng.randint(1, 3))]
    return (Message("user", render("rewrite_revise.jinja", request=asked[-1].text, faults=faults)),)
