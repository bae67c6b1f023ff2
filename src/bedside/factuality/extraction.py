"""Extracts the facts of an English medical text that a rewrite may not change, each with the words around it.

    dose, duration, number   a number with its unit: "5 mg", "6 months", "twice", "1 in 100", "type 2"
    rate                     what a dose is per: "once a week", "every 6 hours", "15 mg/kg"
    negation                 not, never, without, avoid, ...              with what is negated
    modality                 may < should < must < will                   with what it is about
    condition                if, unless, only, before, after, until, ...  with what it depends on
    urgency                  at once, emergency, call your doctor, ...    and softer words
    name                     a word that is not an everyday word: drug, disease, body part

The anchors of a fact are up to three content words on each side of it in its sentence. Two facts are about the same
thing if they have the same anchors on the same sides:

    similarity(a, b) = Σ_w weight(w in a) · side(w) · place(w) / Σ_w weight(w in a)      weight = 1 / distance

This distinguishes "5 mg of A and 10 mg of B" from "10 mg of A and 5 mg of B". A quantity also has the last name before
its sentence as an anchor, at distance 4: in "For A ... Take it for 6 days." the 6 days are about A. No medical lexicon
is used, only units, grammar and a list of everyday words. In other languages only numbers and names are extracted.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bedside.factuality.common_words import FUNCTION, ORDINARY

AMOUNTS = ("dose", "duration", "number")
QUANTITIES = (*AMOUNTS, "rate")
REACH = 3
"""Number of anchors on each side of a fact."""

_TIME = {"second": "s", "sec": "s", "minute": "min", "min": "min", "hour": "h", "hr": "h", "day": "day", "week": "week",
         "wk": "week", "month": "month", "year": "year", "yr": "year", "decade": "decade", "night": "night",
         "trimester": "trimester"}  # fmt: skip
_DOSE = {"mg": "mg", "milligram": "mg", "g": "g", "gram": "g", "gm": "g", "mcg": "ug", "microgram": "ug", "ug": "ug",
         "µg": "ug", "μg": "ug", "kg": "kg", "kilogram": "kg", "ml": "ml", "milliliter": "ml", "millilitre": "ml",
         "l": "l", "liter": "l", "litre": "l", "dl": "dl", "iu": "iu", "unit": "unit", "tablet": "tablet",
         "pill": "tablet", "capsule": "capsule", "drop": "drop", "puff": "puff", "dose": "dose",
         "mmol": "mmol", "meq": "meq",
         "teaspoon": "teaspoon", "tablespoon": "tablespoon", "ounce": "oz", "oz": "oz", "cup": "cup", "mmhg": "mmhg",
         "percent": "%", "%": "%", "degree": "degree", "calorie": "calorie", "kcal": "kcal", "cm": "cm", "mm": "mm",
         "centimeter": "cm", "millimeter": "mm", "inch": "inch", "pound": "lb", "lb": "lb",
         "times": "times", "time": "times", "fold": "fold"}  # fmt: skip
_UNITS = {**_DOSE, **_TIME}
_SPELT = {"zero": "0", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
          "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14",
          "fifteen": "15", "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19", "twenty": "20",
          "thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80",
          "ninety": "90", "hundred": "100", "thousand": "1000", "half": "1/2", "quarter": "1/4", "twice": "2 times",
          "double": "double", "triple": "triple"}  # fmt: skip
_OFTEN = {"hourly": "per h", "daily": "per day", "weekly": "per week", "monthly": "per month", "yearly": "per year",
          "annually": "per year", "nightly": "per night"}  # fmt: skip
_PER = frozenset(("a", "an", "per", "every", "each", "/"))
_NTH = frozenset(("other", "second", "third"))
_DOSING = frozenset(("take", "takes", "taken", "use", "used", "apply", "applied", "give", "given", "inject", "injected",
                     "once", "twice", "times", "dose", "doses"))  # fmt: skip
NEGATIONS = frozenset(
    (
        "not", "no", "never", "without", "none", "neither", "nor", "cannot", "avoid", "avoids", "avoided", "avoiding",
        "refrain", "nobody", "nothing", "unlikely",
    )
)  # fmt: skip
MODALITIES = {"may": "may", "might": "may", "could": "may", "can": "may", "possibly": "may", "perhaps": "may",
              "sometimes": "may", "should": "should", "ought": "should", "must": "must", "required": "must",
              "will": "will", "shall": "will", "always": "will", "definitely": "will", "certainly": "will",
              "inevitably": "will", "invariably": "will"}  # fmt: skip
CONDITIONS = {"if": "if", "when": "if", "whenever": "if", "provided": "if", "unless": "unless", "except": "unless",
              "only": "only", "until": "until", "till": "until", "before": "before", "after": "after",
              "following": "after", "while": "while", "during": "while"}  # fmt: skip
_NOW = re.compile(
    r"\b(?:immediate(?:ly)?|right away|at once|straight ?away|emergency|emergencies|urgent(?:ly)?|"
    r"as soon as possible|without delay|life[- ]threatening|promptly|ambulance|"
    r"(?:call|dial|ring|phone)(?: \w+){0,2} (?:911|999|112))\b"
)
_DENIED = re.compile(r"\b(?:not?|never|nothing|neither|nor|without)(?: (?!hesitate|wait|delay|hold)\w+){0,4} $")
"""Before a word of urgency: "not an emergency", "no need to call an ambulance"; not "do not hesitate to call ..."."""
_MERE_ORDER = re.compile(r"(?:immediately|promptly) (?:after|before|following|prior|with|upon)\b")
""" "Immediately after meals" sends nobody for help."""
_CONTACT = re.compile(
    r"\b(?:call|see|contact|tell|ask|talk to|talk with|consult|ring|seek|visit|notify|inform|speak to|speak with|get)\b"
    r"(?: \w+){0,3}? (?:doctor|doctors|physician|provider|nurse|pharmacist|specialist|dentist|midwife|professional|"
    r"medical (?:help|care|attention|advice)|hospital|emergency|help)\b"
)
_SOFT = re.compile(
    r"\b(?:when(?:ever)? (?:you have time|it suits(?: you)?|convenient)|no (?:hurry|rush)|at (?:your|some) "
    r"(?:convenience|point)|(?:can|could) wait|some ?(?:day|time) (?:soon|later)|"
    r"eventually|at leisure|if you like|in due course)\b"
)
_REASSURANCE = re.compile(
    r"\b(?:nothing (?:serious|to worry about|dangerous|bad)|(?:it|this|that) is (?:harmless|normal|nothing)|"
    r"no (?:need|reason) to (?:see|call|seek|go|worry|be concerned|fear)|(?:you|they|he|she|it) will be "
    r"(?:just |perfectly )?fine|not (?:serious|dangerous|an emergency|urgent)|do not (?:worry|need (?:a doctor|help))|"
    r"can (?:safely )?wait|will (?:go away|pass) (?:by itself|on its own)|everything is (?:fine|all right))\b"
)
_SENTENCE = re.compile(r"(?<=[.!?;])[\"')\]]*\s+(?!\d+\s*(?:mg|ml))|\n+|\s+[•*-]\s+(?=[A-Z])")
_WORD = re.compile(r"[^\W\d_]{2,}")
_TOKEN = re.compile(r"(?<![\d.])\.\d+|\d+(?:[.,/]\d+)*|%|[^\W\d_]+(?:'[^\W\d_]+)?|[^\w\s]")
_SHORT = {r"\bcan't\b": "cannot", r"\bwon't\b": "will not", r"n't\b": " not", r"(?<=\w)'ll\b": " will",
          r"\b(it|this|that|there|he|she)'s\b": r"\1 is"}  # fmt: skip
_MEDICAL = re.compile(
    r"(?:itis|osis|oses|oma|omas|emia|aemia|pathy|algia|ectomy|uria|plegia|trophy|penia|plasia|sclerosis|rrhea|"
    r"olol|pril|sartan|statin|azole|cillin|mycin|micin|cycline|oxacin|vir|mab|nib|pam|lam|barbital|caine|dipine|"
    r"gliptin|gliflozin|glitazone|lukast|oxetine|prazole|tidine|setron|triptan|profen|coxib|dronate|parin|xaban|"
    r"grel|thiazide|semide|sone|solone|onide|terol|tropium|formin|glutide|idine|amine|azine|toin|phylline)s?$"
)


@dataclass(frozen=True, slots=True)
class FactToken:
    """A word, number or punctuation mark. Words are compared by ``stem``; ``content`` is False for function words."""

    text: str
    stem: str
    content: bool
    capital: bool = False


@dataclass(frozen=True, slots=True)
class Fact:
    """A statement that a rewrite must keep, and its place in the text."""

    kind: str
    value: str
    anchors: tuple[tuple[str, int], ...]
    """Stem and signed distance in content words: −1 is the word just before."""
    sentence: int
    excerpt: str
    """The words around it, for people to read."""


@dataclass(frozen=True, slots=True)
class ParsedText:
    """The sentences and the facts of a text."""

    sentences: tuple[tuple[FactToken, ...], ...]
    facts: tuple[Fact, ...]

    @property
    def stems(self) -> frozenset[str]:
        return frozenset(token.stem for sentence in self.sentences for token in sentence)


def extract_facts(text: str) -> ParsedText:
    """The facts of ``text``, sentence by sentence."""
    raw = [sentence for sentence in _SENTENCE.split(_plain(text)) if sentence and sentence.strip()]
    sentences = tuple(tuple(_tokens(sentence)) for sentence in raw)
    facts: list[Fact] = []
    topic = ""
    for number, sentence in enumerate(sentences):
        facts += [
            # a quantity gets the last name before its sentence as an anchor
            replace(fact, anchors=(*fact.anchors, (topic, -REACH - 1))) if topic and fact.kind in QUANTITIES else fact
            for fact in _facts(number, sentence, raw[number].lower())
        ]
        topic = next((token.stem for token in reversed(sentence) if is_name(token)), topic)
    return ParsedText(sentences, tuple(facts))


def claims(text: str) -> tuple[str, ...]:
    """The sentences of ``text`` that state a fact, as they stand, each once. A question states nothing.

    >>> claims("I am sorry. Take 5 mg a day. Does it hurt?")
    ('Take 5 mg a day.',)
    """
    sentences = (" ".join(sentence.split()) for sentence in _SENTENCE.split(text) if sentence)
    stated = (sentence for sentence in sentences if not sentence.endswith("?") and len(_WORD.findall(sentence)) > 1)
    return tuple(dict.fromkeys(sentence for sentence in stated if extract_facts(sentence).facts))


def sends_for_help(text: str) -> bool:
    """True if ``text`` advises to get help at once. False for "not an emergency" and "immediately after meals"."""
    plain = " ".join(_plain(text).lower().split())
    return any(
        not _DENIED.search(plain[: match.start()]) and not _MERE_ORDER.match(plain, match.start())
        for match in _NOW.finditer(plain)
    )


def false_reassurance(text: str) -> list[str]:
    """Phrases of reassurance in ``text`` that would be wrong if there is a red flag."""
    return [match[0] for match in _REASSURANCE.finditer(" ".join(_plain(text).lower().split()))]


def similarity(fact: Fact, other: Fact) -> float:
    """Share of the anchors of ``fact`` that ``other`` has, by the formula above, 0 to 1; 1 if ``fact`` has none."""
    if not fact.anchors:
        return 1.0
    places: dict[str, list[int]] = {}
    for stem, place in other.anchors:
        places.setdefault(stem, []).append(place)
    credit = sum(_credit(place, places.get(stem, ())) for stem, place in fact.anchors)
    return credit / sum(1 / abs(place) for _, place in fact.anchors)


def is_name(token: FactToken) -> bool:
    """True for a content word that is not an everyday word."""
    return _anchors(token) and len(token.text) > 2 and token.stem not in _EVERYDAY_STEMS


def is_certain_name(token: FactToken) -> bool:
    """True for a name with a medical ending, or with a capital inside a sentence."""
    return is_name(token) and (token.capital or _MEDICAL.search(token.text) is not None)


def _plain(text: str) -> str:
    """``text`` with uniform quotes and dashes and with contractions written out."""
    text = text.replace("’", "'").replace("–", "-").replace("—", " - ").replace("\u00a0", " ")
    for short, whole in _SHORT.items():
        text = re.sub(short, whole, text, flags=re.I)
    return text


def _tokens(sentence: str) -> Iterator[FactToken]:
    for number, match in enumerate(_TOKEN.finditer(sentence)):
        word = f"0{match[0]}" if match[0][0] == "." and len(match[0]) > 1 else match[0]
        text = word.lower().removesuffix("'s")
        is_word = text[0].isalpha()
        yield FactToken(
            text,
            stem(text),
            content=is_word and text not in FUNCTION and (len(text) > 1 or not text.isascii()),
            capital=number > 0 and word[0].isupper() and is_word and word != "I",
        )


def stem(word: str) -> str:
    """``word`` without plural and verb endings, by a few simple rules."""
    for ending, least in (("ies", 3), ("ing", 4), ("ed", 4), ("es", 4), ("s", 3), ("ly", 4)):
        if word.endswith(ending) and len(word) - len(ending) >= least and not word.endswith(("ss", "us", "is")):
            word = word[: -len(ending)] + ("y" if ending == "ies" else "")
            break
    return word.removesuffix("e") if len(word) > 4 else word


_EVERYDAY_STEMS = frozenset(stem(word) for word in ORDINARY | FUNCTION)


def _facts(number: int, tokens: Sequence[FactToken], plain: str) -> Iterator[Fact]:
    for place, token in enumerate(tokens):
        yield from _quantity(number, tokens, place)
        yield from _rate(number, tokens, place)
        if token.text in NEGATIONS:
            yield _fact("negation", "not", number, tokens, place)
        elif token.text in MODALITIES and not _is_month(tokens, place):
            yield _fact("modality", MODALITIES[token.text], number, tokens, place)
        elif token.text in CONDITIONS:
            yield _fact("condition", CONDITIONS[token.text], number, tokens, place)
        elif is_name(token):
            yield _fact("name", token.stem, number, tokens, place)
    everything = tuple((token.stem, 1) for token in tokens if token.content)
    yield from (
        Fact("urgency", value, everything, number, match[0])
        for value, pattern in (("now", _NOW), ("contact", _CONTACT), ("later", _SOFT))
        for match in pattern.finditer(plain)
    )


def _quantity(number: int, tokens: Sequence[FactToken], place: int) -> Iterator[Fact]:
    """A number with the unit that follows, also after a range ("6 to 12 months") or a hyphen ("5-day")."""
    value = _number(tokens, place)
    if value is not None:
        unit = _unit(tokens, place + 1)
        kind = "duration" if unit in _TIME.values() else "dose" if unit else "number"
        yield _fact(kind, f"{value} {unit}".strip(), number, tokens, place)


def _rate(number: int, tokens: Sequence[FactToken], place: int) -> Iterator[Fact]:
    """ "a day", "every 6 hours", "/kg", if a dose or a word of dosing precedes it in the sentence."""
    per = _per(tokens, place)
    before = tokens[:place]
    if per and any(t.text in _DOSING or _number(before, i) for i, t in enumerate(before)):
        yield _fact("rate", per, number, tokens, place)


def _per(tokens: Sequence[FactToken], place: int) -> str | None:
    """The period or unit of the rate that begins at ``place``; None if no rate begins there."""
    text = tokens[place].text
    if text not in _PER:
        return _OFTEN.get(text)
    first, then = ([token.text for token in tokens[place + 1 : place + 3]] + ["", ""])[:2]
    if text not in ("a", "an", "/") and (unit := _measure(then)):
        nth = first if first in _NTH else _number(tokens, place + 1)
        if nth:
            return f"per {nth} {unit}"
    unit = "" if first in _NTH else _measure(first)
    return f"per {unit}" if unit and (unit in _TIME.values() or text not in ("a", "an")) else None


def _measure(text: str) -> str:
    """The normalized unit of the word ``text``; empty if it is not a unit."""
    return _UNITS.get(text) or _UNITS.get(text.removesuffix("s"), "")


def _number(tokens: Sequence[FactToken], place: int) -> str | None:
    text = tokens[place].text
    if text[0].isdigit():
        whole = text.replace(",", "") if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", text) else text.strip(",.")
        return whole.rstrip("0").rstrip(".") if re.fullmatch(r"\d+\.\d+", whole) else whole
    if text == "one" and _unit(tokens, place + 1):
        return "1"
    if text == "once" and place + 1 < len(tokens) and _per(tokens, place + 1):
        return "1 times"
    return _SPELT.get(text)


def _unit(tokens: Sequence[FactToken], place: int) -> str:
    """The unit at ``place``, after skipping "to 12" and hyphens; empty if there is none."""
    for text in (token.text for token in tokens[place : place + 4]):
        if unit := _measure(text):
            return unit
        if text not in ("-", "to", "or", "and") and not text[0].isdigit() and text not in _SPELT:
            break
    return ""


def _is_month(tokens: Sequence[FactToken], place: int) -> bool:
    """True for the month May, as in "May 2011"."""
    after = tokens[place + 1].text if place + 1 < len(tokens) else ""
    return tokens[place].text == "may" and tokens[place].capital and (after[:1].isdigit() or not after)


def _fact(kind: str, value: str, number: int, tokens: Sequence[FactToken], place: int) -> Fact:
    before = [t.stem for t in reversed(tokens[:place]) if _anchors(t)][:REACH]
    after = [t.stem for t in tokens[place + 1 :] if _anchors(t)][:REACH]
    return Fact(
        kind,
        value,
        anchors=(*((stem, -i) for i, stem in enumerate(before, 1)), *((stem, i) for i, stem in enumerate(after, 1))),
        sentence=number,
        excerpt=" ".join(t.text for t in tokens[max(0, place - 4) : place + 6]),
    )


def _anchors(token: FactToken) -> bool:
    """True for content words that are not units, spelt numbers, rates or negations."""
    text = token.text
    return token.content and not (_measure(text) or text in _SPELT or text in _OFTEN or text in NEGATIONS)


def _credit(place: int, others: Sequence[int]) -> float:
    """Weight of an anchor that the other fact has at ``others``: highest on the same side at the same distance."""
    credits = (
        (1.0 if (place > 0) == (other > 0) else 0.4) / (1 + 0.5 * abs(abs(place) - abs(other))) for other in others
    )
    return max(credits, default=0.0) / abs(place)
