"""Hidden states of a layout, from any decoder whose attention goes through the interface.

Which models those are is not a list: each is tried once, on a few tokens, against its own padded answer. One that
differs runs padded from then on, and the log says so.
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

from bedside.training import padding
from bedside.training.lm_head import Head, chunk
from bedside.training.packed_attention import NAME, Attends, Misfit, Pack
from bedside.training.packing import SHARE_FROM, Layout, lay

_LOG = logging.getLogger(__name__)
_KNOWN: "weakref.WeakKeyDictionary[Any, bool]" = weakref.WeakKeyDictionary()
_LAYERS = {"full_attention", "sliding_attention"}
_MISFITS = (Misfit, TypeError, RuntimeError)
"""What a model that does not fit raises while it is tried: seen on all decoders of transformers 5.23."""


@dataclass(frozen=True, slots=True)
class Body:
    """A decoder without its head, and the head apart. An adapter that lies on it stays on it."""

    decoder: Any
    config: Any
    head: Head

    def hidden(self, layout: Layout, attends: Attends) -> Tensor:
        """(T, H): the last hidden state of each token."""
        device = self.head.weight_VH.device
        return self.states(
            torch.tensor([layout.ids], device=device), torch.tensor([layout.positions], device=device), attends
        )[0]

    def states(self, ids_BT: Tensor, positions_BT: Tensor, attends: Attends) -> Tensor:
        """(B, T, H) of ids at positions, with attention left to ``attends``."""
        with _attention_of(self.config):
            out = self.decoder(
                input_ids=ids_BT, position_ids=positions_BT, attention_mask=None, use_cache=False, ragged=attends
            )
        states: Tensor = out.last_hidden_state
        return states


def body_of(model: Any) -> Body | None:
    """The body of ``model``, PEFT-wrapped or not; None where only the padded way is known to be right."""
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    body = _taken_apart(base)
    if base not in _KNOWN:
        _KNOWN[base] = body is not None and _agrees(model, base, body)
        if not _KNOWN[base]:
            _LOG.warning("%s runs padded: its attention or its head is not one that can be packed", type(base).__name__)
    trained = body is not None and body.head.weight_VH.requires_grad and torch.is_grad_enabled()
    return body if _KNOWN[base] and not trained else None


def pack_tokens(device: Any) -> int:
    """Tokens of one pack: caches of a CPU like small ones, a GPU large ones."""
    return 1024 if torch.device(device).type == "cpu" else 16384


def microbatch_bytes(model: Any, max_tokens: int) -> int:
    """About what one micro-batch of training takes beside the weights.

    Kept for the backward pass: 12 hidden and 5 intermediate rows a token and layer (counted on Llama under LoRA,
    rounded up); beside them three copies of the logits that stand in memory at once.
    """
    config, packed = model.config, body_of(model) is not None
    tokens = min(max_tokens, pack_tokens(model.device)) if packed else max_tokens
    hidden = config.hidden_size
    row = 12 * hidden + 5 * (getattr(config, "intermediate_size", None) or 4 * hidden)
    logits = (min(tokens, chunk(model.device, config.vocab_size)) if packed else tokens) * config.vocab_size
    return int(tokens * config.num_hidden_layers * row * model.dtype.itemsize + 3 * 4 * logits)


def _taken_apart(base: Any) -> Body | None:
    decoder = getattr(base, getattr(base, "base_model_prefix", ""), None)
    head = base.get_output_embeddings()
    plain = type(head) is nn.Linear and head.bias is None
    if decoder is None or decoder is base or not plain or not getattr(base, "_supports_attention_backend", False):
        return None
    if not set(getattr(base.config, "layer_types", None) or _LAYERS) <= _LAYERS:
        return None
    return Body(decoder, base.config, Head(head.weight, getattr(base.config, "final_logit_softcapping", None)))


def _agrees(model: Any, base: Any, body: Body) -> bool:
    """Whether a layout that shares a prompt gives the logits of the padded way."""
    prompt = [(7 * i + 3) % base.config.vocab_size for i in range(SHARE_FROM + 4)]
    tried = [[*prompt, 5, 2, 9], [*prompt, 4, 3], prompt[3:9]]
    at = [range(2, len(s)) for s in tried]
    pad_id = base.config.pad_token_id or 0
    with _at_rest(model), torch.no_grad():
        layout = lay(tried)
        pack = Pack(layout)
        try:
            hidden = body.hidden(layout, pack)
        except _MISFITS as error:
            if _is_ours(error):
                raise
            return False
        wanted = padding.logits(model, tried, at, pad_id)
    index = [layout.places[s][t] for s, places in enumerate(at) for t in places]
    found = body.head.logits(hidden[index])
    room = 1e-3 if found.dtype == hidden.dtype else 5e-2
    return _windows_kept(base.config, pack) and bool((found - wanted).norm() <= room * wanted.norm())


def _is_ours(error: Exception) -> bool:
    """Whether our own code failed, so that the model is not to blame: there, torch apart, the error was raised."""
    frames = [(f.f_globals.get("__name__", ""), f.f_code.co_name) for f, _ in traceback.walk_tb(error.__traceback__)]
    module, function = next(one for one in reversed(frames) if not one[0].startswith("torch"))
    calls_the_model = (module, function) == (__name__, Body.states.__name__)
    return module.startswith("bedside.") and not calls_the_model and not isinstance(error, Misfit)


def _windows_kept(config: Any, pack: Pack) -> bool:
    """A window that stands in the config was asked for: the few tokens tried would not show it missing."""
    slides = getattr(config, "use_sliding_window", True) and getattr(config, "sliding_window", None)
    types = getattr(config, "layer_types", None) or ["sliding_attention"]
    return not slides or "sliding_attention" not in types or slides in pack.windows


@contextlib.contextmanager
def _at_rest(model: Any) -> Iterator[None]:
    """Within it nothing is dropped out."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextlib.contextmanager
def _attention_of(config: Any) -> Iterator[None]:
    """Within it, attention of every layer goes to the ``ragged`` of the call."""
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
