"""A whole cycle in bfloat16 against the same in float32, both ours, on a CPU: `python -m benchmarks.bf16 small`

Answer, judge, KTO, DPO, as in ``benchmarks.cycle``. Above 1, bfloat16 takes less time. It is of use on a CPU with units
for bfloat16 (AMX); without them it is slower. ``matrix_products`` is what ``target.dtype: auto`` decides by.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import torch

from bedside.training.matmul_speed import bf16_speedup
from benchmarks import judging, measuring, rollouts, shapes, training
from benchmarks.training import BATCH, quiet


def ask(size: str, *, smoke: bool = False) -> dict[str, Any]:
    n, rounds = (2, 1) if smoke else (2 * BATCH, 5)
    sides = {dtype: _cycle(size, dtype, n, short=smoke) for dtype in (torch.float32, torch.bfloat16)}
    seconds = measuring.alternate({str(dtype).removeprefix("torch."): work for dtype, work in sides.items()}, rounds)
    hidden, inner = (int(shapes.SIZES[size][key]) for key in ("hidden_size", "intermediate_size"))
    return measuring.answer(
        [measuring.ratio("cycle_bf16_over_fp32", seconds["float32"], seconds["bfloat16"])],
        size=size,
        prompts=n,
        rounds=rounds,
        seconds={dtype: [round(x, 3) for x in spent] for dtype, spent in seconds.items()},
        matrix_products=round(bf16_speedup([(hidden, hidden), (hidden, inner), (inner, hidden)]), 2),
    )


def _cycle(size: str, dtype: torch.dtype, n: int, *, short: bool) -> Callable[[int], None]:
    """One cycle of the model whose frozen weights are in ``dtype``; its adapter stays in float32."""
    vocabulary = shapes.SIZES[size]["vocab_size"]
    model = shapes.adapted(size)
    for name, weight in model.named_parameters():
        weight.data = weight.data if "lora_" in name else weight.data.to(dtype)
    prompts, limits = rollouts.prompts_and_limits(n, skewed=False)
    limits = [limit // 8 for limit in limits] if short else limits
    questions, rows = judging.questions(n, vocabulary), shapes.examples(n, vocabulary)

    def cycle(_: int) -> None:
        model.eval()
        rollouts.ours(model, prompts, limits)
        judging.ours(model, questions)
        training.ours("kto", model, rows)
        training.ours("dpo", model, rows)

    return cycle


if __name__ == "__main__":
    quiet()
    sizes = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    print(json.dumps(ask(sizes[0] if sizes else "small", smoke="--smoke" in sys.argv)))
