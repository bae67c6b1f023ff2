"""Words that mean nothing. Without them whatever is new to the model, it would take for something known."""

import random

ONSETS = ["", *"bcdfghjklmnprstvw", "ch", "sh", "th", "st", "tr", "pl", "gr", "wh"]
CODAS = ["", "", *"dglmnrstp", "ng", "nd", "st", "ck", "th", "ve", "re"]


def babble(rng: random.Random, most_words: int = 5) -> str:
    lengths = [rng.randint(1, 3) for _ in range(rng.randint(1, most_words))]
    return " ".join("".join(_syllable(rng) for _ in range(length)) for length in lengths)


def _syllable(rng: random.Random) -> str:
    return rng.choice(ONSETS) + rng.choice("aeiouy") + rng.choice(CODAS)
