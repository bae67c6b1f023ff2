"""Log-probabilities of completions, in nats, summed over completion tokens and accumulated in fp64.

    log π(y|x) = Σ_t log π(y_t | x, y_<t)          t over completion tokens, the end of turn included

Completions of one prompt share it: prompts are read once, nothing is padded, and only completion positions meet
the LM head. S counts sequences, N completion tokens, V vocabulary.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bedside.core.distributed import Alone, Ranks, rejoin, share
from bedside.training import padding
from bedside.training.backbone import Body, body_of, pack_tokens
from bedside.training.lora_linear import at_rest
from bedside.training.packed_attention import Pack
from bedside.training.packing import cut, lay


@dataclass(frozen=True, slots=True)
class Exchange:
    """One prompt and one completion of it, as token ids."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)

    @property
    def ids(self) -> tuple[int, ...]:
        return self.prompt + self.completion

    @property
    def predicting(self) -> range:
        """Places whose next token is a completion token."""
        return range(len(self.prompt) - 1, len(self) - 1)


ALONE = Alone()


def logps(model: Any, sequences: Sequence[Exchange], pad_id: int, ranks: Ranks = ALONE) -> Tensor:
    """log π(y|x) of each sequence, shape (S,), fp64, with gradient where the caller allows one.

    Several ``ranks`` share the forward passes of one call: without gradient only.
    """
    body = body_of(model)
    runs = _runs(sequences, None if body is None else pack_tokens(model.device))
    with contextlib.nullcontext() if torch.is_grad_enabled() else at_rest():
        mine = [
            _padded_logps(model, some, pad_id) if body is None else _packed_logps(body, some)
            for some in ([sequences[i] for i in run] for run in share(ranks, runs))
        ]
    return _back(torch.cat(rejoin(ranks, mine)), [i for run in runs for i in run])


def by_prompt(sequences: Sequence[Exchange]) -> list[int]:
    """Indices in an order that makes neighbours of those with one prompt."""
    return sorted(range(len(sequences)), key=lambda i: (sequences[i].prompt, i))


def kl_to(model: Any, other: Any, sequences: Sequence[Exchange], pad_id: int) -> list[float]:
    """KL(model || other) in nats per completion token, exact over the vocabulary, averaged per sequence.

    ``other`` is a context manager under which the same module computes the other policy.
    """
    body = body_of(model)
    lengths_S = torch.tensor([len(s.completion) for s in sequences], device=model.device)
    with torch.no_grad():
        here = _states(model, body, sequences, pad_id)
        with other:
            there = _states(model, body, sequences, pad_id)
        kl_N = torch.cat(
            [_kl(body, one, two) for one, two in zip(torch.split(here, 64), torch.split(there, 64), strict=True)]
        )
    return [float(x) for x in _sum_by_sequence(kl_N, lengths_S) / lengths_S.clamp(min=1)]


def last_logprobs(model: Any, prompts: Sequence[Sequence[int]], tokens: Sequence[int], pad_id: int) -> Tensor:
    """log p(token | prompt) of each of ``tokens`` after each prompt, nats, (S, len(tokens)), fp64, no gradient.

    Neighbours that begin alike are read once: put a question's variants beside one another.
    """
    body = body_of(model)
    with torch.no_grad():
        if body is None:
            return _padded_last(model, prompts, tokens, pad_id)
        runs = cut(prompts, pack_tokens(model.device))
        return torch.cat([_packed_last(body, [prompts[i] for i in run], tokens) for run in runs])


