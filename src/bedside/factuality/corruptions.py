"""Changes one fact of a text on purpose, to test fact checks and to write answers that are wrong.

    digit       5 mg -> 50 mg                 exchanged   5 mg of A and 10 mg of B -> 10 mg of A and 5 mg of B
    unit        5 mg -> 5 g                   modality    may -> will
    duration    6 months -> 3 weeks           condition   only after meals -> (gone)
    negation    do not crush -> crush         urgency     at once -> when convenient
    drug        A -> B, from a list given     invented    a dose that nobody prescribed
    rate        once a week -> once a day

A kind that does not apply to a text gives None. ``Corruption`` records kind, text before and text after.
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
class Corruption:
    """A text with one fact changed: ``before`` was replaced by ``after``."""

    text: str
    kind: str
    before: str
    after: str


def corrupt(kind: str, text: str, rng: random.Random, names: Sequence[str] = ()) -> Corruption | None:
    """``text`` with one change of ``kind`` at a random place; None if there is none. ``names``: drugs to exchange."""
    return _CORRUPTERS[kind](kind, text, rng, names)


def corrupt_any(kinds: Sequence[str], text: str, rng: random.Random, names: Sequence[str] = ()) -> Corruption | None:
    """``text`` with one change of the first of ``kinds``, in random order, that applies to it."""
    return next(filter(None, (corrupt(kind, text, rng, names) for kind in rng.sample(list(kinds), len(kinds)))), None)


def _replaced(kind: str, text: str, match: re.Match[str], after: str) -> Corruption | None:
    """``match`` replaced by ``after``, with white space tidied; None if nothing changes."""
    whole = text[: match.start()] + after + text[match.end() :]
    whole = re.sub(r"[ \t]+([.,;])", r"\1", re.sub(r"[ \t]{2,}", " ", whole))
    return None if after == match[0] else Corruption(whole, kind, match[0], after)


def _random_match(pattern: str, text: str, rng: random.Random) -> re.Match[str] | None:
    matches = list(re.finditer(pattern, text))
    return rng.choice(matches) if matches else None


def _digit(kind: str, text: str, rng: random.Random, names: Sequence[str]) -> Corruption | None:
    match = _random_match(rf"(?<![\w.,]){_NUMBER}(?=\s?{_UNIT}\b)", text, rng) or _random_match(
        r"(?<![\w.,-])\d+(?![\w-]|[.,]\d)", text, rng
    )
    if match is None:
        return None
    at = rng.choice([i for i, sign in enumerate(match[0]) if sign.isdigit()])
    other = rng.choice([d for d in "0123456789" if d != match[0][at] and d >= ("1" if at == 0 else "0")])
    return _replaced(kind, text, match, match[0][:at] + other + match[0][at + 1 :])


def _negation(kind: str, text: str, rng: random.Random, names: Sequence[str]) -> Corruption | None:
    """Removes a negation or adds one, with equal probability if both are possible."""
    removable = _random_match(
        r"\b(?:[Dd]o not|[Dd]oes not|[Nn]ever|is not|are not|should not|must not|cannot|can not|not)\b", text, rng
    )
    negatable = _random_match(r"\b(?:is|are|should|can|may|will|must)\b(?! not\b)(?= \w)", text, rng)
    match = rng.choice([m for m in (removable, negatable) if m] or [None])
    if match is None:
        return None
    if match is negatable:
        return _replaced(kind, text, match, f"{match[0]} not")
    after = {"cannot": "can", "can not": "can", "is not": "is", "are not": "are", "should not": "should",
             "must not": "must", "does not": "does"}.get(match[0].lower(), "")  # fmt: skip
    return _replaced(kind, text, match, after)


def _drug(kind: str, text: str, rng: random.Random, names: Sequence[str]) -> Corruption | None:
    here = [name for name in names if re.search(rf"\b{re.escape(name)}\b", text, re.I)]
    others = [name for name in names if name not in here]
    match = _random_match(rf"(?i)\b{re.escape(rng.choice(here))}\b", text, rng) if here and others else None
    if match is None:
        return None
    other = rng.choice(others)
    return _replaced(kind, text, match, other.capitalize() if match[0][0].isupper() else other)


def _exchanged(kind: str, text: str, rng: random.Random, names: Sequence[str]) -> Corruption | None:
    """Exchanges two amounts of one unit."""
    matches = list(re.finditer(rf"(?<![\w.,]){_NUMBER}(?=\s?({_UNIT}|{_TIME})\b)", text))
    pairs = [
        (a, b)
        for i, a in enumerate(matches)
        for b in matches[i + 1 :]
        if a[0] != b[0] and a[1] == b[1] and 12 < b.start() - a.end() < 160
    ]
    if not pairs:
        return None
    a, b = rng.choice(pairs)
    whole = text[: a.start()] + b[0] + text[a.end() : b.start()] + a[0] + text[b.end() :]
    before = text[a.start() : b.end()]
    return Corruption(whole, kind, before, whole[a.start() : a.start() + len(before)])


def _invented(kind: str, text: str, rng: random.Random, names: Sequence[str]) -> Corruption | None:
    """Adds a sentence with a dose after a random sentence."""
    amount = rng.choice((15, 35, 75, 125, 275, 650))
    name = next((n for n in names if re.search(rf"\b{re.escape(n)}\b", text, re.I)), "it")
    sentence = rng.choice(
        (f" Take {amount} mg of {name} a day.", f" The usual amount is {amount} mg.", f" {amount} ml are enough.")
    )
    at = rng.choice([m.end() for m in re.finditer(r"[.!?](?=\s|$)", text)] or [len(text)])
    return None if f"{amount} m" in text else Corruption(text[:at] + sentence + text[at:], kind, "", sentence.strip())


def _by_pattern(kind: str, text: str, rng: random.Random, names: Sequence[str]) -> Corruption | None:
    """Replaces a random match of the kind's pattern in ``_PATTERNS``."""
    pattern, replacement = _PATTERNS[kind]
    match = _random_match(pattern, text, rng)
    return None if match is None else _replaced(kind, text, match, replacement(match, rng))


