"""Three parts that share nothing: train teaches, valid selects, test is sealed.

Prompts that say nearly the same form a group, and a group stands in one part only:

    word-Jaccard(a, b) = |words(a) ∩ words(b)| / |words(a) ∪ words(b)| ≥ 0.6      a and b are near-duplicates
    a group is a connected component of near-duplicates, or what the data calls a group

Test takes first, then valid, then train: what one part holds is removed from the next, and counted. A share is
drawn group by group in the order of a hash of seed, part and group, so equal data give equal parts everywhere.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from bedside.core.errors import DataError
from bedside.core.identity import digest
from bedside.core.types import Flow, Prompt

THRESHOLD = Fraction(3, 5)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Drawn:
    """Where a part comes from: all its prompts, or a share of their groups; at most ``limit`` rows."""

    prompts: Sequence[Prompt]
    share: float | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """Every prompt has a group, and no group and no text stands in two parts."""

    train: tuple[Prompt, ...]
    valid: tuple[Prompt, ...]
    test: tuple[Prompt, ...]
    flows: tuple[Flow, ...]
    """Rows kept and dropped, and why: one a part."""


def parts(*, train: Drawn, valid: Drawn, test: Drawn, seed: int) -> Parts:
    """The three parts, or a DataError where nothing is left of one."""
    sources = _grouped({"test": test, "valid": valid, "train": train})
    taken: dict[str, str] = {}
    kept: dict[str, tuple[Prompt, ...]] = {}
    flows = []
    for name, source in sources.items():
        kept[name], flow = _part(name, source, taken, seed)
        flows.append(flow)
    return Parts(kept["train"], kept["valid"], kept["test"], tuple(reversed(flows)))


def group(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The same prompts, each with a group. A group the data names is kept, and near-duplicates join it."""
    if all(prompt.group for prompt in prompts):
        return list(prompts)
    members = defaultdict(list)
    labels = near_duplicates([_words_of(prompt) for prompt in prompts])
    for label, prompt in zip(labels, prompts, strict=True):
        members[label].append(prompt)
    names = {label: _name(rows) for label, rows in members.items()}
    return [
        p if p.group else replace(p, group=names[label]) for label, p in zip(labels, prompts, strict=True)
    ]


def near_duplicates(texts: Sequence[str], threshold: Fraction = THRESHOLD) -> list[int]:
    """The component of each text: the position of the first text in it. Exact, by prefix filtering.

    Two sets with Jaccard ≥ t share a word among the rarest |x| − ⌈t·|x|⌉ + 1 of each, so only texts that meet
    in the index of these words are compared.
    """
    sets = [frozenset(_WORD.findall(text.lower())) or frozenset([text.strip()]) for text in texts]
    first: dict[frozenset[str], int] = {}
    for position, words in enumerate(sets):
        first.setdefault(words, position)
    parents = list(range(len(texts)))
    for one, other in _close(list(first), threshold):
        _join(parents, first[one], first[other])
    return [_root(parents, first[words]) for words in sets]


def _grouped(sources: Mapping[str, Drawn]) -> dict[str, Drawn]:
    """Groups found over all parts together: near-duplicates in two files are one group."""
    grouped = iter(group([prompt for source in sources.values() for prompt in source.prompts]))
    return {
        name: replace(source, prompts=[next(grouped) for _ in source.prompts])
        for name, source in sources.items()
    }


def _part(name: str, source: Drawn, taken: dict[str, str], seed: int) -> tuple[tuple[Prompt, ...], Flow]:
    """What is left of ``source``; notes in ``taken`` which groups and texts this part holds."""
    dropped: Counter[str] = Counter()
    free = []
    for prompt in source.prompts:
        holder = taken.get(f"group {prompt.group}") or taken.get(f"text {prompt.id}")
        if holder:
            dropped[f"group stands in {holder}"] += 1
        else:
            free.append(prompt)
    drawn = _drawn(name, free, source, seed)
    dropped["not drawn"] = len(free) - len(drawn)
    for prompt in drawn:
        taken |= {f"group {prompt.group}": name, f"text {prompt.id}": name}
    kept = tuple(drawn[: source.limit])
    dropped["over the limit"] = len(drawn) - len(kept)
    if not kept:
        raise DataError(
            f"{name}: no row is left of {len(source.prompts)} ({_reasons(dropped)}); {_cure(name)}"
        )
    groups = len({prompt.group for prompt in kept})
    return kept, Flow(f"split: {name}", len(kept), dict(+dropped), {"groups": groups})


def _drawn(name: str, free: Sequence[Prompt], source: Drawn, seed: int) -> list[Prompt]:
    """The rows of a share of the groups of ``source``, drawn from those that are free."""
    if source.share is None:
        return list(free)
    wanted = max(1, round(source.share * len({prompt.group for prompt in source.prompts})))
    order = sorted({str(prompt.group) for prompt in free}, key=lambda group: digest(seed, name, group))
    chosen = set(order[:wanted])
    return [prompt for prompt in free if prompt.group in chosen]


def _reasons(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in dropped.items() if count) or "there was none"


def _cure(name: str) -> str:
    return "give valid and test a share, or files of their own" if name != "test" else "give it rows"


def _words_of(prompt: Prompt) -> str:
    """What the patient and the assistant said; a shared system prompt makes no near-duplicates."""
    return "\n".join(message.text for message in prompt.messages if message.role != "system")


def _name(prompts: Sequence[Prompt]) -> str:
    """The first of the groups that the data names, else a name made from the smallest id."""
    named = sorted(prompt.group for prompt in prompts if prompt.group)
    return named[0] if named else f"nd:{digest(min(prompt.id for prompt in prompts))}"


def _close(
    sets: Sequence[frozenset[str]], threshold: Fraction
) -> list[tuple[frozenset[str], frozenset[str]]]:
    """Enough of the pairs with Jaccard ≥ ``threshold`` to connect every component."""
    counts = Counter(word for words in sets for word in words)
    ordered = sorted(sets, key=lambda words: (len(words), sorted(words)))
    ranked = [sorted(words, key=lambda word: (counts[word], word)) for words in ordered]
    index: dict[str, list[int]] = defaultdict(list)
    parents = list(range(len(ordered)))
    found = []
    for here, words in enumerate(ordered):
        smallest = -(-threshold.numerator * len(words) // threshold.denominator)
        prefix = ranked[here][: len(words) - smallest + 1]
        for there in {there for word in prefix for there in index[word]}:
            if len(ordered[there]) < smallest or _root(parents, here) == _root(parents, there):
                continue
            shared = len(words & ordered[there])
            if shared >= threshold * (len(words) + len(ordered[there]) - shared):
                _join(parents, here, there)
                found.append((words, ordered[there]))
        for word in prefix:
            index[word].append(here)
    return found


def _root(parents: list[int], node: int) -> int:
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


def _join(parents: list[int], one: int, other: int) -> None:
    """Put two components together; the smaller position stays the root."""
    low, high = sorted((_root(parents, one), _root(parents, other)))
    parents[high] = low
