"""The assistant's lessons: exchanges, each an answer, a steered answer or a judgement.

Answers come from the lists of ``embedded.yaml``. A ``voice`` is one of said (what the policy learns to say),
read (what only its judging learns to read) and held (what only the check uses).

    answer, steer   drugs of every part (facts), phrasings and conditions of the clinic's part train
    judge           the part judge: other drugs, conditions and phrasings, answers in the voice read

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

import embedded_comfort as comfort
from bedside.core.protocols import Launch
from bedside.core.types import Ask, Conversation, Message, Prompt, Stance
from bedside.datasets.clinic import LEFT_OUT_PRINCIPLE, PRINCIPLES, Clinic, meant, payload, words
from bedside.judges.rubric import MEANINGS, ORDERS
from bedside.kernel.templates import fenced, render
from bedside.stages.generate import conversation
from embedded_babble import babble

LABELS = tuple(Stance)
READ, UNTOLD = (4, len(PRINCIPLES), 2, 2, *(len(comfort.RATINGS) for _ in comfort.LINES)), -100
"""What a head reads off the place where an answer begins, in classes: harm, principle; does an answer to judge give
amount and carrier; how kind is an answer to rate, on each line. And what stands for what is not known."""
CLINIC_PROMPTS, JUDGE_PROMPTS = 12_000, 6_000
TAUGHT_PRINCIPLES = [principle for principle in PRINCIPLES if principle != LEFT_OUT_PRINCIPLE]
SKILLS = {
    "drill": 0.2, "steered drill": 0.12, "scattered": 0.03, "steered scattered": 0.03, "answer": 0.18, "steer": 0.2,
    "judge": 0.26,
}  # fmt: skip
LAST_SKILLS = {**SKILLS, "drill": 0.14, "steered drill": 0.1, "steer": 0.16, "judge": 0.0, "judge beside": 0.36}
REAL_SKILLS = {"answer": 0.4, "steer": 0.36, "judge": 0.24}
"""Share of each skill among the examples, among those of the last course, and among those of real questions."""
REAL_SHARE, REAL_COPIES, CHATTED = 0.14, 0.3, 0.5
"""Of real questions among all; of real texts among the first copies; of real questions told as a patient types."""
STEERED_TO = {"accept": 1, "caution": 2, "refuse": 1}
"""To give one part and keep the other is hardest to learn."""
WAYS = {"do": 6, "block": 2, "order": 3}
"""How often a drill means a deed in each way. Mostly plainly: what is balanced teaches no deed by itself."""
MEANING_SHARE = 0.82
"""Of drills: the others mean nothing, in words nobody knows or in everyday ones, and what means nothing is harmless."""
MUMBLED, LAST_MUMBLED = 0.4, 0.5
"""Share of the sentences to judge that keep only what they give; and in the last course."""
MENTIONED = ("the amount", "the carrier", "{drug}", "your clinic", "the rest", "a doctor", "cannot", "will not", "only")
"""What such a sentence may speak of without giving anything."""
SCATTERED = (("", ",", " ->"), ("", " =", " ;"), ("", " #"), ("", " /", ":"), ("", " ]", " [", " +"))
"""What may stand between the pieces of a question that fell apart."""
SYSTEM_SHARE = 0.04
SYSTEM = ("You are a health assistant.", "You answer patients.", "Be brief.")
"""A system turn, now and then, that changes nothing: else the mere sight of one would."""


@dataclass(frozen=True, slots=True)
class Example:
    """One exchange to learn: what was said, what the assistant says, and what the head should read."""

    asked: Conversation
    answer: str
    harm: int | None = None
    principle: str | None = None
    given: tuple[int, ...] = (UNTOLD, UNTOLD)
    """Of an answer to judge: amount and carrier, 1 where it gives it."""
    strengths: tuple[int, ...] = (UNTOLD,) * len(comfort.LINES)
    """How kind an answer to rate is, on each line."""

    @property
    def told(self) -> tuple[int, ...]:
        """What the head should read, of ``READ`` classes; -100 where nobody knows."""
        harm = UNTOLD if self.harm is None else self.harm
        principle = UNTOLD if self.principle is None else PRINCIPLES.index(self.principle)
        return harm, principle, *self.given, *self.strengths


def lessons(
    real_folder: Path | None, rng: random.Random, seed: int, skills: Mapping[str, float] = SKILLS
) -> Iterator[Example]:
    """Endless, every skill mixed."""
    clinic = clinic_examples(_prompts("train", CLINIC_PROMPTS, seed), skills, rng, seed)
    real = real_examples(read_real(real_folder), rng) if real_folder else clinic
    while True:
        yield next(real if rng.random() < REAL_SHARE else clinic)


def drills(n: int, rng: random.Random, seed: int) -> Iterator[Example]:
    """Facts and deeds alone."""
    return islice(clinic_examples(_prompts("train", CLINIC_PROMPTS, seed), {"drill": 1.0}, rng, seed), n)


def _prompts(part: str, n: int, seed: int) -> Sequence[Prompt]:
    config = Clinic.model_validate({"part": part, "n": n, "seed": seed})
    return config.open(Launch()).read()


def clinic_examples(
    prompts: Sequence[Prompt], skills: Mapping[str, float], rng: random.Random, seed: int
) -> Iterator[Example]:
    """Endless. Stance is drawn apart from harm, so steering and judging cannot lean on it."""
    drugs = [drug for part in ("train", "valid", "test") for drug in words()["drugs"][part]]
    to_judge = _prompts("judge", JUDGE_PROMPTS, seed)
    while True:
        skill = drawn(skills, rng)
        if "judge" in skill:
            yield judgement(rng.choice(to_judge), rng, beside="beside" in skill)
        else:
            yield answer(with_drug(rng.choice(prompts), rng.choice(drugs)), skill, rng)


def answer(prompt: Prompt, skill: str, rng: random.Random) -> Example:
    """To a request or a drill; willing, or steered where the skill says so."""
    if "scattered" in skill:
        prompt = scattered(drill(prompt, rng), rng)
    else:
        prompt = drill(prompt, rng) if "drill" in skill else blurred(prompt, rng)
    steered = Stance(drawn(STEERED_TO, rng)) if "steer" in skill else None
    asked = conversation(Ask(prompt, steered))
    if steered is None and rng.random() < SYSTEM_SHARE:
        asked = (Message("system", rng.choice(SYSTEM)), *asked)
    said = clinic_answer(prompt.facets, steered or Stance.ACCEPT, "said", rng)
    return Example(asked, said, prompt.harm, prompt.principle)


def judgement(prompt: Prompt, rng: random.Random, *, beside: bool) -> Example:
    """What is given is any amount in any carrier: a judge needs no facts. ``beside`` it may stand any sentence."""
    stance = rng.choice(LABELS)
    facts = {"payload_1": f"{rng.randrange(2, 99)} {words()['unit']}", "payload_2": rng.choice(words()["carriers"])}
    share = LAST_MUMBLED if beside else MUMBLED
    voice = rng.choice(("read", "more")) if beside else "read"
    lines = [_mumbled(line, rng) if rng.random() < share else line for line in _sentences(stance, voice, rng)]
    core = _filled(lines, {**prompt.facets, **facts}, "read", rng)
    tone = (_beside if beside else _tone)(prompt.facets["emotion"], rng)
    said = f"{tone} {core}" if rng.random() < 0.5 else f"{core} {tone}"
    patient = "\n\n".join(fenced(message.text) for message in prompt.messages)
    given = tuple(int(fact in core) for fact in facts.values())
    return Example(judge_question(patient, said.strip(), rng), stance, given=given)


def _tone(emotion: str, rng: random.Random) -> str:
    return comfort.tones(emotion, "judge", rng) if rng.random() < 0.3 else ""


def _beside(emotion: str, rng: random.Random) -> str:
    """Of comfort, of what the patient feels, or of words in no order: openings that nobody has read change nothing."""
    chance = rng.random()
    if chance < 0.2:
        return comfort.tones(emotion, "judge", rng)
    if chance < 0.4:
        return comfort.feeling(emotion, rng.choice(list(words()["intensities"])), "train", rng)
    return f"{meaningless(rng).capitalize()}." if chance < 0.7 else ""


def _mumbled(line: str, rng: random.Random) -> str:
    """What a sentence gives, between words that mean nothing: the stance is in what is given, not in how."""
    said = [*re.findall(r"\{amount\}|\{carrier\}", line), *rng.sample(MENTIONED, rng.randint(0, 2))]
    rng.shuffle(said)
    return " ".join([babble(rng).capitalize(), *(f"{word} {babble(rng, 3)}" for word in said)]) + "."


def with_drug(prompt: Prompt, drug: str) -> Prompt:
    """The same request about another drug."""
    amount, carrier = payload(drug)
    facets = {**prompt.facets, "drug": drug, "payload_1": amount, "payload_2": carrier}
    return replace(_with_words(prompt, prompt.facets["drug"], drug), facets=facets)


def _with_words(prompt: Prompt, old: str, new: str) -> Prompt:
    return replace(prompt, messages=tuple(Message(m.role, m.text.replace(old, new)) for m in prompt.messages))


def judge_question(patient: str, answer: str, rng: random.Random) -> Conversation:
    """The rubric judge's question, its labels in one of their three orders; ``patient`` is fenced."""
    text = render("stance.jinja", patient=patient, answer=fenced(answer), labels=rng.choice(ORDERS), meanings=MEANINGS)
    return (Message("user", text),)


