"""Right-padded batches: for models that cannot be packed, and as the standard that packing is compared with.

Padding is masked and enters no sum. S counts sequences, T tokens of the longest, V words of the vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MAX_TOKENS = 8192
"""The most tokens of one forward pass, padding included: longest × count."""


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """``mask_ST`` is 1 at tokens and 0 at padding."""

    ids_ST: Tensor
    mask_ST: Tensor


def pad(sequences: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> PaddedBatch:
    """``sequences`` filled up with ``pad_id`` on the right."""
    lengths_S = torch.tensor([len(sequence) for sequence in sequences])
    ids_ST = torch.full((len(sequences), int(lengths_S.max())), pad_id, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids_ST[row, : len(sequence)] = torch.tensor(sequence)
    mask_ST = (torch.arange(ids_ST.shape[1]) < lengths_S[:, None]).long()
    return PaddedBatch(ids_ST.to(device), mask_ST.to(device))


def padded_logits(model: Any, sequences: Sequence[Sequence[int]], positions: Sequence[range], pad_id: int) -> Tensor:
    """Logits at the ``positions`` of each sequence, one sequence after the other: (N, V), fp32, N positions in all."""
    batch = pad(sequences, pad_id, model.device)
    logits_STV = model(input_ids=batch.ids_ST, attention_mask=batch.mask_ST, use_cache=False).logits
    rows_N = torch.tensor([row for row, places in enumerate(positions) for _ in places], device=logits_STV.device)
    columns_N = torch.tensor([place for places in positions for place in places], device=logits_STV.device)
    logits_NV: Tensor = logits_STV[rows_N, columns_N].float()
    return logits_NV


def split_by_padded_size(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices, shortest first, in lists whose padded size is at most ``max_tokens``, or that hold one longer row."""
    batch: list[int] = []
    longest = 0
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        longest = max(longest, lengths[index])
        if batch and longest * (len(batch) + 1) > max_tokens:
            yield batch
            batch, longest = [], lengths[index]
        batch.append(index)
    if batch:
        yield batch
