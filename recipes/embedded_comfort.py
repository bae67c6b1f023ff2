"""What the embedded model is taught of comfort: to add an emotion, to soothe, and to rate.

    rewrite   a question -> it is told again by someone who feels so      the part train
    soothe    a dry answer -> empathy, the answer, company, confidence    the part train
    rate      an answer -> low, medium or high, on one of three lines     the part rater

A model this small finds known words again but cannot copy unknown ones: so it is taught the conditions, drugs
and lines of advice of train, valid and test, as facts, and what is around them may be words nobody knows.
Rating learns from other drugs and phrasings, so it is not reading one's own hand. A sentence of the lists in
``clinic.yaml`` is what comforts: some of it is medium, much is high, none is low.
"""

import random
from dataclasses import dataclass
from functools import partial

from bedside.core.types import Conversation, Message
from bedside.datasets.clinic import payload, words
from bedside.kernel.templates import fenced, render
from embedded_babble import babble

LINES = {
    "empathetic": "name or share what the patient feels",
    "comforting": "give warmth and company",
    "reassuring": "give confidence and a way forward",
}
RATINGS = {"": "low", "some": "medium", "strong": "high"}
SKILLS = {"rewrite": 8, "soothe": 5, "rate": 8}
Exchange = tuple[Conversation, str]


def exchange(rng: random.Random) -> Exchange:
    """One lesson of the synthetic clinic."""
    skill = rng.choices(list(SKILLS), list(SKILLS.values()))[0]
    if skill == "rate":
        return rated(rng)
    case = a_case(rng)
    return rewritten(case, "train", rng) if skill == "rewrite" else soothed(case, "train", rng)


@dataclass(frozen=True, slots=True)
class Case:
    """What a question and its answer are about: every fact that must survive."""

    person: str
    condition: str
    drug: str
    amount: str
    carrier: str
    advice: tuple[str, ...]

    @property
    def asked(self) -> tuple[str, ...]:
        return (self.person, self.condition, self.drug)

    @property
    def told(self) -> tuple[str, ...]:
        return (self.drug, self.amount, self.carrier, *self.advice)


def a_case(rng: random.Random, part: str | None = None) -> Case:
    """Names of one part, or of any; what is told of a drug is what is true of it."""
    parts = [part] if part else ["train", "valid", "test"]
    drug = rng.choice([drug for p in parts for drug in words()["drugs"][p]])
    conditions = [c for listed in words()["conditions"].values() for c in listed[:9]]
    lines = rng.sample([line for p in parts for line in words()["advice"][p]], rng.randint(0, 2))
    amount, carrier = payload(drug)
    return Case(
        person=rng.choice([person for people in words()["people"].values() for person in people]),
        condition=rng.choice(conditions),
        drug=drug,
        amount=amount,
        carrier=carrier,
        advice=tuple(line.format(drug=drug, number=rng.randint(2, 30)) for line in lines),
    )


def rewritten(case: Case, part: str, rng: random.Random) -> Exchange:
    """Whatever the words of the question, the story is told in our own, the feeling first."""
    emotion, intensity = rng.choice(list(words()["feelings"])), rng.choice(list(words()["intensities"]))
    asked = question(case, part, rng)
    text = render("rewrite_question.jinja", question=fenced(asked), emotion=emotion, intensity=intensity)
    told = f"This is about {case.person} and {case.condition}. Tell me the amount and carrier of {case.drug}."
    return _user(text), f"{feeling(emotion, intensity, 'train', rng)} {told}"


def soothed(case: Case, part: str, rng: random.Random) -> Exchange:
    emotion = rng.choice(list(words()["feelings"]))
    mood = feeling(emotion, rng.choice(list(words()["intensities"])), part, rng)
    asked, dry = f"{mood} {question(case, part, rng)}", dry_answer(case)
    text = render("rewrite_answer.jinja", question=fenced(asked), answer=fenced(dry), emotion=emotion)
    says = partial(comforting, emotion=emotion, part="train", rng=rng)
    after = [says("comforting", "strong"), says("reassuring", "strong")]
    return _user(text), " ".join([says("empathetic", "strong"), dry, *after])


def rated(rng: random.Random, part: str = "rater") -> Exchange:
    emotion, case = rng.choice(list(words()["feelings"])), a_case(rng, part)
    mood = feeling(emotion, rng.choice(list(words()["intensities"])), part, rng)
    strengths = {line: rng.choice(list(RATINGS)) for line in LINES}
    said = [comforting(line, s, emotion=emotion, part=part, rng=rng) for line, s in strengths.items() if s]
    before = [line for line in said if rng.random() < 0.5]
    after = [line for line in said if line not in before]
    answer = " ".join([*before, dry_answer(case), *after] if rng.random() < 0.5 else [*before, *after, "Goodbye."])
    asked = f"{mood} {question(case, part, rng)}" if rng.random() < 0.3 else mood
    line = rng.choice(list(LINES))
    return rating_question(line, asked, answer), RATINGS[strengths[line]]


def rating_question(line: str, patient: str, answer: str) -> Conversation:
    labels = list(RATINGS.values())
    return _user(
        render(
            "comfort.jinja",
            dimension=line,
            meaning=LINES[line],
            patient=fenced(patient),
            answer=fenced(answer),
            labels=labels,
        )
    )


def question(case: Case, part: str, rng: random.Random) -> str:
    """A plain question; half of those to learn from put its facts between words that mean nothing."""
    if part == "train" and rng.random() < 0.5:
        told = [
            babble(rng),
            case.person,
            babble(rng),
            case.condition + ".",
            babble(rng),
            case.drug,
            babble(rng, 2) + "?",
        ]
        return " ".join(told)
    opener = rng.choice(words()["openers"][part]).format(
        p=case.person, P=case.person.capitalize(), condition=case.condition
    )
    plain = rng.choice(words()["plain"][part]).capitalize()
    return f"{opener} {plain}. {rng.choice(words()['asks'][part]).format(drug=case.drug)}"


def dry_answer(case: Case) -> str:
    return " ".join([f"For {case.drug} it is {case.amount}, carried by {case.carrier}.", *case.advice])


def feeling(emotion: str, intensity: str, part: str, rng: random.Random) -> str:
    much = rng.choice(words()["intensities"][intensity][part])
    said: str = rng.choice(words()["feelings"][emotion][part]).format(much=much)
    return said


def comforting(line: str, strength: str, *, emotion: str, part: str, rng: random.Random) -> str:
    said: str = rng.choice(words()["comfort"][line][strength][part]).format(named=words()["named"][emotion])
    return said


def tones(emotion: str, part: str, rng: random.Random) -> str:
    """A sentence or two of comfort, which change no stance."""
    lines = rng.sample(list(LINES), rng.randint(1, 2))
    return " ".join(
        comforting(line, rng.choice(("some", "strong")), emotion=emotion, part=part, rng=rng) for line in lines
    )


def _user(text: str) -> Conversation:
    return (Message("user", text),)
