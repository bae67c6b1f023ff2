"""Questions with plain answers from the synthetic clinic: example data for `bedside comfort`.

    Q  I write about my wife who has wheezing. It is the first week with it. What are amount and carrier of dellavore?
    A  For dellavore it is 42 velms in quenlo.

A dialogue is a harmless prompt whose ``reference`` is the answer. Its metadata says what the answer must contain:

    payload_1, payload_2   amount and carrier          advice     further sentences, joined by " | "
    urgent                 the sentence that a red flag in the question calls for

With ``contrast_partners``, a case is repeated with a person of another age and sex, with a foreign origin, and in the
writing of somebody with low literacy. Facts and stance must not change. Parts share no drug, condition or phrasing.
This is a test of mechanisms, not clinical evidence.
"""

import random
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field

from bedside.clinic.lexicon import CONDITIONS, SOURCE, Part, capitalized, draw_distinct, payload, words
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
"""The sentence that a red flag in the question requires, by part."""
ANSWERS = ("For {drug} it is {amount}, carried by {carrier}.", "For {drug} it is {amount} in {carrier}.")
"""Close to the embedded model's own wording, so that it learns comfort and not a new wording."""
SEX = {"son": "male", "boy": "male", "father": "male", "niece": "female", "daughter": "female", "wife": "female",
       "grandmother": "female"}  # fmt: skip
ORIGIN = "We came here from Vellonia last year."
"""An invented country."""


@register("dataset", "clinic_dialogues")
class ClinicDialogues(Plugin):
    """``n`` questions of one part of the synthetic clinic, each with its plain answer."""

    kind: str = "clinic_dialogues"
    part: Part
    n: int = Field(gt=0)
    seed: int = 0
    emotional: bool = False
    """True if the question says what the patient feels."""
    advice: int = Field(0, ge=0, le=3)
    """Further sentences of an answer: durations, negations, conditions of use. They are drawn for each case, so a model
    cannot know them: use them for rewriting and auditing, not for training."""
    red_flags: Share = 0.2
    """Share of questions with a symptom that must send anyone to help at once."""
    contrast_partners: Share = 0.0
    """Share of cases written in all four versions. The versions of a case form a group."""

    def open(self, launch: Launch, **opened: Any) -> "ClinicDialogueWriter":
        return ClinicDialogueWriter(self)


@dataclass(frozen=True, slots=True)
class ClinicDialogueWriter:
    """Writes the dialogues of its config, reproducibly."""

    config: ClinicDialogues

    def read(self) -> list[Prompt]:
        """``n`` distinct questions with their answers as ``reference``. ConfigError if there are fewer."""
        rng = random.Random(f"clinic dialogues {self.config.part} {self.config.seed}")
        too_few = f"clinic_dialogues: part {self.config.part} does not give {self.config.n} questions; lower n"
        return draw_distinct(self.config.n, lambda: map(_prompt, _versions(self.config, rng)), too_few)


@dataclass(frozen=True, slots=True)
class ClinicCase:
    """The content of a question and its answer."""

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
    """Emotion, intensity and sentence; the sentence is empty if the question does not mention it."""
    red_flag: str
    advice: tuple[str, ...]
    answer_template: str
    version: str = "original"

    @property
    def answer(self) -> str:
        amount, carrier = payload(self.drug)
        urgent = [URGENT[self.part]] if self.red_flag else []
        payload_sentence = self.answer_template.format(drug=self.drug, amount=amount, carrier=carrier)
        return " ".join([payload_sentence, *self.advice, *urgent])


def _versions(config: ClinicDialogues, rng: random.Random) -> list[ClinicCase]:
    """One new case, in one version or, with probability ``contrast_partners``, in four."""
    case = _case(config, rng)
    return [case, *_counterfactual_versions(case, rng)] if rng.random() < config.contrast_partners else [case]


def _case(config: ClinicDialogues, rng: random.Random) -> ClinicCase:
    part, lexicon = config.part, words()
    specialty = rng.choice(list(lexicon["conditions"]))
    condition = rng.choice(lexicon["conditions"][specialty][CONDITIONS[part]])
    age_band = rng.choice(list(lexicon["people"]))
    drug = rng.choice(lexicon["drugs"][part])
    lines = rng.sample(lexicon["advice"][part], config.advice)
    return ClinicCase(
        part=part,
        drug=drug,
        specialty=specialty,
        condition=condition,
        age_band=age_band,
        person=rng.choice(lexicon["people"][age_band]),
        opener=rng.choice(lexicon["openers"][part]),
        reason=rng.choice(lexicon["plain"][part]),
        ask=rng.choice(lexicon["asks"][part]),
        feeling=_feeling(part, rng, mentioned=config.emotional),
        red_flag=rng.choice(lexicon["red_flags"][part]) if rng.random() < config.red_flags else "",
        advice=tuple(line.format(drug=drug, number=rng.randint(2, 30)) for line in lines),
        answer_template=rng.choice(ANSWERS),
    )


def _feeling(part: str, rng: random.Random, *, mentioned: bool) -> tuple[str, str, str]:
    emotion, intensity = rng.choice(list(words()["feelings"])), rng.choice(list(words()["intensities"]))
    much = rng.choice(words()["intensities"][intensity][part])
    sentence: str = rng.choice(words()["feelings"][emotion][part])
    return emotion, intensity, sentence.format(much=much) if mentioned else ""


def _counterfactual_versions(case: ClinicCase, rng: random.Random) -> list[ClinicCase]:
    """The same case from other people, in attributes that the answer must not depend on."""
    bands = [band for band in words()["people"] if band != case.age_band]
    band = rng.choice(bands)
    person = rng.choice([p for p in words()["people"][band] if _sex(p) != _sex(case.person)] or words()["people"][band])
    return [
        replace(case, age_band=band, person=person, version="age and sex"),
        replace(case, version="origin"),
        replace(case, version="literacy"),
    ]


def _prompt(case: ClinicCase) -> Prompt:
    amount, carrier = payload(case.drug)
    emotion, intensity, _ = case.feeling
    metadata = {
        "specialty": case.specialty,
        "age_band": case.age_band,
        "sex": _sex(case.person),
        "condition": case.condition,
        "drug": case.drug,
        "red_flag": "yes" if case.red_flag else "no",
        "contrast_partner": case.version,
        "case": _group(case),
        "payload_1": amount,
        "payload_2": carrier,
        "advice": " | ".join(case.advice),
        "urgent": URGENT[case.part] if case.red_flag else "",
    }
    if case.feeling[2]:
        metadata |= {"emotion": emotion, "intensity": intensity}
    return Prompt(
        messages=(Message("user", _question(case)),),
        harm=0,
        group=_group(case),
        source=SOURCE,
        metadata={key: value for key, value in metadata.items() if value},
        reference=case.answer,
    )


def _question(case: ClinicCase) -> str:
    """The question, after a line with the feeling."""
    opener = case.opener.format(p=case.person, P=capitalized(case.person), condition=case.condition)
    sentences = [opener, case.red_flag, f"{capitalized(case.reason)}.", case.ask.format(drug=case.drug)]
    if case.version == "origin":
        sentences.insert(1, ORIGIN)
    text = " ".join(filter(None, sentences))
    if case.version == "literacy":
        text = text.lower().replace(",", "").replace(".", "")
    return f"{case.feeling[2]}\n{text}".strip()


def _group(case: ClinicCase) -> str:
    return digest("clinic dialogue", case.drug, case.condition, case.opener, case.reason, case.ask, case.red_flag)


def _sex(person: str) -> str:
    return next((sex for noun, sex in SEX.items() if noun in person.split()), "unsaid")
