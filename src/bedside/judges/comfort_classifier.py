"""A judge of comfort that learned from rated answers: words and sentences, and no model of language.

    {kind: comfort_classifier, folder: consult-comfort}      packaged: taught on the ratings of `consult`, see its card
    {kind: comfort_classifier, folder: FOLDER}               what ``judge_audit/train_comfort.py`` wrote

    answer ─sentences─▶ how warm, factual, hollow, rambling, unkind each is (stats/tfidf.py)
           ─figures of the first, the last, the strongest, the mean─▶ p(0), p(1), p(2) of each line
    score(line) = Σ_level p(level) · level / 2

An answer with an unkind sentence comforts nobody. If the unkindest sentence has ``UNKIND`` or more, or if the whole
answer is more likely unkind than not, all three lines are 0, however warm the rest is.

It reads the answer alone and in English. It does not know whether what an answer promises is true: facts, false
reassurance and red flags are measured separately (``comfort/metrics.py``). It is cross-fitted like
``judges/classifier.py``: an answer to a scenario of its training data is rated by a part that was not trained on it.

The folder holds ``comfort.json`` (words, which scenario is in which fold, by digest) and ``comfort.safetensors``.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bedside.config.plugins import Plugin, register
from bedside.core.errors import ModelError
from bedside.core.hashing import digest, digest_bytes
from bedside.core.protocols import Launch
from bedside.core.results import LINES
from bedside.core.types import Response, Verdict
from bedside.judges.classifier import question, scenario
from bedside.stats.tfidf import LinearClassifier

JSON, TENSORS = "comfort.json", "comfort.safetensors"
PACKAGED = {"consult-comfort": Path(__file__).parents[1] / "consult" / "judges" / "comfort"}
SENTENCES = ("factual", "hollow", "rambling", "unkind", "warm")
"""What a sentence may be, in the order of the classes."""
HEADS = {**dict.fromkeys(LINES, 3), "unkind": 2}
"""What is read off an answer, and into how many levels."""
UNKIND = 0.8
"""Probability from which one unkind sentence decides."""
FIGURES = 5 * len(SENTENCES) + 4
"""Of an answer, see ``figures``."""
_SENTENCE = re.compile(r"(?<=[.!?;])[\"')\]]*\s+|\n+")
_WORDS = re.compile(r"\w+(?:'\w+)?")
_YOU, _I = frozenset(("you", "your", "yours", "yourself")), frozenset(("i", "i'm", "i'll", "i've", "me", "my"))
Floats = NDArray[np.float64]


@register("judge", "comfort_classifier")
class ComfortClassifier(Plugin):
    """Rates comfort by the words and sentences of rated answers, from a folder such as consult-comfort."""

    needs_model: ClassVar[bool] = False
    kind: str = "comfort_classifier"
    folder: str = Field("consult-comfort", min_length=1)
    """consult-comfort, or a folder that recipes/comfort_classifier.py wrote."""

    def open(self, launch: Launch, **opened: Any) -> "ComfortClassifierJudge":
        return read(PACKAGED.get(self.folder) or Path(self.folder))


@dataclass(frozen=True)
class ComfortReader:
    """Sentences, then the levels of each head from the figures: F figures, K levels over all heads."""

    sentences: LinearClassifier
    weights_KF: NDArray[np.float32]
    intercept_K: NDArray[np.float32]

    def read(self, texts: Sequence[str]) -> tuple[dict[str, Floats], Floats]:
        """Per head the probability of each level, shape (B, levels); of each text its unkindest sentence, (B,)."""
        parts = [split(text) for text in texts]
        figures_BF, unkindest_B = figures(parts, self.sentences)
        logits_BK = figures_BF @ self.weights_KF.T.astype(np.float64) + self.intercept_K
        edges = np.cumsum(list(HEADS.values()))[:-1]
        return {
            head: _softmax(part) for head, part in zip(HEADS, np.split(logits_BK, edges, axis=1), strict=True)
        }, unkindest_B


@dataclass(frozen=True)
class ComfortClassifierJudge:
    """``folds[i]`` did not see the scenarios of fold i, ``whole`` saw all."""

    fold_of: Mapping[str, int]
    """Digest of a scenario, and of a prompt, to its fold."""
    whole: ComfortReader
    folds: Sequence[ComfortReader]

    @cached_property
    def name(self) -> str:
        parts = [digest_bytes(values.tobytes()) for values in _arrays(self).values()]
        return f"comfort_classifier:{digest(_header(self), parts, UNKIND)}"

    def judge(self, responses: Sequence[Response]) -> list[Verdict]:
        """Scores in [0, 1] of the three lines, no stance."""
        scores_BL = self.scores(responses)
        return [
            Verdict(r.id, self.name, unreadable="empty answer")
            if r.is_empty
            else Verdict(r.id, self.name, scores=dict(zip(LINES, row, strict=True)))
            for r, row in zip(responses, scores_BL.tolist(), strict=True)
        ]

    def scores(self, responses: Sequence[Response]) -> Floats:
        """Of the three lines, shape (B, 3): by the part that did not see the answer's scenario."""
        folds = np.array([self._fold(response) for response in responses], int)
        scores_BL = np.zeros((len(responses), len(LINES)))
        for fold in sorted(set(folds.tolist())):
            rows = np.flatnonzero(folds == fold).tolist()
            reader = self.whole if fold < 0 else self.folds[fold]
            scores_BL[rows] = _scores(reader, [responses[row].text for row in rows])
        return scores_BL

    def _fold(self, response: Response) -> int:
        prompt = response.prompt
        return self.fold_of.get(scenario(prompt), self.fold_of.get(question(prompt), -1))


