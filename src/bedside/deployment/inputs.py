"""What patients ask, apart from how well it is answered: length, language, topic and harm level of their prompts.

A profile is made of the prompts of a baseline. Half of their groups decide what the kinds are:

    length      five kinds, between the quintiles, in characters
    language    by script and by frequent function words; those that are frequent in the baseline, and any other
    topic       clusters of TF-IDF rows, named by their heaviest words, and ``unlike every topic``
    level       the harm level that a classifier of words proposes; its agreement with the labels is kept

The other half, which these choices have not seen, says how frequent each kind is, with an upper bound at the level of
groups. A kind is watched where the bound and ``MARGIN`` leave room. Weights are whole numbers, so a prompt has the same
kinds wherever reading was stopped.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.core.measures import Measure
from bedside.core.types import HARM_LEVELS, Prompt
from bedside.stats import tfidf
from bedside.stats.agreement import Ratings, quadratic_kappa
from bedside.stats.intervals import share_bounds
from bedside.stats.measures import share

MARGIN = 0.02
"""A kind that is more frequent by this share is no drift: it is added to the bound."""
MOST = 0.9
"""A kind with a bound above this is not watched: it cannot become much more frequent."""
UNLIKE = "unlike every topic"
ANOTHER = "another"
FEATURES = ("length", "language", "topic", "level")
_FREQUENT = 0.02
_CHARACTERS = 4000
"""Of a prompt that are read."""
_WORDS = 3000
_TOPICS = 12
_QUANTILE = 0.10
"""Prompts of the baseline below this quantile of similarity are unlike every topic."""
_SCALE = 1 << 16
_TOKEN = re.compile(r"\w+")
_LENGTHS = ("very short", "short", "middling", "long", "very long")
_FUNCTION_WORDS = {
    "English": "the and is are was were have has what how i my you it of to for with can should this not do does",
    "Spanish": "el la los las y es son qué que cómo como yo mi una para con puedo de por está tengo no se me si",
    "French": "le la les et est sont je mon ma une pour avec puis des du que qui dans pas ne mes est-ce ai sur",
    "German": "der die das und ist sind ich mein meine ein eine mit für kann nicht was wie zu habe den dem von es",
    "Portuguese": "o os as e é são eu meu minha uma para com posso do da dos das não que como tenho por em um",
    "Italian": "il lo gli e è sono io mio mia una per con posso di del della che come non ho un si mi cosa",
    "Dutch": "de het een en is zijn ik mijn met voor kan niet wat hoe van te heb dat op er aan bij ook",
}
_SCRIPTS = {
    "Greek": ((0x370, 0x400),),
    "Cyrillic": ((0x400, 0x530),),
    "Hebrew": ((0x590, 0x600),),
    "Arabic": ((0x600, 0x780),),
    "Devanagari": ((0x900, 0x980),),
    "Thai": ((0xE00, 0xE80),),
    "Korean": ((0x1100, 0x1200), (0xAC00, 0xD7B0)),
    "Japanese": ((0x3040, 0x3100),),
    "Chinese": ((0x3400, 0xA000),),
}
UNKNOWN = "not recognised"
LANGUAGES = (*_FUNCTION_WORDS, *_SCRIPTS, UNKNOWN)


@dataclass(frozen=True, slots=True)
class KindOfInput:
    """One kind of prompt, and how frequent it may be."""

    feature: str
    name: str
    measure: Measure
    """In the baseline."""
    tolerated: float
    """Its upper bound there, and the margin."""

    @property
    def watched(self) -> bool:
        return self.tolerated < MOST

    def __str__(self) -> str:
        return f"{self.feature}: {self.name}"


@dataclass(frozen=True)
class InputProfile:
    """The kinds of prompts of a baseline, and what is needed to tell the kinds of another prompt."""

    source: str
    prompts: int
    edges: tuple[int, ...]
    """Characters, between the kinds of length."""
    languages: tuple[str, ...]
    topics: tuple[str, ...]
    levels: tuple[int, ...]
    intercepts: tuple[int, ...]
    """Of each level."""
    words: Mapping[str, tuple[int, ...]]
    """Of each word: its weights for every topic and level, and the square of its weight."""
    function_words: tuple[str, ...]
    """They say nothing about a topic."""
    unknown_square: int
    """Of a word that is in neither."""
    least_similarity: float
    kinds: tuple[KindOfInput, ...] = ()
    level_agreement: Measure = field(default_factory=lambda: Measure("kappa", None, 0))
    """Quadratic kappa of proposed levels with labels, on the half that the classifier has not learned from."""


class InputReader:
    """Tells the kinds of prompts by a profile."""

    def __init__(self, profile: InputProfile) -> None:
        self.profile = profile
        self._number = {word: number for number, word in enumerate(profile.words)}
        self._function = {word: len(self._number) + number for number, word in enumerate(profile.function_words)}
        width = len(profile.topics) + len(profile.levels) + 1
        languages = len(_FUNCTION_WORDS)
        rows = len(self._number) + len(self._function) + 1
        self._weights = np.zeros((rows, width + languages), dtype=np.int64)
        for word, number in self._number.items():
            self._weights[number, :width] = profile.words[word]
        for word, number in self._function.items():
            for place, some in enumerate(_FUNCTION_WORDS.values()):
                self._weights[number, width + place] = word in some.split()
        self._all = self._number | self._function
        self._words = self._all.keys()
        self._weights[rows - 1, width - 1] = profile.unknown_square
        self._unknown = rows - 1

    def kinds(self, texts: Sequence[str]) -> list[tuple[str, str, str, str]]:
        """The kind of length, language, topic and level of each prompt, in the order of ``FEATURES``."""
        if not texts:
            return []
        sums_BW = self._sums(texts)
        topics, levels = len(self.profile.topics), len(self.profile.levels)
        norms = np.sqrt(np.maximum(sums_BW[:, topics + levels], 1))
        return list(
            zip(
                (_length(len(text), self.profile.edges) for text in texts),
                self._languages(texts, sums_BW[:, topics + levels + 1 :]),
                self._topics(sums_BW[:, :topics] / (norms[:, None] * math.sqrt(_SCALE))),
                self._levels(sums_BW[:, topics : topics + levels] / norms[:, None]),
                strict=True,
            )
        )

    def similarity(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The cosine of each prompt with its nearest topic, shape (B,)."""
        sums_BW, topics = self._sums(texts), len(self.profile.topics)
        norms = np.sqrt(np.maximum(sums_BW[:, topics + len(self.profile.levels)], 1)) * math.sqrt(_SCALE)
        return np.asarray(sums_BW[:, :topics].max(axis=1) / norms, dtype=np.float64)

    def unknown_words(self, texts: Sequence[str], most: int) -> list[str]:
        """The words that most of these prompts hold and the baseline does not: what a new topic is about."""
        counts = Counter(
            word for text in texts for word in set(_tokens(text)) if word not in self._all and not word.isdigit()
        )
        return [word for word, n in counts.most_common(most) if n > 1]

    def _sums(self, texts: Sequence[str]) -> NDArray[np.int64]:
        numbers: list[int] = []
        starts, number_of = [], self._all.__getitem__
        for text in texts:
            starts.append(len(numbers))
            words = set(_tokens(text))
            known = words & self._words
            numbers += map(number_of, known)
            numbers += [self._unknown] * (len(words) - len(known) or not words)
        return np.asarray(np.add.reduceat(self._weights[numbers], starts, axis=0), dtype=np.int64)

    def _languages(self, texts: Sequence[str], hits_BL: NDArray[np.int64]) -> list[str]:
        best, most = hits_BL.argmax(axis=1), hits_BL.max(axis=1)
        names = list(_FUNCTION_WORDS)
        known = (
            _script(text) or (names[b] if m > 0 else UNKNOWN)
            for text, b, m in zip(texts, best.tolist(), most.tolist(), strict=True)
        )
        return [name if name in self.profile.languages else ANOTHER for name in known]

    def _topics(self, cosine_BT: NDArray[np.float64]) -> list[str]:
        best, names = cosine_BT.argmax(axis=1), self.profile.topics
        like = cosine_BT.max(axis=1) >= self.profile.least_similarity
        return [names[b] if ok else UNLIKE for b, ok in zip(best.tolist(), like.tolist(), strict=True)]

    def _levels(self, logits_BL: NDArray[np.float64]) -> list[str]:
        best = (logits_BL + np.asarray(self.profile.intercepts) / math.sqrt(_SCALE)).argmax(axis=1)
        return [str(self.profile.levels[b]) for b in best.tolist()]


