"""Finds text that may identify a person, by patterns, and columns that name one, by their name.

    email  url  ip address  social security number  nhs number  record number  date  phone  street  long number

A kind is not searched in the matches of an earlier kind: a date or an NHS number is not also a phone number. An amount
with its unit is none of these. Everything that is kept of a row is searched: every turn, the reference and the
metadata.

Patterns find neither names nor identifying facts in plain words, so a text without matches need not be de-identified. A
date or a long number may be harmless; it is reported in any case.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import Field

from bedside.core.errors import DataError
from bedside.core.hashing import digest
from bedside.core.types import Message, Prompt

Phi = Annotated[
    Literal["scan", "scrub", "off"],
    Field(
        description="scan counts what looks like an identifier, scrub replaces it by its kind and leaves out columns "
        "that name a person, off does not look."
    ),
]
"""The option ``phi`` of every data set that reads rows."""
Names = Annotated[
    bool, Field(description="Also look for names, with presidio: pip install 'bedside[phi]'. It misses some.")
]
"""The option ``names`` of every data set that reads rows."""
Identifiers = list[tuple[str, str]]
"""Finds the kind and the matched text of each identifier."""

_MONTH = (
    r"(?=[jfmasond])(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?|janvier|f[ée]vrier|mars|avril|mai|juin|juillet|ao[ûu]t|septembre|"
    r"octobre|novembre|d[ée]cembre)\.?"
)
_ORDINAL = r"\d{1,2}(?:st|nd|rd|th)"
_NO_AMOUNT = (
    r"(?![.,/-]?\d)(?! ?(?:%|(?:mg|mcg|[µu]g|g|kg|ml|dl|l|iu|units?|mmol|kcal|steps|times|days|weeks|hours)\b))"
)
"""Neither more digits nor a unit may follow."""

KINDS = {
    "email": r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]+\.[\w.-]*\w",
    "url": r"\bhttps?://\S+|\bwww\.\S+",
    "ip address": r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}\b(?!\.\d)",
    "social security number": r"\b\d{3}-\d{2}-\d{4}\b",
    "record number": r"(?i)\b(?=[cmhpr])(?:mrn|(?:patient|record|hospital|chart|case) (?:no|number|id)\b)"
    r"(?:[\s:#.=-]|\b(?:is|was|no|number)\b){0,5}[a-z]{0,4}-?\d[\w-]{2,}"
    r"|\bnhs(?:[\s:#.-]|\b(?:is|was|no|number)\b){0,5}\d[\d -]{6,}\d"
    r"|(?<![\w#&])#\d{5,}\b|(?-i:\b(?!NCT|PMC|PMID)[A-Z]{1,4}-?\d{6,10}\b)",
    "nhs number": r"(?<![\w+(.-])(?<!\d[ -])\d{3}(?P<gap>[ -]?)\d{3}(?P=gap)\d{4}" + _NO_AMOUNT,
    "date": rf"(?i)(?=\d)(?<![\w./-])(?:\d{{1,2}}(?P<sep>[./-])\d{{1,2}}(?P=sep)(?:\d{{4}}|\d{{2}})|"
    r"(?:19|20)\d{2}(?P<iso>[./-])\d{1,2}(?P=iso)\d{1,2}|(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|"
    rf"(?:0?[1-9]|1[0-2])/(?:19|20)\d{{2}}){_NO_AMOUNT}|"
    rf"(?=\d)\b(?:\d{{1,2}}(?:st|nd|rd|th)?[ -](?:of )?{_MONTH},?[ -](?:\d{{4}}|['’]?\d{{2}})|"
    rf"{_ORDINAL} (?:of )?{_MONTH})\b|"
    rf"(?=[a-z])\b{_MONTH}(?: \d{{1,2}}(?:st|nd|rd|th)?,? (?:19|20)\d{{2}}|,? (?:19|20)\d{{2}}| {_ORDINAL})\b",
    "phone": r"(?<![\w.,/])(?<!\d[ -])(?:"
    r"(?:\+|00)[1-9](?:[ .()/-]{0,2}\d){7,14}|"  # +44 20 7946 0958, 0033 6 12 34 56 78
    r"(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}|"  # (555) 123-4567
    r"0\d(?:[ .-]?\d\d){4}|"  # 06 12 34 56 78
    r"\(?0\d{2,4}\)?[ /-]?\d{3,4}[ -]?\d{3,4}|"  # 020 7946 0958, (0161) 496 0000, 07700 900123
    rf"(?!(?:19|20)\d\d\b)\d{{2,4}}[ -]\d{{4}}[ -]\d{{4}}){_NO_AMOUNT}",
    "street": r"\b\d{1,5} (?:[A-Z]\w+ ){1,3}(?:Street|St|Road|Rd|Avenue|Ave|Lane|Drive|Boulevard|Blvd)\b",
    "long number": r"(?<![\w.,])\d{8,}+(?![\w.,]{0,40}\d)",
}
_PATTERNS = {kind: re.compile(pattern) for kind, pattern in KINDS.items()}
_DIGIT = re.compile(r"\d")
_LEAST_DIGITS = {
    "ip address": 4,
    "social security number": 9,
    "record number": 1,
    "nhs number": 10,
    "date": 1,
    "phone": 8,
    "street": 1,
    "long number": 8,
}
"""Digits that a text must have for a match. Most texts have fewer, and are not searched for that kind."""
_MARKS = {"email": ("@",), "url": ("://", "www.")}
"""Strings of which a text must have one for a match."""
_PERSON = r"(?:patient|person|user|customer|client|contact|doctor|physician|clinician|nurse|carer|guardian|relative)"
_COLUMN = re.compile(
    rf"(?:{_PERSON}_)?(?:(?:first|last|full|middle|maiden|given|family)?_?names?|surname|forename|initials|"
    r"e_?mails?(?:_address)?|(?:tele|cell|mobile)?_?phones?(?:_(?:no|number))?|mobile|cell|fax|tel|address|street|"
    r"post_?code|zip(?:_?code)?|dob|date_of_birth|birth_?da(?:te|y)|ssn|social_security(?:_(?:no|number))?|"
    r"nhs(?:_(?:no|number|id))?|mrn|(?:medical_)?record_(?:no|number|id)|ip(?:_address)?|passport(?:_(?:no|number))?|"
    rf"insurance_(?:no|number|id))(?:_\d+)?|{_PERSON}(?:_(?:no|number|id|ref))?"
)


@dataclass(frozen=True, slots=True)
class IdentifiedRows:
    """The rows of one source that hold an identifier."""

    source: str
    scrubbed: bool
    """True if the matches were replaced or left out."""
    kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Places of rows with an identifier, by kind."""
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Places of rows with a value, by column that names a person."""


@dataclass
class Deidentifier:
    """Searches the prompts of one source, and scrubs them if ``phi`` says so. DataError if presidio is missing."""

    phi: Phi
    names: bool = False
    kinds: dict[str, list[str]] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with_names = self.names and self.phi != "off"
        self._find = identifier_finder_with_names() if with_names else find_identifiers

    def apply(self, where: str, prompt: Prompt) -> Prompt:
        """``prompt`` as it is kept; ``where`` is noted for each kind of identifier, and each column, that it has."""
        if self.phi == "off":
            return prompt
        named = [column for column in prompt.metadata if names_a_person(column)]
        unnamed = {key: text for key, text in prompt.metadata.items() if key not in named}
        kept = replace(prompt, metadata=unnamed) if named else prompt
        identifiers = self._find_all(kept)
        for columns, of in ((named, self.columns), ({kind for kind, _ in identifiers}, self.kinds)):
            for name in columns:
                of.setdefault(name, []).append(where)
        return prompt if self.phi == "scan" else self._scrubbed(kept) if identifiers else kept

    def identified(self, source: str) -> IdentifiedRows:
        """The matches so far, with kinds in the order of KINDS."""
        order = [*KINDS, *sorted(self.kinds.keys() - KINDS)]
        kinds = {kind: tuple(self.kinds[kind]) for kind in order if kind in self.kinds}
        columns = {column: tuple(places) for column, places in self.columns.items()}
        return IdentifiedRows(source, self.phi == "scrub", kinds, columns)

    def _find_all(self, prompt: Prompt) -> Identifiers:
        texts = [*(turn.text for turn in prompt.messages), *prompt.metadata.values()]
        texts += [text for name in _TEXTS if (text := getattr(prompt, name))]
        return [identifier for text in texts for identifier in self._find(text)]

    def _scrub(self, text: str) -> str:
        return scrub(text, self._find(text))

    def _scrubbed(self, prompt: Prompt) -> Prompt:
        """A group only tells rows apart, so it becomes a digest."""
        texts: dict[str, Any] = {name: self._scrub(text) for name in _TEXTS if (text := getattr(prompt, name))}
        if prompt.group and texts["group"] != prompt.group:
            texts["group"] = digest(prompt.group)
        return replace(
            prompt,
            messages=tuple(Message(turn.role, self._scrub(turn.text)) for turn in prompt.messages),
            metadata={self._scrub(key): self._scrub(text) for key, text in prompt.metadata.items()},
            **texts,
        )


_TEXTS = ("reference", "principle", "style", "group", "source")
"""Fields of a prompt that hold one text."""


@lru_cache
def names_a_person(column: str) -> bool:
    """True for a column such as patient_name, eMail, Phone or dob; its values are not looked at.

    >>> names_a_person("Patient Name"), names_a_person("drug_name")
    (True, False)
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column.strip())
    return bool(_COLUMN.fullmatch(re.sub(r"[\W_]+", "_", spaced).strip("_").lower()))


