"""Cost over 200, 400, 800 prompts: linear in tokens, memory flat: `python -m benchmarks.scaling`"""

import json
import resource
import subprocess
import sys
from typing import Any

from benchmarks import judging, measuring, shapes, training
from benchmarks.training import quiet


def alone(n: int) -> dict[str, float]:
    """One DPO epoch and one judging of ``n`` prompts in this process: seconds for 1,000 tokens, peak MB."""
    vocabulary = shapes.SIZES["tiny"]["vocab_size"]
    model, rows, questions = shapes.adapted("tiny"), shapes.examples(n, vocabulary), judging.questions(n, vocabulary)
    training.ours("dpo", model, rows[:8])
    train_seconds, _ = measuring.timed(lambda: training.ours("dpo", model, rows))
    judge_seconds, _ = measuring.timed(lambda: judging.ours(model.eval(), questions))
    tokens = sum(len(r.prompt) + len(r.chosen) + len(r.rejected) for r in rows)
    return {
        "train_seconds_per_1000": 1000 * train_seconds / tokens,
        "judge_seconds_per_1000": 1000 * judge_seconds / sum(map(len, questions)),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def ask(*, smoke: bool = False) -> dict[str, Any]:
    sizes = (8, 16) if smoke else (200, 400, 800)
    costs = {n: _fresh(n) for n in sizes}
    return measuring.answer(ratios(list(costs.values())), by_prompts=costs)


def ratios(costs: list[dict[str, float]]) -> list[measuring.Ratio]:
    """Of the most prompts to the fewest; the least and largest of any number to the fewest."""
    first, *more = costs
    each = {key: [round(cost[key] / first[key], 3) for cost in more] for key in first}
    return [measuring.Ratio(f"scaling_{key}", of[-1], min(of), max(of)) for key, of in each.items()]


def _fresh(n: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.scaling", "--alone", str(n)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    cost: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return cost


if __name__ == "__main__":
    quiet()
    if "--alone" in sys.argv:
        print(json.dumps(alone(int(sys.argv[2]))))
    else:
        print(json.dumps(ask(smoke="--smoke" in sys.argv)))
