"""What an objective is given: the seam that keeps ONE training loop.

SFT  K = 1, no reference
DPO  K = 2: chosen, rejected
KTO  K = 1, with labels and z (see ``objectives.kto``)
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Scores:
    """A micro-batch of B rows with K completions each. Log-probabilities are summed over completion tokens."""

    logp_BK: Tensor
    """log π(y|x), nats, fp64, with gradient."""
    reference_BK: Tensor | None
    """log π_ref(y|x), nats."""
    tokens_BK: Tensor
    """Completion tokens."""
    tokens_mean: float
    """Completion tokens of a row, mean over the whole optimizer batch."""
    label_B: Tensor | None = None
    """KTO only: bool, True for a desirable completion."""
    z: Tensor | None = None
    """KTO only: scalar >= 0, nats, no gradient, the same for the whole optimizer batch."""

    @property
    def ratio_BK(self) -> Tensor:
        """r = log π(y|x) − log π_ref(y|x), nats."""
        assert self.reference_BK is not None, "an objective that reads ratios declares needs_reference = True"
        return self.logp_BK - self.reference_BK
