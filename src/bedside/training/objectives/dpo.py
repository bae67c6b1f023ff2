"""Direct Preference Optimization, Rafailov et al. 2023 (arXiv 2305.18290), Eq. 7.

    r = log π(y|x) − log π_ref(y|x)        nats
    m = r(chosen) − r(rejected)
    loss = −(1 − ε) log σ(β m) − ε log σ(−β m)

Label smoothing ε (conservative DPO, Mitchell 2023) is the share of kept pairs whose true order is wrong, as an audit
measures it; it is not the judge's flip rate. At the reference the loss is ln 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from bedside.config.plugins import Plugin, register
from bedside.core.protocols import Launch, PreferenceFormat
from bedside.core.types import Preference

if TYPE_CHECKING:
    from torch import Tensor

    from bedside.training.scores import Scores


@register("objective", "dpo")
class DPO(Plugin):
    """Learn from preference pairs."""

    kind: str = "dpo"
    beta: float = Field(0.1, gt=0, description="How much a nat of margin counts.")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="ε: audited share of pairs in wrong order.")

    def open(self, launch: Launch, **opened: Any) -> "DPOLoss":
        return DPOLoss(self.beta, self.label_smoothing)


@dataclass(frozen=True)
class DPOLoss:
    """DPO with its settings; the reference is the policy that training starts from."""

    beta: float
    label_smoothing: float = 0.0

    reads: ClassVar[PreferenceFormat] = "pairs"
    needs_reference: ClassVar[bool] = True
    needs_mismatch: ClassVar[bool] = False

    def for_data(self, rows: Sequence[Preference]) -> "DPOLoss":
        """Itself: no setting depends on the data."""
        return self

    def loss(self, scores: "Scores") -> "Tensor":
        """Loss of each pair, (B,), nats. Column 0 of the scores is the chosen completion, column 1 the rejected one."""
        from torch.nn.functional import logsigmoid

        margin_B = self.beta * (scores.ratio_BK[:, 0] - scores.ratio_BK[:, 1])
        smooth = self.label_smoothing
        return -(1 - smooth) * logsigmoid(margin_B) - smooth * logsigmoid(-margin_B)
