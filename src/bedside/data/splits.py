"""Splits prompts into train (fits), valid (selects) and test (reports), without near-duplicates across the parts.

Near-duplicate prompts form a group, and a group is in one part only:

    word-Jaccard(a, b) = |words(a) ∩ words(b)| / |words(a) ∪ words(b)| ≥ 0.6      a and b are near-duplicates
    a group is a connected component of near-duplicates, or a group that the data names

Test is filled first, then valid, then train. Groups and texts of an earlier part are removed from the later ones and
counted. A share is drawn group by group in the order of a digest of seed, part and group, so equal data give equal
parts on every machine.

A limit keeps the first rows. In a file sorted by harm these would all have one level, so each of L levels keeps its
first rows: at least limit // 2L and at least one, if it has so many.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache

from bedside.core.errors import DataError
from bedside.core.hashing import digest
from bedside.core.results import FilterCounts
from bedside.core.types import Prompt, with_id
from bedside.stats.set_similarity import components

THRESHOLD = Fraction(3, 5)
"""Smallest word-Jaccard similarity of near-duplicates."""


@dataclass(frozen=True, slots=True)
class PartSource:
    """The source of a part: all its prompts or a share (0 to 1) of their groups, and at most ``limit`` rows."""

    prompts: Sequence[Prompt]
    share: float | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class DataParts:
    """The three parts. Every prompt has a group, and no group and no text is in two parts."""

    train: tuple[Prompt, ...]
    valid: tuple[Prompt, ...]
    test: tuple[Prompt, ...]
    filter_counts: tuple[FilterCounts, ...]
    """Rows kept and dropped by reason, one for each part."""
    places: Mapping[str, str] = field(default_factory=dict)
    """File and row of a prompt, by its id, where it comes from a file."""

    @property
    def named(self) -> dict[str, tuple[Prompt, ...]]:
        """The parts by name, in the order train, valid, test."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


def parts(*, train: PartSource, valid: PartSource, test: PartSource, seed: int) -> DataParts:
    """The three parts. DataError if no row is left in one of them."""
    taken: dict[str, str] = {}
    kept: dict[str, tuple[Prompt, ...]] = {}
    counts = []
    for name, source in _grouped({"test": test, "valid": valid, "train": train}).items():
        kept[name], part_counts = _part(name, source, taken, seed)
        counts.append(part_counts)
    return DataParts(kept["train"], kept["valid"], kept["test"], tuple(reversed(counts)))


def group(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The same prompts, each with a group. Groups that the data names are kept, and near-duplicates join them."""
    if all(prompt.group for prompt in prompts):
        return list(prompts)
    members = defaultdict(list)
    # The turns of patient and assistant: a shared system prompt does not make near-duplicates.
    labels = near_duplicates(["\n".join(m.text for m in p.messages if m.role != "system") for p in prompts])
    for label, prompt in zip(labels, prompts, strict=True):
        members[label].append(prompt)
    names = {label: _name(rows) for label, rows in members.items()}
    return [p if p.group else _in_group(p, names[label]) for label, p in zip(labels, prompts, strict=True)]


def _in_group(prompt: Prompt, name: str) -> Prompt:
    return with_id(replace(prompt, group=name), prompt.id)


def near_duplicates(texts: Sequence[str]) -> list[int]:
    """The component of each text, as the index of its first text. Exact, as if all pairs were compared."""
    component = _components(frozenset(texts))
    first = {component[text]: position for position, text in reversed([*enumerate(texts)])}
    return [first[component[text]] for text in texts]


@lru_cache(maxsize=1)  # `check` asks about the same texts twice: for their groups, and for leaks between parts
def _components(texts: frozenset[str]) -> Mapping[str, int]:
    """A number for each text that near-duplicates share."""
    words = {text: frozenset(re.findall(r"\w+", text.lower())) or frozenset([text.strip()]) for text in sorted(texts)}
    distinct = sorted(dict.fromkeys(words.values()), key=len)
    component = dict(zip(distinct, components(distinct, THRESHOLD), strict=True))
    return {text: component[one] for text, one in words.items()}


def _grouped(sources: Mapping[str, PartSource]) -> dict[str, PartSource]:
    """The sources with groups assigned over all parts together: near-duplicates in two files are one group."""
    grouped = iter(group([prompt for source in sources.values() for prompt in source.prompts]))
    return {name: replace(source, prompts=[next(grouped) for _ in source.prompts]) for name, source in sources.items()}


def _part(name: str, source: PartSource, taken: dict[str, str], seed: int) -> tuple[tuple[Prompt, ...], FilterCounts]:
    """The rows of a part and their counts. Adds the part's groups and texts to ``taken``."""
    holders = [
        taken.get(f"group {prompt.group}") or (taken.get(f"text {prompt.id}") if taken else None)
        for prompt in source.prompts
    ]
    free = [prompt for prompt, holder in zip(source.prompts, holders, strict=True) if not holder]
    dropped = Counter(f"group stands in {holder}" for holder in holders if holder)
    drawn = _drawn(name, free, source, seed)
    dropped["not drawn"] = len(free) - len(drawn)
    for prompt in drawn:
        taken |= {f"group {prompt.group}": name, f"text {prompt.id}": name}
    kept = tuple(limited(drawn, source.limit))
    dropped["over the limit"] = len(drawn) - len(kept)
    if not kept:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in dropped.items() if count) or "there was none"
        cure = "give valid and test a share, or files of their own" if name != "test" else "give it rows"
        raise DataError(f"{name}: no row is left of {len(source.prompts)} ({reasons}); {cure}")
    return kept, FilterCounts(
        step=f"split: {name}",
        kept=len(kept),
        dropped=dict(+dropped),
        notes={"groups": len({prompt.group for prompt in kept})},
    )


def _drawn(name: str, free: Sequence[Prompt], source: PartSource, seed: int) -> list[Prompt]:
    """The rows of a share of the groups of ``source``, drawn from the ``free`` rows."""
    if source.share is None:
        return list(free)
    groups = max(1, round(source.share * len({prompt.group for prompt in source.prompts})))
    order = sorted({str(prompt.group) for prompt in free}, key=lambda group: digest(seed, name, group))
    chosen = set(order[:groups])
    return [prompt for prompt in free if prompt.group in chosen]


def limited(rows: Sequence[Prompt], limit: int | None) -> list[Prompt]:
    """The first ``limit`` rows, with some reserved for each harm level: harmless first, then the most severe."""
    if limit is None or limit >= len(rows):
        return list(rows)
    levels = sorted({row.harm for row in rows}, key=lambda harm: (bool(harm), -(harm or 0)))
    each = max(1, limit // (2 * len(levels)))
    reserved = [i for level in levels for i in [i for i, row in enumerate(rows) if row.harm == level][:each]]
    order = dict.fromkeys([*reserved, *range(len(rows))])
    return [rows[i] for i in sorted(list(order)[:limit])]


def _name(prompts: Sequence[Prompt]) -> str:
    """The first group that the data names, or a name made from the smallest prompt id."""
    named = min((prompt.group for prompt in prompts if prompt.group), default=None)
    return named or f"nd:{digest(min(prompt.id for prompt in prompts))}"
