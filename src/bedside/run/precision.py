"""The dtype in which a run computes: chosen when the run begins, read from its folder when it continues.

    target.dtype: float32, bfloat16 or float16      this dtype
    auto, and config.yaml of the run names one      the dtype in config.yaml, on any machine
    auto, on a GPU                                  bfloat16 if the GPU supports it well
    auto, on a CPU                                  bfloat16 if it multiplies the model's matrices 1.5 times as fast

The measurement is logged in events.jsonl, where verbs that write no config.yaml read it the next time. A run that an
earlier version began has ``auto`` in its config.yaml and keeps it: the dtype that the device supports well, unmeasured.

The target's dtype is a part of ``numerics``, so that no stage uses a result of another dtype. Other models with
``dtype: auto``, such as a judge, follow a target that computes in bfloat16 on a CPU. Otherwise they use the dtype that
the device supports well, whatever dtype the target's config names.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from bedside.config.schema import Config
from bedside.core.distributed import Ranks, run_on_all
from bedside.core.protocols import Launch, Progress
from bedside.run import folder

MIN_SPEEDUP = 1.5
"""The least speed-up of products that makes bfloat16 worth its lost digits; other work does not become faster."""
AUTO, BF16 = "auto", "bfloat16"
Shapes = Sequence[tuple[int, int]]
Measure = Callable[[Shapes], float]
"""How many times as fast bfloat16 is as float32 for products with weights of these shapes."""


def settle(config: Config, launch: Launch, ranks: Ranks, progress: Progress, measure: Measure | None) -> Config:
    """``config`` with the dtype of the run, which rank 0 chooses. All ranks call it together.

    ``measure`` None: nothing is measured. A target with a named dtype, or without any, stays as it is.
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
    """``launch`` with the dtype of models with ``auto``. A CPU that is fast in bfloat16 is fast for all of them."""
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
            f"this run began in {recorded} and continues in it; for {launch.dtype} begin another: "
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
