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
    prompts, limits = rollouts.asked(n, skewed=False)
    limits = [limit // 8 for limit in limits] if smoke else limits
    asked = judging.questions(n, vocabulary)
    rows = shapes.examples(n, vocabulary)
    one, other, merged = (
        shapes.adapted("tiny"),
        shapes.adapted("tiny"),
        shapes.adapted("tiny").merge_and_unload().eval(),
    )
    parts: dict[str, dict[str, list[float]]] = {"bedside": {}, "others": {}}

    def spent(side: str, part: str, work: Any) -> float:
        seconds, reported = measuring.timed(work)
        seconds = reported if isinstance(reported, float) else seconds
        parts[side].setdefault(part, []).append(round(seconds, 3))
        return seconds

    def ours(_: int) -> float:
        one.eval()
        return sum(
            [
                spent("bedside", "answer", lambda: rollouts.ours(one, prompts, limits)),
                spent("bedside", "judge", lambda: judging.ours(one, asked)),
                spent("bedside", "kto", lambda: training.ours("kto", one, rows)),
                spent("bedside", "dpo", lambda: training.ours("dpo", one, rows)),
            ]
        )

    def theirs(_: int) -> float:
        return sum(
            [
                spent("others", "answer", lambda: rollouts.theirs(merged, prompts, limits, n)),
                spent("others", "judge", lambda: judging.theirs(merged, asked, 3 * n)),
                spent("others", "kto", lambda: training.theirs("kto", other, rows, Setting(BATCH))),
                spent("others", "dpo", lambda: training.theirs("dpo", other, rows, Setting(min(4, BATCH)))),
            ]
        )

    seconds = measuring.alternate({"bedside": ours, "others": theirs}, rounds)
    found = [measuring.ratio("cycle", seconds["others"], seconds["bedside"])]
    return measuring.answer(found, prompts=n, rounds=rounds, seconds=parts)


if __name__ == "__main__":
    quiet()
    print(json.dumps(ask(smoke="--smoke" in sys.argv)))
