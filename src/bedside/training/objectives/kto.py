"""Kahneman-Tversky Optimization, Ethayarajh et al. 2024 (arXiv 2402.01306), Eq. 7 and 8.

    r = log π(y|x) − log π_ref(y|x)                 log-ratio to the reference, nats
    z = max(0, mean over the batch of r(x, y'))     estimate of KL(π || π_ref); y' answers a prompt of another group
    loss = λ_D (1 − σ(β (r − z)))                   for a desirable completion
           λ_U (1 − σ(β (z − r)))                   for an undesirable one

z carries no gradient. λ_D and λ_U balance the classes: they bring λ_D n_D / (λ_U n_U) into [1, 4/3] (the range
that the paper recommends), and neither is above 4. At the reference the loss is half of the weight.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from bedside.config.plugins import Plugin, register
from bedside.core.protocols import Launch, PreferenceFormat
from bedside.core.types import Preference, UnpairedPreference

if TYPE_CHECKING:
    from torch import Tensor

    from bedside.training.scores import Scores

RATIO_LOW, RATIO_HIGH, WEIGHT_MAX = 1.0, 4 / 3, 4.0


@register("objective", "kto")
class KTO(Plugin):
    """Learn from unpaired preferences: completions labelled desirable or undesirable."""

    kind: str = "kto"
    beta: float = Field(0.1, gt=0, description="How much a nat of likelihood ratio counts.")
    desirable_weight: float | None = Field(None, gt=0, description="λ_D; None balances the classes.")
    undesirable_weight: float | None = Field(None, gt=0, description="λ_U; None balances the classes.")

    def open(self, launch: Launch, **opened: Any) -> "KTOLoss":
        return KTOLoss(self.beta, self.desirable_weight, self.undesirable_weight)


@dataclass(frozen=True)
class KTOLoss:
    """KTO with its settings; a weight of None is set by ``for_data``."""

    beta: float
    desirable_weight: float | None = 1.0
    undesirable_weight: float | None = 1.0

    reads: ClassVar[PreferenceFormat] = "unpaired"
    needs_reference: ClassVar[bool] = True
    needs_mismatch: ClassVar[bool] = True

    def for_data(self, rows: Sequence[Preference]) -> "KTOLoss":
        """The objective with the weights that are None set from the class sizes of ``rows``."""
        n_desirable = sum(isinstance(row, UnpairedPreference) and row.label for row in rows)
        desirable, undesirable = class_weights(n_desirable, len(rows) - n_desirable)
        return replace(
            self,
            desirable_weight=desirable if self.desirable_weight is None else self.desirable_weight,
            undesirable_weight=undesirable if self.undesirable_weight is None else self.undesirable_weight,
        )

    def loss(self, scores: "Scores") -> "Tensor":
        """Loss of each row, (B,), between 0 and the weight of its class."""
        import torch

        assert scores.label_B is not None
        assert scores.z is not None
        ratio_B = scores.ratio_BK[:, 0]
        gain_B = torch.where(scores.label_B, ratio_B - scores.z, scores.z - ratio_B)
        weight_B = torch.where(scores.label_B, self.desirable_weight or 1.0, self.undesirable_weight or 1.0)
        return weight_B * torch.sigmoid(-self.beta * gain_B)


def class_weights(n_desirable: int, n_undesirable: int) -> tuple[float, float]:
    """(λ_D, λ_U): the weights nearest to (1, 1) that bring λ_D n_D / (λ_U n_U) into [1, 4/3], neither above 4.

    (1, 1) if a class is empty.
    """
    if not n_desirable or not n_undesirable:
        return 1.0, 1.0
    ratio = n_desirable / n_undesirable
    if ratio < RATIO_LOW:
        return min(RATIO_LOW / ratio, WEIGHT_MAX), 1.0
    if ratio > RATIO_HIGH:
        return 1.0, min(ratio / RATIO_HIGH, WEIGHT_MAX)
    return 1.0, 1.0
