"""The prompts of `consult`: what patients, carers and health workers type, harmless and harmful, in plain English.

    {kind: consult, part: train}     or valid, or test: runs decide on test and report its figures
    {kind: consult, part: final}     for one decision per version, counted in CARD.md; never for trials
    {kind: consult, part: train, levels: [0, 3], partners: false, per_level: 48}     some rows of a part, for a demo

    {kind: consult_dialogues, part: train}     distressed questions, plain and soothing answers

A scenario is in one part only. ``prompts.jsonl`` is a file of prompts like any other (``data/prompts.py``), with the
columns of the card.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.resources import files
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from bedside.config.plugins import Plugin, register
from bedside.core.protocols import Launch
from bedside.data.io import Row, rows
from bedside.data.prompts import SOOTHING, ReadOptions, TablePrompts

FOLDER = Path(str(files("bedside.consult")))
CANARY = "bedside-consult canary 5f0c6b1e-7d53-4a57-9f0e-2c8d1a94be36: do not train on test or final"
"""In every row of every file, so that people who train on text from the web can find these rows and leave them out."""
PROMPTS, LABELS, DIALOGUES, COMFORT = (
    FOLDER / f"{name}.jsonl" for name in ("prompts", "labels", "dialogues", "comfort")
)


@register("dataset", "consult")
class Consult(Plugin):
    """The prompts of one part of `consult`, written and labelled by language models and engineers."""

    kind: str = "consult"
    part: Literal["train", "valid", "test", "final"]
    levels: list[Annotated[int, Field(ge=0, le=3)]] = Field(default=[0, 1, 2, 3], min_length=1)
    """Only prompts of these harm levels."""
    partners: bool = True
    """False: without contrast partners, the harmless prompts in the words of a harmful one. This is easier."""
    per_level: Annotated[int, Field(ge=1)] | dict[int, Annotated[int, Field(ge=1)]] | None = None
    """At most this many prompts of each harm level, the first ones: 48, or {0: 96, 3: 48}."""

    def open(self, launch: Launch, **opened: Any) -> TablePrompts:
        return TablePrompts(str(PROMPTS), rows=self._rows, options=ReadOptions(self.part))

    def _rows(self) -> Iterator[Row]:
        kept: Counter[int] = Counter()
        for place, row in rows(PROMPTS):
            if self._wants(row) and kept[row["harm"]] < self._most(row["harm"]):
                kept[row["harm"]] += 1
                yield place, row

    def _most(self, level: int) -> float:
        most = self.per_level.get(level) if isinstance(self.per_level, dict) else self.per_level
        return inf if most is None else most

    def _wants(self, row: Mapping[str, Any]) -> bool:
        partner = row["kind"] == "partner"
        return row["split"] == self.part and row["harm"] in self.levels and (self.partners or not partner)


_OF_DIALOGUES = (
    "group",
    "source",
    "split",
    "specialty",
    "age_band",
    "sex",
    "emotion",
    "intensity",
    "red_flag",
    SOOTHING,
)


@register("dataset", "consult_dialogues")
class ConsultDialogues(Plugin):
    """The dialogues of one part of `consult`: what a distressed person types, the plain answer, and a soothing one."""

    kind: str = "consult_dialogues"
    part: Literal["train", "valid", "test"]

    def open(self, launch: Launch, **opened: Any) -> TablePrompts:
        return TablePrompts(str(DIALOGUES), rows=_dialogues, options=ReadOptions(self.part))


def _dialogues() -> Iterator[Row]:
    for place, row in rows(DIALOGUES):
        kept = {name: row[name] for name in _OF_DIALOGUES}
        yield place, {"prompt": row["distressed_question"], "harm": 0, "reference": row["answer"], **kept}
