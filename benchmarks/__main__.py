"""Run each question in a new process and write all answers to one file.

    python -m benchmarks [--smoke] [--out FILE] [QUESTION …]

A question is a module and its arguments: "training dpo tiny", "rollouts", "judging", "cycle", "memory", "scaling",
"bf16 small".
Each answer is written as soon as it is there. ``--smoke`` runs the smallest case of each, to see that it works, and
writes no file.
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
"""Three quarters of an hour on two cores. "scaling", five minutes, and "bf16 small", for AMX, run only if named."""
RESULTS = Path(__file__).parent / "results" / "cpu.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("questions", nargs="*", default=QUESTIONS, metavar="QUESTION")
    parser.add_argument("--smoke", action="store_true", help="the smallest case of each question; no file is written")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    results: dict[str, Any] = {
        "machine": measuring.machine(),
        "versions": measuring.versions(),
        "ratios": [],
        "details": {},
    }
    print(json.dumps(results["machine"]), flush=True)
    for question in options.questions:
        began = time.monotonic()
        answer = _run_question(question, smoke=options.smoke)
        results["ratios"] += answer["ratios"]
        results["details"][question] = answer["details"]
        for r in answer["ratios"]:
            print(f"{r['name']:>28} {r['ratio']:7.2f}  [{r['low']:.2f}, {r['high']:.2f}]", flush=True)
        print(f"{'':>28} {time.monotonic() - began:.0f} s", flush=True)
        if not options.smoke:
            options.out.parent.mkdir(exist_ok=True)
            options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _run_question(question: str, *, smoke: bool) -> Any:
    module, *rest = question.split()
    command = [sys.executable, "-m", f"benchmarks.{module}", *rest, *(["--smoke"] if smoke else [])]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise SystemExit(f"{question} gave no answer:\n{process.stderr[-3000:]}")
    return json.loads(process.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
