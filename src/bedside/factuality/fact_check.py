"""Checks whether a rewrite states the same facts as its source, in both directions.

    lost      a fact of the source without a counterpart in the rewrite
    changed   the rewrite has a fact with the same anchors and another value
    added     a fact of the rewrite about words of the source, which the source does not state
    invented  a dose, number, name or urgent advice that is in neither source nor question

A fact is kept if the most similar fact of its kind in the rewrite has the same value (ties count as the same value). So
doses exchanged between two drugs are changed, although all numbers and drugs are still there. A rewrite may add other
sentences: "You are not alone" negates nothing in the source. It may not add reassurance if there is a red flag.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from bedside.factuality import extraction
from bedside.factuality.extraction import Fact, ParsedText

NEAR = 0.5
"""Smallest similarity of two facts about the same thing."""
CLOSER = 0.12
"""By how much a fact with another value must be more similar before the fact counts as changed."""
TWIN = 0.75
"""Smallest share of common words at which a sentence of the rewrite is a version of a source sentence."""
SUPPORTED = 0.6
"""Smallest share of a statement's anchors in one source sentence at which the statement is about that sentence."""
STATEMENTS = ("negation", "modality", "condition")


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact that is wrong in a rewrite."""

    change: str
    """lost, changed, added or invented."""
    kind: str
    excerpt: str
    """The words of the source; of the rewrite if the fact was added or invented."""
    value: str = ""

    def __str__(self) -> str:
        return f"{self.change} {self.kind}: {self.excerpt}"


@dataclass(frozen=True, slots=True)
class Check:
    """The differences between a rewrite and its source."""

    differences: tuple[Difference, ...]
    facts: int
    """Number of facts in the source."""

    @property
    def intact(self) -> bool:
        return not self.differences

    @property
    def recall(self) -> float | None:
        """Share of the source's facts that are kept; None if it has none."""
        lost = sum(d.change in ("lost", "changed") for d in self.differences)
        return None if self.facts == 0 else max(0.0, 1 - lost / self.facts)

    @property
    def conflicts(self) -> tuple[Difference, ...]:
        """The differences that contradict the source or were invented. A lost fact is not a conflict."""
        return tuple(d for d in self.differences if d.change != "lost")


def check(source: str, rewrite: str, question: str = "") -> Check:
    """Compares ``rewrite`` with ``source``. Facts of the ``question`` may be in the rewrite too."""
    one, other, context = (extraction.extract_facts(text) for text in (source, rewrite, question))
    differences = (
        *_lost(one, other),
        *_added(one, other, context),
        *_false_reassurance(source, rewrite),
        *_invented_urgency((one, context), rewrite),
    )
    return Check(tuple(dict.fromkeys(differences)), len(one.facts))


def content_recall(source: str, rewrite: str) -> float:
    """Share of the source's content words, by stem, that are in the rewrite; 1 if it has none."""
    words = {t.stem for sentence in extraction.extract_facts(source).sentences for t in sentence if t.content}
    return len(words & extraction.extract_facts(rewrite).stems) / len(words) if words else 1.0


def _lost(one: ParsedText, other: ParsedText) -> Iterator[Difference]:
    by_kind = _by_kind(other.facts)
    for fact in one.facts:
        if fact.kind == "name":
            yield from _lost_name(fact, by_kind["name"], other)
        elif fact.kind == "urgency":
            yield from _lost_urgency(fact, by_kind["urgency"])
        elif fact.kind in extraction.QUANTITIES:
            rivals = extraction.AMOUNTS if fact.kind in extraction.AMOUNTS else (fact.kind,)
            yield from _lost_quantity(fact, [f for kind in rivals for f in by_kind[kind]])
    for kind in STATEMENTS:
        there = by_kind[kind]
        kept, _ = _matched([f for f in one.facts if f.kind == kind], there)
        for fact in (f for f in one.facts if f.kind == kind and id(f) not in kept):
            changed = any(f.value != fact.value and extraction.similarity(fact, f) >= NEAR for f in there)
            yield Difference("changed" if changed else "lost", kind, fact.excerpt, fact.value)


def _matched(ones: Sequence[Fact], others: Sequence[Fact]) -> tuple[set[int], set[int]]:
    """Facts of equal value matched one to one, the most similar first: ``id()`` of the matched facts of each side."""
    pairs = [(extraction.similarity(a, b), -i, a, b) for i, a in enumerate(ones) for b in others if a.value == b.value]
    here, there = set[int](), set[int]()
    for near, _, a, b in sorted(pairs, key=lambda pair: pair[:2], reverse=True):
        if near >= NEAR and id(a) not in here and id(b) not in there:
            here.add(id(a))
            there.add(id(b))
    return here, there


