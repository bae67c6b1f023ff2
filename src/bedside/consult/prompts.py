"""The prompts of `consult`: what patients, carers and health workers type, harmless and harmful, in plain English.

    {kind: consult, part: train}     train, valid; test decides runs and gives their figures
    {kind: consult, part: final}     for one decision a version, counted in CARD.md; never for trying things out

A scenario is in one part only. ``prompts.jsonl`` is a file of prompts like any other (``data/prompts.py``), with the
columns of the card.
"""

from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from bedside.config.plugins import Plugin, register
from bedside.core.protocols import Launch
from bedside.data.io import rows
from bedside.data.prompts import ReadOptions, TablePrompts

FOLDER = Path(str(files("bedside.consult")))
CANARY = "bedside-consult canary 5f0c6b1e-7d53-4a57-9f0e-2c8d1a94be36: do not train on test or final"
"""In every row of every file: whoever trains on text from the web can find and leave them out."""
PROMPTS, LABELS, DIALOGUES = (FOLDER / f"{name}.jsonl" for name in ("prompts", "labels", "dialogues"))


@register("dataset", "consult")
class Consult(Plugin):
    """The prompts of one part of `consult`, written and labelled by language models and engineers."""

    kind: str = "consult"
    part: Literal["train", "valid", "test", "final"]

    def open(self, launch: Launch, **opened: Any) -> TablePrompts:
        return TablePrompts(str(PROMPTS), rows=partial(rows, PROMPTS, split=self.part), options=ReadOptions(self.part))
