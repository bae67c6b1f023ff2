"""The dtype in which a run computes: chosen when it begins, read from its folder when it goes on.

    target.dtype: float32, bfloat16 or float16      that one
    auto, and config.yaml of the run names one      that one, on any machine
    auto, on a GPU                                  bfloat16 where the card does it well
    auto, on a CPU                                  bfloat16 where it multiplies the model's matrices 1.5 times as fast

What was measured stands in events.jsonl, for verbs that write no config.yaml: a second time, it is read there. A run
that an earlier version began has ``auto`` in its config.yaml, and keeps it: what the device does well, unmeasured.

The target's dtype is a part of ``numerics``, so that no stage takes a result of another one. Other models with ``dtype:
auto``, such as a judge, follow a target that computes in bfloat16 on a CPU; otherwise they take what the device does
well, whatever the target's config names.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from bedside.config.schema import Config
from bedside.core.distributed import Ranks, run_on_all
from bedside.core.protocols import Launch, Progress
from bedside.run import folder

MIN_SPEEDUP = 1.5
"""What bfloat16 has to gain in products: around them, time stays what it was, and digits are lost."""
AUTO, BF16 = "auto", "bfloat16"
Shapes = Sequence[tuple[int, int]]
Measure = Callable[[Shapes], float]
"""How many times as fast bfloat16 is as float32 for products with weights of these shapes."""


def settle(config: Config, launch: Launch, ranks: Ranks, progress: Progress, measure: Measure | None) -> Config:
    """``config`` with the dtype of the run, which rank 0 chooses. All ranks call it together.

    ``measure`` None: nothing is measured. A target without a dtype, or with one named, stays as it is.
    """
    target: Any = config.target
    if _dtype(config) != AUTO or not hasattr(target, "product_shapes"):
        return config
    mine = run_on_all(ranks, lambda: _choose(config, launch, progress, measure) if ranks.rank == 0 else "")
    chosen = ranks.gather(mine)[0]
    return config.model_copy(update={"target": target.model_copy(update={"dtype": chosen})})


def of_target(config: Config, launch: Launch) -> Launch:
    """``launch`` with the dtype that the target computes in."""
    dtype = _dtype(config)
    return launch if dtype in (None, AUTO) else replace(launch, dtype=dtype)


def of_others(config: Config, launch: Launch) -> Launch:
    """``launch`` with the dtype of models that say auto. A CPU that is fast in bfloat16 is so for all of them."""
    return replace(launch, dtype=BF16) if launch.device == "cpu" and _dtype(config) == BF16 else launch


def _dtype(config: Config) -> Any:
    return getattr(config.target, "dtype", None)


def _choose(config: Config, launch: Launch, progress: Progress, measure: Measure | None) -> str:
    recorded = folder.recorded_dtype(config)
    if recorded is not None:
        _say_kept(recorded, launch, progress)
        return recorded
    if measure is None or launch.device != "cpu":
        return launch.dtype
    target: Any = config.target
    shapes: Shapes = target.product_shapes()
    if not shapes:
        return launch.dtype
    return folder.measured_dtype(config, shapes) or _measured(config, shapes, progress, measure)


def _say_kept(recorded: str, launch: Launch, progress: Progress) -> None:
    if recorded not in (AUTO, launch.dtype):
        progress.say(
            f"this run began in {recorded} and goes on in it; for {launch.dtype} begin another: "
            f"--set target.dtype={launch.dtype} --set run=NAME"
        )


def _measured(config: Config, shapes: Shapes, progress: Progress, measure: Measure) -> str:
    speedup = measure(shapes)
    dtype = BF16 if speedup >= MIN_SPEEDUP else "float32"
    folder.record_measured_dtype(config, shapes, dtype, speedup)
    if dtype == BF16:
        progress.say(
            f"matrix products are {speedup:.1f} times as fast in bfloat16 as in float32 here: this run computes in "
            "bfloat16; --set target.dtype=float32 keeps it in float32"
        )
    return dtype
