"""Kahneman-Tversky Optimization, Ethayarajh et al. 2024 (arXiv 2402.01306), Eq. 7 and 8.

    r = log π(y|x) − log π_ref(y|x)                how much likelier than under the reference, nats
    z = max(0, mean over the batch of r at y')     y' answers a prompt of another group; no gradient
    loss = λ_D (1 − σ(β (r − z)))                  for a wanted answer
           λ_U (1 − σ(β (z − r)))                  for an unwanted one

The weights balance the classes: λ_D n_D / (λ_U n_U) is brought into [1, 4/3], and neither weight above 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from bedside.config.plugins import Plugin, register
from bedside.core.protocols import Launch, Reads
from bedside.core.types import Preference, Thumb

if TYPE_CHECKING:
    from torch import Tensor

    from bedside.training.scores import Scores

RATIO_LOW, RATIO_HIGH, WEIGHT_MAX = 1.0, 4 / 3, 4.0


@register("objective", "kto")
class KTO(Plugin):
    """Learn from thumbs."""

    kind: str = "kto"
    beta: float = Field(0.1, gt=0, description="How much a nat of likelihood ratio counts.")
    desirable_weight: float | None = Field(None, gt=0, description="λ_D; None balances the classes.")
    undesirable_weight: float | None = Field(None, gt=0, description="λ_U; None balances the classes.")

    def open(self, launch: Launch, **opened: Any) -> "KTOLoss":
        return KTOLoss(self.beta, self.desirable_weight, self.undesirable_weight)


@dataclass(frozen=True)
class KTOLoss:
    beta: float
    desirable_weight: float | None = 1.0
    undesirable_weight: float | None = 1.0

    reads: ClassVar[Reads] = "thumbs"
    needs_reference: ClassVar[bool] = True
    needs_mismatch: ClassVar[bool] = True

    def fitted(self, rows: Sequence[Preference]) -> "KTOLoss":
        """Weights that were left open, from the class sizes."""
        wanted = sum(isinstance(row, Thumb) and row.wanted for row in rows)
        desirable, undesirable = balance(wanted, len(rows) - wanted)
        return replace(
            self,
            desirable_weight=desirable if self.desirable_weight is None else self.desirable_weight,
            undesirable_weight=undesirable if self.undesirable_weight is None else self.undesirable_weight,
        )

    def loss(self, scores: "Scores") -> "Tensor":
        """Loss of every row, shape (B,), between 0 and the row's weight."""
        import torch

        assert scores.wanted_B is not None
        assert scores.z is not None
        ratio_B = scores.ratio_BK[:, 0]
        gain_B = torch.where(scores.wanted_B, ratio_B - scores.z, scores.z - ratio_B)
        weight_B = torch.where(scores.wanted_B, self.desirable_weight or 1.0, self.undesirable_weight or 1.0)
        return weight_B * torch.sigmoid(-self.beta * gain_B)


def balance(wanted: int, unwanted: int) -> tuple[float, float]:
    """(λ_D, λ_U) for the class sizes: the nearest to (1, 1) that brings the ratio into [1, 4/3]."""
    if not wanted or not unwanted:
        return 1.0, 1.0
    ratio = wanted / unwanted
    if ratio < RATIO_LOW:
        return min(RATIO_LOW / ratio, WEIGHT_MAX), 1.0
    if ratio > RATIO_HIGH:
        return 1.0, min(ratio / RATIO_HIGH, WEIGHT_MAX)
    return 1.0, 1.0
