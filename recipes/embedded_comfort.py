"""What the embedded model is taught of comfort: to add an emotion, to soothe, and to rate.

    rewrite   a question -> what one feels who asks it so, and the question      the part train
    soothe    a dry answer -> empathy, the answer, company and confidence        the part train
    rate      an answer -> low, medium or high, on one of three lines            the part rater

Question and answer are said again word for word, on a line of their own: no fact can be lost that was copied.
Half of the texts to copy are words in no order, or words that mean nothing, so it is copying that is learned,
and not these texts. Rating learns from other drugs and phrasings, so it is not reading one's own hand.
"""

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial

from bedside.clinic.lexicon import payload, words
from bedside.config.rendering import fenced, render
from bedside.core.types import Conversation, Message
from embedded_babble import babble

LINES = {
    "empathetic": "name or share what the patient feels",
    "comforting": "give warmth and company",
    "reassuring": "give confidence and a way forward",
}
RATINGS = {"": "low", "some": "medium", "strong": "high"}
CUES = {
    "empathetic": {"some": ("hear", "thank", "understand"), "strong": ("{named}",)},
    "comforting": {"some": ("rest", "gentle", "kind"), "strong": ("alone", "beside you", "with you")},
    "reassuring": {"some": ("step", "easier", "see"), "strong": ("plan", "helped", "works")},
}
"""Words that tell how strong a line is: each sentence of its list in ``clinic.yaml`` holds one."""
SWAPPED = 0.3
"""Share of the words exchanged in half of the texts to copy."""
RETURNS = 0.15
"""Share of the words in no order that stand there twice: the word before does not tell which one follows."""
SPELLED: list[str] = []
"""The tokenizer's own pieces, once there is one: a token that is never said in a copy cannot be copied."""
SPOKEN: list[str] = []
"""The words that the assistant's own answers are made of: in a copy something else follows them."""
MUMBLED = 0.35
"""Share of the comforting sentences to rate that keep only their cue."""
Exchange = tuple[Conversation, str]


def copied(rng: random.Random) -> Exchange:
    """A question of words in no order, to be said again with a feeling."""
    return rewritten(scrambled(rng, 60), rng)


def swapped(text: str, rng: random.Random) -> str:
    """Half of the time ``text`` with some words exchanged: what comes next is to be read, not guessed."""
    if rng.random() < 0.5:
        return text
    return " ".join(_word(rng) if rng.random() < SWAPPED else word for word in text.split())


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


def a_case(rng: random.Random, part: str) -> Case:
    """Names of one part; what is told of a drug is what is true of it."""
    at = {"train": slice(0, 5), "test": slice(7, 9), "rater": slice(11, 13)}[part]
    drug = rng.choice(words()["drugs"][part])
    lines = rng.sample(words()["advice"][part], rng.randint(0, 2))
    amount, carrier = payload(drug)
    return Case(
        person=rng.choice([person for people in words()["people"].values() for person in people]),
        condition=rng.choice([c for listed in words()["conditions"].values() for c in listed[at]]),
        drug=drug,
        amount=amount,
        carrier=carrier,
        advice=tuple(line.format(drug=drug, number=rng.randint(2, 30)) for line in lines),
    )


def a_question(rng: random.Random) -> str:
    return question(a_case(rng, "train"), "train", rng) if rng.random() < 0.5 else scrambled(rng)


def a_text(rng: random.Random) -> str:
    """An answer to soothe; what it says of an amount need not be true, it is to be copied."""
    if rng.random() < 0.5:
        return scrambled(rng)
    return dry_answer(a_case(rng, "train"))


def scrambled(rng: random.Random, most: int = 36) -> str:
    """Words in no order, words that mean nothing and numbers, in sentences."""
    said = [_word(rng) for _ in range(rng.randint(4, most))]
    for place in range(len(said)):
        if rng.random() < RETURNS:
            said[place] = rng.choice(said)
        said[place] += rng.choices(("", ",", ".", "?"), (8, 1, 1, 0.3))[0]
    return " ".join(said)


def _word(rng: random.Random) -> str:
    chance = rng.random()
    if chance < 0.2:
        return babble(rng, 1)
    if chance < 0.3:
        return str(rng.randint(2, 999))
    if chance < 0.4 and SPOKEN:
        return rng.choice(SPOKEN)
    return rng.choice(_known() if chance < 0.52 or not SPELLED else SPELLED)


