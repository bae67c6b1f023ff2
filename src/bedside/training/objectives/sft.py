"""Supervised fine-tuning: mean negative log-likelihood over the completion tokens of the batch.

    loss_b = −log π(y_b|x_b) / n̄,  n̄ = completion tokens of a row, mean over the batch

so that the mean of loss_b over rows is the mean over tokens: long answers count by their length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bedside.config.plugins import Plugin, register
from bedside.core.protocols import Launch, Reads
from bedside.core.types import Preference

if TYPE_CHECKING:
    from torch import Tensor

    from bedside.training.scores import Scores


@register("objective", "sft")
class SFT(Plugin):
    """Imitate the answer."""

    kind: str = "sft"

    def open(self, launch: Launch, **opened: Any) -> "SFTLoss":
        return SFTLoss()


@dataclass(frozen=True)
class SFTLoss:
    reads: ClassVar[Reads] = "dialogues"
    needs_reference: ClassVar[bool] = False
    needs_mismatch: ClassVar[bool] = False

    def fitted(self, rows: Sequence[Preference]) -> "SFTLoss":
        return self

    def loss(self, scores: "Scores") -> "Tensor":
        """Loss of every row, shape (B,), nats per token."""
        return -scores.logp_BK[:, 0] / scores.tokens_mean
