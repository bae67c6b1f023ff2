"""The dtype in which a run computes: chosen when it begins, read from its config.yaml when it goes on.

    target.dtype: float32, bfloat16 or float16      that one
    auto, and the run has results                   the one in its config.yaml, on any machine
    auto, on a GPU                                  bfloat16 where the card does it well
    auto, on a CPU                                  bfloat16 where it multiplies the model's matrices 1.5 times as fast

The choice is a part of ``numerics``, so that no stage takes a result of another dtype. Other models with ``dtype:
auto``, such as a judge, compute in the same one.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from bedside.config.schema import Config
from bedside.core.distributed import Ranks, run_on_all
from bedside.core.protocols import Launch, Progress
from bedside.run import folder

MIN_SPEEDUP = 1.5
"""What bfloat16 has to gain in products: around them, time stays what it was, and digits are lost."""
Shapes = Sequence[tuple[int, int]]


def settle(
    config: Config, launch: Launch, ranks: Ranks, progress: Progress, measure: Callable[[Shapes], float] | None
) -> tuple[Config, Launch]:
    """``config`` and ``launch`` with the dtype of the run. Rank 0 decides; a target without a dtype changes nothing.

    ``measure`` tells how many times as fast bfloat16 is for products of these shapes; None: nothing is measured.
    """
    asked = getattr(config.target, "dtype", None)
    if asked is None:
        return config, launch
    if asked == "auto":
        mine = run_on_all(ranks, lambda: _choose(config, launch, progress, measure) if ranks.rank == 0 else "")
        asked = ranks.gather(mine)[0]
    target = config.target.model_copy(update={"dtype": asked})
    return config.model_copy(update={"target": target}), replace(launch, dtype=asked)


def _choose(config: Config, launch: Launch, progress: Progress, measure: Callable[[Shapes], float] | None) -> str:
    recorded = folder.recorded_dtype(config)
    if recorded == "auto":  # a version before this one began it, and took what the device does well
        return launch.dtype
    if recorded is not None:
        if recorded != launch.dtype and launch.device != "cpu":
            progress.say(
                f"this run began in {recorded} and goes on in it; for {launch.dtype} begin another: --set run=NAME"
            )
        return recorded
    shapes: Shapes = getattr(config.target, "product_shapes", tuple)() if measure and launch.device == "cpu" else ()
    speedup = measure(shapes) if measure and shapes else 0.0
    if speedup < MIN_SPEEDUP:
        return launch.dtype
    progress.say(
        f"matrix products are {speedup:.1f} times as fast in bfloat16 as in float32 here: this run computes in "
        "bfloat16; --set target.dtype=float32 keeps it in float32"
    )
    return "bfloat16"
