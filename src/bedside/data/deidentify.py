"""What in a text may say who somebody is, as far as patterns find it.

    email  phone  url  ip address  social security number  record number  date  street  postcode

Names are not found by patterns, nor is anything said in plain words: a text in which this finds nothing is
not de-identified. A date or a long number may be harmless; this errs on the side of showing it.
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
_PATTERNS = {kind: re.compile(pattern) for kind, pattern in KINDS.items()}


def found(text: str) -> list[tuple[str, str]]:
    """Kind and match of everything that looks like an identifier, in the order of KINDS."""
    return [(kind, match[0]) for kind, pattern in _PATTERNS.items() for match in pattern.finditer(text)]


def count(texts: Iterable[str]) -> dict[str, int]:
    """How many texts hold each kind, kinds without any left out."""
    kinds = Counter(kind for text in texts for kind in {kind for kind, _ in found(text)})
    return {kind: kinds[kind] for kind in KINDS if kinds[kind]}


def scrubbed(text: str, found_in_it: Iterable[tuple[str, str]]) -> str:
    """``text`` with each match replaced by its kind, the longest first: ``[EMAIL]``."""
    for kind, match in sorted(found_in_it, key=lambda one: -len(one[1])):
        text = text.replace(match, f"[{kind.upper()}]")
    return text


def named() -> Callable[[str], list[tuple[str, str]]]:
    """A ``found`` that also looks for names, by Microsoft's presidio. DataError where it is not installed."""
    try:
        from presidio_analyzer import AnalyzerEngine
    except ImportError:
        raise DataError("names: true needs presidio; pip install 'bedside[phi]', or set names: false") from None
    engine = AnalyzerEngine()

    def both(text: str) -> list[tuple[str, str]]:
        seen = engine.analyze(text=text, language="en", entities=["PERSON", "LOCATION"])
        return found(text) + [(r.entity_type.lower(), text[r.start : r.end]) for r in seen]

    return both
