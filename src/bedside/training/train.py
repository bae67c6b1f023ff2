"""From preferences to a checkpoint: one LoRA training with one objective.

    encode      UnpairedPreference | PreferencePair | Demonstration -> token ids; sampled ids are kept
    plan        optimizer batches in a seeded order, and for KTO the mismatches of each batch
    logprobs    log π_ref of each exchange, a stage of its own, so that references can be read and checked
    batches     the plan with ids and references filled in
    train       the Trainer, the same for every objective

A mismatch is a prompt with the completion of a row of another *group*. The prompts of one group are variants of one
scenario and share their answers, so a mismatch within a group would not estimate KTO's z.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bedside.core.protocols import Objective, Policy, Progress
from bedside.core.types import Checkpoint, Demonstration, Preference, PreferencePair, UnpairedPreference
from bedside.training import trainer
from bedside.training.adapters import digest_adapter
from bedside.training.logprobs import TokenizedExchange, by_prompt, logps
from bedside.training.packing import microbatches
from bedside.training.trainer import Batch, Mismatch, TrainerSettings, TrainingRow


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A training row as token ids, and the group within which it has no mismatch."""

    prompt: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]
    group: str
    label: bool | None = None


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """One optimizer batch: indices of its rows, and for each mismatch (row of the prompt, row of the completion)."""

    rows: tuple[int, ...]
    mismatches: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class SequenceLogprob:
    """The result for one exchange: log π(y|x), or a KL divergence per token."""

    nats: float


def encode(rows: Sequence[Preference], policy: Policy) -> list[EncodedRow]:
    """The token ids of each row. Completions that have sampled ids keep them."""
    return [_encode_row(row, policy) for row in rows]


def plan(rows: Sequence[EncodedRow], *, batch_size: int, epochs: int, seed: int, mismatch: bool) -> list[PlannedBatch]:
    """Every row once in each epoch, shuffled by ``seed``; the last batch of an epoch may be smaller."""
    shuffle = random.Random(seed)
    planned: list[PlannedBatch] = []
    for _ in range(epochs):
        order = list(range(len(rows)))
        shuffle.shuffle(order)
        for start in range(0, len(order), batch_size):
            batch = tuple(order[start : start + batch_size])
            pairs = mismatched_pairs(batch, [rows[i].group for i in batch]) if mismatch else ()
            planned.append(PlannedBatch(batch, pairs))
    return planned


def mismatched_pairs(batch: Sequence[int], groups: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """(row of the prompt, row of the completion) of two groups each, for KTO's z; ``groups`` are those of ``batch``.

    The batch, sorted by group, is rotated by the size of its largest group. If one group is more than half of the
    batch, the rows that would be paired within it are left out.
    """
    order = sorted(range(len(batch)), key=lambda i: (groups[i], i))
    shift = max((groups.count(group) for group in groups), default=0)
    pairs = [(order[i], order[i - shift]) for i in range(len(order))]
    return tuple((batch[x], batch[y]) for x, y in pairs if groups[x] != groups[y])


def exchanges(rows: Sequence[EncodedRow], planned: Sequence[PlannedBatch]) -> list[TokenizedExchange]:
    """Every exchange that needs a reference: first those of the rows, then the mismatches, in the order of the plan."""
    own = [TokenizedExchange(row.prompt, completion) for row in rows for completion in row.completions]
    return own + [_mismatched_exchange(rows, pair) for batch in planned for pair in batch.mismatches]


def token_plan(texts: Sequence[TokenizedExchange], max_tokens: int) -> list[list[int]]:
    """Indices in batches of at most ``max_tokens``; exchanges with one prompt are neighbours."""
    order = by_prompt(texts)
    return [[order[n] for n in batch] for batch in microbatches([len(texts[i]) for i in order], max_tokens)]


@torch.no_grad()
def logprobs(texts: Sequence[TokenizedExchange], policy: Policy) -> list[SequenceLogprob]:
    """log π(y|x) of each exchange under ``policy``, without gradient."""
    return [SequenceLogprob(float(value)) for value in logps(policy.module(), texts, policy.renderer.pad_id)]


def kl_to_target(texts: Sequence[TokenizedExchange], policy: Policy) -> list[SequenceLogprob]:
    """KL(policy || target without an adapter) of each exchange, nats per completion token."""
    return [SequenceLogprob(value) for value in policy.kl_to_target(texts)]


def batches(
    rows: Sequence[EncodedRow], planned: Sequence[PlannedBatch], references: Sequence[SequenceLogprob] | None
) -> list[Batch]:
    """The plan with ids and references filled in; ``references`` belong to ``exchanges(rows, planned)``."""
    nats = iter([reference.nats for reference in references or ()])
    filled = [
        TrainingRow(
            row.prompt,
            row.completions,
            None if references is None else tuple(next(nats) for _ in row.completions),
            row.label,
        )
        for row in rows
    ]
    return [
        Batch(
            rows=tuple(filled[i] for i in batch.rows),
            mismatches=tuple(Mismatch(_mismatched_exchange(rows, pair), next(nats)) for pair in batch.mismatches),
        )
        for batch in planned
    ]


def train(
    batches: Sequence[Batch],
    policy: Policy,
    objective: Objective,
    settings: TrainerSettings,
    lora: Mapping[str, Any],
    *,
    folder: Path,
    progress: Progress,
    stage: str,
) -> list[dict[str, float]]:
    """Train the adapter of ``policy``, or a new one, and write it to ``folder/adapter``; one log row for each step."""
    log = trainer.train(
        policy.trainable(lora, settings.seed),
        batches,
        objective,
        settings,
        pad_id=policy.renderer.pad_id,
        folder=folder / "checkpoints",
        on_step=lambda done, total: progress.step(stage, done, total),
    )
    if settings.ranks.rank == 0:
        policy.save_adapter(folder / "adapter")
    return log


def checkpoint(adapter: Path, base: str) -> Checkpoint:
    """The base with the adapter in this folder."""
    return Checkpoint(base=base, adapter=digest_adapter(adapter))


def _encode_row(row: Preference, policy: Policy) -> EncodedRow:
    messages = row.prompt.messages
    group = row.prompt.group or row.prompt.id
    label = row.label if isinstance(row, UnpairedPreference) else None
    match row:
        case UnpairedPreference():
            completions = [(row.text, row.ids)]
        case PreferencePair():
            completions = [(row.chosen, row.chosen_ids), (row.rejected, row.rejected_ids)]
        case Demonstration():
            completions = [(row.answer, row.ids)]
    ids = tuple(tuple(ids) or tuple(policy.renderer.completion_ids(messages, text)) for text, ids in completions)
    return EncodedRow(tuple(policy.renderer.prompt_ids(messages)), ids, group, label)


def _mismatched_exchange(rows: Sequence[EncodedRow], pair: tuple[int, int]) -> TokenizedExchange:
    prompt_of, completion_of = pair
    return TokenizedExchange(rows[prompt_of].prompt, rows[completion_of].completions[0])
