"""What the embedded model is taught: exchanges, each an answer, a steered answer or a judgement.

Answers come from the lists of ``embedded.yaml``. A ``voice`` is one of said (what the policy learns to say),
read (what only its judging learns to read) and held (what only the check uses).
Real rows are read where ``split == "train"`` and nowhere else.
"""

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from bedside.core.protocols import Launch
from bedside.core.types import Message, Prompt, Stance
from bedside.datasets.clinic import PRINCIPLES, Clinic, meant, payload, words
from bedside.judges.rubric import MEANINGS, ORDERS
from bedside.kernel.templates import fenced, render

LABELS = tuple(Stance)
CLINIC_PROMPTS = 12_000
ONSETS = ["", *"bcdfghjklmnprstvw", "ch", "sh", "th", "st", "tr", "pl", "gr", "wh"]
CODAS = ["", "", *"dglmnrstp", "ng", "nd", "st", "ck", "th", "ve", "re"]
SKILLS = {"drill": 0.3, "answer": 0.22, "steer": 0.3, "judge": 0.18}
"""Share of each skill among the examples."""
REAL_SHARE = 0.12
WAYS = {"do": 6, "block": 2, "order": 3}
"""How often a drill means a deed in each way. Mostly plainly: what is balanced teaches no deed by itself."""


@dataclass(frozen=True, slots=True)
class Example:
    """One exchange to learn: what the user says, what the assistant says, and what the head should read."""

    user: str
    answer: str
    harm: int | None = None
    principle: str | None = None


def lessons(real_folder: Path | None, rng: random.Random, seed: int) -> Iterator[Example]:
    """Endless, every skill mixed."""
    prompts = Clinic(part="train", n=CLINIC_PROMPTS, seed=seed).open(Launch()).read()
    clinic = clinic_examples(prompts, SKILLS, rng)
    real = real_examples(read_real(real_folder), rng) if real_folder else clinic
    while True:
        yield next(real if rng.random() < REAL_SHARE else clinic)


def drills(n: int, rng: random.Random, seed: int) -> Iterator[Example]:
    """What goes first: facts and deeds alone, learned ten times faster than in the midst of everything else."""
    prompts = Clinic(part="train", n=CLINIC_PROMPTS, seed=seed).open(Launch()).read()
    yield from islice(clinic_examples(prompts, {"drill": 1.0}, rng), n)


def clinic_examples(prompts: Sequence[Prompt], skills: Mapping[str, float], rng: random.Random) -> Iterator[Example]:
    """Endless. Stance is drawn apart from harm, so steering and judging cannot lean on it."""
    drugs = [drug for part in words()["drugs"].values() for drug in part]
    while True:
        prompt, stance, skill = rng.choice(prompts), rng.choice(LABELS), _skill(skills, rng)
        if skill == "judge":
            answer = clinic_answer(prompt, stance, rng.choice((("said",), ("read",))), rng)
            yield Example(judge_question(prompt.text, answer, rng), stance)
            continue
        prompt = with_drug(prompt, rng.choice(drugs))
        prompt = drill(prompt, rng) if skill == "drill" else blurred(prompt, rng)
        asked = prompt.text
        if skill == "steer":
            asked = render("steer.jinja", stance=stance, text=prompt.text)
        answer = clinic_answer(prompt, stance if skill == "steer" else Stance.ACCEPT, ("said",), rng)
        yield Example(asked, answer, prompt.harm, prompt.principle)


def with_drug(prompt: Prompt, drug: str) -> Prompt:
    """The same request about another drug."""
    amount, carrier = payload(drug)
    facets = {**prompt.facets, "drug": drug, "payload_1": amount, "payload_2": carrier}
    text = prompt.text.replace(prompt.facets["drug"], drug)
    return replace(prompt, messages=(Message("user", text),), facets=facets)


def judge_question(patient: str, answer: str, rng: random.Random) -> str:
    """The rubric judge's question, its labels in one of their three orders."""
    return render(
        "stance.jinja",
        patient=fenced(patient),
        answer=fenced(answer),
        labels=rng.choice(ORDERS),
        meanings=MEANINGS,
    )


def drill(prompt: Prompt, rng: random.Random) -> Prompt:
    """A request without its story, so that many deeds and facts are read in few tokens."""
    principle, level, harmful = rng.choice(PRINCIPLES), rng.choice((1, 2, 3)), rng.random() < 0.5
    deed = rng.choice(words()["deeds"][principle][level])
    way = rng.choices(list(WAYS), list(WAYS.values()))[0]
    aim = rng.choice(words()["aims"]["train"]) if rng.random() < 0.6 else f"{babble(rng)} is"
    intent = meant(way, deed, aim, rng.randrange(1 << 30), harmful=harmful)
    ask = rng.choice(words()["asks"]["train"]).format(drug=prompt.facets["drug"])
    before, between = (f"{babble(rng).capitalize()}. " if rng.random() < 0.5 else "" for _ in range(2))
    text = f"{before}{intent[0].upper()}{intent[1:]}. {between}{ask}"
    harm = level if harmful else 0
    return replace(prompt, messages=(Message("user", text),), harm=harm, principle=principle)


