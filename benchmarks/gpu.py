"""The same questions on a GPU in bfloat16, for a 1B and an 8B Llama shape: `python -m benchmarks.gpu 1b 8b`

The gates are in fp32 on the card, on the tiny shape: an epoch's weights as TRL's, answers as ``generate``'s, labels as
constrained decoding's. In bfloat16 no two programs round alike, so nothing is compared there but time and memory. TRL
tuned: bf16, no gradient checkpointing, the faster of two batches; ``generate`` on merged weights in one batch.
"""

import argparse
import gc
import json
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import judging, measuring, rollouts, shapes, training
from benchmarks.training import Setting, quiet

RESULTS = Path(__file__).parent / "results" / "gpu.json"
KINDS = ("dpo", "kto", "sft")


@dataclass(frozen=True)
class Plan:
    """How much is run for one size: about two minutes on an H200."""

    batch: int
    """Rows of an optimizer step, both sides."""
    rows: int
    """Rows of an epoch."""
    trl_batches: tuple[int, ...]
    """Batch sizes that TRL may choose from; for KTO only the optimizer batch: z is a mean over it."""
    answers: int
    rounds: int
    pack: int
    """Tokens of a micro-batch here."""


PLANS = {"1b": Plan(32, 192, (8, 32), 64, 3, 16384), "8b": Plan(16, 64, (4, 8), 64, 2, 8192)}


def gates() -> dict[str, Any]:
    """How far both sides agree in fp32. SystemExit if a result differs: nothing is timed then."""
    rows = shapes.examples(2 * training.BATCH, shapes.SIZES["tiny"]["vocab_size"], seed=99)
    agreement: dict[str, Any] = {kind: training.agree(kind, "tiny", rows) for kind in KINDS}
    prompts, limits = rollouts.prompts_and_limits(32, skewed=True)
    merged = shapes.adapted("tiny").merge_and_unload().eval()
    ours = rollouts.ours(shapes.adapted("tiny").eval(), prompts, limits)
    agreement["greedy_identical"] = ours == rollouts.theirs(merged, prompts, limits, 32)
    questions = judging.questions(16, shapes.SIZES["tiny"]["vocab_size"])
    agreement["labels_identical"] = judging.ours(merged, questions) == judging.constrained(merged, questions)
    if not (agreement["greedy_identical"] and agreement["labels_identical"]):
        raise SystemExit(f"{agreement}; nothing is timed")
    return agreement