def _lost_quantity(fact: Fact, there: Sequence[Fact]) -> Iterator[Difference]:
    same = max((extraction.similarity(fact, f) for f in there if f.value == fact.value), default=-1.0)
    others = max((extraction.similarity(fact, f) for f in there if f.value != fact.value), default=-1.0)
    if same < 0:
        yield Difference("changed" if others >= NEAR else "lost", fact.kind, fact.excerpt, fact.value)
    elif others > same + CLOSER and others >= NEAR:
        yield Difference("changed", fact.kind, fact.excerpt, fact.value)


def _lost_urgency(fact: Fact, there: Sequence[Fact]) -> Iterator[Difference]:
    """Lost unless the rewrite has the same urgency in a sentence with at least half of the words."""
    words = {stem for stem, _ in fact.anchors}
    if not any(f.value == fact.value and _shared(words, f) >= NEAR for f in there):
        softened = any(f.value == "later" and _shared(words, f) >= NEAR for f in there)
        yield Difference("changed" if softened else "lost", "urgency", fact.excerpt, fact.value)


def _shared(words: set[str], fact: Fact) -> float:
    return len(words & {stem for stem, _ in fact.anchors}) / len(words) if words else 1.0


def _lost_name(fact: Fact, names: Sequence[Fact], other: ParsedText) -> Iterator[Difference]:
    same = max((extraction.similarity(fact, f) for f in names if f.value == fact.value), default=-1.0)
    if same < 0 and fact.value not in other.stems:
        yield Difference("lost", "name", fact.excerpt, fact.value)
    elif 0 <= same < NEAR:
        others = max((extraction.similarity(fact, f) for f in names if f.value != fact.value), default=0.0)
        if others >= 0.75 and others > same + 0.4:
            yield Difference("changed", "name", fact.excerpt, fact.value)


def _added(one: ParsedText, other: ParsedText, context: ParsedText) -> Iterator[Difference]:
    by_kind = _by_kind(one.facts)
    known = one.stems | context.stems
    sentences = [frozenset(t.stem for t in sentence if t.content) for sentence in one.sentences]
    allowed = {f.value for f in (*one.facts, *context.facts) if f.kind in extraction.QUANTITIES}
    paired = _paired_sentences(one, other)
    aligned = [_is_about({t.stem for t in s if t.content}, sentences, NEAR) for s in other.sentences]
    for fact in other.facts:
        if fact.kind in extraction.QUANTITIES:
            if fact.value not in allowed and (fact.kind != "number" or fact.anchors):
                yield Difference("invented", fact.kind, fact.excerpt, fact.value)
        elif fact.kind == "name":
            if fact.value not in known and (
                aligned[fact.sentence]
                or any(extraction.is_certain_name(t) for t in other.sentences[fact.sentence] if t.stem == fact.value)
            ):
                yield Difference("invented", "name", fact.excerpt, fact.value)
        elif fact.kind == "urgency" and aligned[fact.sentence] and not _urges(one, fact.value):
            yield Difference("added", "urgency", fact.excerpt, fact.value)
    for kind in STATEMENTS:
        here = [f for f in other.facts if f.kind == kind]
        _, stated = _matched(by_kind[kind], here)
        for fact in (f for f in here if id(f) not in stated):
            if fact.sentence in paired or _is_about({stem for stem, _ in fact.anchors}, sentences, SUPPORTED):
                yield Difference("added", kind, fact.excerpt, fact.value)


def _urges(one: ParsedText, value: str) -> bool:
    return any(fact.kind == "urgency" and fact.value == value for fact in one.facts)


def _is_about(words: Set[str], sentences: Sequence[frozenset[str]], least: float) -> bool:
    """True if there are two ``words`` or more, and at least this share of them is in one of the source sentences."""
    return len(words) >= 2 and any(len(words & s) / len(words) >= least for s in sentences)


def _paired_sentences(one: ParsedText, other: ParsedText) -> set[int]:
    """Indices of the sentences of the rewrite that are versions of a source sentence; numbers count as words."""
    source, rewrite = (
        [frozenset(t.stem for t in sentence if t.content or t.text[0].isdigit()) for sentence in text.sentences]
        for text in (one, other)
    )
    return {i for i, words in enumerate(rewrite) if _is_about(words, source, TWIN)}


def _false_reassurance(source: str, rewrite: str) -> Iterator[Difference]:
    """Reassurance that is not in the source, if the source is urgent."""
    if extraction.sends_for_help(source):
        before = extraction.false_reassurance(source)
        yield from (
            Difference("added", "false reassurance", s)
            for s in extraction.false_reassurance(rewrite)
            if s not in before
        )


def _invented_urgency(known: Sequence[ParsedText], rewrite: str) -> Iterator[Difference]:
    """Advice to get help at once that is in neither source nor question."""
    if extraction.sends_for_help(rewrite) and not any(_urges(reading, "now") for reading in known):
        yield Difference("invented", "urgency", "help at once")


def _by_kind(facts: Sequence[Fact]) -> defaultdict[str, list[Fact]]:
    by: defaultdict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        by[fact.kind].append(fact)
    return by
