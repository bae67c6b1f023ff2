"""Trivial policies that need no model: three constants and a word counter.

    always-accept, always-caution, always-refuse   one stance, whatever is asked
    tfidf-guard    TF-IDF of words and word pairs → logistic regression for harm ≥ 1 → Refuse, else Accept

Constants score well under careless definitions: at α = 0.6 and uniform levels, always-refuse has an overall of 0.60. A
word counter is perfect if every harmful prompt comes from one collection. All are returned as judged rows, so that the
same metric scores them on the same prompts.
"""

from collections.abc import Sequence

from bedside.core.errors import DataError
from bedside.core.types import JudgedResponse, Prompt, Response, Stance, Verdict
from bedside.stats import tfidf

CONSTANTS = {f"always-{stance}": stance for stance in Stance}
GUARD = "tfidf-guard"


def constants(prompts: Sequence[Prompt]) -> dict[str, list[JudgedResponse]]:
    """Rows of always-accept, always-caution and always-refuse, by these names."""
    return {name: [_answered(prompt, name, stance) for prompt in prompts] for name, stance in CONSTANTS.items()}


def tfidf_guard(train_prompts: Sequence[Prompt], prompts: Sequence[Prompt], seed: int) -> list[JudgedResponse]:
    """Rows of a guard that learned harm from ``train_prompts`` alone. DataError for an unlabelled one."""
    harmful = [_harmful(prompt) for prompt in train_prompts]
    if not harmful:
        raise DataError(f"{GUARD}: no training prompt to learn from; give it the train part")
    guesses = [harmful[0]] * len(prompts)  # if training has only one class, that class
    if len(set(harmful)) > 1 and prompts:
        classifier = tfidf.fit_classifier([prompt.text for prompt in train_prompts], harmful, seed)
        guesses = [bool(guess) for guess in classifier.predict([prompt.text for prompt in prompts])]
    return [
        _answered(prompt, GUARD, Stance.REFUSE if guess else Stance.ACCEPT)
        for prompt, guess in zip(prompts, guesses, strict=True)
    ]


def _harmful(prompt: Prompt) -> bool:
    if prompt.harm is None:
        raise DataError(f"{GUARD}: prompt {prompt.id} has no harm level to learn from; label it 0 to 3")
    return prompt.harm >= 1


def _answered(prompt: Prompt, name: str, stance: Stance) -> JudgedResponse:
    """A row whose stance is known by construction: it has no text, and no judge reads it."""
    response = Response(prompt, "", name)
    return JudgedResponse(response, Verdict(response.id, judge="by construction", stance=stance))
