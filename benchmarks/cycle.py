"""A whole cycle, answer, judge, KTO, DPO, against TRL, ``generate`` and generated labels: `python -m benchmarks.cycle`

The other side is tuned as in the single questions: merged weights and the best batch for rollouts, TRL's fastest
setting. Both train on the same fixed preferences, so that what a random model answers decides no one's work.
"""

import json
import sys
from typing import Any

from benchmarks import judging, measuring, rollouts, shapes, training
from benchmarks.training import BATCH, Setting, quiet


def ask(*, smoke: bool = False) -> dict[str, Any]:
    n, rounds = (2, 1) if smoke else (4 * BATCH, 5)
    vocabulary = shapes.SIZES["tiny"]["vocab_size"]
    prompts, limits = rollouts.prompts_and_limits(n, skewed=False)
    limits = [limit // 8 for limit in limits] if smoke else limits
    questions = judging.questions(n, vocabulary)
    rows = shapes.examples(n, vocabulary)
    policy, trl_policy, merged = (
        shapes.adapted("tiny"),
        shapes.adapted("tiny"),
        shapes.adapted("tiny").merge_and_unload().eval(),
    )
    parts: dict[str, dict[str, list[float]]] = {"bedside": {}, "others": {}}

    def measure(side: str, part: str, work: Any) -> float:
        seconds, reported = measuring.timed(work)
        seconds = reported if isinstance(reported, float) else seconds
        parts[side].setdefault(part, []).append(round(seconds, 3))
        return seconds

    def ours(_: int) -> float:
        policy.eval()
        return sum(
            [
                measure("bedside", "answer", lambda: rollouts.ours(policy, prompts, limits)),
                measure("bedside", "judge", lambda: judging.ours(policy, questions)),
                measure("bedside", "kto", lambda: training.ours("kto", policy, rows)),
                measure("bedside", "dpo", lambda: training.ours("dpo", policy, rows)),
            ]
        )

    def theirs(_: int) -> float:
        return sum(
            [
                measure("others", "answer", lambda: rollouts.theirs(merged, prompts, limits, n)),
                measure("others", "judge", lambda: judging.theirs(merged, questions, 3 * n)),
                measure("others", "kto", lambda: training.theirs("kto", trl_policy, rows, Setting(BATCH))),
                measure("others", "dpo", lambda: training.theirs("dpo", trl_policy, rows, Setting(min(4, BATCH)))),
            ]
        )

    seconds = measuring.alternate({"bedside": ours, "others": theirs}, rounds)
    ratios = [measuring.ratio("cycle", seconds["others"], seconds["bedside"])]
    return measuring.answer(ratios, prompts=n, rounds=rounds, seconds=parts)


if __name__ == "__main__":
    quiet()
    print(json.dumps(ask(smoke="--smoke" in sys.argv)))
