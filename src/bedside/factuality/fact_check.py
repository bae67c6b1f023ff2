"""Does a rewrite say what its source says? Facts of both, compared both ways.

    lost      a fact of the source that nothing in the rewrite matches
    changed   something in the rewrite stands where the fact stood, and says another value
    added     a fact of the rewrite about words of the source, which the source does not state
    invented  a dose, number, name or urgent advice that neither source nor question holds

A fact is kept where, among facts of its kind in the rewrite, the one that stands among the most similar words
has its value (ties go to the same value). So doses exchanged between two drugs are changed, though every number
and every drug is still there. Sentences the rewrite adds are free as long as they hold none of these: "You are
not alone" denies nothing the source says. What nobody may add is reassurance that a red flag does not allow.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bedside.factuality import extraction
from bedside.factuality.extraction import Fact, Reading, Token

NEAR = 0.5
"""Least similarity at which two facts are about the same thing."""
CLOSER = 0.12
"""How much more similar another value must stand before it counts as the changed one."""
TWIN = 0.75
"""Share of a sentence's words in one source sentence from which on it is the same sentence, changed or not."""
SUPPORTED = 0.6
"""Share of an added statement's anchors that must be words of one source sentence to count as about it."""
STATEMENTS = ("negation", "modality", "condition")


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing a rewrite got wrong."""

    how: str
    """lost, changed, added or invented."""
    kind: str
    said: str
    """The words of the source, or for added and invented ones of the rewrite."""
    value: str = ""

    def __str__(self) -> str:
        return f"{self.how} {self.kind}: {self.said}"


@dataclass(frozen=True, slots=True)
class Check:
    """All that differs, and of how many facts."""

    differences: tuple[Difference, ...]
    facts: int
    """Facts of the source."""

    @property
    def intact(self) -> bool:
        return not self.differences

    @property
    def recall(self) -> float | None:
        """Share of the source's facts that survive; None where it has none."""
        lost = sum(d.how in ("lost", "changed") for d in self.differences)
        return None if self.facts == 0 else max(0.0, 1 - lost / self.facts)

    @property
    def conflicts(self) -> tuple[Difference, ...]:
        """What contradicts the source or was made up; leaving something out is no conflict."""
        return tuple(d for d in self.differences if d.how != "lost")


def check(source: str, rewrite: str, beside: str = "") -> Check:
    """``rewrite`` against ``source``; what ``beside`` (the question) says may be said too."""
    one, other, context = extraction.read(source), extraction.read(rewrite), extraction.read(beside)
    found = [*_lost(one, other), *_added(one, other, context), *_soothed_away(source, rewrite)]
    found += _alarmed((one, context), rewrite)
    return Check(tuple(dict.fromkeys(found)), len(one.facts))


def retold(source: str, rewrite: str) -> float:
    """Share of the source's content words, by stem, that stand in the rewrite; 1 where it has none."""
    words = {t.stem for sentence in extraction.read(source).sentences for t in sentence if t.content}
    return len(words & extraction.read(rewrite).stems) / len(words) if words else 1.0


def _lost(one: Reading, other: Reading) -> Iterator[Difference]:
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
            turned = any(f.value != fact.value and extraction.similarity(fact, f) >= NEAR for f in there)
            yield Difference("changed" if turned else "lost", kind, fact.said, fact.value)


def _matched(ones: Sequence[Fact], others: Sequence[Fact]) -> tuple[set[int], set[int]]:
    """Facts of one value matched one to one, the most similar first: ids of those that found another."""
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
        yield Difference("changed" if others >= NEAR else "lost", fact.kind, fact.said, fact.value)
    elif others > same + CLOSER and others >= NEAR:
        yield Difference("changed", fact.kind, fact.said, fact.value)


def _lost_urgency(fact: Fact, there: Sequence[Fact]) -> Iterator[Difference]:
    """The same urgency among at least half of the sentence's words."""
    words = {stem for stem, _ in fact.anchors}
    same = [f for f in there if f.value == fact.value and _shared(words, f) >= NEAR]
    if not same:
        softened = any(f.value == "later" and _shared(words, f) >= NEAR for f in there)
        yield Difference("changed" if softened else "lost", "urgency", fact.said, fact.value)


def _shared(words: set[str], fact: Fact) -> float:
    return len(words & {stem for stem, _ in fact.anchors}) / len(words) if words else 1.0