def _other_duration(match: re.Match[str], rng: random.Random) -> str:
    if match[0].isdigit():
        return str(int(match[0]) + rng.randint(1, 9))
    return rng.choice([word for word in _WORD_NUMBERS if word != match[0].lower()])


def _other_rate(match: re.Match[str], rng: random.Random) -> str:
    *before, unit = match[0].split(" ")
    other = rng.choice([u for u in ("hour", "day", "week", "month") if u != unit.lower().removesuffix("s")])
    return " ".join([*before, f"{other}s" if unit.endswith("s") else other])


_OTHER_UNIT = {"mg": "g", "g": "mg", "mcg": "mg", "ml": "l", "velms": "mg", "percent": "mg", "%": " mg", "kg": "g"}
_OFTEN = rf"(?:once|twice|times|{_UNIT}) (?:a|per|each|every(?: (?:\d+|{_SPELT}))?)"
"""Before a unit of time: "once a", "3 times per", "5 mg every 6"."""
_PATTERNS: dict[str, tuple[str, Callable[[re.Match[str], random.Random], str]]] = {
    "unit": (
        rf"(?<=\d)\s?{_UNIT}(?!\w)",
        lambda match, rng: match[0].replace(match[0].strip(), _OTHER_UNIT.get(match[0].strip(), "mg")),
    ),
    "modality": (r"\b(?:may|might|could)\b(?= \w)", lambda match, rng: "will"),
    # up to the end of its clause; a condition that opens the text stays
    "condition": (
        r"(?:,)? ?\b(?:only (?:if|when|after|before|in|at|with)|if|unless|until|except) "
        r"[^.,;:()\n]{3,80}(?=[.,;\n])",
        lambda match, rng: "" if match.start() else match[0],
    ),
    "urgency": (
        r"\b(?:right away|immediately|at once|as soon as possible|promptly|without delay|straight away)\b",
        lambda match, rng: rng.choice(("at some point", "when it suits you", "eventually")),
    ),
    "duration": (rf"(?i)(?<![\w.,-])(\d+|{_SPELT})(?= (?:to \d+ )?{_TIME}\b)", _other_duration),
    "rate": (rf"(?i)(?<![\w-]){_OFTEN} (?:hour|day|week|month|year)s?\b", _other_rate),
}
_CORRUPTERS: dict[str, Callable[[str, str, random.Random, Sequence[str]], Corruption | None]] = {
    "digit": _digit,
    "negation": _negation,
    "drug": _drug,
    "exchanged": _exchanged,
    "invented": _invented,
    **dict.fromkeys(_PATTERNS, _by_pattern),
}
