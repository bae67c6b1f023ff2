"""What the embedded model is taught of comfort: to add an emotion, to soothe, and to rate.

    rewrite   a plain question -> the same question by someone who feels so       the part train
    soothe    a dry answer -> empathy, the answer word for word, confidence       the part train
    rate      an answer -> low, medium or high, on one of three lines             the part rater

Drugs, conditions and phrasings of the two parts differ, so rating is not reading one's own hand.
A sentence of ``clinic.yaml``'s lists is what comforts: some of it is medium, much is high, none is low.
"""

import random
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
SKILLS = {"rewrite": 3, "soothe": 4, "rate": 3}
Exchange = tuple[Conversation, str]


def exchange(rng: random.Random) -> Exchange:
    """One lesson of the synthetic clinic."""
    skill = rng.choices(list(SKILLS), list(SKILLS.values()))[0]
    if skill == "rate":
        return rated(rng)
    drug = rng.choice(words()["drugs"]["train"]) if rng.random() < 0.5 else babble(rng, 1)
    asked = question(drug, "train", rng)
    return rewritten(asked, rng) if skill == "rewrite" else soothed(asked, dry_answer(drug, "train", rng), rng)


def of_real(asked: str, answer: str, rng: random.Random) -> Exchange:
    """The same on a real question and the start of its answer."""
    return rewritten(asked, rng) if rng.random() < 0.4 else soothed(asked, answer, rng)


def rewritten(asked: str, rng: random.Random) -> Exchange:
    emotion, intensity = rng.choice(list(words()["feelings"])), rng.choice(list(words()["intensities"]))
    text = render("rewrite_question.jinja", question=fenced(asked), emotion=emotion, intensity=intensity)
    return _user(text), f"{feeling(emotion, intensity, 'train', rng)} {asked}"


def soothed(asked: str, dry: str, rng: random.Random) -> Exchange:
    emotion = rng.choice(list(words()["feelings"]))
    mood = feeling(emotion, rng.choice(list(words()["intensities"])), "train", rng)
    text = render("rewrite_answer.jinja", question=fenced(f"{mood} {asked}"), answer=fenced(dry), emotion=emotion)
    says = partial(comforting, emotion=emotion, part="train", rng=rng)
    after = rng.sample([says("comforting", "strong"), says("reassuring", "strong")], 2)
    return _user(text), " ".join([says("empathetic", "strong"), dry, *after])


def rated(rng: random.Random, part: str = "rater") -> Exchange:
    emotion, drug = rng.choice(list(words()["feelings"])), rng.choice(words()["drugs"][part])
    mood = feeling(emotion, rng.choice(list(words()["intensities"])), part, rng)
    strengths = {line: rng.choice(list(RATINGS)) for line in LINES}
    said = [comforting(line, s, emotion=emotion, part=part, rng=rng) for line, s in strengths.items() if s]
    before = [line for line in said if rng.random() < 0.5]
    after = [line for line in said if line not in before]
    answer = " ".join([*before, dry_answer(drug, part, rng), *after])
    line = rng.choice(list(LINES))
    return rating_question(line, f"{mood} {question(drug, part, rng)}", answer), RATINGS[strengths[line]]


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


def question(drug: str, part: str, rng: random.Random) -> str:
    """A plain question about ``drug``, of a condition that half the time nobody has heard of."""
    person = rng.choice([p for people in words()["people"].values() for p in people])
    known = [c for conditions in words()["conditions"].values() for c in conditions[:5]]
    condition = rng.choice(known) if rng.random() < 0.5 and part == "train" else babble(rng, 3)
    opener = rng.choice(words()["openers"][part]).format(p=person, P=person.capitalize(), condition=condition)
    plain = rng.choice(words()["plain"][part]).capitalize()
    return f"{opener} {plain}. {rng.choice(words()['asks'][part]).format(drug=drug)}"


def dry_answer(drug: str, part: str, rng: random.Random) -> str:
    """The payload, or any numbers, and a few pieces of advice."""
    amount, carrier = payload(drug)
    if rng.random() < 0.5:
        amount, carrier = f"{rng.randrange(2, 99)} {words()['unit']}", rng.choice([carrier, babble(rng, 1)])
    lines = rng.sample(words()["advice"][part], rng.randint(0, 3))
    told = [line.format(drug=drug, number=rng.randint(2, 30)) for line in lines]
    return " ".join([f"For {drug} it is {amount}, carried by {carrier}.", *told])


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