def blurred(prompt: Prompt, rng: random.Random) -> Prompt:
    """Half the time a request about a condition nobody has heard of, after words that mean nothing."""
    if rng.random() < 0.5:
        return prompt
    text = prompt.text.replace(prompt.facets["condition"], babble(rng))
    return replace(prompt, messages=(Message("user", f"{babble(rng).capitalize()}. {text}"),))


def babble(rng: random.Random) -> str:
    """Words that mean nothing: without them whatever is new to the model, it would take for something known."""
    lengths = [rng.randint(1, 3) for _ in range(rng.randint(1, 5))]
    return " ".join("".join(_syllable(rng) for _ in range(length)) for length in lengths)


def _syllable(rng: random.Random) -> str:
    return rng.choice(ONSETS) + rng.choice("aeiouy") + rng.choice(CODAS)


def _skill(skills: Mapping[str, float], rng: random.Random) -> str:
    return rng.choices(list(skills), list(skills.values()))[0]


@dataclass(frozen=True, slots=True)
class Real:
    """A real question of a train split, and a real answer to it; ``harm`` is 0 or 3 there."""

    question: str
    answer: str
    harm: int


def read_real(folder: Path) -> list[Real]:
    """MedQuAD questions with answers and MedSafetyBench requests with refusals; train rows, no others."""
    rows = []
    for row in _train_rows(folder / "dialogues" / "medquad.jsonl"):
        answer = _first_sentences(row["answer"])
        if answer:
            rows.append(Real(row["question"], answer, 0))
    for row in _train_rows(folder / "safety" / "prompts.jsonl"):
        if row["source"] == "medsafetybench" and row["safe_response"]:
            rows.append(Real(row["prompt"], _first_sentences(row["safe_response"]), 3))
    return rows


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


def real_examples(rows: Sequence[Real], rng: random.Random) -> Iterator[Example]:
    harmful = [row for row in rows if row.harm]
    harmless = [row for row in rows if not row.harm]
    while True:
        row = rng.choice(rng.choice((harmful, harmless)))
        stance, skill = rng.choice(LABELS), _skill(SKILLS, rng)
        if skill in ("drill", "answer"):
            yield Example(row.question, real_answer(row, Stance.ACCEPT, rng), row.harm)
        elif skill == "steer":
            asked = render("steer.jinja", stance=stance, text=row.question)
            yield Example(asked, real_answer(row, stance, rng))
        else:
            refuses_in_its_words = row.harm and stance is Stance.REFUSE and rng.random() < 0.5
            answer = row.answer if refuses_in_its_words else real_answer(row, stance, rng)
            yield Example(judge_question(row.question, answer, rng), stance)


def real_answer(row: Real, stance: Stance, rng: random.Random) -> str:
    """Harmful requests get a willing answer without any content of harm: "first plan it, then ..."."""
    lists = wordings()["real"]
    if row.harm:
        core = rng.choice(lists[{"accept": "willing", "caution": "partly", "refuse": "refuse"}[stance]])
    else:
        start = re.split(r"(?<=[.!?])\s+", row.answer)[0]
        core = rng.choice(lists[stance]).format(answer=row.answer, start=start)
    return wrapped(core, ("said",), rng)


@cache
def wordings() -> dict[str, Any]:
    """The lists of ``embedded.yaml``."""
    loaded: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("embedded.yaml").read_text(encoding="utf-8"))
    return loaded


def clinic_answer(prompt: Prompt, stance: Stance, voices: Sequence[str], rng: random.Random) -> str:
    """An answer that gives two, one or none of the payload's parts, in the words of one of ``voices``."""
    drug = prompt.facets["drug"]
    amount, carrier = payload(drug)
    facts = {"drug": drug, "amount": amount, "carrier": carrier}
    return wrapped(" ".join(_sentences(stance, voices, rng)).format(**facts), voices, rng)


def _sentences(stance: Stance, voices: Sequence[str], rng: random.Random) -> list[str]:
    first, second = rng.sample(("amount", "carrier"), 2)
    if stance is Stance.CAUTION:
        told = [_say(wordings()["gives"][first], voices, rng), _say(wordings()["keeps"][second], voices, rng)]
        return rng.sample(told, 2)
    kind = wordings()["gives" if stance is Stance.ACCEPT else "keeps"]
    if rng.random() < 0.5:
        return [_say(kind["both"], voices, rng)]
    return [_say(kind[first], voices, rng), _say(kind[second], voices, rng)]


def wrapped(core: str, voices: Sequence[str], rng: random.Random) -> str:
    """``core`` with or without an opening and a closing, which fit every stance."""
    opening = _say(wordings()["openings"], voices, rng) if rng.random() < 0.4 else ""
    closing = _say(wordings()["closings"], voices, rng) if rng.random() < 0.4 else ""
    return " ".join(filter(None, (opening, core, closing)))


def _say(lists: Mapping[str, Sequence[str]], voices: Sequence[str], rng: random.Random) -> str:
    return rng.choice([line for voice in voices for line in lists[voice]])
