"""Hidden states of a pack, from any decoder that uses transformers' ``AttentionInterface``.

There is no list of such models. Each is tested once: on a few tokens its packed logits are compared with its padded
ones. A model whose logits differ is run padded from then on, and a warning is logged.
"""

import contextlib
import logging
import traceback
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bedside.training.lm_head import LmHead, chunk_rows
from bedside.training.packed_attention import NAME, AttentionFunction, PackedAttention, UnsupportedAttention
from bedside.training.packing import MIN_SHARED_TOKENS, Layout, pack
from bedside.training.padding import padded_logits

_LOG = logging.getLogger(__name__)
_CAN_PACK: "weakref.WeakKeyDictionary[Any, bool]" = weakref.WeakKeyDictionary()
_LAYER_TYPES = {"full_attention", "sliding_attention"}
_MISFITS = (UnsupportedAttention, TypeError, RuntimeError)
"""Errors of models that cannot be packed, as observed on all decoders of transformers 5.23."""


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
        with _bedside_attention(self.config):
            output = self.decoder(
                input_ids=ids_BT,
                position_ids=positions_BT,
                attention_mask=None,
                use_cache=False,
                attention_function=attention,
            )
        states_BTH: Tensor = output.last_hidden_state
        return states_BTH


def find_backbone(model: Any) -> Backbone | None:
    """The backbone of ``model``, which may be a PEFT model; None if the model must run padded.

    That is also so while the head itself is trained.
    """
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    backbone = _detach_head(base)
    if base not in _CAN_PACK:
        _CAN_PACK[base] = backbone is not None and _matches_padded(model, base, backbone)
        if not _CAN_PACK[base]:
            _LOG.warning("%s runs padded: its attention or its head is not one that can be packed", type(base).__name__)
    trains_head = backbone is not None and backbone.head.weight_VH.requires_grad and torch.is_grad_enabled()
    return backbone if _CAN_PACK[base] and not trains_head else None


def pack_tokens(device: torch.device) -> int:
    """Tokens of one pack: small packs suit the caches of a CPU, large ones a GPU."""
    return 1024 if device.type == "cpu" else 16384


def microbatch_bytes(model: Any, max_tokens: int) -> int:
    """An estimate of the memory of one micro-batch of training, without the weights.

    The backward pass keeps 12 hidden and 5 intermediate rows for each token and layer (counted on Llama with LoRA,
    rounded up). Three copies of a chunk's fp32 logits are in memory at once.
    """
    config, packed = model.config, find_backbone(model) is not None
    tokens = min(max_tokens, pack_tokens(model.device)) if packed else max_tokens
    hidden = config.hidden_size
    row = 12 * hidden + 5 * (getattr(config, "intermediate_size", None) or 4 * hidden)
    logits = (min(tokens, chunk_rows(model.device, config.vocab_size)) if packed else tokens) * config.vocab_size
    return int(tokens * config.num_hidden_layers * row * model.dtype.itemsize + 3 * 4 * logits)


def _detach_head(base: Any) -> Backbone | None:
    """None if decoder and head are not the plain ones that packing knows."""
    decoder = getattr(base, getattr(base, "base_model_prefix", ""), None)
    head = base.get_output_embeddings()
    plain = type(head) is nn.Linear and head.bias is None
    if decoder is None or decoder is base or not plain or not getattr(base, "_supports_attention_backend", False):
        return None
    if not set(getattr(base.config, "layer_types", None) or _LAYER_TYPES) <= _LAYER_TYPES:
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
def _bedside_attention(config: Any) -> Iterator[None]:
    """A context in which every layer calls the ``attention_function`` of the forward pass."""
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