def microbatches(sizes: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices in their order, in runs of at most ``max_tokens`` together; one row at least."""
    run: list[int] = []
    for index, size in enumerate(sizes):
        if run and sum(sizes[i] for i in run) + size > max_tokens:
            yield run
            run = []
        run.append(index)
    if run:
        yield run


def _runs(sequences: Sequence[Exchange], pack: int | None) -> list[list[int]]:
    """Which sequences meet in one forward pass of ``pack`` tokens: indices; padded where None."""
    if pack is None:
        return list(padding.microbatches([len(s) for s in sequences], padding.MAX_TOKENS))
    order = by_prompt(sequences)
    return [[order[place] for place in run] for run in cut([sequences[i].ids for i in order], pack)]


def _packed_logps(body: Body, sequences: Sequence[Exchange]) -> Tensor:
    hidden_NH, targets_N = _packed_states(body, sequences)
    token_N = body.head.token_logprobs(hidden_NH, targets_N)
    return _sum_by_sequence(token_N, torch.tensor([len(s.completion) for s in sequences], device=token_N.device))


def _padded_logps(model: Any, sequences: Sequence[Exchange], pad_id: int) -> Tensor:
    logits_NV = padding.logits(model, [s.ids for s in sequences], [s.predicting for s in sequences], pad_id)
    targets = torch.tensor([token for s in sequences for token in s.completion], device=logits_NV.device)
    token_N = torch.log_softmax(logits_NV, -1).gather(-1, targets[:, None]).squeeze(-1)
    return _sum_by_sequence(token_N, torch.tensor([len(s.completion) for s in sequences], device=targets.device))


def _states(model: Any, body: Body | None, sequences: Sequence[Exchange], pad_id: int) -> Tensor:
    """What predicts each completion token, one sequence after the other: hidden states (N, H), or logits (N, V)."""
    if body is None:
        return padding.logits(model, [s.ids for s in sequences], [s.predicting for s in sequences], pad_id)
    found = []
    for run in cut([s.ids for s in sequences], pack_tokens(model.device)):
        hidden_NH, _ = _packed_states(body, [sequences[i] for i in run])
        found.append(hidden_NH)
    return torch.cat(found)


def _packed_states(body: Body, sequences: Sequence[Exchange]) -> tuple[Tensor, Tensor]:
    """Hidden states (N, H) that predict completion tokens, and those tokens (N,), of one pack."""
    layout = lay([s.ids for s in sequences])
    hidden_TH = body.hidden(layout, Pack(layout))
    places = [layout.places[row][t] for row, s in enumerate(sequences) for t in s.predicting]
    places_N = torch.tensor(places, device=hidden_TH.device)
    targets = torch.tensor([token for s in sequences for token in s.completion], device=hidden_TH.device)
    return hidden_TH.index_select(0, places_N), targets  # its gradient adds in order; indexing's adds in any


def _packed_last(body: Body, prompts: Sequence[Sequence[int]], tokens: Sequence[int]) -> Tensor:
    layout = lay(prompts)
    last_SH = body.hidden(layout, Pack(layout))[[places[-1] for places in layout.places]]
    rows = [torch.log_softmax(body.head.logits(last_SH[some]).double(), -1) for some in body.head.chunks(len(prompts))]
    return torch.cat(rows)[:, list(tokens)]


def _padded_last(model: Any, prompts: Sequence[Sequence[int]], tokens: Sequence[int], pad_id: int) -> Tensor:
    runs = list(padding.microbatches([len(p) for p in prompts], padding.MAX_TOKENS))
    found = []
    for run in runs:
        some = [prompts[i] for i in run]
        logits_SV = padding.logits(model, some, [range(len(p) - 1, len(p)) for p in some], pad_id)
        found.append(torch.log_softmax(logits_SV.double(), -1)[:, list(tokens)])
    return _back(torch.cat(found), [i for run in runs for i in run])


def _sum_by_sequence(values_N: Tensor, lengths_S: Tensor) -> Tensor:
    """Sums over runs of ``lengths_S`` values, (S,), fp64."""
    rows_N = torch.repeat_interleave(torch.arange(len(lengths_S), device=values_N.device), lengths_S)
    sums_S = torch.zeros(len(lengths_S), dtype=torch.float64, device=values_N.device)
    return sums_S.index_add(0, rows_N, values_N.double())


def _back(values: Tensor, order: Sequence[int]) -> Tensor:
    """``values``, which lie in ``order``, in the order 0, 1, 2, …"""
    places = torch.empty(len(order), dtype=torch.long)
    places[list(order)] = torch.arange(len(order))
    return values[places.to(values.device)]


def _kl(body: Body | None, here: Tensor, there: Tensor) -> Tensor:
    """KL at each of N places, (N,), fp64, from hidden states, or from logits where there is no body."""
    p, q = (x if body is None else body.head.logits(x) for x in (here, there))
    p, q = torch.log_softmax(p.double(), -1), torch.log_softmax(q.double(), -1)
    return (p.exp() * (p - q)).sum(-1)
