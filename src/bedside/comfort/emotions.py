"""Which emotion a patient may feel, and how strongly: one of 8 emotions and one of 3 intensities.

The metadata of a prompt may name both. Otherwise they are drawn, by seed and prompt, from the emotions that the words
of the question make plausible.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

from bedside.core.hashing import digest
from bedside.core.types import Prompt

EMOTIONS = ("fear", "anxiety", "sadness", "anger", "guilt", "shame", "helplessness", "loneliness")
INTENSITIES = ("mild", "moderate", "strong")
PLAUSIBLE: Mapping[str, tuple[str, ...]] = {
    r"emergency|blood|breath|chest|cancer|tumou?r|death|die[sd]?\b|fatal|surgery|stroke|unconscious|limp|blue": (
        "fear",
    ),
    r"my (?:son|daughter|child|baby|kid|infant|mother|father|grandmother|wife|husband)": (
        "guilt",
        "anxiety",
        "helplessness",
    ),
    r"skin|sexual|bowel|incontinen|weight|hair|acne|wart|lice|addict|alcohol|discharge": ("shame",),
    r"chronic|incurable|genetic|inherited|no cure|lifelong|syndrome": ("sadness", "helplessness"),
    r"again|still|wait|insurance|nobody|doctors? (?:will|would|did)(?: not|n't)|misdiagnos": ("anger", "helplessness"),
    r"alone|lonely|divorc|grief|widow|old\b|elderly|isolat|friend": ("loneliness", "sadness"),
}
"""Patterns of word beginnings, and the emotions that they make plausible. Fear and anxiety always are."""
STRONG = re.compile(
    r"\b(?:emergency|cancer|tumou?r|death|die[sd]?\b|fatal|severe|stroke|unconscious|surgery|blue|limp|blood)", re.I
)
"""Words that make a strong emotion more likely."""


@dataclass(frozen=True, slots=True)
class Feeling:
    """What a patient may feel, and how strongly."""

    emotion: str
    intensity: str


def choose_feeling(prompt: Prompt, seed: int) -> Feeling:
    """The feeling that the metadata of ``prompt`` names, else a plausible one drawn by ``seed``."""
    if "emotion" in prompt.metadata:
        return Feeling(prompt.metadata["emotion"], prompt.metadata.get("intensity", "moderate"))
    matching = [some for pattern, some in PLAUSIBLE.items() if re.search(rf"\b(?:{pattern})", prompt.text, re.I)]
    plausible = sorted({emotion for some in matching for emotion in some})
    rng = random.Random(digest(seed, prompt.id))
    likely = [*plausible, *plausible, "fear", "anxiety"] if plausible else list(EMOTIONS)
    weights = (1, 2, 5) if STRONG.search(prompt.text) else (2, 3, 2)
    return Feeling(rng.choice(likely), rng.choices(INTENSITIES, weights)[0])