def drill(prompt: Prompt, rng: random.Random) -> Prompt:
    """A request without its story, so that many deeds and facts are read in few tokens."""
    principle, level = rng.choice(TAUGHT_PRINCIPLES), rng.choice((1, 2, 3))
    means, harmful = rng.random() < MEANING_SHARE, rng.random() < 0.5
    deed = rng.choice(words()["deeds"][principle][level])
    aim = rng.choice(words()["aims"]["train"]) if rng.random() < 0.6 else f"{babble(rng)} is"
    intent = meant(drawn(WAYS, rng), deed, aim, rng.randrange(1 << 30), harmful=harmful) if means else meaningless(rng)
    ask = rng.choice(words()["asks"]["train"]).format(drug=prompt.facets["drug"])
    before, between = (f"{babble(rng).capitalize()}. " if rng.random() < 0.5 else "" for _ in range(2))
    text = f"{before}{intent[0].upper()}{intent[1:]}. {between}{ask}"
    harm = level if harmful and means else 0
    return replace(prompt, messages=(Message("user", text),), harm=harm, principle=principle)


def meaningless(rng: random.Random) -> str:
    """Half the time everyday words in no order stand among those that mean nothing."""
    if rng.random() < 0.5:
        return babble(rng)
    said = range(rng.randint(3, 7))
    return " ".join(babble(rng, 1) if rng.random() < 0.25 else rng.choice(_everyday()) for _ in said)


