"""Where the embedded model starts: with two attention heads that can nearly copy, drawn by hand.

    layer 0   a previous-token head: every place is told which token stood before it
    layer 1   two induction heads: find the place whose previous token is mine, and say what stands there

A model that reads millions of tokens instead of billions does not find these heads by itself (Olsson et al. 2022,
arXiv 2209.11895): after 200 steps of nothing but copying random tokens it said 3 % of them, from this start 97 %.
Only the start is drawn; everything is trained. Same idea: mimetic initialization (Trockman and Kolter 2023).

Rotary positions turn fast dimensions of queries and keys, and hardly the slow ones: the previous-token head
compares places, so it uses them all; the induction heads compare tokens, so they use the slow ones.
"""

from typing import Any

import torch
from torch import Tensor

SHARED, SPREAD = 0.5, 0.05
"""Of the embeddings: length of what all tokens share, relative to what they do not; and standard deviation."""
PLACE, TOLD, MATCH, SAID = 1.0, 0.3, 4.0, 0.7
"""How sharply a place finds the one before it; how loud that is told; how sharply tokens match; how loud it is said."""
SLOWEST, SEED = 0.02, 11
"""Rotary dimensions that turn less than this, in radians a token, count as slow."""


@torch.no_grad()
def copying_heads(model: Any) -> None:
    """Draw the heads into ``model``, a LlamaForCausalLM with tied embeddings and no grouped heads, in place."""
    config = model.config
    draw = torch.Generator().manual_seed(SEED)
    axes_HH = torch.linalg.qr(torch.randn(config.hidden_size, config.hidden_size, generator=draw))[0]
    shared_H, axes_HH = axes_HH[:, 0], axes_HH[:, 1:]
    share = _embed(model.model.embed_tokens.weight, shared_H, draw)
    turns_D = config.rope_parameters["rope_theta"] ** (-torch.arange(0, config.head_dim, 2) / config.head_dim)
    slow = [i + half for half in (0, len(turns_D)) for i, turn in enumerate(turns_D.tolist()) if turn < SLOWEST]
    mine_HS, before_HS = axes_HH[:, : len(slow)], axes_HH[:, -len(slow) :]
    first, second = (layer.self_attn for layer in model.model.layers[:2])
    _previous_token(first, shared_H / share, turns_D)
    _told(first, mine_HS, before_HS)
    for head in range(2):
        _induction(second, head, slow, (mine_HS, before_HS), axes_HH[:, head * config.head_dim :])


def _embed(embeddings_VH: Tensor, shared_H: Tensor, draw: torch.Generator) -> float:
    """Random tokens that share one direction; returns how long that part is after the norm, in the norm's units."""
    hidden = len(shared_H)
    fresh_VH = torch.randn(embeddings_VH.shape, generator=draw) * SPREAD
    fresh_VH -= (fresh_VH @ shared_H)[:, None] * shared_H
    embeddings_VH.copy_(fresh_VH + shared_H * SHARED * SPREAD * hidden**0.5)
    return float(SHARED / (1 + SHARED**2) ** 0.5 * hidden**0.5)


def _previous_token(attention: Any, constant_H: Tensor, turns_D: Tensor) -> None:
    """Head 0: every query and key is the same vector, the query turned back by one place."""
    width = 2 * len(turns_D)
    length = PLACE * width**0.25
    query_D = length * torch.cat([turns_D.cos(), -turns_D.sin()])
    key_D = length * torch.cat([torch.ones_like(turns_D), torch.zeros_like(turns_D)])
    attention.q_proj.weight[:width] = torch.outer(query_D, constant_H)
    attention.k_proj.weight[:width] = torch.outer(key_D, constant_H)


def _told(attention: Any, mine_HS: Tensor, before_HS: Tensor) -> None:
    """What head 0 finds is written where nothing else is: my token's sketch becomes the next one's "before"."""
    width, size = attention.head_dim, mine_HS.shape[1]
    attention.v_proj.weight[:width] = torch.cat([mine_HS.T, torch.zeros(width - size, len(mine_HS))])
    attention.o_proj.weight[:, :width] = torch.cat([before_HS, torch.zeros(len(mine_HS), width - size)], 1) * TOLD


def _induction(attention: Any, head: int, slow: list[int], sketches: tuple[Tensor, Tensor], said_HD: Tensor) -> None:
    """My token against every place's "before"; the token that stands there is said."""
    width = attention.head_dim
    rows = slice(head * width, (head + 1) * width)
    for projection, sketch_HS in zip((attention.q_proj, attention.k_proj), sketches, strict=True):
        matrix_DH = torch.zeros(width, len(sketch_HS))
        matrix_DH[slow] = sketch_HS.T * MATCH
        projection.weight[rows] = matrix_DH
    attention.v_proj.weight[rows] = said_HD[:, :width].T
    attention.o_proj.weight[:, rows] = said_HD[:, :width] * SAID
