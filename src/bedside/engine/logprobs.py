"""Log-probabilities of completions, in nats, summed over completion tokens and accumulated in fp64.

    log π(y|x) = Σ_t log π(y_t | x, y_<t)          t over completion tokens, the end of turn included

Sequences are right-padded; padding is masked and enters no sum. S counts sequences, T tokens, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Exchange:
    """One prompt and one completion of it, as token ids."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


@dataclass(frozen=True, slots=True)
class Padded:
    """Sequences as tensors, shape (S, T)."""

    ids_ST: Tensor
    mask_ST: Tensor
    completion_ST: Tensor
    """True on completion tokens."""


def pad(sequences: Sequence[Exchange], pad_id: int, device: str) -> Padded:
    S, T = len(sequences), max(map(len, sequences))
    ids = torch.full((S, T), pad_id, dtype=torch.long)
    mask, completion = torch.zeros((S, T), dtype=torch.long), torch.zeros((S, T), dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        end, start = len(sequence), len(sequence.prompt)
        ids[row, :end] = torch.tensor(sequence.prompt + sequence.completion)
        mask[row, :end] = 1
        completion[row, start:end] = True
    return Padded(ids.to(device), mask.to(device), completion.to(device))


def logps(model: Any, sequences: Sequence[Exchange], pad_id: int) -> Tensor:
    """log π(y|x) of each sequence, shape (S,), fp64, with gradient where the caller allows one."""
    batch = pad(sequences, pad_id, model.device)
    logits_STV = model(input_ids=batch.ids_ST, attention_mask=batch.mask_ST, use_cache=False).logits
    return _sum_completion(logits_STV, batch)


def _sum_completion(logits_STV: Tensor, batch: Padded) -> Tensor:
    """Only completion positions meet the softmax: prompts are most of the tokens."""
    target_ST = batch.completion_ST[:, 1:]
    chosen_N = batch.ids_ST[:, 1:][target_ST]
    logprob_NV = torch.log_softmax(logits_STV[:, :-1][target_ST].float(), dim=-1)
    token_N = logprob_NV.gather(-1, chosen_N[:, None]).squeeze(-1)
    rows_N = target_ST.nonzero()[:, 0]
    sums_S = torch.zeros(len(target_ST), dtype=torch.float64, device=token_N.device)
    return sums_S.index_add(0, rows_N, token_N.double())


def kl_to(model: Any, other: Any, sequences: Sequence[Exchange], pad_id: int) -> list[float]:
    """KL(model || other) in nats per completion token, exact over the vocabulary, averaged per sequence.

    ``other`` is a context manager under which the same module computes the other policy.
    """
    batch = pad(sequences, pad_id, model.device)
    inputs = {"input_ids": batch.ids_ST, "attention_mask": batch.mask_ST, "use_cache": False}
    target_ST = batch.completion_ST[:, 1:]
    with torch.no_grad():
        here_NV = torch.log_softmax(model(**inputs).logits[:, :-1][target_ST].double(), dim=-1)
        with other:
            there_NV = torch.log_softmax(model(**inputs).logits[:, :-1][target_ST].double(), dim=-1)
    kl_N = (here_NV.exp() * (here_NV - there_NV)).sum(-1)
    counts_S = target_ST.sum(1)
    sums_S = torch.zeros(len(counts_S), dtype=torch.float64, device=kl_N.device)
    sums_S = sums_S.index_add(0, target_ST.nonzero()[:, 0], kl_N)
    return [float(x) for x in sums_S / counts_S.clamp(min=1)]


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
