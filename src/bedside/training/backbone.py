"""A model's forward pass: hidden states of a pack and the LM head, or the logits of a right-padded batch.

A pack is computed by any decoder that uses transformers' ``AttentionInterface``. There is no list of such models. Each
is tested once: on a few tokens its packed logits are compared with its padded ones. A model whose logits differ is run
padded from then on, and a warning is logged. Padding is masked and enters no sum.

The LM head is computed in chunks: log-probabilities of tokens without keeping the logits.

    z = W h,  with a softcap c: c tanh(z / c)       log p(y) = z_y − logsumexp(z)
    ∂ log p(y) / ∂h = Wᵀ [ (1_y − p) (1 − (z / c)²) ]

W is frozen, so the gradient is computed together with the value, and the logits of all N rows are never in memory at
once.

With ``gradient_checkpointing`` a layer keeps its input only, and the backward pass computes the layer a second time: as
the first time, from the same state of the random numbers, so gradients are equal bit for bit.

Shapes: N rows, hidden size H, V words of the vocabulary, S sequences, T tokens of a pack or of the longest.
"""

import contextlib
import logging
import traceback
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from bedside.core.errors import ModelError
from bedside.training.packing import (
    MIN_SHARED_TOKENS,
    NAME,
    AttentionFunction,
    Layout,
    PackedAttention,
    UnsupportedAttention,
    fill_batches,
    pack,
)

MAX_PADDED_TOKENS = 8192
"""The most tokens of one padded forward pass, padding included: longest × count."""
_LOG = logging.getLogger(__name__)
_CAN_PACK: "weakref.WeakKeyDictionary[Any, bool]" = weakref.WeakKeyDictionary()
_LAYER_TYPES = {"full_attention", "sliding_attention"}
_MISFITS = (UnsupportedAttention, TypeError, RuntimeError)
"""Errors that models raise if they cannot be packed, observed on all decoders of transformers 5.23."""


@dataclass(frozen=True, slots=True)
class LmHead:
    """Weights (V, H) and final softcap of a model."""

    weight_VH: Tensor
    softcap: float | None = None

    def logits(self, hidden_NH: Tensor) -> Tensor:
        """(N, V), fp32."""
        logits_NV = hidden_NH @ self.weight_VH.t()
        if self.softcap is not None:
            logits_NV = self.softcap * torch.tanh(logits_NV / self.softcap)
        return logits_NV.float()

    def chunks(self, N: int) -> Iterator[slice]:
        """Slices of N rows, each small enough for its logits to be in memory."""
        rows = chunk_rows(self.weight_VH.device, len(self.weight_VH))
        return (slice(start, start + rows) for start in range(0, N, rows))

    def token_logprobs(self, hidden_NH: Tensor, targets_N: Tensor) -> Tensor:
        """log p(target) of each row, nats, (N,), fp32, with gradient if ``hidden_NH`` needs one."""
        needs_gradient = torch.is_grad_enabled() and hidden_NH.requires_grad
        apply: Any = _TokenLogprobs.apply
        return cast("Tensor", apply(hidden_NH, targets_N, self, needs_gradient))


@dataclass(frozen=True, slots=True)
class Backbone:
    """A decoder without its head, and the head. An adapter that is loaded on the decoder stays in effect."""

    decoder: Any
    config: Any
    head: LmHead

    def packed_states(self, layout: Layout, attention: AttentionFunction) -> Tensor:
        """The last hidden state of each token of the pack, (T, H)."""
        device = self.head.weight_VH.device
        return self.states(
            torch.tensor([layout.ids], device=device), torch.tensor([layout.positions], device=device), attention
        )[0]

    def states(self, ids_BT: Tensor, positions_BT: Tensor, attention: AttentionFunction) -> Tensor:
        """The last hidden states (B, T, H) of ``ids_BT`` at ``positions_BT``."""
        with _attention_by(NAME, self.config):
            output = self.decoder(
                input_ids=ids_BT,
                position_ids=positions_BT,
                attention_mask=None,
                use_cache=False,
                attention_function=attention,
            )
        return cast("Tensor", output.last_hidden_state)


def find_backbone(model: Any) -> Backbone | None:
    """The backbone of ``model``, which may be a PEFT model; None if the model must run padded.

    It also runs padded while the head itself is trained.
    """
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    backbone = _detach_head(base)
    if base not in _CAN_PACK:
        _CAN_PACK[base] = backbone is not None and _matches_padded(model, base, backbone)
        if not _CAN_PACK[base]:
            _LOG.warning("%s runs padded: its attention or its head cannot be packed", type(base).__name__)
    trains_head = backbone is not None and backbone.head.weight_VH.requires_grad and torch.is_grad_enabled()
    return backbone if _CAN_PACK[base] and not trains_head else None


