"""The inputs of an objective, and the objectives of this package. They share one training loop.

    SFT   K = 1, no reference
    DPO   K = 2: chosen, rejected
    KTO   K = 1, with labels and z

A loss holds the settings of its plug-in. B counts the rows of a micro-batch, K the completions of a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field

from bedside.config.plugins import Plugin, register
from bedside.core.protocols import Launch, PreferenceFormat
from bedside.core.types import Preference, UnpairedPreference

if TYPE_CHECKING:  # settings are read and checked without torch
    from torch import Tensor

RATIO_LOW, RATIO_HIGH, WEIGHT_MAX = 1.0, 4 / 3, 4.0


@dataclass(frozen=True, slots=True)
class Scores:
    """A micro-batch of B rows with K completions each. Log-probabilities are summed over completion tokens."""

    logp_BK: "Tensor"
    """log π(y|x), nats, fp64, with gradient."""
    reference_BK: "Tensor | None"
    """log π_ref(y|x), nats."""
    tokens_BK: "Tensor"
    """Completion tokens."""
    tokens_mean: float
    """Completion tokens of a row (of its first completion), mean over the whole optimizer batch."""
    label_B: "Tensor | None" = None
    """KTO only: bool, True for a desirable completion."""
    z: "Tensor | None" = None
    """KTO only: scalar >= 0, nats, no gradient, the same for the whole optimizer batch."""

    @property
    def ratio_BK(self) -> "Tensor":
        """r = log π(y|x) − log π_ref(y|x), nats."""
        assert self.reference_BK is not None, "an objective that reads ratios declares needs_reference = True"
        return self.logp_BK - self.reference_BK


@register("objective", "sft")
class SFT(Plugin):
    """Imitate demonstrated answers."""

    kind: str = "sft"

    def open(self, launch: Launch, **opened: Any) -> "SFTLoss":
        return SFTLoss()


@register("objective", "dpo")
class DPO(Plugin):
    """Learn from preference pairs."""

    kind: str = "dpo"
    beta: float = Field(0.1, gt=0, description="Weight of a nat of margin.")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="ε: share of pairs in wrong order, from an audit.")
    rpo_alpha: float | None = Field(
        None, ge=0, description="Weight of the SFT loss of the chosen answers beside DPO's own loss; null is off."
    )

    def open(self, launch: Launch, **opened: Any) -> "DPOLoss":
        return DPOLoss(self.beta, self.label_smoothing, self.rpo_alpha or 0.0)


@register("objective", "kto")
class KTO(Plugin):
    """Learn from unpaired preferences: completions labelled desirable or undesirable."""

    kind: str = "kto"
    version: ClassVar[str] = "2"
    beta: float = Field(0.1, gt=0, description="Weight of a nat of likelihood ratio.")
    desirable_weight: float | None = Field(None, gt=0, description="λ_D; None balances the classes.")
    undesirable_weight: float | None = Field(None, gt=0, description="λ_U; None balances the classes.")

    def open(self, launch: Launch, **opened: Any) -> "KTOLoss":
        return KTOLoss(self.beta, self.desirable_weight, self.undesirable_weight)


@dataclass(frozen=True)
class SFTLoss:
    """Supervised fine-tuning: mean negative log-likelihood over the completion tokens of the batch.

        loss_b = −log π(y_b|x_b) / n̄          n̄ = completion tokens of a row, mean over the optimizer batch

    The mean of loss_b over the rows is then the mean over tokens, as in TRL: a long answer counts by its length.
    """

    reads: ClassVar[PreferenceFormat] = "demonstrations"
    needs_reference: ClassVar[bool] = False
    needs_mismatch: ClassVar[bool] = False

    def for_data(self, rows: Sequence[Preference]) -> Self:
        """Itself: no setting depends on the data."""
        return self

    def loss(self, scores: Scores) -> "Tensor":
        """Loss of each row, (B,), nats per token."""
        return -scores.logp_BK[:, 0] / scores.tokens_mean


@dataclass(frozen=True)
class DPOLoss:
    """Direct Preference Optimization, Rafailov et al. 2023 (arXiv 2305.18290), Eq. 7.

        r = log π(y|x) − log π_ref(y|x)        nats
        m = r(chosen) − r(rejected)
        loss = −(1 − ε) log σ(β m) − ε log σ(−β m) − α log π(chosen|x) / n̄

    Label smoothing ε (conservative DPO, Mitchell 2023) is the share of kept pairs whose true order is wrong, as an
    audit measures it; it is not the judge's flip rate. At the reference, the policy that training starts from, the
    loss is ln 2.

    α (``rpo_alpha``, after arXiv 2404.19733) adds SFT's loss of the chosen completions, since m also grows while both
    lose likelihood; n̄ is a chosen completion's tokens, mean over the optimizer batch. TRL's rpo_alpha, in TRL 1.16
    loss_type ["sigmoid", "sft"] with loss_weights [1, α].
    """

    beta: float
    label_smoothing: float = 0.0
    rpo_alpha: float = 0.0

    reads: ClassVar[PreferenceFormat] = "pairs"
    needs_reference: ClassVar[bool] = True
    needs_mismatch: ClassVar[bool] = False

    def for_data(self, rows: Sequence[Preference]) -> Self:
        """Itself: no setting depends on the data."""
        return self

    def loss(self, scores: Scores) -> "Tensor":
        """Loss of each pair, (B,), nats. Column 0 of the scores is the chosen completion, column 1 the rejected one."""
        from torch.nn.functional import logsigmoid

        margin_B = self.beta * (scores.ratio_BK[:, 0] - scores.ratio_BK[:, 1])
        smooth = self.label_smoothing
        loss_B = -(1 - smooth) * logsigmoid(margin_B) - smooth * logsigmoid(-margin_B)
        return loss_B + self.rpo_alpha * SFTLoss().loss(scores) if self.rpo_alpha else loss_B

    def rewards(self, scores: Scores) -> "Tensor":
        """β r of both completions, (B, 2)."""
        return self.beta * scores.ratio_BK


@dataclass(frozen=True)
class KTOLoss:
    """Kahneman-Tversky Optimization, Ethayarajh et al. 2024 (arXiv 2402.01306), Eq. 7 and 8.

        r = log π(y|x) − log π_ref(y|x)                 log-ratio to the reference, nats
        z = max(0, mean over the batch of r(x, y'))     estimate of KL(π || π_ref); y' answers a prompt of another
                                                        group, of one level and about one length where there is one
        loss = λ_D (1 − σ(β (r − z)))                   for a desirable completion
               λ_U (1 − σ(β (z − r)))                   for an undesirable one

    z carries no gradient. λ_D and λ_U balance the classes: they bring λ_D n_D / (λ_U n_U) into [1, 4/3] (the range
    that the paper recommends), and neither is above 4; ``for_data`` sets those that are None. At the reference the
    loss is half of the weight.
    """

    beta: float
    desirable_weight: float | None = 1.0
    undesirable_weight: float | None = 1.0

    reads: ClassVar[PreferenceFormat] = "unpaired"
    needs_reference: ClassVar[bool] = True
    needs_mismatch: ClassVar[bool] = True

    def for_data(self, rows: Sequence[Preference]) -> Self:
        """The objective with the weights that are None set from the class sizes of ``rows``."""
        n_desirable = sum(isinstance(row, UnpairedPreference) and row.label for row in rows)
        desirable, undesirable = class_weights(n_desirable, len(rows) - n_desirable)
        return replace(
            self,
            desirable_weight=desirable if self.desirable_weight is None else self.desirable_weight,
            undesirable_weight=undesirable if self.undesirable_weight is None else self.undesirable_weight,
        )

    def loss(self, scores: Scores) -> "Tensor":
        """Loss of each row, (B,), between 0 and the weight of its class."""
        import torch

        assert scores.label_B is not None
        assert scores.z is not None
        ratio_B = scores.ratio_BK[:, 0]
        gain_B = torch.where(scores.label_B, ratio_B - scores.z, scores.z - ratio_B)
        weight_B = torch.where(scores.label_B, self.desirable_weight or 1.0, self.undesirable_weight or 1.0)
        return weight_B * torch.sigmoid(-self.beta * gain_B)

    def rewards(self, scores: Scores) -> "Tensor":
        """β r of each completion, (B, 1)."""
        return self.beta * scores.ratio_BK


def class_weights(n_desirable: int, n_undesirable: int) -> tuple[float, float]:
    """(λ_D, λ_U): the weights nearest to (1, 1) that bring λ_D n_D / (λ_U n_U) into [1, 4/3], neither above 4.

    (1, 1) if a class is empty.
    """
    ratio = n_desirable / n_undesirable if n_desirable and n_undesirable else RATIO_LOW
    if ratio > RATIO_HIGH:
        return 1.0, min(ratio / RATIO_HIGH, WEIGHT_MAX)
    return (min(RATIO_LOW / ratio, WEIGHT_MAX), 1.0) if ratio < RATIO_LOW else (1.0, 1.0)
