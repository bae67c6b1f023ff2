"""A judge that learned stances from labelled answers. It uses words and no language model (``stats/tfidf.py``).

    {kind: classifier, folder: FOLDER}             what `bedside train judge --kind classifier` wrote
    {kind: classifier, folder: consult-trainer}    packaged: for answers of SmolLM2 to `consult`; also consult-selector

It takes a second for what a small model cannot do at all. Train it on answers of the target itself, also of the target
during training: it does not generalize to another model's answers. Its weakness is a refusal that is followed by what
was asked (`bedside audit --adversarial`).

    reads: answer      the answer's words
    reads: exchange    also the question's words (as ``q_word``), with the answer's refusal phrases masked: it reads
    what
                       the phrases of ``keyword`` do not say, so it can be the selector beside the other as trainer

It is cross-fitted: an answer to a scenario of its training data is judged by a part that was not trained on that
scenario. So the labels of a few hundred answers can train a judge that then labels answers to the same prompts.

The folder holds ``classifier.json`` (words, classes, which scenario is in which fold, by digest) and
``classifier.safetensors`` (numbers). Its words, and sequences of up to three words, occur in two answers or more. They
may include names of patients, so share the folder only with people who may read the answers.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bedside.config.plugins import Plugin, register
from bedside.core.errors import ModelError
from bedside.core.hashing import digest, digest_bytes
from bedside.core.protocols import Launch
from bedside.core.types import STANCES, Prompt, Response, Stance, Verdict
from bedside.judges.keyword import CAUTIONS, REFUSALS
from bedside.stats.tfidf import LinearClassifier

Reads = Literal["answer", "exchange"]
JSON, TENSORS = "classifier.json", "classifier.safetensors"
PACKAGED = {
    f"consult-{role}": Path(__file__).parents[1] / "consult" / "judges" / role for role in ("trainer", "selector")
}
"""Trained on answers of SmolLM2, before, during and after training, to train prompts of `consult`; see its card."""
_PHRASES = re.compile("|".join(re.escape(cue) for cue in sorted((*REFUSALS, *CAUTIONS), key=len, reverse=True)))
_WORDS = re.compile(r"\w+")


@register("judge", "classifier")
class Classifier(Plugin):
    """Judges by the words of labelled answers, from the folder that `bedside train judge --kind classifier` writes."""

    needs_model: ClassVar[bool] = False
    kind: str = "classifier"
    folder: str = Field("consult-trainer", min_length=1)
    """A folder that `bedside train judge --kind classifier` wrote, or consult-trainer or consult-selector."""

    def open(self, launch: Launch, **opened: Any) -> "ClassifierJudge":
        return read(PACKAGED.get(self.folder) or Path(self.folder))


@dataclass(frozen=True)
class ClassifierJudge:
    """``folds[i]`` was not trained on the scenarios of fold i. ``whole`` was trained on all."""

    reads: Reads
    temperature: float
    fold_of: Mapping[str, int]
    """Fold of a scenario, and of a prompt, by its digest."""
    whole: LinearClassifier
    folds: Sequence[LinearClassifier]

    @cached_property
    def name(self) -> str:
        return (
            f"classifier:{digest(_header(self), [digest_bytes(values.tobytes()) for values in _arrays(self).values()])}"
        )

    def judge(self, responses: Sequence[Response]) -> list[Verdict]:
        probabilities = self.probabilities(responses)
        return [self._verdict(response, row) for response, row in zip(responses, probabilities, strict=True)]

    def probabilities(self, responses: Sequence[Response]) -> NDArray[np.float64]:
        """Probability of each class, shape (B, C), by the part that was not trained on the answer's scenario."""
        texts = [seen(response, self.reads) for response in responses]
        folds = np.array([self._fold(response.prompt) for response in responses], int)
        logits = np.zeros((len(texts), len(self.whole.classes)))
        for fold in set(folds.tolist()):
            rows = np.flatnonzero(folds == fold)
            model = self.whole if fold < 0 else self.folds[fold]
            logits[rows] = model.logits([texts[row] for row in rows])
        scaled = np.exp((logits - logits.max(axis=1, keepdims=True)) / self.temperature)
        return np.asarray(scaled / scaled.sum(axis=1, keepdims=True), np.float64)

    def _fold(self, prompt: Prompt) -> int:
        """The fold by scenario, or by the prompt itself if its group has another name in this data; −1 if it is new."""
        return self.fold_of.get(scenario(prompt), self.fold_of.get(question(prompt), -1))

    def _verdict(self, response: Response, row: NDArray[np.float64]) -> Verdict:
        if response.is_empty:
            return Verdict(response.id, self.name, unreadable="empty answer")
        by_stance = dict(zip(self.whole.classes, row.tolist(), strict=True))
        return Verdict(
            response.id, self.name, Stance(max(by_stance, key=by_stance.__getitem__)), probabilities=by_stance
        )


