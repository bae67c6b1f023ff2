"""Log-probabilities of completions, in nats, summed over completion tokens in fp64.

    log π(y|x) = Σ_t log π(y_t | x, y_<t)          t over completion tokens, the end of turn included

Completions of one prompt share it: a prompt is read once, nothing is padded, and the LM head is applied only to the
states that predict a completion token. S counts sequences, N completion tokens, H is the hidden size, V the vocabulary.
"""

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bedside.core.distributed import Ranks, SingleRank, rejoin, share
from bedside.training.backbone import Backbone, find_backbone, pack_tokens, padded_logits, split_by_padded_size
from bedside.training.lora_linear import lora_weight_cache
from bedside.training.packing import PackedAttention, pack, split


@dataclass(frozen=True, slots=True)
class TokenizedExchange:
    """A prompt and one completion of it, as token ids. ``len()`` counts the tokens of both."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)

    @property
    def ids(self) -> tuple[int, ...]:
        """Prompt and completion."""
        return self.prompt + self.completion

    @property
    def predicting(self) -> range:
        """Positions of the tokens that predict a completion token."""
        return range(len(self.prompt) - 1, len(self) - 1)


def logps(model: Any, exchanges: Sequence[TokenizedExchange], pad_id: int, ranks: Ranks = SingleRank()) -> Tensor:
    """log π(y|x) of each exchange: (S,), nats, fp64, with gradient unless the caller turned it off.

    Without gradient, several ``ranks`` may share the forward passes of one call.
    """
    backbone = find_backbone(model)
    passes = _forward_passes(exchanges, None if backbone is None else pack_tokens(model.device))
    with contextlib.nullcontext() if torch.is_grad_enabled() else lora_weight_cache():
        own_share = [
            _padded_logps(model, batch, pad_id) if backbone is None else _packed_logps(backbone, batch)
            for batch in ([exchanges[i] for i in indices] for indices in share(ranks, passes))
        ]
    return _restore_order(torch.cat(rejoin(ranks, own_share)), [i for indices in passes for i in indices])


def by_prompt(exchanges: Sequence[TokenizedExchange]) -> list[int]:
    """Indices in an order in which exchanges with one prompt are neighbours."""
    return sorted(range(len(exchanges)), key=lambda i: (exchanges[i].prompt, i))


def kl_per_token(
    model: Any, other_policy: AbstractContextManager[None], exchanges: Sequence[TokenizedExchange], pad_id: int
) -> list[float]:
    """KL(model || other policy) of each exchange: nats, mean over its completion tokens, exact over the vocabulary.

    Within the context ``other_policy``, ``model`` computes the other policy, for instance with its adapter disabled.
    """
    backbone = find_backbone(model)
    lengths_S = torch.tensor([len(exchange.completion) for exchange in exchanges], device=model.device)
    with torch.no_grad():
        states = _predicting_states(model, backbone, exchanges, pad_id)
        with other_policy:
            other_states = _predicting_states(model, backbone, exchanges, pad_id)
        chunks = zip(torch.split(states, 64), torch.split(other_states, 64), strict=True)
        kl_N = torch.cat([_kl(backbone, chunk, other_chunk) for chunk, other_chunk in chunks])
    return [float(kl) for kl in _sum_by_sequence(kl_N, lengths_S) / lengths_S.clamp(min=1)]


def next_token_logprobs(model: Any, prompts: Sequence[Sequence[int]], tokens: Sequence[int], pad_id: int) -> Tensor:
    """log p(token | prompt) of each of ``tokens`` after each prompt: (S, len(tokens)), nats, fp64, without gradient.

    A beginning that neighbours share is read once, so variants of one question should be neighbours.
    """
    backbone = find_backbone(model)
    with torch.no_grad():
        if backbone is None:
            return _padded_next_token_logprobs(model, prompts, tokens, pad_id)
        packs = split(prompts, pack_tokens(model.device))
        return torch.cat([_packed_next_token(backbone, [prompts[i] for i in indices], tokens) for indices in packs])


def _forward_passes(exchanges: Sequence[TokenizedExchange], max_pack_tokens: int | None) -> list[list[int]]:
    """Indices of the exchanges of each forward pass; padded for None."""
    if max_pack_tokens is None:
        return list(split_by_padded_size([len(exchange) for exchange in exchanges]))
    order = by_prompt(exchanges)
    return [[order[n] for n in numbers] for numbers in split([exchanges[i].ids for i in order], max_pack_tokens)]


def _packed_logps(backbone: Backbone, exchanges: Sequence[TokenizedExchange]) -> Tensor:
    states_NH = _packed_states(backbone, exchanges)
    return _sum_over_completions(backbone.head.token_logprobs(states_NH, _targets(exchanges, states_NH)), exchanges)


def _padded_logps(model: Any, exchanges: Sequence[TokenizedExchange], pad_id: int) -> Tensor:
    logits_NV = _predicting_states(model, None, exchanges, pad_id)
    targets_N1 = _targets(exchanges, logits_NV)[:, None]
    return _sum_over_completions(torch.log_softmax(logits_NV, -1).gather(-1, targets_N1).squeeze(-1), exchanges)


def _predicting_states(
    model: Any, backbone: Backbone | None, exchanges: Sequence[TokenizedExchange], pad_id: int
) -> Tensor:
    """Hidden states (N, H) or logits (N, V) that predict each completion token, one exchange after the other."""
    ids = [exchange.ids for exchange in exchanges]
    if backbone is None:
        return padded_logits(model, ids, [exchange.predicting for exchange in exchanges], pad_id)
    packs = split(ids, pack_tokens(model.device))
    return torch.cat([_packed_states(backbone, [exchanges[i] for i in indices]) for indices in packs])


def _packed_states(backbone: Backbone, exchanges: Sequence[TokenizedExchange]) -> Tensor:
    """The hidden states (N, H) of one pack that predict a completion token."""
    layout = pack([exchange.ids for exchange in exchanges])
    states_TH = backbone.packed_states(layout, PackedAttention(layout))
    indices = [layout.token_indices[s][t] for s, exchange in enumerate(exchanges) for t in exchange.predicting]
    # index_select adds gradients in a fixed order; the gradient of indexing adds them in any order.
    return states_TH.index_select(0, torch.tensor(indices, device=states_TH.device))


def _targets(exchanges: Sequence[TokenizedExchange], like: Tensor) -> Tensor:
    """The completion tokens, (N,)."""
    return torch.tensor([token for exchange in exchanges for token in exchange.completion], device=like.device)


def _packed_next_token(backbone: Backbone, prompts: Sequence[Sequence[int]], tokens: Sequence[int]) -> Tensor:
    layout, head = pack(prompts), backbone.head
    states_TH = backbone.packed_states(layout, PackedAttention(layout))
    states_SH = states_TH[[indices[-1] for indices in layout.token_indices]]
    logprobs = [torch.log_softmax(head.logits(states_SH[rows]).double(), -1) for rows in head.chunks(len(prompts))]
    return torch.cat(logprobs)[:, list(tokens)]


def _padded_next_token_logprobs(
    model: Any, prompts: Sequence[Sequence[int]], tokens: Sequence[int], pad_id: int
) -> Tensor:
    passes = list(split_by_padded_size([len(prompt) for prompt in prompts]))
    batches = ([prompts[i] for i in indices] for indices in passes)
    logits = (padded_logits(model, batch, [range(len(p) - 1, len(p)) for p in batch], pad_id) for batch in batches)
    logprobs = [torch.log_softmax(logits_SV.double(), -1)[:, list(tokens)] for logits_SV in logits]
    return _restore_order(torch.cat(logprobs), [i for indices in passes for i in indices])


def _sum_over_completions(logprob_N: Tensor, exchanges: Sequence[TokenizedExchange]) -> Tensor:
    """(S,), fp64."""
    lengths_S = torch.tensor([len(exchange.completion) for exchange in exchanges], device=logprob_N.device)
    return _sum_by_sequence(logprob_N, lengths_S)


def _sum_by_sequence(values_N: Tensor, lengths_S: Tensor) -> Tensor:
    """Sums of the first ``lengths_S[0]`` values, of the next ``lengths_S[1]`` and so on: (S,), fp64."""
    rows_N = torch.repeat_interleave(torch.arange(len(lengths_S), device=values_N.device), lengths_S)
    sums_S = torch.zeros(len(lengths_S), dtype=torch.float64, device=values_N.device)
    return sums_S.index_add(0, rows_N, values_N.double())


def _restore_order(values_S: Tensor, order: Sequence[int]) -> Tensor:
    """``values_S``, whose row n belongs to index ``order[n]``, sorted by index."""
    places = torch.empty(len(order), dtype=torch.long)
    places[list(order)] = torch.arange(len(order))
    return values_S[places.to(values_S.device)]


def _kl(backbone: Backbone | None, states: Tensor, other_states: Tensor) -> Tensor:
    """KL at each of N positions, (N,), fp64; of hidden states, or of logits where there is no backbone."""
    p, q = (x if backbone is None else backbone.head.logits(x) for x in (states, other_states))
    p, q = torch.log_softmax(p.double(), -1), torch.log_softmax(q.double(), -1)
    return (p.exp() * (p - q)).sum(-1)
