"""Two commits run the same cases on this machine; what decides must be the same, to the last bit.

    python recipes/two_commits.py OLD NEW [--names recipes/names_0.1_to_0.2.yaml] [--case demo]

Of each case (two_commits.yaml): exit codes, every measure with its bounds, every answer and stance, the states of gates
in their order, losses step by step, and the bytes of adapters. Exit code 1 on any difference that the file of names
does not allow. That file says what NEW calls differently:

    keys:     {align.schedule: align.lr_scheduler_type}     dotted keys of the config
    tables:   {gates: {stop: []}}                           what stands at a dotted key instead
    words:    {--against: --reference, gates.err_max=null: null}   words of a command line; null drops one
    allowed:  {demo: [...]}                                 differences of gate states, as they are printed here
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

CASES = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
PRINTED = ("value", "n", "unreadable", "low", "high")
"""What ``--json`` has always printed of a measure."""
BOUNDS = (*PRINTED, "worst", "worst_low", "worst_high")
NO_NAMES: dict[str, Any] = {"keys": {}, "tables": {}, "words": {}, "allowed": {}}
SHOWN = 10
"""Differences of one sort that are printed."""


def renamed_config(config: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """The config under the names of NEW."""
    leaves = {names["keys"].get(place, place): value for place, value in _leaves(config)}
    leaves |= names["tables"]
    tables: dict[str, Any] = {}
    for place, value in leaves.items():
        *path, last = place.split(".")
        table = tables
        for key in path:
            table = table.setdefault(key, {})
        table[last] = value
    return tables


def _leaves(table: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{at}{key}.")
        else:
            yield f"{at}{key}", value


def renamed_word(word: str, names: Mapping[str, Any]) -> list[str]:
    """A word of a command line under the names of NEW; ``a.b=c`` becomes a --set."""
    word = names["words"].get(word, word)
    if word is None:
        return []
    key, equals, value = word.partition("=")
    return ["--set", f"{names['keys'].get(key, key)}={value}"] if equals else [word]


def run_case(case: str, tree: Path, folder: Path, names: Mapping[str, Any]) -> dict[str, Counter[Any] | list[Any]]:
    """What decides in one case of one commit, by its sort. RuntimeError where a command ends in an error."""
    folder.mkdir(parents=True)
    config = renamed_config(CASES["config"], names)
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    codes = []
    for command in CASES["cases"][case]["commands"]:
        words = [word for old in command for word in renamed_word(old, names)]
        line = [sys.executable, "-m", "bedside", *words]
        done = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True)
        if done.returncode not in (0, 3):
            raise RuntimeError(f"{tree.name}: {' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        codes.append(done.returncode)
        (folder / f"{command[0]}.out").write_text(done.stdout, encoding="utf-8")
    results = [next(folder.rglob(name)) for name in CASES["cases"][case]["results"]]
    documents = [(file, json.loads(line)) for file in results for line in _documents(file)]
    values = [value for _, value in documents]
    stages = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.rglob("stage.json"))]
    return {
        "exit codes": codes,
        "measures": Counter(
            measure
            for file, value in documents
            for measure in _measures(value, PRINTED if file.suffix == ".out" else BOUNDS)
        ),
        "answers and stances": Counter(text for value in values for text in _texts(value)),
        "gate states": [gate["state"] for value in values for gate in _gates(value)],
        "losses": Counter(step["loss"] for stage in stages for step in stage.get("log", ())),
        "adapters": Counter(
            hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("adapter_model.safetensors")
        ),
    }


def _documents(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8")
    return text.splitlines() if file.suffix == ".jsonl" else [text]


def _tables(value: Any) -> Iterator[dict[str, Any]]:
    """Every table in ``value``, in its order."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _tables(item)


def _gates(value: Any) -> list[dict[str, Any]]:
    return [table for table in _tables(value) if {"state", "reason"} <= table.keys()]


def _measures(value: Any, keys: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Every measure but those that a gate repeats."""
    inside = {id(table) for gate in _gates(value) for table in _tables(gate)}
    for table in _tables(value):
        if {"value", "n"} <= table.keys() and id(table) not in inside:
            yield tuple(table.get(key) for key in keys)


def _texts(value: Any) -> Iterator[str]:
    for table in _tables(value):
        yield from (table[key] for key in ("text", "before", "after", "stance") if isinstance(table.get(key), str))


def compare(case: str, trees: Mapping[str, Path], names: Mapping[str, Any]) -> bool:
    """Whether both commits came to the same; prints a line for each sort, and the differences."""
    home = trees["old"].parent / "runs" / case.replace(" ", "-")
    old = run_case(case, trees["old"], home / "old", NO_NAMES)
    new = run_case(case, trees["new"], home / "new", names)
    equal = True
    for sort, before in old.items():
        after = new[sort]
        differences = _differences(before, after)
        allowed = sort == "gate states" and differences == names["allowed"].get(case, [])
        equal &= not differences or allowed
        size = after.total() if isinstance(after, Counter) else len(after)
        print(f"{case}: {size} {sort}, {len(differences)} differ{' (allowed)' if differences and allowed else ''}")
        for line in differences[:SHOWN]:
            print(f"    {line}", flush=True)
    return equal


def _differences(old: Any, new: Any) -> list[str]:
    if isinstance(old, Counter):
        return [f"only old {item}" for item in (old - new)] + [f"only new {item}" for item in (new - old)]
    if len(old) != len(new):
        return [f"{len(old)} -> {len(new)}"]
    return [f"{at}: {a} -> {b}" for at, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--names", type=Path)
    parser.add_argument("--case", action="append", choices=CASES["cases"])
    given = parser.parse_args()
    names = NO_NAMES | (yaml.safe_load(given.names.read_text(encoding="utf-8")) if given.names else {})
    with tempfile.TemporaryDirectory() as home:
        trees = {side: Path(home) / side for side in ("old", "new")}
        git = ("git", "-C", str(Path(__file__).parent), "worktree")
        try:
            for side, tree in trees.items():
                subprocess.run([*git, "add", "--quiet", "--detach", tree, getattr(given, side)], check=True)
            equal = [compare(case, trees, names) for case in given.case or CASES["cases"]]
        finally:
            for tree in trees.values():
                subprocess.run([*git, "remove", "--force", tree], check=False)
    return 0 if all(equal) else 1


if __name__ == "__main__":
    sys.exit(main())
