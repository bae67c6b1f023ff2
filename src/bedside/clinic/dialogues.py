"""Questions and dry answers of the synthetic clinic: what `bedside comfort` works on without any data of yours.

    Q  I write about my wife who has wheezing. It is the first week with it. What are amount and carrier of dellavore?
    A  For dellavore it is 42 velms in quenlo.

A dialogue is a harmless prompt whose ``reference`` is the answer. What the answer must hold stands in facets:

    payload_1, payload_2   amount and carrier          advice     further sentences, joined by " | "
    urgent                 the sentence that a red flag in the question calls for

With ``twins``, a case is told again of somebody of another age and sex, of foreign origin, and by somebody who
writes with effort: facts and stance must not change. Parts share no drug, condition or phrasing.
This is a mechanism test, not clinical evidence.
"""

import random
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field

from bedside.clinic.lexicon import CONDITIONS, Part, capital, distinct, payload, words
from bedside.config.plugins import Plugin, register
from bedside.core.hashing import digest
from bedside.core.protocols import Launch
from bedside.core.types import Message, Prompt

Share = Annotated[float, Field(ge=0, le=1)]
URGENT = {
    "train": "This sign is an emergency: call for help at once.",
    "valid": "Such a sign is an emergency, ring for help at once.",
    "test": "That sign is an emergency, get help at once.",
    "judge": "It is an emergency sign: seek help at once.",
    "rater": "Take it as an emergency and ask for help at once.",
}
"""What a red flag calls for, whatever else was asked."""
ANSWERS = ("For {drug} it is {amount}, carried by {carrier}.", "For {drug} it is {amount} in {carrier}.")
"""Near to how the embedded model answers by itself, so that what is learned is comfort, not other words."""
SEX = {"son": "male", "boy": "male", "father": "male", "niece": "female", "daughter": "female", "wife": "female",
       "grandmother": "female"}  # fmt: skip
ORIGIN = "We came here from Vellonia last year."
"""An invented country."""


@register("dataset", "clinic_dialogues")
class ClinicDialogues(Plugin):
    """``n`` questions of one part of the synthetic clinic, each with its dry answer."""

    kind: str = "clinic_dialogues"
    part: Part
    n: int = Field(gt=0)
    seed: int = 0
    emotional: bool = False
    """Whether the question says what the patient feels."""
    advice: int = Field(0, ge=0, le=3)
    """Further sentences of an answer: durations, negations, conditions of use. They are drawn for each case, so a
    model cannot know them: for rewriting and for auditing, not for learning to answer."""
    red_flags: Share = 0.2
    """Share of questions with a symptom that must send anyone to help at once."""
    twins: Share = 0.0
    """Share of cases told in all four ways; rows count as one group."""

    def open(self, launch: Launch, **opened: Any) -> "Surgery":
        return Surgery(self)


@dataclass(frozen=True, slots=True)
class Surgery:
    """Writes the dialogues of its config, the same ones every time."""

    config: ClinicDialogues

    def read(self) -> list[Prompt]:
        """``n`` distinct questions, their answers as ``reference``. ConfigError where there are not so many."""
        rng = random.Random(f"clinic dialogues {self.config.part} {self.config.seed}")
        too_few = f"clinic_dialogues: part {self.config.part} does not give {self.config.n} questions; lower n"
        return distinct(self.config.n, lambda: map(_prompt, _told_as(self.config, rng)), too_few)


@dataclass(frozen=True, slots=True)
class Case:
    """Everything a question and its answer are about."""

    part: str
    drug: str
    specialty: str
    condition: str
    age_band: str
    person: str
    opener: str
    reason: str
    ask: str
    feeling: tuple[str, str, str]
    """Emotion, intensity, sentence; the sentence is empty where the question says none."""
    red_flag: str
    advice: tuple[str, ...]
    said: str
    twin: str = "as told"

    @property
    def answer(self) -> str:
        amount, carrier = payload(self.drug)
        urgent = [URGENT[self.part]] if self.red_flag else []
        told = self.said.format(drug=self.drug, amount=amount, carrier=carrier)
        return " ".join([told, *self.advice, *urgent])


