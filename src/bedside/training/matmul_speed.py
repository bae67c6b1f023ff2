"""A short measurement of how many times as fast this machine multiplies matrices in bfloat16 as in float32.

    one round: the products x W of a layer      round 1  fp32 bf16      round 2  bf16 fp32      round 3  fp32 bf16  …

Rounds alternate and medians are compared, so that another program that runs for a moment changes nothing. The matrices
have only ones: products are as fast as with other numbers, and no random number is drawn.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

SECONDS, MIN_ROUNDS = 0.025, 3
TRIALS = ((8, 256), (256, 1024))
"""Tokens in a product, and the width at which a wider matrix is measured: a small trial first, then one as between an
answer's batch and a pack of training."""
HOPELESS = 0.5
"""If bfloat16 is this slow in the small trial, it is emulated. The large trial would take seconds and is left out."""


def bf16_speedup(shapes: Sequence[tuple[int, int]]) -> float:
    """Seconds in float32 per second in bfloat16 for products with weights of these ``shapes`` (in, out)."""
    ratio = 0.0
    for trial in TRIALS:
        seconds = median_seconds({dtype: _products(shapes, *trial, dtype) for dtype in ("float32", "bfloat16")})
        ratio = seconds["float32"] / seconds["bfloat16"]
        if ratio < HOPELESS:
            break
    return ratio


def _products(shapes: Sequence[tuple[int, int]], rows: int, width: int, dtype: str) -> Callable[[], Any]:
    import torch

    def ones(*sides: int) -> torch.Tensor:
        return torch.ones(*(min(side, width) for side in sides), dtype=getattr(torch, dtype))

    pairs = [(ones(rows, ins), ones(ins, outs)) for ins, outs in shapes]
    return lambda: [x @ W for x, W in pairs]


def median_seconds(
    sides: Mapping[str, Callable[[], Any]], clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """The median of each side. Each runs once unmeasured, then in rounds until SECONDS have passed."""
    names = list(sides)
    for name in names:
        sides[name]()
    spent: dict[str, list[float]] = {name: [] for name in names}
    began, rounds = clock(), 0
    while rounds < MIN_ROUNDS or clock() - began < SECONDS:
        for name in names if rounds % 2 == 0 else names[::-1]:
            start = clock()
            sides[name]()
            spent[name].append(clock() - start)
        rounds += 1
    return {name: median(times) for name, times in spent.items()}
