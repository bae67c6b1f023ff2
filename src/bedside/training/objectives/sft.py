"""Supervised fine-tuning: mean negative log-likelihood over the completion tokens of the batch.

    loss_b = −log π(y_b|x_b) / n̄          n̄ = completion tokens of a row, mean over the optimizer batch

The mean of loss_b over the rows is then the mean over tokens, as in TRL: a long answer counts by its length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bedside.config.plugins import Plugin, register
from bedside.core.protocols import Launch, PreferenceFormat
from bedside.core.types import Preference

if TYPE_CHECKING:
    from torch import Tensor

    from bedside.training.scores import Scores


@register("objective", "sft")
class SFT(Plugin):
    """Imitate the demonstrated answers."""

    kind: str = "sft"

    def open(self, launch: Launch, **opened: Any) -> "SFTLoss":
        return SFTLoss()


@dataclass(frozen=True)
class SFTLoss:
    """SFT; it has no settings."""

    reads: ClassVar[PreferenceFormat] = "demonstrations"
    needs_reference: ClassVar[bool] = False
    needs_mismatch: ClassVar[bool] = False

    def for_data(self, rows: Sequence[Preference]) -> "SFTLoss":
        """Itself: no setting depends on the data."""
        return self

    def loss(self, scores: "Scores") -> "Tensor":
        """Loss of each row, (B,), nats per token."""
        return -scores.logp_BK[:, 0] / scores.tokens_mean