def fit(prompts: Sequence[Prompt], source: str, false_alarm: float, seed: int) -> InputProfile:
    """The profile of ``prompts``; half of ``false_alarm`` is left to the bounds of all kinds together."""
    chosen, counted = _halves(prompts, seed)
    profile = _similarity_fitted(_kinds_of(chosen, source, len(prompts), seed), chosen, seed)
    reader = InputReader(profile)
    found = reader.kinds([prompt.text for prompt in counted])
    groups = [prompt.cluster for prompt in counted]
    names = _names(profile)
    kinds = []
    for number, feature in enumerate(FEATURES):
        column = [row[number] for row in found]
        for name in names[feature]:
            is_kind = [float(kind == name) for kind in column]
            bound = share_bounds(is_kind, groups, 1 - false_alarm / 2 / sum(map(len, names.values()))).high
            kinds.append(KindOfInput(feature, name, share(name, is_kind, groups), min(1.0, bound + MARGIN)))
    proposed = [row[FEATURES.index("level")] for row in found]
    return _with(profile, kinds=tuple(kinds), level_agreement=_agreement(counted, proposed))


def _with(profile: InputProfile, **changes: Any) -> InputProfile:
    return InputProfile(**{name: getattr(profile, name) for name in profile.__dataclass_fields__} | changes)


