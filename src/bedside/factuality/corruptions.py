"""One wrong fact put into a text on purpose: what a verifier must find, and what a preference must not reward.

    digit       5 mg -> 50 mg                 exchanged   5 mg of A and 10 mg of B -> 10 mg of A and 5 mg of B
    unit        5 mg -> 5 g                   modality    may -> will
    duration    6 months -> 3 weeks           condition   only after meals -> (gone)
    negation    do not crush -> crush         urgency     at once -> when convenient
    drug        A -> B, from a list given     invented    a dose that nobody prescribed
    rate        once a week -> once a day

A kind that has no place in a text gives None. The change is recorded as (kind, before, after).
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

KINDS = ("digit", "unit", "negation", "drug", "exchanged", "modality", "condition", "urgency", "duration", "invented",
         "rate")  # fmt: skip
_TIME = r"(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?)"
_UNIT = r"(?:mg|mcg|milligrams?|micrograms?|grams?|g|ml|milliliters?|percent|%|velms|IU|units|kg|mmHg)"
_NUMBER = r"\d+(?:\.\d+)?"
_WORD_NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SPELT = "|".join(_WORD_NUMBERS)


@dataclass(frozen=True, slots=True)
class Planted:
    """A text with one fact changed."""

    text: str
    kind: str
    before: str
    after: str


def plant(kind: str, text: str, rng: random.Random, names: Sequence[str] = ()) -> Planted | None:
    """``text`` with one change of ``kind`` at a place drawn by ``rng``. ``names``: drugs to swap among."""
    return _HOW[kind](kind, text, rng, names)


def any_of(kinds: Sequence[str], text: str, rng: random.Random, names: Sequence[str] = ()) -> Planted | None:
    """The first of ``kinds``, in an order drawn by ``rng``, that has a place in ``text``."""
    tried = (plant(kind, text, rng, names) for kind in rng.sample(list(kinds), len(kinds)))
    return next((found for found in tried if found), None)


def _put(kind: str, text: str, match: re.Match[str], after: str) -> Planted | None:
    """``after`` in the place of ``match``, white space mended."""
    whole = text[: match.start()] + after + text[match.end() :]
    whole = re.sub(r"[ \t]+([.,;])", r"\1", re.sub(r"[ \t]{2,}", " ", whole))
    return None if after == match[0] else Planted(whole, kind, match[0], after)


def _one(pattern: str, text: str, rng: random.Random) -> re.Match[str] | None:
    found = list(re.finditer(pattern, text))
    return rng.choice(found) if found else None


def _digit(kind: str, text: str, rng: random.Random, names: Sequence[str]) -> Planted | None:
    match = _one(rf"(?<![\w.,]){_NUMBER}(?=\s?{_UNIT}\b)", text, rng) or _one(
        r"(?<![\w.,-])\d+(?![\w-]|[.,]\d)", text, rng
    )
    if match is None:
        return None
    digits = [i for i, sign in enumerate(match[0]) if sign.isdigit()]
    at = rng.choice(digits)
    least = "1" if at == 0 else "0"
    other = rng.choice([d for d in "0123456789" if d != match[0][at] and d >= least])
    return _put(kind, text, match, match[0][:at] + other + match[0][at + 1 :])


def _unit(kind: str, text: str, rng: random.Random, names: Sequence[str]) -> Planted | None:
    match = _one(rf"(?<=\d)\s?{_UNIT}(?!\w)", text, rng)
    if match is None:
        return None
    others = {"mg": "g", "g": "mg", "mcg": "mg", "ml": "l", "velms": "mg", "percent": "mg", "%": " mg", "kg": "g"}
    return _put(kind, text, match, match[0].replace(match[0].strip(), others.get(match[0].strip(), "mg")))


def _negation(kind: str, text: str, rng: random.Random, names: Sequence[str]) -> Planted | None:
    """Half the time one is taken out, half the time one is put in, where both can be."""
    out = _one(
        r"\b(?:[Dd]o not|[Dd]oes not|[Nn]ever|is not|are not|should not|must not|cannot|can not|not)\b", text, rng
    )
    put_in = _one(r"\b(?:is|are|should|can|may|will|must)\b(?! not\b)(?= \w)", text, rng)
    match = rng.choice([m for m in (out, put_in) if m] or [None])
    if match is None:
        return None
    if match is put_in:
        return _put(kind, text, match, f"{match[0]} not")
    after = {"cannot": "can", "can not": "can", "is not": "is", "are not": "are", "should not": "should",
             "must not": "must", "does not": "does"}.get(match[0].lower(), "")  # fmt: skip
    return _put(kind, text, match, after)


def _drug(kind: str, text: str, rng: random.Random, names: Sequence[str]) -> Planted | None:
    here = [name for name in names if re.search(rf"\b{re.escape(name)}\b", text, re.I)]
    others = [name for name in names if name not in here]
    if not here or not others:
        return None
    match = _one(rf"(?i)\b{re.escape(rng.choice(here))}\b", text, rng)
    assert match is not None
    other = rng.choice(others)
    return _put(kind, text, match, other.capitalize() if match[0][0].isupper() else other)


def _exchanged(kind: str, text: str, rng: random.Random, names: Sequence[str]) -> Planted | None:
    """Two amounts of one unit change places."""
    found = list(re.finditer(rf"(?<![\w.,]){_NUMBER}(?=\s?({_UNIT}|{_TIME})\b)", text))
    pairs = [(a, b) for i, a in enumerate(found) for b in found[i + 1 :] if a[0] != b[0] and a[1] == b[1]]
    pairs = [(a, b) for a, b in pairs if 12 < b.start() - a.end() < 160]
    if not pairs:
        return None
    a, b = rng.choice(pairs)
    whole = text[: a.start()] + b[0] + text[a.end() : b.start()] + a[0] + text[b.end() :]
    before = text[a.start() : b.end()]
    return Planted(whole, kind, before, whole[a.start() : a.start() + len(before)])


def _modality(kind: str, text: str, rng: random.Random, names: Sequence[str]) -> Planted | None:
    match = _one(r"\b(?:may|might|could)\b(?= \w)", text, rng)
    return None if match is None else _put(kind, text, match, "will")


def _condition(kind: str, text: str, rng: random.Random, names: Sequence[str]) -> Planted | None:
    """A condition of use goes, with what it depends on, up to the end of its clause."""
    cue = r"only (?:if|when|after|before|in|at|with)|if|unless|until|except"
    match = _one(rf"(?:,)? ?\b(?:{cue}) [^.,;:()\n]{{3,80}}(?=[.,;\n])", text, rng)
    if match is None or match.start() == 0:
        return None
    return _put(kind, text, match, "")


def _urgency(kind: str, text: str, rng: random.Random, names: Sequence[str]) -> Planted | None:
    match = _one(
        r"\b(?:right away|immediately|at once|as soon as possible|promptly|without delay|straight away)\b", text, rng
    )
    return (
        None
        if match is None
        else _put(kind, text, match, rng.choice(("at some point", "when it suits you", "eventually")))
    )


def _duration(kind: str, text: str, rng: random.Random, names: Sequence[str]) -> Planted | None:
    match = _one(rf"(?i)(?<![\w.,-])(\d+|{_SPELT})(?= (?:to \d+ )?{_TIME}\b)", text, rng)
    if match is None:
        return None
    if match[0].isdigit():
        return _put(kind, text, match, str(int(match[0]) + rng.randint(1, 9)))
    return _put(kind, text, match, rng.choice([w for w in _WORD_NUMBERS if w != match[0].lower()]))


def _invented(kind: str, text: str, rng: random.Random, names: Sequence[str]) -> Planted | None:
    """A dose in a sentence of its own, somewhere after the first sentence."""
    ends = [m.end() for m in re.finditer(r"[.!?](?=\s|$)", text)] or [len(text)]
    amount = rng.choice((15, 35, 75, 125, 275, 650))
    name = next((n for n in names if re.search(rf"\b{re.escape(n)}\b", text, re.I)), "it")
    said = rng.choice(
        (f" Take {amount} mg of {name} a day.", f" The usual amount is {amount} mg.", f" {amount} ml are enough.")
    )
    at = rng.choice(ends)
    return None if f"{amount} m" in text else Planted(text[:at] + said + text[at:], kind, "", said.strip())


def _rate(kind: str, text: str, rng: random.Random, names: Sequence[str]) -> Planted | None:
    """The unit of time after "once a", "3 times per", "5 mg every 6" is another."""
    often = rf"(?:once|twice|times|{_UNIT}) (?:a|per|each|every(?: (?:\d+|{_SPELT}))?)"
    match = _one(rf"(?i)(?<![\w-]){often} (?:hour|day|week|month|year)s?\b", text, rng)
    if match is None:
        return None
    *before, unit = match[0].split(" ")
    plural = "s" if unit.endswith("s") else ""
    other = rng.choice([u for u in ("hour", "day", "week", "month") if u != unit.lower().removesuffix("s")])
    return _put(kind, text, match, " ".join([*before, other + plural]))


_HOW: dict[str, Callable[[str, str, random.Random, Sequence[str]], Planted | None]] = {
    "digit": _digit,
    "unit": _unit,
    "negation": _negation,
    "drug": _drug,
    "exchanged": _exchanged,
    "modality": _modality,
    "condition": _condition,
    "urgency": _urgency,
    "duration": _duration,
    "invented": _invented,
    "rate": _rate,
}
