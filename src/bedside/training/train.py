"""Preferences in, a checkpoint out: one LoRA training of one objective.

    encode      Thumb | Pair | Dialogue -> token ids; sampled ids as they are, text from files tokenised once
    plan        optimizer batches in a seeded order, and for KTO who is mismatched with whom
    logprobs    log π_ref of every exchange, a stage of its own: a wrong reference is data that can be read
    train       the Trainer, through the one seam

A mismatch pairs a prompt with a completion of another *group*: neighbours of one scenario share their answers,
and would make z measure something else.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bedside.core.protocols import Objective, Policy, Progress
from bedside.core.types import Checkpoint, Conversation, Dialogue, Pair, Preference, Thumb
from bedside.training import trainer
from bedside.training.adapters import digest_adapter
from bedside.training.logprobs import Exchange, by_prompt, logps, microbatches
from bedside.training.trainer import Batch, Mismatch, Row, Schedule


@dataclass(frozen=True, slots=True)
class Encoded:
    """A training row as token ids, and the group it may not be mismatched with."""

    prompt: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]
    group: str
    wanted: bool | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """One optimizer batch: indices of rows, and (prompt of, completion of) for z."""

    rows: tuple[int, ...]
    mismatches: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Nats:
    """What one exchange came out as: log π(y|x), or a KL per token."""

    nats: float


def encode(rows: Sequence[Preference], policy: Policy) -> list[Encoded]:
    return [_encode(row, policy) for row in rows]


def plan(rows: Sequence[Encoded], *, batch_size: int, epochs: int, seed: int, mismatch: bool) -> list[Planned]:
    """Every row once an epoch, shuffled by ``seed``; the last batch of an epoch may be smaller."""
    shuffle = random.Random(seed)
    planned: list[Planned] = []
    for _ in range(epochs):
        order = list(range(len(rows)))
        shuffle.shuffle(order)
        for start in range(0, len(order), batch_size):
            batch = tuple(order[start : start + batch_size])
            pairs = _mismatches(batch, [rows[i].group for i in batch]) if mismatch else ()
            planned.append(Planned(batch, pairs))
    return planned


def exchanges(rows: Sequence[Encoded], planned: Sequence[Planned]) -> list[Exchange]:
    """Every exchange that needs a reference: each row's own, then each mismatch, in the order of the plan."""
    own = [Exchange(row.prompt, completion) for row in rows for completion in row.completions]
    return own + [_crossed(rows, pair) for batch in planned for pair in batch.mismatches]


def token_plan(texts: Sequence[Exchange], max_tokens: int) -> list[list[int]]:
    """Batches of at most ``max_tokens``, those with one prompt beside one another."""
    order = by_prompt(texts)
    return [[order[i] for i in run] for run in microbatches([len(texts[i]) for i in order], max_tokens)]


def logprobs(texts: Sequence[Exchange], policy: Policy) -> list[Nats]:
    """log π(y|x) of each exchange under ``policy``, no gradient."""
    with torch.no_grad():
        values = logps(policy.module(), texts, policy.renderer.pad_id)
    return [Nats(float(value)) for value in values]


def kl_to_target(texts: Sequence[Exchange], policy: Policy) -> list[Nats]:
    """KL(policy || target as given) of each exchange, nats per completion token."""
    return [Nats(value) for value in policy.kl_to_target(texts)]


def batches(rows: Sequence[Encoded], planned: Sequence[Planned], references: Sequence[Nats] | None) -> list[Batch]:
    """The plan with ids and references filled in, as the trainer takes it."""
    nats = iter([r.nats for r in references] if references is not None else [])
    filled = [_row(row, nats if references is not None else None) for row in rows]
    return [
        Batch(
            rows=tuple(filled[i] for i in batch.rows),
            mismatches=tuple(Mismatch(_crossed(rows, pair), next(nats)) for pair in batch.mismatches),
        )
        for batch in planned
    ]


def train(
    todo: Sequence[Batch],
    policy: Policy,
    objective: Objective,
    schedule: Schedule,
    lora: Mapping[str, Any],
    *,
    folder: Path,
    progress: Progress,
    stage: str,
) -> list[dict[str, float]]:
    """Train ``policy``'s adapter (a fresh one where it has none) into ``folder/adapter``; one log row a step."""
    model = policy.trainable(lora, schedule.seed)
    log = trainer.train(
        model,
        todo,
        objective,
        schedule,
        pad_id=policy.renderer.pad_id,
        folder=folder / "checkpoints",
        on_step=lambda done, total: progress.step(stage, done, total),
    )
    if schedule.ranks.rank == 0:
        policy.save_adapter(folder / "adapter")
    return log


def checkpoint(adapter: Path, base: str) -> Checkpoint:
    """The policy that the adapter folder makes of ``base``."""
    return Checkpoint(base=base, adapter=digest_adapter(adapter))


def _encode(row: Preference, policy: Policy) -> Encoded:
    messages = row.prompt.messages
    group = row.prompt.group or row.prompt.id
    prompt = tuple(policy.renderer.prompt_ids(messages))
    match row:
        case Thumb():
            return Encoded(prompt, (_ids(row.text, row.ids, messages, policy),), group, row.wanted)
        case Pair():
            chosen = _ids(row.chosen, row.chosen_ids, messages, policy)
            return Encoded(prompt, (chosen, _ids(row.rejected, row.rejected_ids, messages, policy)), group)
        case Dialogue():
            return Encoded(prompt, (_ids(row.answer, row.ids, messages, policy),), group)


def _ids(text: str, ids: Sequence[int], messages: Conversation, policy: Policy) -> tuple[int, ...]:
    return tuple(ids) or tuple(policy.renderer.completion_ids(messages, text))


def _mismatches(batch: Sequence[int], groups: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Rotate the batch, sorted by group, past its largest group: every prompt meets another group's completion.

    Where one group is more than half of the batch, the rows that would meet themselves are left out of z.
    """
    order = sorted(range(len(batch)), key=lambda i: (groups[i], i))
    shift = max((groups.count(group) for group in groups), default=0)
    met = [(order[i], order[i - shift]) for i in range(len(order))]
    return tuple((batch[x], batch[y]) for x, y in met if groups[x] != groups[y])


def _crossed(rows: Sequence[Encoded], pair: tuple[int, int]) -> Exchange:
    prompt_of, completion_of = pair
    return Exchange(rows[prompt_of].prompt, rows[completion_of].completions[0])


def _row(row: Encoded, nats: Any) -> Row:
    reference = tuple(next(nats) for _ in row.completions) if nats is not None else None
    return Row(row.prompt, row.completions, reference, row.wanted)
