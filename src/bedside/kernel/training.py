"""The tables that say what is done: how answers are drawn, what is trained, how dialogues are rewritten.

[summary] marks a default from a secondary summary of arXiv 2512.04210, as in ``schema``.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from bedside.kernel import words
from bedside.kernel.keys import Around, Count, Positive
from bedside.kernel.registry import Slot, Table


class Generate(Table):
    """How answers are drawn."""

    max_new_tokens: Count = 256
    """An answer is cut after this many tokens."""
    temperature: float = Field(0.0, ge=0)
    """0 is greedy [summary: the policy answers greedily]."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Sample from the smallest set of tokens with this probability. 1 is all of them."""
    batch_size: Count = 16
    """Conversations answered together."""


class Step(Around):
    """One training stage: the keys of an objective, and its learning rate."""

    objective: Annotated[Any, Slot("objective")] = Field(alias=words.INLINE)
    """What is minimised. Its keys stand in this table, ``kind`` (sft, kto or dpo) first."""
    learning_rate: float = Field(5.0e-6, ge=0)
    """Peak learning rate. Each stage has its own [summary]; the value is ours. 0 is a control: nothing may change."""


class Lora(Table):
    """The adapter that is trained."""

    r: Count = 16
    """Rank."""
    alpha: Positive = 32
    """Updates are scaled by alpha / r."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout before the adapter. Above 0, log-probabilities while training differ from those at rest."""
    target_modules: str | list[str] = "all-linear"
    """Layers that get an adapter: all-linear, or a list of names."""


def _kto_then_dpo() -> list[Step]:
    return [Step.model_validate({"kind": "kto"}), Step.model_validate({"kind": "dpo"})]


class Align(Table):
    """The cycle: answer, judge, make preferences, train, compare."""

    judge: str = "self"
    """Key of ``judges``: who labels the training answers."""
    cycles: Count = 5
    """Upper limit; a gate may stop earlier [summary]."""
    objectives: list[Literal["safety", "comfort"]] = Field(["safety"], min_length=1)
    """What is aligned. With comfort, pairs of warm and cold right answers mix into each cycle's preferences."""
    train: list[Step] = Field(default_factory=_kto_then_dpo, min_length=1)
    """Training stages of a cycle, in order: KTO, then DPO [summary]. An SFT imitates every right answer of the cycle,
    observed or steered and verified."""
    lora: Lora = Lora()
    """The adapter."""
    reference: Literal["stage-start", "base"] = "stage-start"
    """Whose log-probabilities anchor a stage: the policy when it began, or the target as given."""
    candidates: Literal["chain", "all"] = "chain"
    """chain: before, after KTO, after KTO and DPO. all: also DPO alone from the cycle's start."""
    half: Literal["unwanted", "drop"] = "unwanted"
    """What KTO makes of an answer with safety score 0.5."""
    kto_min_class: Count = 32
    """KTO is skipped, loudly, when fewer rows than this are wanted or are unwanted. A harm level with fewer wanted
    (or unwanted) answers than this gets steered ones that the judge verified."""
    kto_min_share: float = Field(0.25, ge=0, le=0.5)
    """The same, as a share of the level's answers: a tenth of verdicts that are wrong does not stand for a class.
    0 is off."""
    epochs: Count = 1
    """Passes over the rows of a stage [summary]."""
    batch_size: Count = 32
    """Rows of one optimizer step; KTO's z is averaged over them."""
    max_tokens_per_microbatch: Count = 8192
    """Memory: an optimizer batch is cut into pieces of at most this many tokens. Results do not change."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls."""
    warmup_ratio: float = Field(0.0, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's."""
    max_grad_norm: Positive = 1.0
    """Gradients are clipped to this norm."""
    save_steps: Count = 50
    """A killed run repeats at most this many optimizer steps."""


class Rewrite(Table):
    """How dialogues are rewritten, and what is kept of them."""

    model: Annotated[Any, Slot("model", "target")] = "target"
    """Who writes: a model, or the target as given."""
    parts: Literal["question", "answer", "both"] = "both"
    """What is rewritten. A question whose facet ``emotion`` says what it shows is left as it is."""
    judge: Annotated[Any, Slot("judge")] = Field(default={"kind": "emotion"}, validate_default=True)
    """Who must recognise the emotion in a rewritten question."""
    least: float = Field(0.8, gt=0)
    """Shortest rewrite, as a share of its source's words."""
    most: float = Field(1.6, gt=0)
    """Longest rewrite, as a share of its source's words, beside ``room``."""
    room: Count = 60
    """Words a rewrite may have beyond ``most``: for the comfort around a short answer."""
    max_words: Count = 400
    """Answers longer than this are left out, and counted."""
    wrong: bool = True
    """Hard negatives: warm, with one fact changed."""
    cold: bool = True
    """Hard negatives: right, in a voice that does not care."""


def _three_steps() -> list[Step]:
    return [Step.model_validate({"kind": kind}) for kind in ("sft", "kto", "dpo")]


class Comfort(Table):
    """What `bedside comfort` does with the dialogues in ``data``."""

    rewrite: Rewrite = Field(default_factory=Rewrite)
    """How they are rewritten."""
    judge: Annotated[Any, Slot("judge")] = Field(default={"kind": "comfort"}, validate_default=True)
    """Who rates comfort on valid and test; in the joined loop also, which answers of a cycle are kind already."""
    train: list[Step] = Field(default_factory=_three_steps, min_length=1)
    """One training each, from the same base, on the same rows, within the same budget; each objective once."""
    rates: list[Positive] = Field(default_factory=lambda: [1.0], min_length=1)
    """Learning rates tried for each, as multiples of its own; valid chooses. The same number for all."""
    start: Literal["base", "sft"] = "base"
    """Where all trainings begin: at the target as given, or after one SFT that they share."""
    start_rounds: Count = 1
    """How often that shared SFT is run, each time from where the last one ended, its learning rate rising and falling
    anew."""
    start_learning_rate: Positive | None = None
    """The shared SFT's. None: that of the SFT that is compared."""
    scale: float = Field(1.0, gt=0, le=1)
    """How far each goes from the target as given to what was trained, in weights. Part of the way keeps more of what
    the target knows (WiSE-FT, arXiv 2109.01903)."""

    @field_validator("train")
    @classmethod
    def _once(cls, steps: list[Step]) -> list[Step]:
        kinds = [step.objective.kind for step in steps]
        twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if twice:
            raise ValueError(
                f"{', '.join(twice)} stands twice; models are named by their objective: compare in two runs"
            )
        return steps