def find_identifiers(text: str) -> Identifiers:
    """Kind and matched text of everything that looks like an identifier, in the order of KINDS."""
    identifiers: Identifiers = []
    digits = len(_DIGIT.findall(text))
    for kind in KINDS:
        if digits >= _LEAST_DIGITS.get(kind, 0) and any(mark in text for mark in _MARKS.get(kind, ("",))):
            text = _take(kind, text, identifiers)
    return identifiers


def _take(kind: str, text: str, identifiers: Identifiers) -> str:
    """``text`` with every match of ``kind`` blanked, so that no later kind matches there."""

    def blank(match: re.Match[str]) -> str:
        if kind == "nhs number" and not _is_nhs_number(match[0]):
            return match[0]
        identifiers.append((kind, match[0]))
        return "\0" * len(match[0])

    return _PATTERNS[kind].sub(blank, text)


def _is_nhs_number(text: str) -> bool:
    """The last digit checks the others: 11 minus their sum, weighted 10 to 2, modulo 11 (NHS Data Dictionary)."""
    *digits, check = (int(character) for character in text if character.isdecimal())
    return (11 - sum(digit * weight for digit, weight in zip(digits, range(10, 1, -1), strict=True)) % 11) % 11 == check


def scan(source: str, prompts: Iterable[Prompt]) -> IdentifiedRows:
    """Searches the prompts of a source that does not search itself. Prompts are counted from 1."""
    deidentifier = Deidentifier("scan")
    for number, prompt in enumerate(prompts, start=1):
        deidentifier.apply(f"{source}, prompt {number}", prompt)
    return deidentifier.identified(source)