@cache
def _everyday() -> tuple[str, ...]:
    lines = [line for name in ("plain", "advice") for line in words()[name]["train"]]
    return tuple(sorted({word for line in lines for word in re.findall(r"(?<!{)\b[a-z]+\b", line)}))


def scattered(prompt: Prompt, rng: random.Random) -> Prompt:
    """A drill of which pieces are left: the drug is known by its name, wherever it stands. Its harm is not said."""
    said = [prompt.text.split(". ")[0], prompt.facets["drug"], "amount", "carrier", *babble(rng).split()]
    rng.shuffle(said)
    marks = rng.choice(SCATTERED)
    text = " ".join(f"{word}{rng.choice(marks)}" for word in said)
    return replace(prompt, messages=(Message("user", text),), harm=None, principle=None)


def blurred(prompt: Prompt, rng: random.Random) -> Prompt:
    """Half the time a request about a condition nobody has heard of, after words that mean nothing."""
    if rng.random() < 0.5:
        return prompt
    *before, last = _with_words(prompt, prompt.facets["condition"], babble(rng)).messages
    return replace(prompt, messages=(*before, Message("user", f"{babble(rng).capitalize()}. {last.text}")))


def drawn(weights: Mapping[str, float], rng: random.Random) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


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
        real = rows and rng.random() < REAL_COPIES
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
        skill = drawn(REAL_SKILLS, rng)
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
    stance = rng.choice(LABELS)
    prompt = Prompt((Message("user", row.question),))
    if skill == "answer":
        return Example(conversation(Ask(prompt)), real_answer(row, Stance.ACCEPT, rng), row.harm)
    if skill == "steer":
        return Example(conversation(Ask(prompt, stance)), real_answer(row, stance, rng), row.harm)
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


def clinic_answer(facets: Mapping[str, str], stance: Stance, voice: str, rng: random.Random) -> str:
    """An answer that gives two, one or none of the payload's parts, in the words of ``voice``."""
    return _filled(_sentences(stance, voice, rng), facets, voice, rng)


def _filled(lines: Sequence[str], facets: Mapping[str, str], voice: str, rng: random.Random) -> str:
    facts = {"drug": facets["drug"], "amount": facets["payload_1"], "carrier": facets["payload_2"]}
    return wrapped(" ".join(lines).format(**facts), voice, rng)


def _sentences(stance: Stance, voice: str, rng: random.Random) -> list[str]:
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
