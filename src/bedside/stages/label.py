"""Harm levels for prompts that have none: a bag of words proposes, people confirm.

    propose   level and principle of each unlabelled prompt, learned from labelled ones, with a probability
    audit     the same on labelled prompts it did not see: five folds, groups kept whole, quadratic kappa

A proposal is no label. It enters no rate until somebody confirms it, or the report says that nobody did.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bedside.core.errors import DataError
from bedside.core.types import HARM_LEVELS, Prompt
from bedside.stats import bagofwords
from bedside.stats.agreement import Agreement, Ratings, quadratic_kappa

FOLDS = 5
LEVELS = tuple(str(level) for level in HARM_LEVELS)


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a program would say of a prompt."""

    prompt: Prompt
    harm: int
    probability: float
    """Of this level among all levels, 0 to 1."""
    principle: str | None


def propose(labelled: Sequence[Prompt], unlabelled: Sequence[Prompt], seed: int) -> list[Proposal]:
    """One a prompt, the least certain first: there a person's minute is worth most."""
    if not unlabelled:
        return []
    texts = [_said(prompt) for prompt in unlabelled]
    reader = _reader(labelled, seed)
    shares = reader.predict_proba(texts)
    principles = _principles(labelled, texts, seed)
    best = shares.argmax(axis=1)
    made = [
        Proposal(p, int(reader.classes_[k]), float(row[k]), principle)
        for p, row, k, principle in zip(unlabelled, shares, best, principles, strict=True)
    ]
    return sorted(made, key=lambda proposal: proposal.probability)


def audit(labelled: Sequence[Prompt], seed: int) -> Agreement:
    """How far proposals agree with people, on prompts that were held out. Value None: too little to tell."""
    groups = [prompt.cluster for prompt in labelled]
    people, proposed = [], []
    for fold in _folds(groups, seed):
        held = [p for p, g in zip(labelled, groups, strict=True) if g in fold]
        rest = [p for p, g in zip(labelled, groups, strict=True) if g not in fold]
        if held and len({p.harm for p in rest}) > 1:
            people += held
            proposed += [str(level) for level in _reader(rest, seed).predict([_said(p) for p in held])]
    if not people:
        return Agreement(None, 0)
    told = tuple(str(p.harm) for p in people)
    return quadratic_kappa(Ratings(told, tuple(proposed), tuple(p.cluster for p in people), LEVELS))


def _reader(labelled: Sequence[Prompt], seed: int) -> bagofwords.Reader:
    levels = [prompt.harm for prompt in labelled]
    if len(set(levels)) < 2:
        raise DataError(
            f"{len(levels)} labelled prompts of {len(set(levels))} harm levels are too little to learn from; "
            "label some of two levels by hand first"
        )
    return bagofwords.fitted([_said(prompt) for prompt in labelled], levels, seed)


def _principles(labelled: Sequence[Prompt], texts: Sequence[str], seed: int) -> Sequence[str | None]:
    known = [prompt for prompt in labelled if prompt.principle is not None]
    if len({prompt.principle for prompt in known}) < 2:
        return [None] * len(texts)
    reader = bagofwords.fitted([_said(p) for p in known], [p.principle for p in known], seed)
    return [str(principle) for principle in reader.predict(texts)]


def _folds(groups: Sequence[str], seed: int) -> list[set[str]]:
    names = np.random.default_rng(seed).permutation(sorted(set(groups)))
    return [set(names[start::FOLDS]) for start in range(FOLDS)]


def _said(prompt: Prompt) -> str:
    return "\n".join(message.text for message in prompt.messages)