def merge(searched: Iterable[IdentifiedRows], what: Literal["kinds", "columns"]) -> dict[str, list[str]]:
    """The places of every kind, or of every column, over several sources; a row that two of them read counts once."""
    rows: dict[str, dict[tuple[str, str], None]] = {}
    for identified in searched:
        for name, places in getattr(identified, what).items():
            rows.setdefault(name, {}).update(dict.fromkeys((identified.source, place) for place in places))
    return {name: [place for _, place in places] for name, places in rows.items()}


def scrub(text: str, identifiers: Iterable[tuple[str, str]]) -> str:
    """``text`` with each identifier replaced by its kind, such as ``[EMAIL]``, the longest first."""
    for kind, match in sorted(identifiers, key=lambda identifier: -len(identifier[1])):
        text = text.replace(match, f"[{kind.upper()}]")
    return text


def identifier_finder_with_names() -> Callable[[str], Identifiers]:
    """A ``find_identifiers`` that also finds names, with Microsoft's presidio. DataError if it is not installed."""
    try:
        from presidio_analyzer import AnalyzerEngine
    except ImportError:
        raise DataError("names: true needs presidio; pip install 'bedside[phi]', or set names: false") from None
    engine = AnalyzerEngine()

    def find(text: str) -> Identifiers:
        return find_identifiers(text) + [
            (name.entity_type.lower(), text[name.start : name.end])
            for name in engine.analyze(text=text, language="en", entities=["PERSON", "LOCATION"])
        ]

    return find
