"""The machine, its peak, rounds that alternate, and ratios with their spread."""

import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import torch

PACKAGES = ("torch", "transformers", "peft", "trl", "accelerate", "numpy")


@dataclass(frozen=True)
class Ratio:
    """How many times as much the other side takes; above 1 we are better, but for ``rss``, which is ours by theirs."""

    name: str
    ratio: float
    low: float
    """Of the least round."""
    high: float
    """Of the largest round."""


def machine() -> dict[str, Any]:
    facts = {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    if not torch.cuda.is_available():
        return facts | {"gemm_gflops": round(gemm_peak() / 1e9, 1)}
    card = torch.cuda.get_device_properties(0)
    return facts | {"gpu": card.name, "gpu_memory_gb": round(card.total_memory / 2**30, 1), "cuda": torch.version.cuda}


def versions() -> dict[str, str]:
    return {package: version(package) for package in PACKAGES}


def gemm_peak(side: int = 1536, tries: int = 8, dtype: torch.dtype = torch.float32, device: str = "cpu") -> float:
    """FLOP/s of torch.mm: the best of a few, for a peak is what was once reached."""
    matrix = torch.randn(side, side, dtype=dtype, device=device)
    times = [timed(lambda: torch.mm(matrix, matrix))[0] for _ in range(tries)]
    return 2 * side**3 / min(times)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    gc.collect()
    _synchronize()
    began = time.perf_counter()
    result = work()
    _synchronize()
    return time.perf_counter() - began, result


def _synchronize() -> None:
    """Wait until a GPU has finished."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def alternate(sides: Mapping[str, Callable[[int], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side in each round; who goes first changes from round to round."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(rounds):
        for name in names if number % 2 == 0 else names[::-1]:
            spent, reported = timed(lambda name=name, number=number: sides[name](number))
            seconds[name].append(reported if isinstance(reported, float) else spent)
    return seconds


def ratio(name: str, theirs: Sequence[float], ours: Sequence[float]) -> Ratio:
    each = [a / b for a, b in zip(theirs, ours, strict=True)]
    return Ratio(name, *(round(x, 3) for x in (statistics.median(each), min(each), max(each))))


def utilisation(flops: float, seconds: float, peak: float) -> float:
    """Useful arithmetic as a share of the GEMM peak of this run."""
    return round(flops / seconds / peak, 3)


def rates(useful: tuple[int, float], seconds: dict[str, list[float]], peak: float | None = None) -> dict[str, Any]:
    """Useful tokens a second, and useful arithmetic as a share of the GEMM peak of this run, for each side."""
    (tokens, flops), peak = useful, peak or gemm_peak()
    return {
        "gemm_gflops": round(peak / 1e9, 1),
        "tokens_per_second": {side: round(tokens / sum(spent)) for side, spent in seconds.items()},
        "model_flops_utilisation": {side: utilisation(flops, sum(spent), peak) for side, spent in seconds.items()},
    }


def answer(ratios: Sequence[Ratio], **details: Any) -> dict[str, Any]:
    """The result of a question; its process prints it as one line of JSON."""
    return {"ratios": [asdict(r) for r in ratios], "details": details}


def processor() -> str:
    """The name of the CPU. Its rounding decides the result of some trainings."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
