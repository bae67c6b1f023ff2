"""The synthetic clinic's words, ``templates/clinic.yaml``, and what is true of its drugs.

It stands in kernel because a data set tells of the clinic, and a judge and a metric look for what it told.
"""

import random
from functools import cache
from typing import Any

import yaml

from bedside.kernel.templates import source

AMOUNTS = range(11, 99)


@cache
def words() -> dict[str, Any]:
    """The lexicon. Shared by every caller: read it, never change it."""
    lexicon: dict[str, Any] = yaml.safe_load(source("clinic.yaml"))
    return lexicon


def payload(drug: str) -> tuple[str, str]:
    """Amount and carrier of ``drug``: a fact of the clinic, whatever the seed and whoever asks."""
    rng = random.Random(f"payload {drug}")
    return f"{rng.choice(AMOUNTS)} {words()['unit']}", rng.choice(words()["carriers"])