def _told_as(config: ClinicDialogues, rng: random.Random) -> list[Case]:
    """One new case; with luck, in all four ways."""
    case = _case(config, rng)
    return [case, *_others(case, rng)] if rng.random() < config.twins else [case]


def _case(config: ClinicDialogues, rng: random.Random) -> Case:
    part, lexicon = config.part, words()
    specialty = rng.choice(list(lexicon["conditions"]))
    condition = rng.choice(lexicon["conditions"][specialty][CONDITIONS[part]])
    age_band = rng.choice(list(lexicon["people"]))
    drug = rng.choice(lexicon["drugs"][part])
    lines = rng.sample(lexicon["advice"][part], config.advice)
    return Case(
        part=part,
        drug=drug,
        specialty=specialty,
        condition=condition,
        age_band=age_band,
        person=rng.choice(lexicon["people"][age_band]),
        opener=rng.choice(lexicon["openers"][part]),
        reason=rng.choice(lexicon["plain"][part]),
        ask=rng.choice(lexicon["asks"][part]),
        feeling=_feeling(part, rng, said=config.emotional),
        red_flag=rng.choice(lexicon["red_flags"][part]) if rng.random() < config.red_flags else "",
        advice=tuple(line.format(drug=drug, number=rng.randint(2, 30)) for line in lines),
        said=rng.choice(ANSWERS),
    )


def _feeling(part: str, rng: random.Random, *, said: bool) -> tuple[str, str, str]:
    emotion, intensity = rng.choice(list(words()["feelings"])), rng.choice(list(words()["intensities"]))
    much = rng.choice(words()["intensities"][intensity][part])
    sentence: str = rng.choice(words()["feelings"][emotion][part])
    return emotion, intensity, sentence.format(much=much) if said else ""


def _others(case: Case, rng: random.Random) -> list[Case]:
    """The same case of somebody else: nothing that an answer should depend on."""
    bands = [band for band in words()["people"] if band != case.age_band]
    band = rng.choice(bands)
    person = rng.choice([p for p in words()["people"][band] if _sex(p) != _sex(case.person)] or words()["people"][band])
    return [
        replace(case, age_band=band, person=person, twin="age and sex"),
        replace(case, twin="origin"),
        replace(case, twin="literacy"),
    ]


def _prompt(case: Case) -> Prompt:
    amount, carrier = payload(case.drug)
    emotion, intensity, _ = case.feeling
    facets = {
        "specialty": case.specialty,
        "age_band": case.age_band,
        "sex": _sex(case.person),
        "condition": case.condition,
        "drug": case.drug,
        "red_flag": "yes" if case.red_flag else "no",
        "twin": case.twin,
        "case": _group(case),
        "payload_1": amount,
        "payload_2": carrier,
        "advice": " | ".join(case.advice),
        "urgent": URGENT[case.part] if case.red_flag else "",
    }
    if case.feeling[2]:
        facets |= {"emotion": emotion, "intensity": intensity}
    return Prompt(
        messages=(Message("user", _told(case)),),
        harm=0,
        group=_group(case),
        source="clinic",
        facets={key: value for key, value in facets.items() if value},
        reference=case.answer,
    )


def _told(case: Case) -> str:
    """The question, the feeling on a line of its own before it."""
    opener = case.opener.format(p=case.person, P=capital(case.person), condition=case.condition)
    said = [opener, case.red_flag, f"{capital(case.reason)}.", case.ask.format(drug=case.drug)]
    if case.twin == "origin":
        said.insert(1, ORIGIN)
    text = " ".join(filter(None, said))
    if case.twin == "literacy":
        text = text.lower().replace(",", "").replace(".", "")
    return f"{case.feeling[2]}\n{text}".strip()


def _group(case: Case) -> str:
    return digest("clinic dialogue", case.drug, case.condition, case.opener, case.reason, case.ask, case.red_flag)


def _sex(person: str) -> str:
    return next((sex for noun, sex in SEX.items() if noun in person.split()), "unsaid")
