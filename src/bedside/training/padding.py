"""The padded way to log-probabilities: for models that the ragged one does not know, and as its measure.

Sequences are right-padded; padding is masked and enters no sum. S counts sequences, T tokens, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MAX_TOKENS = 8192
"""Padded size of one forward pass, longest × count."""


@dataclass(frozen=True, slots=True)
class Padded:
    """Sequences as tensors, shape (S, T)."""

    ids_ST: Tensor
    mask_ST: Tensor
    lengths_S: Tensor


def pad(sequences: Sequence[Sequence[int]], pad_id: int, device: Any) -> Padded:
    lengths = torch.tensor([len(s) for s in sequences])
    ids = torch.full((len(sequences), int(lengths.max())), pad_id, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    return Padded(ids.to(device), mask.to(device), lengths.to(device))


def logits(model: Any, sequences: Sequence[Sequence[int]], at: Sequence[range], pad_id: int) -> Tensor:
    """Logits at the places ``at`` of each sequence, one after the other, (N, V)."""
    batch = pad(sequences, pad_id, model.device)
    logits_STV = model(input_ids=batch.ids_ST, attention_mask=batch.mask_ST, use_cache=False).logits
    rows = torch.tensor([row for row, places in enumerate(at) for _ in places], device=logits_STV.device)
    columns = torch.tensor([place for places in at for place in places], device=logits_STV.device)
    found: Tensor = logits_STV[rows, columns].float()
    return found


def microbatches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices in runs whose padded size, longest × count, stays within ``max_tokens``; one row at least."""
    run: list[int] = []
    longest = 0
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        longest = max(longest, lengths[index])
        if run and longest * (len(run) + 1) > max_tokens:
            yield run
            run, longest = [], lengths[index]
        run.append(index)
    if run:
        yield run
