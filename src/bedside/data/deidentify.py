"""Finds text that may identify a person, by patterns.

    email  phone  url  ip address  social security number  record number  date  street  long number

Patterns do not find names, nor identifying facts in plain words: a text without matches is not thereby de-identified. A
date or a long number may be harmless; it is reported in any case.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable

from bedside.core.errors import DataError

KINDS = {
    "email": r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]+\.[\w.-]*\w",
    "url": r"\bhttps?://\S+|\bwww\.\S+",
    "ip address": r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
    "social security number": r"\b\d{3}-\d{2}-\d{4}\b",
    "phone": r"(?<![\w.])(?:\+\d{1,3}[ .-]?)?(?:\(\d{2,4}\)|\d{2,4})[ .-]\d{3,4}[ .-]?\d{3,4}(?![\w.]{0,40}\d)|"
    r"(?<!\d)0\d{4} \d{6}(?!\d)|(?<!\d)0\d(?: \d\d){4}(?!\d)",
    "record number": r"(?i)\b(?:mrn|nhs|patient (?:no|number|id)|record (?:no|number))\b\W{0,3}\w*\d[\w-]*",
    "date": r"\b(?:\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}-\d{2}-\d{2})\b|"
    r"(?i:\b\d{1,2}(?:st|nd|rd|th)? (?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]* \d{4}\b)",
    "street": r"\b\d{1,5} (?:[A-Z]\w+ ){1,3}(?:Street|St|Road|Rd|Avenue|Ave|Lane|Drive|Boulevard|Blvd)\b",
    "long number": r"(?<![\w.,])\d{8,}+(?![\w.,]{0,40}\d)",
}


def find_identifiers(text: str) -> list[tuple[str, str]]:
    """Kind and matched text of everything that looks like an identifier, in the order of KINDS."""
    return [(kind, match[0]) for kind, pattern in KINDS.items() for match in re.finditer(pattern, text)]


def count_identified(texts: Iterable[str]) -> dict[str, int]:
    """Number of texts with each kind of identifier; kinds that do not occur are left out."""
    kinds = Counter(kind for text in texts for kind in {kind for kind, _ in find_identifiers(text)})
    return {kind: kinds[kind] for kind in KINDS if kinds[kind]}


def scrub(text: str, identifiers: Iterable[tuple[str, str]]) -> str:
    """``text`` with each identifier replaced by its kind, such as ``[EMAIL]``, the longest first."""
    for kind, match in sorted(identifiers, key=lambda identifier: -len(identifier[1])):
        text = text.replace(match, f"[{kind.upper()}]")
    return text


def identifier_finder_with_names() -> Callable[[str], list[tuple[str, str]]]:
    """A ``find_identifiers`` that also finds names, with Microsoft's presidio. DataError if it is not installed."""
    try:
        from presidio_analyzer import AnalyzerEngine
    except ImportError:
        raise DataError("names: true needs presidio; pip install 'bedside[phi]', or set names: false") from None
    engine = AnalyzerEngine()

    def find(text: str) -> list[tuple[str, str]]:
        return find_identifiers(text) + [
            (name.entity_type.lower(), text[name.start : name.end])
            for name in engine.analyze(text=text, language="en", entities=["PERSON", "LOCATION"])
        ]

    return find
