"""Three parts that share nothing: train teaches, valid selects, test is sealed.

Prompts that say nearly the same form a group, and a group stands in one part only:

    word-Jaccard(a, b) = |words(a) ∩ words(b)| / |words(a) ∪ words(b)| ≥ 0.6      a and b are near-duplicates
    a group is a connected component of near-duplicates, or what the data calls a group

Test takes first, then valid, then train: what one part holds is removed from the next, and counted. A share
is drawn group by group in the order of a hash of seed, part and group: equal data, equal parts, everywhere.

A limit keeps the first rows. In a file that is sorted by harm they would all be of one level, so each of L levels
has its first rows among ``limit`` of them: at least limit // 2L, and one, as far as it has so many.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from bedside.core.errors import DataError
from bedside.core.hashing import digest
from bedside.core.results import Flow
from bedside.core.types import Prompt

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

    @property
    def named(self) -> dict[str, tuple[Prompt, ...]]:
        return {"train": self.train, "valid": self.valid, "test": self.test}


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
    pairs = zip(labels, prompts, strict=True)
    return [p if p.group else replace(p, group=names[label]) for label, p in pairs]


def near_duplicates(texts: Sequence[str]) -> list[int]:
    """The component of each text, named by the position of its first text. Exact: every pair is counted."""
    sets = [frozenset(_WORD.findall(text.lower())) or frozenset([text.strip()]) for text in texts]
    first: dict[frozenset[str], int] = {}
    for position, words in enumerate(sets):
        first.setdefault(words, position)
    distinct = sorted(first, key=lambda words: (len(words), first[words]))
    component = dict(zip(distinct, _components(distinct, THRESHOLD), strict=True))
    smallest: dict[int, int] = {}
    for position, words in enumerate(sets):
        smallest.setdefault(component[words], position)
    return [smallest[component[words]] for words in sets]


def _grouped(sources: Mapping[str, Drawn]) -> dict[str, Drawn]:
    """Groups found over all parts together: near-duplicates in two files are one group."""
    grouped = iter(group([prompt for source in sources.values() for prompt in source.prompts]))
    return {name: replace(source, prompts=[next(grouped) for _ in source.prompts]) for name, source in sources.items()}


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
    kept = tuple(_few(drawn, source.limit))
    dropped["over the limit"] = len(drawn) - len(kept)
    if not kept:
        rows = f"no row is left of {len(source.prompts)} ({_reasons(dropped)})"
        raise DataError(f"{name}: {rows}; {_cure(name)}")
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


def _few(rows: Sequence[Prompt], limit: int | None) -> list[Prompt]:
    """The first ``limit`` rows, places kept for each harm level: harmless first, then the most severe."""
    if limit is None or limit >= len(rows):
        return list(rows)
    levels = sorted({row.harm for row in rows}, key=lambda harm: (bool(harm), -(harm or 0)))
    each = max(1, limit // (2 * len(levels)))
    first = [place for level in levels for place in _places(rows, level)[:each]]
    order = dict.fromkeys([*first, *range(len(rows))])
    return [rows[place] for place in sorted(list(order)[:limit])]


def _places(rows: Sequence[Prompt], level: int | None) -> list[int]:
    return [place for place, row in enumerate(rows) if row.harm == level]


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


def _components(sets: Sequence[frozenset[str]], threshold: Fraction) -> list[int]:
    """A label for each of ``sets``, which come smallest first.

    Each word knows the sets before this one that hold it, so counting over the words of a set gives what it
    shares with all of them at once. A set under ⌈t·|x|⌉ words is too small to be near to x.
    """
    vocabulary = {word: number for number, word in enumerate(sorted({w for words in sets for w in words}))}
    rows = [[vocabulary[word] for word in words] for words in sets]
    postings = [np.empty(count, np.intp) for count in np.bincount([w for row in rows for w in row])]
    filled = [0] * len(postings)
    sizes = np.array([len(row) for row in rows])
    labels = np.arange(len(rows))
    for here, row in enumerate(rows):
        low = np.searchsorted(sizes, -(-threshold.numerator * len(row) // threshold.denominator))
        earlier = np.concatenate([postings[word][: filled[word]] for word in row])
        shared = np.bincount(earlier, minlength=here)[low:]
        union = sizes[low:here] + len(row) - shared
        near = labels[low:here][shared * threshold.denominator >= union * threshold.numerator]
        while near.size:
            labels[labels == labels[here]] = near[0]
            near = near[near != near[0]]
        for word in row:
            postings[word][filled[word]] = here
            filled[word] += 1
    return [int(label) for label in labels]