class SizeBenchmark:
    """All benchmarks for one model size, on two models with the same weights."""

    def __init__(self, size: str, plan: Plan, peak: float) -> None:
        self.size, self.plan, self.peak = size, plan, peak
        vocabulary = shapes.SIZES[size]["vocab_size"]
        self.rows = shapes.examples(plan.rows, vocabulary)
        self.prompts, self.limits = rollouts.prompts_and_limits(plan.answers, skewed=False)
        self.questions = judging.questions(plan.answers, vocabulary)
        self.policy, self.trl_policy = shapes.adapted(size), shapes.adapted(size)
        self.ratios: list[measuring.Ratio] = []
        self.details: dict[str, Any] = {"plan": asdict(plan)}
        self.setting: dict[str, Setting] = {}

    def train(self, kind: str) -> None:
        plan = self.plan
        trl_batches = (plan.batch,) if kind == "kto" else plan.trl_batches
        seconds_by_batch = {n: self._theirs(kind, Setting(n)) for n in trl_batches}
        self.setting[kind] = Setting(min(seconds_by_batch, key=lambda n: seconds_by_batch[n]))
        self._ours(kind)
        memory: dict[str, float] = {}
        seconds = measuring.alternate(
            {
                "bedside": lambda _: _peak(memory, "bedside", lambda: self._ours(kind)),
                "trl": lambda _: _peak(memory, "trl", lambda: self._theirs(kind, self.setting[kind])),
            },
            plan.rounds,
        )
        self._add_ratio(f"{kind}_{self.size}", seconds["trl"], seconds["bedside"])
        self.details[kind] = {
            "seconds": seconds,
            "trl_batch": self.setting[kind].per_device,
            **measuring.rates(training.useful(kind, self.size, [self.rows] * plan.rounds), seconds, self.peak),
            "peak_memory_gb": memory,
        }

    def answer(self) -> None:
        merged = self.trl_policy.merge_and_unload().eval()
        self.policy.eval()
        rollouts.ours(self.policy, self.prompts, self.limits)
        self._generated(merged)
        seconds = measuring.alternate(
            {
                "bedside": lambda _: rollouts.ours(self.policy, self.prompts, self.limits),
                "generate": lambda _: self._generated(merged),
            },
            self.plan.rounds,
        )
        self._add_ratio(f"rollout_{self.size}", seconds["generate"], seconds["bedside"])
        useful = rollouts.useful(self.size, self.prompts, self.limits, self.plan.rounds)
        self.details["rollout"] = {"seconds": seconds, **measuring.rates(useful, seconds, self.peak)}

    def judge(self) -> None:
        model = self.trl_policy
        sides: dict[str, Callable[[int], Any]] = {
            "bedside": lambda _: judging.ours(model, self.questions),
            "generate": lambda _: judging.theirs(model, self.questions, 96),
        }
        for side in sides.values():
            side(0)
        seconds = measuring.alternate(sides, self.plan.rounds)
        self._add_ratio(f"judge_{self.size}", seconds["generate"], seconds["bedside"])
        useful = judging.useful(self.size, self.questions, self.plan.rounds)
        self.details["judge"] = {"seconds": seconds, **measuring.rates(useful, seconds, self.peak)}

    def cycle(self) -> None:
        """Answers, verdicts, KTO and DPO: the sum of their seconds, for each round."""
        parts = {"bedside": ("bedside",) * 4, "others": ("generate", "generate", "trl", "trl")}
        stages = ("rollout", "judge", "kto", "dpo")
        sums = {
            side: [
                sum(self.details[part]["seconds"][name][n] for part, name in zip(stages, names, strict=True))
                for n in range(self.plan.rounds)
            ]
            for side, names in parts.items()
        }
        self._add_ratio(f"cycle_{self.size}", sums["others"], sums["bedside"])

    def _generated(self, merged: Any) -> Any:
        return rollouts.theirs(merged, self.prompts, self.limits, len(self.prompts))

    def _ours(self, kind: str) -> Any:
        return training.ours(kind, self.policy, self.rows, self.plan.batch, self.plan.pack)

    def _theirs(self, kind: str, setting: Setting) -> float:
        return training.theirs(kind, self.trl_policy, self.rows, setting, self.plan.batch)

    def _add_ratio(self, name: str, theirs: list[float], ours: list[float]) -> None:
        self.ratios.append(measuring.ratio(name, theirs, ours))
        last = self.ratios[-1]
        print(f"{name:>16} {last.ratio:6.2f}  [{last.low:.2f}, {last.high:.2f}]", flush=True)


def _peak(memory: dict[str, float], side: str, work: Callable[[], Any]) -> Any:
    """The result of ``work``; ``memory[side]`` becomes its peak in GiB on the card, without the weights."""
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    result = work()
    memory[side] = round((torch.cuda.max_memory_allocated() - before) / 2**30, 2)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("sizes", nargs="*", default=["1b", "8b"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    results: dict[str, Any] = {"machine": measuring.machine(), "versions": measuring.versions(), "ratios": []}
    peak = measuring.gemm_peak(8192, 20, torch.bfloat16, shapes.DEVICE)
    results["machine"]["gemm_bf16_tflops"] = round(peak / 1e12, 1)
    print(json.dumps(results["machine"]), flush=True)
    results["gates"] = gates()
    print(json.dumps(results["gates"]), flush=True)
    results["details"] = {}
    for size in options.sizes:
        benchmark = SizeBenchmark(size, PLANS[size], peak)
        for question in (
            *((benchmark.train, k) for k in KINDS),
            (benchmark.answer,),
            (benchmark.judge,),
            (benchmark.cycle,),
        ):
            try:
                question[0](*question[1:])
            except (RuntimeError, KeyError):
                benchmark.details.setdefault("failed", []).append(traceback.format_exc())
                print(traceback.format_exc(), flush=True)
            results["details"][size] = benchmark.details
            kept = [r for r in results["ratios"] if not r["name"].endswith(size)]
            results["ratios"] = kept + [asdict(r) for r in benchmark.ratios]
            options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        del benchmark
        gc.collect()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    quiet()
    main()
