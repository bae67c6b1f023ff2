"""Files that are larger than a program should keep: what each verb needs of memory and time."""

import json
import random
import subprocess
import sys
import time
from itertools import islice

import pytest

FILE_BYTES = 200_000_000
MOST_MEMORY = 400e6
MOST_MEMORY_OF_CHECK = 1e9
MOST_CPU_SECONDS_OF_CHECK = 60
PEAK = """
import os, resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, used.ru_maxrss * 1024, used.ru_utime + used.ru_stime)
"""
"""Runs a program alone, so that the peak is that of no other child. Linux counts ``ru_maxrss`` in KiB."""
CONFIG = """
run: large
target: {model: embedded}
data:
  train: {kind: jsonl, path: train.jsonl}
  valid: {kind: jsonl, path: train.jsonl, share: 0.15, by: group}
  test: {kind: jsonl, path: test.jsonl}
"""
BY_AUTHOR = """
  groupings: [author]
judges:
  people: {kind: labels, path: labels.jsonl}
"""


@pytest.fixture
def measured(tmp_path, evidence):
    """Exit code, peak memory in bytes and CPU seconds of a verb, which become a row of the page."""

    def run(*arguments):
        began = time.monotonic()
        command = [sys.executable, "-c", PEAK, sys.executable, "-m", "bedside", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        code, peak, cpu = (float(word) for word in done.stdout.split())
        made = ("verdicts.jsonl", "labels.jsonl")
        size = sum(file.stat().st_size for file in tmp_path.glob("*.jsonl") if file.name not in made)
        row = {"command": " ".join(arguments), "input, MB": f"{size / 1e6:.0f}", "peak, MB": f"{peak / 1e6:.0f}"}
        row |= {"CPU, s": f"{cpu:.0f}", "wall, s": f"{time.monotonic() - began:.0f}"}
        evidence["inputs: large files"].append(row)
        return code, peak, cpu

    return run


def sentences(seed):
    """Sentences of made-up words, by their number of words."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("aeioubcdfglmnprst", k=draw.randint(2, 9))) for _ in range(4000)]
    return lambda count: " ".join(draw.choices(words, k=count))


@pytest.mark.prove
def test_judging_by_keywords_and_evaluating_keep_no_answer_of_a_large_file(tmp_path, measured):
    text, size, number = sentences(0), 0, 0
    with (tmp_path / "answers.jsonl").open("w") as out:
        while size < FILE_BYTES:
            row = {"prompt": f"{text(30)} {number}?", "response": text(150), "harm": number % 4}
            row["author"] = f"author {number % 900}"
            size += out.write(json.dumps(row) + "\n")
            number += 1
    code, peak, _ = measured("judge", "answers.jsonl", "--judge", "keyword", "-o", "verdicts.jsonl")
    assert (code, peak <= MOST_MEMORY) == (0, True), peak
    with (tmp_path / "answers.jsonl").open() as answers, (tmp_path / "labels.jsonl").open("w") as out:
        out.writelines(json.dumps(json.loads(row) | {"label": "accept"}) + "\n" for row in islice(answers, 1000))
    (tmp_path / "by-author.yaml").write_text(CONFIG + BY_AUTHOR)
    for more in ([], ["-c", "by-author.yaml"], ["-c", "by-author.yaml", "--labels", "people"]):
        code, peak, _ = measured("evaluate", "answers.jsonl", "verdicts.jsonl", *more)
        assert (code, peak <= MOST_MEMORY) == (3, True), peak  # made-up answers pass no gate


@pytest.mark.prove
def test_a_check_of_many_prompts_takes_a_minute(tmp_path, measured):
    for name, count in (("train", 85_000), ("test", 15_000)):
        text, draw = sentences(0 if name == "train" else 1), random.Random(name)
        rows = ({"prompt": f"{text(draw.randint(8, 40))}?", "harm": draw.randrange(4)} for _ in range(count))
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "bedside.yaml").write_text(CONFIG)
    code, peak, cpu = measured("check")
    assert code in (0, 3)  # what the embedded model answers decides it
    assert peak <= MOST_MEMORY_OF_CHECK, peak
    assert cpu <= MOST_CPU_SECONDS_OF_CHECK, cpu
