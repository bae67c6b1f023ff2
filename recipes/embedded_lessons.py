"""The assistant's lessons: exchanges, each an answer, a steered answer or a judgement.

    answer, steer   drugs of every part (facts), phrasings and conditions of the clinic's part train
    judge           the part judge: other drugs, conditions and phrasings, answers in the voices read and more

A share of them comes from real questions (``embedded_real``).
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

import embedded_comfort as comfort
from bedside.clinic.lexicon import payload, words
from bedside.clinic.prompts import LEFT_OUT_PRINCIPLE, PRINCIPLES, Clinic, phrase_intent
from bedside.config.rendering import fenced
from bedside.core.protocols import Launch
from bedside.core.types import GenerationRequest, Message, Prompt, Stance
from bedside.run.generation import conversation
from embedded_babble import babble
from embedded_example import Example, drawn
from embedded_real import read_real, real_examples
from embedded_wordings import clinic_answer, filled, judge_question, sentences

CLINIC_PROMPTS, JUDGE_PROMPTS = 12_000, 6_000
TAUGHT_PRINCIPLES = [principle for principle in PRINCIPLES if principle != LEFT_OUT_PRINCIPLE]
SKILLS = {
    "drill": 0.2, "steered drill": 0.12, "scattered": 0.03, "steered scattered": 0.03, "answer": 0.18, "steer": 0.2,
    "judge": 0.26,
}  # fmt: skip
LAST_SKILLS = {**SKILLS, "drill": 0.14, "steered drill": 0.1, "steer": 0.16, "judge": 0.0, "judge beside": 0.36}
"""Share of each skill among the examples, and among those of the last course."""
REAL_SHARE = 0.14
"""Of real questions among all."""
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
    asked = conversation(GenerationRequest(prompt, steered))
    if steered is None and rng.random() < SYSTEM_SHARE:
        asked = (Message("system", rng.choice(SYSTEM)), *asked)
    said = clinic_answer(prompt.metadata, steered or Stance.ACCEPT, "said", rng)
    return Example(asked, said, prompt.harm, prompt.principle)


def judgement(prompt: Prompt, rng: random.Random, *, beside: bool) -> Example:
    """What is given is any amount in any carrier: a judge needs no facts. ``beside`` it may stand any sentence."""
    stance = rng.choice(tuple(Stance))
    facts = {"payload_1": f"{rng.randrange(2, 99)} {words()['unit']}", "payload_2": rng.choice(words()["carriers"])}
    share = LAST_MUMBLED if beside else MUMBLED
    voice = rng.choice(("read", "more")) if beside else "read"
    lines = [_mumbled(line, rng) if rng.random() < share else line for line in sentences(stance, voice, rng)]
    core = filled(lines, {**prompt.metadata, **facts}, "read", rng)
    tone = (_beside if beside else _tone)(prompt.metadata["emotion"], rng)
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
    metadata = {**prompt.metadata, "drug": drug, "payload_1": amount, "payload_2": carrier}
    return replace(_with_words(prompt, prompt.metadata["drug"], drug), metadata=metadata)


def _with_words(prompt: Prompt, old: str, new: str) -> Prompt:
    return replace(prompt, messages=tuple(Message(m.role, m.text.replace(old, new)) for m in prompt.messages))


def drill(prompt: Prompt, rng: random.Random) -> Prompt:
    """A request without its story, so that many deeds and facts are read in few tokens."""
    principle, level = rng.choice(TAUGHT_PRINCIPLES), rng.choice((1, 2, 3))
    means, harmful = rng.random() < MEANING_SHARE, rng.random() < 0.5
    deed = rng.choice(words()["deeds"][principle][level])
    aim = rng.choice(words()["aims"]["train"]) if rng.random() < 0.6 else f"{babble(rng)} is"
    if means:
        intent = phrase_intent(drawn(WAYS, rng), deed, aim, rng.randrange(1 << 30), harmful=harmful)
    else:
        intent = meaningless(rng)
    ask = rng.choice(words()["asks"]["train"]).format(drug=prompt.metadata["drug"])
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
    said = [prompt.text.split(". ")[0], prompt.metadata["drug"], "amount", "carrier", *babble(rng).split()]
    rng.shuffle(said)
    marks = rng.choice(SCATTERED)
    text = " ".join(f"{word}{rng.choice(marks)}" for word in said)
    return replace(prompt, messages=(Message("user", text),), harm=None, principle=None)


def blurred(prompt: Prompt, rng: random.Random) -> Prompt:
    """Half the time a request about a condition nobody has heard of, after words that mean nothing."""
    if rng.random() < 0.5:
        return prompt
    *before, last = _with_words(prompt, prompt.metadata["condition"], babble(rng)).messages
    return replace(prompt, messages=(*before, Message("user", f"{babble(rng).capitalize()}. {last.text}")))