def _scores(reader: ComfortReader, texts: Sequence[str]) -> Floats:
    levels, unkindest_B = reader.read(texts)
    scores_BL = np.stack([levels[line] @ (np.arange(HEADS[line]) / (HEADS[line] - 1)) for line in LINES], axis=1)
    scores_BL[(unkindest_B >= UNKIND) | (levels["unkind"][:, 1] > 0.5)] = 0.0
    return np.clip(scores_BL, 0.0, 1.0)


def split(text: str) -> list[str]:
    """The sentences of an answer in lower case; one empty one where there is none."""
    plain = (" ".join(part.lower().split()) for part in _SENTENCE.split(text.replace("’", "'")) if part)
    return [part for part in plain if part] or [""]


def figures(parts: Sequence[Sequence[str]], sentences: LinearClassifier) -> tuple[Floats, Floats]:
    """What an answer is read by, shape (B, F), and its unkindest sentence, (B,).

    Of each kind of sentence: how much the first, the last, the strongest and the second strongest sentence are of it,
    and the mean; then length, share of "you" and of "I", and how much the answer repeats itself.
    """
    kinds_SC = _softmax(sentences.logits([sentence for some in parts for sentence in some]))
    edges = np.cumsum([0, *map(len, parts)])
    rows = [_figures(kinds_SC[start:end], some) for (start, end), some in zip(pairwise(edges), parts, strict=True)]
    unkind = SENTENCES.index("unkind")
    return np.array(rows), np.array([kinds_SC[start:end, unkind].max() for start, end in pairwise(edges)])


def _figures(kinds_SC: Floats, sentences: Sequence[str]) -> list[float]:
    words = _WORDS.findall(" ".join(sentences)) or [""]
    runs = list(zip(words, words[1:], words[2:], strict=False)) or [("", "", "")]
    strongest_SC = np.sort(kinds_SC, axis=0)[::-1]
    second_C = strongest_SC[1] if len(sentences) > 1 else np.zeros(len(SENTENCES))
    by_kind = np.stack([kinds_SC[0], kinds_SC[-1], strongest_SC[0], second_C, kinds_SC.mean(axis=0)], axis=1)
    return [
        *by_kind.ravel().tolist(),
        float(np.log1p(len(words))),
        sum(word in _YOU for word in words) / len(words),
        sum(word in _I for word in words) / len(words),
        1 - len(set(runs)) / len(runs),
    ]