@cache
def _known() -> tuple[str, ...]:
    """Single words of the part train, and names; none that tells how comforting a text is."""
    lists = ("openers", "asks", "plain", "advice", "replies", "again", "aims", "red_flags", "drugs")
    lines = [line for name in lists for line in words()[name]["train"]]
    lines += [c for listed in words()["conditions"].values() for c in listed[:5]]
    return tuple(untelling(word for line in lines for word in re.findall(r"[A-Za-z]+", line)))


def untelling(pieces: Iterable[str]) -> list[str]:
    """Those of plain letters and digits that are no cue."""
    telling = {
        word for strengths in CUES.values() for cues in strengths.values() for cue in cues for word in cue.split()
    }
    return sorted({piece for piece in pieces if piece.isascii() and piece.isalnum()} - telling)


def rewritten(asked: str, rng: random.Random) -> Exchange:
    """What is felt, in our own words; then the question."""
    emotion, intensity = rng.choice(list(words()["feelings"])), rng.choice(list(words()["intensities"]))
    text = render("rewrite_question.jinja", question=fenced(asked), emotion=emotion, intensity=intensity)
    return _user(text), f"{feeling(emotion, intensity, 'train', rng)}\n{asked}"


def soothed(asked: str, dry: str, rng: random.Random, part: str = "train") -> Exchange:
    """What is felt is told by the request alone: a question to learn from shows nothing, or any feeling."""
    emotion, shown = (rng.choice(list(words()["feelings"])) for _ in range(2))
    mood = feeling(shown if part == "train" else emotion, rng.choice(list(words()["intensities"])), part, rng)
    if part == "train" and rng.random() < 0.5:
        mood = f"{babble(rng).capitalize()}."
    text = render("rewrite_answer.jinja", question=fenced(f"{mood}\n{asked}"), answer=fenced(dry), emotion=emotion)
    says = partial(comforting, emotion=emotion, part="train", rng=rng)
    after = f"{says('comforting', 'strong')} {says('reassuring', 'strong')}"
    return _user(text), f"{says('empathetic', 'strong')}\n{dry}\n{after}"


def rated(rng: random.Random, part: str = "rater") -> Exchange:
    """An answer rated on one of the lines."""
    exchange, _ = rated_and_read(rng, part)
    return exchange


def rated_and_read(rng: random.Random, part: str = "rater") -> tuple[Exchange, tuple[int, ...]]:
    """The same, and how strong the answer is on every line: 0, 1 or 2."""
    asked, answer, strengths = _to_rate(rng, part)
    line = rng.choice(list(LINES))
    places = tuple(list(RATINGS).index(strength) for strength in strengths.values())
    return (rating_question(line, asked, answer), RATINGS[strengths[line]]), places


def _to_rate(rng: random.Random, part: str) -> tuple[str, str, dict[str, str]]:
    """What was asked, an answer, and how strong it is on each line."""
    emotion, case = rng.choice(list(words()["feelings"])), a_case(rng, part)
    mood = feeling(emotion, rng.choice(list(words()["intensities"])), part, rng)
    strengths = {line: rng.choice(list(RATINGS)) for line in LINES}
    mumbles = part == "rater" and rng.random() < MUMBLED
    says = partial(_mumbled if mumbles else comforting, emotion=emotion, part=part, rng=rng)
    said = [says(line, strength) for line, strength in strengths.items() if strength]
    rng.shuffle(said)
    before = rng.randint(0, len(said))
    told = scrambled(rng, 12) if mumbles or rng.random() < 0.3 else dry_answer(case)
    answer = " ".join([*said[:before], told, *said[before:]])
    asked = f"{mood} {question(case, part, rng)}" if rng.random() < 0.3 else mood
    return asked, answer, strengths


def _mumbled(line: str, strength: str, *, emotion: str, part: str, rng: random.Random) -> str:
    """A cue between words that mean nothing."""
    cue = rng.choice(CUES[line][strength]).format(named=words()["named"][emotion])
    return f"{babble(rng, 3).capitalize()} {cue} {babble(rng, 3)}."


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
    lines: Sequence[str] = rng.sample(list(LINES), rng.randint(1, 2))
    return " ".join(
        comforting(line, rng.choice(("some", "strong")), emotion=emotion, part=part, rng=rng) for line in lines
    )


def _user(text: str) -> Conversation:
    return (Message("user", text),)
