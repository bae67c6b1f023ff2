"""Do the tests notice when a line goes wrong? Each mutant of tests/mutants.json changes one line, and tests must fail.

    python recipes/mutants.py                 # all of them
    python recipes/mutants.py --only stats    # those whose id begins so

The lines are changed in a temporary git worktree of the last commit, never in the checkout; so commit first. A mutant
is found by its whole line, which may stand anywhere in its file. Said of each:

    killed            one of the tests it names fails, or is still running after two minutes
    SURVIVED          they all pass: the tests have a hole there
    NOT APPLICABLE    its line does not stand in its file exactly once, or a test it names cannot be run

Before that, all named tests must pass on the lines as they are. Exit code 1 unless every mutant is killed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

ROOT = Path(__file__).parents[1]
LIST = ROOT / "tests" / "mutants.json"
SECONDS = 120
PASSED, FAILED = 0, 1  # exit codes of pytest; it has others for tests that it does not find


class Mutant(TypedDict):
    id: str
    file: str
    line: str
    mutant: str
    killed_by: list[str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="how the ids begin: stats, safety, objectives, store")
    only = parser.parse_args().only
    mutants: list[Mutant] = [m for m in json.loads(LIST.read_text(encoding="utf-8")) if m["id"].startswith(only)]
    began, killed = time.monotonic(), 0
    with worktree() as tree:
        code, output = run(tree, sorted({test for m in mutants for test in m["killed_by"]}), seconds=None)
        if code != PASSED:
            print(f"{output}\nThe named tests must pass before any line is changed.")
            return 1
        for mutant in mutants:
            said = judge(tree, mutant)
            killed += said == "killed"
            print(f"{mutant['id']:<14} {said:<15} {mutant['file']}: {mutant['mutant']}", flush=True)
    print(f"{time.monotonic() - began:.0f} seconds")
    print(f"{killed} of {len(mutants)} killed")
    return 0 if mutants and killed == len(mutants) else 1


def judge(tree: Path, mutant: Mutant) -> str:
    """Changes the line, runs the tests that should fail, puts the line back."""
    path = tree / mutant["file"]
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    lines = text.splitlines(keepends=True)
    places = [place for place, line in enumerate(lines) if line.strip() == mutant["line"]]
    if len(places) != 1:
        return "NOT APPLICABLE"
    lines[places[0]] = lines[places[0]].replace(mutant["line"], mutant["mutant"])
    path.write_text("".join(lines), encoding="utf-8")
    try:
        code, _ = run(tree, mutant["killed_by"], seconds=SECONDS)
    finally:
        path.write_text(text, encoding="utf-8")
    return {PASSED: "SURVIVED", FAILED: "killed"}.get(code, "NOT APPLICABLE")


def run(tree: Path, tests: Iterable[str], *, seconds: float | None) -> tuple[int, str]:
    """Exit code and output of pytest in ``tree``; a run that takes too long has failed."""
    env = {**os.environ, "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return FAILED, ""
    return done.returncode, done.stdout + done.stderr


@contextmanager
def worktree() -> Iterator[Path]:
    """The last commit in a folder of its own, gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "--quiet", "--detach", tree, "HEAD"], check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", tree], check=True)


if __name__ == "__main__":
    sys.exit(main())