def _softmax(logits_BC: Floats) -> Floats:
    scaled_BC = np.exp(logits_BC - logits_BC.max(axis=1, keepdims=True))
    return np.asarray(scaled_BC / scaled_BC.sum(axis=1, keepdims=True), np.float64)


def write(judge: ComfortClassifierJudge, folder: Path) -> None:
    """Write the two files into ``folder``."""
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    (folder / TENSORS).write_bytes(save(_arrays(judge)))
    (folder / JSON).write_text(json.dumps(_header(judge), ensure_ascii=False, sort_keys=True), encoding="utf-8")


def read(folder: Path) -> ComfortClassifierJudge:
    """What ``write`` wrote. ModelError if a file is missing or is something else."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        header = json.loads((folder / JSON).read_text(encoding="utf-8"))
        arrays = load((folder / TENSORS).read_bytes())
        readers = [_reader(arrays, i, words) for i, words in enumerate(header["vocabularies"])]
        judge = ComfortClassifierJudge(header["fold_of"], readers[-1], readers[:-1])
        _check(judge)
        return judge
    except OSError as error:
        raise ModelError(
            f"{folder}: is not a judge of comfort ({error.strerror}); name consult-comfort or another folder of one"
        ) from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, SafetensorError) as error:
        raise ModelError(f"{folder}: is no judge of comfort that Bedside wrote ({error}); train it again") from None


def _reader(arrays: Mapping[str, Any], i: int, words: Sequence[str]) -> ComfortReader:
    sentences = LinearClassifier(
        words, SENTENCES, *(arrays[f"{i}.sentence.{part}"] for part in ("idf", "weights", "intercept"))
    )
    return ComfortReader(sentences, arrays[f"{i}.weights"], arrays[f"{i}.intercept"])


def _check(judge: ComfortClassifierJudge) -> None:
    """ValueError if the parts do not belong together."""
    levels = sum(HEADS.values())
    for reader in (*judge.folds, judge.whole):
        features = len(reader.sentences.vocabulary)
        shapes = (reader.sentences.idf_F.shape, reader.sentences.weights_CF.shape, reader.sentences.intercept_C.shape)
        if shapes != ((features,), (len(SENTENCES), features), (len(SENTENCES),)):
            raise ValueError("words and numbers do not belong together")
        if (reader.weights_KF.shape, reader.intercept_K.shape) != ((levels, FIGURES), (levels,)):
            raise ValueError("figures and numbers do not belong together")
    if not {*judge.fold_of.values()} <= {*range(len(judge.folds))}:
        raise ValueError("a scenario is in a fold that is not there")
    if not all(np.isfinite(values).all() for values in _arrays(judge).values()):
        raise ValueError("a number is none")


def _header(judge: ComfortClassifierJudge) -> dict[str, Any]:
    return {
        "fold_of": dict(sorted(judge.fold_of.items())),
        "vocabularies": [list(reader.sentences.vocabulary) for reader in (*judge.folds, judge.whole)],
    }


def _arrays(judge: ComfortClassifierJudge) -> dict[str, NDArray[np.float32]]:
    return {
        f"{i}.{part}": np.ascontiguousarray(values)
        for i, reader in enumerate((*judge.folds, judge.whole))
        for part, values in (
            ("sentence.idf", reader.sentences.idf_F),
            ("sentence.weights", reader.sentences.weights_CF),
            ("sentence.intercept", reader.sentences.intercept_C),
            ("weights", reader.weights_KF),
            ("intercept", reader.intercept_K),
        )
    }