def scenario(prompt: Prompt) -> str:
    """The digest of a prompt's scenario in the file. The text cannot be read from it."""
    return digest("scenario", prompt.cluster)


def question(prompt: Prompt) -> str:
    """The same digest of the prompt itself."""
    return digest("prompt", prompt.id)


def seen(response: Response, reads: Reads) -> str:
    """The text that the classifier reads."""
    answer = " ".join(response.text.lower().replace("’", "'").split())
    if reads == "answer":
        return answer
    question = " ".join(f"q_{word}" for word in _WORDS.findall(response.prompt.text.lower()))
    return f"{_PHRASES.sub(' ', answer)}\n{question}"


def write(judge: ClassifierJudge, folder: Path) -> None:
    """Write the two files into ``folder``."""
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    (folder / TENSORS).write_bytes(save(_arrays(judge)))
    (folder / JSON).write_text(json.dumps(_header(judge), ensure_ascii=False, sort_keys=True), encoding="utf-8")


def read(folder: Path) -> ClassifierJudge:
    """What ``write`` wrote. ModelError if a file is missing or is something else."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        header = json.loads((folder / JSON).read_text(encoding="utf-8"))
        arrays = load((folder / TENSORS).read_bytes())
        models = [
            LinearClassifier(
                words, header["classes"], *(arrays[f"{i}.{part}"] for part in ("idf", "weights", "intercept"))
            )
            for i, words in enumerate(header["vocabularies"])
        ]
        judge = ClassifierJudge(header["reads"], header["temperature"], header["fold_of"], models[-1], models[:-1])
        _check(judge)
        return judge
    except OSError as error:
        raise ModelError(
            f"{folder}: holds no classifier ({error.strerror}); `bedside train judge --kind classifier`"
        ) from None
    except (ValueError, KeyError, TypeError, IndexError, SafetensorError) as error:
        raise ModelError(f"{folder}: is not a classifier that Bedside wrote ({error}); train it again") from None


def _check(judge: ClassifierJudge) -> None:
    """ValueError if the parts do not belong together."""
    classes = judge.whole.classes
    if judge.reads not in ("answer", "exchange") or not judge.temperature > 0 or not {*classes} <= {*STANCES}:
        raise ValueError("reads, temperature or classes have a value that it never writes")
    for model in (*judge.folds, judge.whole):
        features = len(model.vocabulary)
        if (model.idf_F.shape, model.weights_CF.shape) != ((features,), (len(classes), features)):
            raise ValueError("words and numbers do not belong together")
    if not {*judge.fold_of.values()} <= {*range(len(judge.folds))}:
        raise ValueError("a scenario is in a fold that does not exist")


def _header(judge: ClassifierJudge) -> dict[str, Any]:
    return {
        "reads": judge.reads,
        "temperature": judge.temperature,
        "classes": list(judge.whole.classes),
        "fold_of": dict(sorted(judge.fold_of.items())),
        "vocabularies": [list(model.vocabulary) for model in (*judge.folds, judge.whole)],
    }


def _arrays(judge: ClassifierJudge) -> dict[str, NDArray[np.float32]]:
    return {
        f"{i}.{part}": np.ascontiguousarray(values)
        for i, model in enumerate((*judge.folds, judge.whole))
        for part, values in (("idf", model.idf_F), ("weights", model.weights_CF), ("intercept", model.intercept_C))
    }
