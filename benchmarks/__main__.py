"""Every question in a fresh process, answers in one file: `python -m benchmarks [--smoke] [--out FILE] [QUESTION …]`

A question is a module and its arguments: "training dpo tiny", "rollouts", "judging", "cycle", "memory", "scaling".
Each answer is written as soon as it is there. ``--smoke`` asks for the least, to see that everything runs: it is
written nowhere but on the screen.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import measuring

QUESTIONS = (
    *(f"training {kind} {size}" for size in ("tiny", "small") for kind in ("dpo", "kto", "sft")),
    "rollouts",
    "judging",
    "cycle",
    "memory",
)
"""Three quarters of an hour on two cores. "scaling" takes five minutes more and is asked by name."""
RESULTS = Path(__file__).parent / "results" / "cpu.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("questions", nargs="*", default=QUESTIONS, metavar="QUESTION")
    parser.add_argument("--smoke", action="store_true", help="the least of everything; no result is kept")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    told: dict[str, Any] = {
        "machine": measuring.machine(),
        "versions": measuring.versions(),
        "ratios": [],
        "details": {},
    }
    print(json.dumps(told["machine"]), flush=True)
    for question in given.questions:
        began = time.monotonic()
        answer = _ask(question, smoke=given.smoke)
        told["ratios"] += answer["ratios"]
        told["details"][question] = answer["details"]
        for r in answer["ratios"]:
            print(f"{r['name']:>28} {r['ratio']:7.2f}  [{r['low']:.2f}, {r['high']:.2f}]", flush=True)
        print(f"{'':>28} {time.monotonic() - began:.0f} s", flush=True)
        if not given.smoke:
            given.out.parent.mkdir(exist_ok=True)
            given.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _ask(question: str, *, smoke: bool) -> Any:
    module, *rest = question.split()
    command = [sys.executable, "-m", f"benchmarks.{module}", *rest, *(["--smoke"] if smoke else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{question} gave no answer:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
