"""Peak memory of an epoch above the imports, each side in a process of its own: `python -m benchmarks.memory`

``rss`` is ours by TRL's, of KTO or DPO, whichever is the larger; TRL tuned as for time (its batch decides
its memory, so ``per_device`` is reported).
"""

import json
import resource
import subprocess
import sys
from typing import Any

from benchmarks import measuring, shapes, training
from benchmarks.training import BATCH, Setting, quiet


def alone(side: str, kind: str, size: str, n: int, per_device: int) -> float:
    """MB at the peak above what the imports took, of this very process."""
    import datasets  # noqa: F401
    import trl

    _ = (trl.DPOTrainer, trl.KTOTrainer)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model, rows = shapes.adapted(size), shapes.examples(n, shapes.SIZES[size]["vocab_size"])
    if side == "bedside":
        training.ours(kind, model, rows)
    else:
        training.theirs(kind, model, rows, Setting(per_device))
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def ask(*, smoke: bool = False) -> dict[str, Any]:
    size, n = ("tiny", BATCH) if smoke else ("small", BATCH)
    megabytes_by_kind: dict[str, dict[str, float]] = {}
    for kind, per_device in (("kto", BATCH), ("dpo", 4)):
        megabytes_by_kind[kind] = {side: _fresh(side, kind, size, n, per_device) for side in ("bedside", "trl")}
    each = [megabytes["bedside"] / megabytes["trl"] for megabytes in megabytes_by_kind.values()]
    worst = measuring.Ratio("rss", round(max(each), 3), round(min(each), 3), round(max(each), 3))
    return measuring.answer(
        [worst], megabytes=megabytes_by_kind, size=size, rows=n, per_device={"kto": BATCH, "dpo": 4}
    )


def _fresh(*arguments: Any) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", "--alone", *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return round(float(process.stdout.splitlines()[-1]), 1)


if __name__ == "__main__":
    quiet()
    if "--alone" in sys.argv:
        side, kind, size, n, per_device = sys.argv[2:]
        print(alone(side, kind, size, int(n), int(per_device)))
    else:
        print(json.dumps(ask(smoke="--smoke" in sys.argv)))