def _names(profile: InputProfile) -> dict[str, list[str]]:
    """Every kind that a prompt can have, by feature."""
    levels = [str(level) for level in profile.levels] if len(profile.levels) > 1 else []
    return {
        "length": list(_LENGTHS[: len(profile.edges) + 1]),
        "language": [*profile.languages, ANOTHER],
        "topic": [*(profile.topics if len(profile.topics) > 1 else ()), UNLIKE],
        "level": levels,
    }


def _halves(prompts: Sequence[Prompt], seed: int) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts of every other group in a drawn order, and the others."""
    clusters = sorted({prompt.cluster for prompt in prompts})
    first = set(np.random.default_rng(seed).permutation(clusters)[::2].tolist())
    chosen = [prompt for prompt in prompts if prompt.cluster in first]
    return chosen, [prompt for prompt in prompts if prompt.cluster not in first] or chosen


def _kinds_of(prompts: Sequence[Prompt], source: str, total: int, seed: int) -> InputProfile:
    """What the kinds are. The least similarity is not known yet."""
    texts = [prompt.text[:_CHARACTERS] for prompt in prompts]
    words, idf, rows = tfidf.weighted_words(texts, _content, _WORDS)
    topic_TV, topics = _clusters(rows, words, seed)
    levels, level_LV, intercepts = _level_weights(rows, [prompt.harm for prompt in prompts], seed)
    weights_VW = np.vstack([topic_TV * idf, level_LV * idf]).T
    table = {
        word: (*(round(weight * _SCALE) for weight in weights_VW[v].tolist()), round(float(idf[v]) ** 2 * _SCALE))
        for v, word in enumerate(words)
    }
    unknown = round((math.log(1 + len(texts)) + 1) ** 2 * _SCALE)
    edges = sorted({int(np.quantile([len(text) for text in texts], q)) for q in (0.2, 0.4, 0.6, 0.8)})
    whole = tuple(round(x * _SCALE) for x in intercepts)
    function = tuple(sorted(_stop_words() - table.keys()))
    empty = InputProfile(source, total, tuple(edges), LANGUAGES, topics, levels, whole, table, function, unknown, -1.0)
    spoken = Counter(row[FEATURES.index("language")] for row in InputReader(empty).kinds(texts))
    frequent = tuple(name for name in LANGUAGES if spoken[name] >= max(1, _FREQUENT * len(texts)))
    return _with(empty, languages=frequent)


def _clusters(rows: Any, words: Sequence[str], seed: int) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Centres of length 1, shape (T, V), and their names."""
    centres_TV = tfidf.cluster_centres(rows, max(1, min(_TOPICS, rows.shape[0] // 20)), seed)
    names: list[str] = []
    for centre in centres_TV:
        heaviest = [words[v] for v in np.argsort(-centre, kind="stable") if len(words[v]) > 3][:3]
        name = ", ".join(heaviest) or "no words"
        names.append(name if name not in names else f"{name} ({len(names) + 1})")
    return centres_TV, tuple(names)


def _level_weights(
    rows: Any, labels: Sequence[int | None], seed: int
) -> tuple[tuple[int, ...], NDArray[np.float64], list[float]]:
    """Levels that the prompts have, their weights, shape (L, V), and intercepts. One level has no weights."""
    known = [number for number, label in enumerate(labels) if label is not None]
    levels = tuple(level for level in HARM_LEVELS if any(labels[number] == level for number in known))
    if len(levels) < 2:
        return levels or (0,), np.zeros((1, rows.shape[1])), [0.0]
    weights_LV, intercepts = tfidf.linear_weights(rows[known], [labels[number] for number in known], seed)
    return levels, weights_LV, intercepts


def _similarity_fitted(profile: InputProfile, prompts: Sequence[Prompt], seed: int) -> InputProfile:
    """The least similarity: a low quantile of prompts whose group the topics have not seen, by two halves."""
    first, second = _halves(prompts, seed + 1)
    similar: list[float] = []
    for fitted, others in ((first, second), (second, first)):
        one = _kinds_of(fitted, profile.source, len(fitted), seed)
        similar += InputReader(one).similarity([prompt.text for prompt in others]).tolist()
    return _with(profile, least_similarity=float(np.quantile(similar, _QUANTILE)))


def _agreement(prompts: Sequence[Prompt], proposed: Sequence[str]) -> Measure:
    known = [(str(p.harm), level, p.cluster) for p, level in zip(prompts, proposed, strict=True) if p.harm is not None]
    if not known:
        return Measure("kappa", None, 0)
    labels, levels, groups = (tuple(column) for column in zip(*known, strict=True))
    kappa = quadratic_kappa(Ratings(labels, levels, groups, tuple(map(str, HARM_LEVELS))))
    return Measure("kappa", kappa.value, kappa.n if kappa.value is not None else 0, 0, kappa.low, kappa.high)


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text[:_CHARACTERS].lower())


@cache
def _stop_words() -> frozenset[str]:
    """Function words of every language: they say nothing about a topic."""
    contracted = ("don", "doesn", "didn", "isn", "won", "ve", "ll", "re", "s", "t", "d", "m", "dont")
    return tfidf.english_function_words().union(contracted, *(some.split() for some in _FUNCTION_WORDS.values()))


def _content(text: str) -> list[str]:
    """The words that a topic can be of; a text without any is a text of the word "?"."""
    return [word for word in _tokens(text) if word not in _stop_words()] or ["?"]


def _length(characters: int, edges: Sequence[int]) -> str:
    return _LENGTHS[sum(characters > edge for edge in edges)]


def _script(text: str) -> str | None:
    """The script that most letters are of, where it is not Latin; None for Latin."""
    if text.isascii():
        return None
    counts: Counter[str] = Counter()
    for character in text[:200]:
        if character.isalpha():
            code = ord(character)
            counts["Latin" if code < 0x250 else _script_of(code)] += 1
    best = max(counts, key=lambda name: counts[name], default="Latin")
    return None if best == "Latin" else best


def _script_of(code: int) -> str:
    return next((n for n, some in _SCRIPTS.items() if any(a <= code < b for a, b in some)), UNKNOWN)