def _lost_name(fact: Fact, names: Sequence[Fact], other: Reading) -> Iterator[Difference]:
    same = max((extraction.similarity(fact, f) for f in names if f.value == fact.value), default=-1.0)
    if same < 0:
        if fact.value not in other.stems:
            yield Difference("lost", "name", fact.said, fact.value)
        return
    if same < NEAR:
        others = max((extraction.similarity(fact, f) for f in names if f.value != fact.value), default=0.0)
        if others >= 0.75 and others > same + 0.4:
            yield Difference("changed", "name", fact.said, fact.value)


def _added(one: Reading, other: Reading, context: Reading) -> Iterator[Difference]:
    by_kind = _by_kind(one.facts)
    known = one.stems | context.stems
    sentences = [frozenset(t.stem for t in sentence if t.content) for sentence in one.sentences]
    allowed = {f.value for f in (*one.facts, *context.facts) if f.kind in extraction.QUANTITIES}
    twins = _twins(one, other)
    aligned = [_is_aligned(sentence, sentences) for sentence in other.sentences]
    for fact in other.facts:
        if fact.kind in extraction.QUANTITIES:
            if fact.value not in allowed and (fact.kind != "number" or fact.anchors):
                yield Difference("invented", fact.kind, fact.said, fact.value)
        elif fact.kind == "name":
            if fact.value not in known and (aligned[fact.sentence] or _tells(fact, other)):
                yield Difference("invented", "name", fact.said, fact.value)
        elif fact.kind == "urgency" and aligned[fact.sentence] and not _urges(one, fact.value):
            yield Difference("added", "urgency", fact.said, fact.value)
    for kind in STATEMENTS:
        here = [f for f in other.facts if f.kind == kind]
        _, stated = _matched(by_kind[kind], here)
        unstated = [f for f in here if id(f) not in stated]
        for fact in (f for f in unstated if f.sentence in twins or _is_about(f, sentences)):
            yield Difference("added", kind, fact.said, fact.value)


def _urges(one: Reading, value: str) -> bool:
    return any(fact.kind == "urgency" and fact.value == value for fact in one.facts)


def _is_about(fact: Fact, sentences: Sequence[frozenset[str]]) -> bool:
    """Whether an added negation, modality or condition speaks of what a source sentence speaks of."""
    words = {stem for stem, _ in fact.anchors}
    return len(words) >= 2 and any(len(words & s) / len(words) >= SUPPORTED for s in sentences)


def _is_aligned(sentence: Sequence[Token], sentences: Sequence[frozenset[str]]) -> bool:
    """Whether a sentence of the rewrite retells one of the source."""
    words = {token.stem for token in sentence if token.content}
    return len(words) >= 2 and any(len(words & s) / len(words) >= NEAR for s in sentences)


def _twins(one: Reading, other: Reading) -> set[int]:
    """Sentences of the rewrite that are nearly one of the source, numbers counted as words."""
    said = [_words(sentence) for sentence in one.sentences]
    told = [_words(sentence) for sentence in other.sentences]
    return {
        i for i, words in enumerate(told) if len(words) >= 2 and any(len(words & s) >= TWIN * len(words) for s in said)
    }


def _words(sentence: Sequence[Token]) -> frozenset[str]:
    return frozenset(t.stem for t in sentence if t.content or t.text[0].isdigit())


def _tells(fact: Fact, other: Reading) -> bool:
    return any(extraction.is_telling(t) for t in other.sentences[fact.sentence] if t.stem == fact.value)


def _soothed_away(source: str, rewrite: str) -> Iterator[Difference]:
    """Reassurance the source does not give, where the source is urgent."""
    if extraction.sends_for_help(source):
        before = extraction.soothed_away(source)
        yield from (
            Difference("added", "false reassurance", s) for s in extraction.soothed_away(rewrite) if s not in before
        )


def _alarmed(known: Sequence[Reading], rewrite: str) -> Iterator[Difference]:
    """Help at once that neither source nor question speaks of."""
    if extraction.sends_for_help(rewrite) and not any(_urges(reading, "now") for reading in known):
        yield Difference("invented", "urgency", "help at once")


def _by_kind(found: Sequence[Fact]) -> defaultdict[str, list[Fact]]:
    by: defaultdict[str, list[Fact]] = defaultdict(list)
    for fact in found:
        by[fact.kind].append(fact)
    return by
