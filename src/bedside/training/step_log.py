"""The values that an optimizer step logs besides the Trainer's loss, gradient norm and learning rate, with TRL's names.

    rewards/chosen      mean of β r over chosen (DPO) or desirable (KTO) completions, r = log π(y|x) − log π_ref(y|x)
    rewards/rejected    the same over rejected or undesirable ones
    rewards/margins     chosen − rejected
    kl                  KTO: mean of r over the mismatches, nats: an estimate of KL(π || π_ref)
    z                   KTO: max(0, kl), which the loss subtracts from every r
    tokens              completion tokens of the batch

The step computes all of these in any case. A batch without one of the classes has no entry of that class.
"""

from collections.abc import Sequence
from statistics import fmean

REWARDS = ("rewards/chosen", "rewards/rejected", "rewards/margins")
STATISTICS = (*REWARDS, "kl", "z", "tokens")


def reward_statistics(rewards: Sequence[Sequence[float]], labels: Sequence[bool | None]) -> dict[str, float]:
    """``rewards``: β r of each row, one per completion. ``labels``: True or False for KTO's rows, None for pairs."""
    chosen = [row[0] for row, label in zip(rewards, labels, strict=True) if label is not False]
    rejected = [row[-1] for row, label in zip(rewards, labels, strict=True) if not label]
    logged = {"rewards/chosen": chosen, "rewards/rejected": rejected}
    means = {name: fmean(values) for name, values in logged.items() if values}
    if len(means) == len(logged):
        means["rewards/margins"] = means["rewards/chosen"] - means["rewards/rejected"]
    return means