def padded_logits(model: Any, sequences: Sequence[Sequence[int]], positions: Sequence[range], pad_id: int) -> Tensor:
    """Logits at the ``positions`` of each right-padded sequence, one after the other: (N, V), fp32, N positions in all.

    The mask is 1 at tokens and 0 at padding.
    """
    lengths_S = torch.tensor([len(sequence) for sequence in sequences])
    ids_ST = torch.full((len(sequences), int(lengths_S.max())), pad_id, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids_ST[row, : len(sequence)] = torch.tensor(sequence)
    mask_ST = (torch.arange(ids_ST.shape[1]) < lengths_S[:, None]).long().to(model.device)
    logits_STV = model(input_ids=ids_ST.to(model.device), attention_mask=mask_ST, use_cache=False).logits
    cells = [(row, place) for row, places in enumerate(positions) for place in places]
    rows_N, columns_N = torch.tensor(cells, device=logits_STV.device).unbind(1)
    return cast("Tensor", logits_STV[rows_N, columns_N].float())


def split_by_padded_size(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices, shortest first, in lists of at most MAX_PADDED_TOKENS, padding included, or that hold one longer row."""
    shortest_first = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    return fill_batches(shortest_first, lambda batch: lengths[batch[-1]] * len(batch) <= MAX_PADDED_TOKENS)


def pack_tokens(device: torch.device) -> int:
    """Tokens of one pack: small packs suit the caches of a CPU, large ones a GPU."""
    return 1024 if device.type == "cpu" else 16384


def chunk_rows(device: torch.device, V: int) -> int:
    """Rows whose logits are in memory at once.

    On a CPU as many as fit into its caches, but enough that reading W is worth it. On a GPU many.
    """
    return max(128, (1 << 20) // V) if device.type == "cpu" else max(1, (1 << 27) // V)


@contextlib.contextmanager
def gradient_checkpointing(model: Any) -> Iterator[None]:
    """A context in which the layers of ``model`` keep their input only, in training mode.

    ModelError if they cannot.
    """
    layers: list[Any] = [layer for layer in model.modules() if isinstance(layer, GradientCheckpointingLayer)]
    config = model.config
    if not layers:
        raise ModelError(
            "align.gradient_checkpointing: the layers of this model cannot be checkpointed; set it to false"
        )

    def contexts() -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
        """Contexts of the first pass, and of the second one in backward, which uses the attention of the first."""
        return contextlib.nullcontext(), _attention_by(config._attn_implementation, config)

    # transformers' own switch also gives the embeddings a gradient, which this checkpoint does not need
    for layer in layers:
        layer.gradient_checkpointing = True
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False, context_fn=contexts)
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = False


def microbatch_bytes(model: Any, max_tokens: int, *, checkpointing: bool = False) -> int:
    """An estimate of the memory of one micro-batch of training, without the weights.

    The backward pass keeps 12 hidden and 5 intermediate rows for each token and layer (counted on Llama with LoRA,
    rounded up); with ``checkpointing`` those of one layer, and a hidden row for each other one. Three copies of a
    chunk's fp32 logits are in memory at once.
    """
    config, packed = model.config, find_backbone(model) is not None
    tokens = min(max_tokens, pack_tokens(model.device)) if packed else max_tokens
    hidden = config.hidden_size
    row = 12 * hidden + 5 * (getattr(config, "intermediate_size", None) or 4 * hidden)
    logits = (min(tokens, chunk_rows(model.device, config.vocab_size)) if packed else tokens) * config.vocab_size
    layers = config.num_hidden_layers
    rows = row + layers * hidden if checkpointing else row * layers
    return int(tokens * rows * model.dtype.itemsize + 3 * 4 * logits)


def _detach_head(base: Any) -> Backbone | None:
    """The decoder and the head; None if they are not the plain ones that packing supports."""
    decoder = getattr(base, getattr(base, "base_model_prefix", ""), None)
    head = base.get_output_embeddings()
    plain = type(head) is nn.Linear and head.bias is None
    known = set(getattr(base.config, "layer_types", None) or _LAYER_TYPES) <= _LAYER_TYPES
    supported = plain and known and getattr(base, "_supports_attention_backend", False)
    if decoder is None or decoder is base or not supported:
        return None
    return Backbone(decoder, base.config, LmHead(head.weight, getattr(base.config, "final_logit_softcapping", None)))


def _matches_padded(model: Any, base: Any, backbone: Backbone) -> bool:
    """Whether a pack with a shared prompt gives the logits of a padded batch."""
    prompt = [(7 * i + 3) % base.config.vocab_size for i in range(MIN_SHARED_TOKENS + 4)]
    sequences = [[*prompt, 5, 2, 9], [*prompt, 4, 3], prompt[3:9]]
    positions = [range(2, len(sequence)) for sequence in sequences]
    layout = pack(sequences)
    attention = PackedAttention(layout)
    with _evaluation_mode(model), torch.no_grad():
        try:
            states_TH = backbone.packed_states(layout, attention)
        except _MISFITS as error:
            if _is_own_bug(error):
                raise
            return False
        expected_NV = padded_logits(model, sequences, positions, base.config.pad_token_id or 0)
    indices = [layout.token_indices[s][t] for s, places in enumerate(positions) for t in places]
    logits_NV = backbone.head.logits(states_TH[indices])
    tolerance = 1e-3 if logits_NV.dtype == states_TH.dtype else 5e-2
    close = bool((logits_NV - expected_NV).norm() <= tolerance * expected_NV.norm())
    return _uses_its_window(base.config, attention) and close


def _is_own_bug(error: Exception) -> bool:
    """Whether this package raised the error (torch's own frames skipped), and not the model."""
    frames = [(f.f_globals.get("__name__", ""), f.f_code.co_name) for f, _ in traceback.walk_tb(error.__traceback__)]
    module, function = next(frame for frame in reversed(frames) if not frame[0].startswith("torch"))
    calls_the_model = (module, function) == (__name__, Backbone.states.__name__)
    return module.startswith("bedside.") and not calls_the_model and not isinstance(error, UnsupportedAttention)


def _uses_its_window(config: Any, attention: PackedAttention) -> bool:
    """Whether a sliding window in the config reached attention: the few test tokens do not show if it is missing."""
    window = getattr(config, "use_sliding_window", True) and getattr(config, "sliding_window", None)
    types = getattr(config, "layer_types", None) or ["sliding_attention"]
    return not window or "sliding_attention" not in types or window in attention.windows


@contextlib.contextmanager
def _evaluation_mode(model: Any) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextlib.contextmanager
def _attention_by(implementation: str, config: Any) -> Iterator[None]:
    """A context in which layers use this attention; under ``NAME`` the ``attention_function`` of the forward pass."""
    before = config._attn_implementation
    config._attn_implementation = implementation
    try:
        yield
    finally:
        config._attn_implementation = before


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_NH: Tensor, targets_N: Tensor, head: LmHead, needs_gradient: bool) -> Tensor:
        values_N = hidden_NH.new_empty(len(hidden_NH), dtype=torch.float32)
        gradient_NH = torch.empty_like(hidden_NH) if needs_gradient else None
        buffer: Tensor | None = None
        for rows in head.chunks(len(hidden_NH)):
            logits = head.logits(hidden_NH[rows])
            targets = targets_N[rows, None]
            target_logits = logits.gather(1, targets)
            if needs_gradient and buffer is None:
                buffer = torch.empty_like(logits)
            total = _logsumexp(logits, logits if buffer is None else buffer[: len(logits)])
            values_N[rows] = (target_logits - total).squeeze(1)
            if gradient_NH is not None:
                gradient_NH[rows] = _gradient(logits, total, targets, head)
        if gradient_NH is not None:
            ctx.save_for_backward(gradient_NH)
        return values_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient_NH,) = ctx.saved_tensors
        return gradient_NH * gradients[0][:, None].to(gradient_NH.dtype), None, None, None


def _logsumexp(logits: Tensor, buffer: Tensor) -> Tensor:
    """(N, 1): bit for bit what torch.logsumexp gives for finite logits. ``buffer`` (N, V) saves an allocation."""
    largest = logits.amax(-1, keepdim=True)
    return torch.sub(logits, largest, out=buffer).exp_().sum(-1, keepdim=True).log_().add_(largest)


def _gradient(logits: Tensor, total: Tensor, targets: Tensor, head: LmHead) -> Tensor:
    """∂ log p(y) / ∂h, (N, H). Overwrites ``logits``."""
    slope = None if head.softcap is None else 1 - (logits / head.softcap) ** 2
    residual = logits.sub_(total).exp_()
    residual.scatter_add_(1, targets, torch.full_like(targets, -1, dtype=residual.dtype))
    if slope is not None:
        residual.mul_(slope)
    return (residual.to(head.weight_VH.dtype) @ head.weight_VH).neg_()
