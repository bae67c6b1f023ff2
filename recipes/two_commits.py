"""Two commits run the cases of two_commits.yaml on this machine; what decides must be the same, to the last bit.

python recipes/two_commits.py OLD NEW [--keys renamed.yaml] [--allowed allowed.yaml] [--case demo] [--jobs 2]

Compared: every number of the result files, losses step by step, adapters byte by byte, answers, stances, what was
carried; and the states of gates, what ships and exit codes. It exits 1 on any difference; a state that may differ
stands in ``allowed.yaml`` as it is printed here, under its case: ``demo: {"summary.gates[kl].state": PASS -> FAIL}``.

``renamed.yaml`` says what NEW calls differently; each table may be left out:

    keys:     {align.judge: train.labels}    keys of the config, dotted; a table takes what is below it along
    values:   {stage-start: stage_start}     words in the config
    command:  {audit: assess, --against: --reference, bedside: bedside}
    files:    {summary.json: result.json}    result files, and those that the command line is told to write
    segments: {candidates: policies, axes.kind: warm, .text: answer}   keys of result files; ".": at the top alone
    names:    {dpo_share: pair_share}        gates, measures, steps, candidates: whole words of their names
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

CASES = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
GIT = ("git", "-C", str(Path(__file__).parent), "worktree")
ABSENT = "absent"
WORDED = ("dropped", "notes", "left_out")
"""Tables whose keys are sentences: their numbers are compared, sorted."""
EXACT = ("carried", "before", "after", "before_stance", "after_stance", "answers", "text", "stance")
"""Keys whose texts decide."""
WEIGHTS = "adapter_model.safetensors"
SHOWN = 20  # differences that are printed of one case
CALLED = ("name", "arm", "step", "label")  # what an item of a list is known by


@dataclass(frozen=True)
class Renamed:
    """What NEW calls differently."""

    keys: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    command: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    segments: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    def key(self, dotted: str) -> str:
        """A key of the config; the nearest table around it that moved takes it along."""
        parts = dotted.split(".")
        for end in range(len(parts), 0, -1):
            if (moved := self.keys.get(".".join(parts[:end]))) is not None:
                return ".".join([moved, *parts[end:]])
        return dotted

    def config(self, told: Any, at: str = "") -> Any:
        """A config, each value at its new place."""
        if isinstance(told, list):
            return [self.config(item, at) for item in told]
        if not isinstance(told, dict):
            return self.values.get(told, told) if isinstance(told, str) else told
        made: dict[str, Any] = {}
        for key, value in _leaves(told):
            *tables, last = self.key(f"{at}.{key}".strip(".")).removeprefix(f"{self.key(at)}." if at else "").split(".")
            place = made
            for table in tables:
                place = place.setdefault(table, {})
            place[last] = self.config(value, f"{at}.{key}".strip("."))
        return made

    def word(self, text: str) -> str:
        """A word of the command line."""
        key, equals, value = text.partition("=")
        if equals:
            return f"--set={self.key(key)}={self.values.get(value, value)}"
        return self.command.get(text, self.files.get(text, text))

    def segment(self, path: tuple[str, ...], key: str) -> str:
        """A key of a result file; what is said of it with more tables around it counts first."""
        whole = [*path, key]
        said = [f".{'.'.join(whole)}", *(".".join(whole[start:]) for start in range(len(whole)))]
        return next((self.segments[one] for one in said if one in self.segments), self.name(key))

    def name(self, text: str) -> str:
        for old in sorted(self.names, key=len, reverse=True):
            new = self.names[old].replace("\\", r"\\")
            text = re.sub(rf"(?<![\w@-]){re.escape(old)}(?![\w@-])", new, text)
        return text

    def asks(self, *old: str) -> set[str]:
        """The keys that this recipe asks for, under every name they may have."""
        return {*old, *(new for said, new in self.segments.items() if said.rpartition(".")[2] in old)}


@dataclass
class Reader:
    """What one commit left of one case: place to value. Places are told in NEW's names, whichever commit it is."""

    called: Renamed
    """How this commit calls the few keys that are asked for."""
    told: Renamed
    """From this commit's names to NEW's."""
    root: Path
    exact: dict[str, Any] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)

    def walk(self, value: Any, place: str, path: tuple[str, ...] = ()) -> None:
        key = path[-1] if path else ""
        if isinstance(value, dict) and key in self.called.asks(*WORDED):
            self.exact[place] = sorted(value.values())
        elif isinstance(value, dict):
            for inner, item in value.items():
                self.walk(item, f"{place}.{self.told.segment(path, inner)}", (*path, inner))
        elif isinstance(value, list):
            for label, item in self._labelled(value):
                self.walk(item, f"{place}[{label}]", path)
        elif key in self.called.asks("state", "ships"):
            self.states[place] = self.told.name(str(value))
        elif key in self.called.asks("carried"):
            self.exact[place] = self.told.name(value)
        elif key in self.called.asks("path") and (weights := self.root / str(value) / WEIGHTS).is_file():
            self.exact[place] = _digest(weights)
        elif not isinstance(value, str) or {*path} & self.called.asks(*EXACT):
            self.exact[place] = value

    def _labelled(self, items: list[Any]) -> Iterator[tuple[str, Any]]:
        """Items under their names; of several of one name the later ones are numbered."""
        seen: dict[str, int] = {}
        for number, item in enumerate(items):
            found = [item[k] for k in item if k in self.called.asks(*CALLED)] if isinstance(item, dict) else []
            label = self.told.name(str(found[0])) if found else str(number)
            seen[label] = seen.get(label, 0) + 1
            yield (label if seen[label] == 1 else f"{label} #{seen[label]}"), item

    def trainings(self, folder: Path) -> None:
        """Losses of whatever JSON file has a log of steps; and the bytes of all adapters, each once, sorted."""
        for file in sorted(folder.rglob("*.json")):
            stamp = json.loads(file.read_text(encoding="utf-8"))
            for log in [v for k, v in stamp.items() if k in self.called.asks("log")] if isinstance(stamp, dict) else []:
                named = next((v for k, v in stamp.items() if k in self.called.asks("label")), file.parent.name)
                losses = [v for step in log for k, v in step.items() if k in self.called.asks("loss")]
                self.exact[f"losses[{self.told.name(str(named))}]"] = losses
        for number, digest in enumerate(sorted({_digest(file) for file in folder.rglob(WEIGHTS)})):
            self.exact[f"adapters[{number}]"] = digest


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _leaves(told: dict[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in told.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{at}{key}.")
        else:
            yield f"{at}{key}", value


def ran(case: str, tree: Path, names: Renamed, reader: Reader) -> Reader:
    """One case of one commit, in a folder of its own. RuntimeError where it ends in an error."""
    folder, told = reader.root, CASES["cases"][case]
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(names.config(CASES["config"])), encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    asked = f"import {names.word('bedside')} as found; print(found.__file__)"
    there = subprocess.run([sys.executable, "-c", asked], cwd=folder, env=env, capture_output=True, text=True).stdout
    if not Path(there.strip()).is_relative_to(tree):
        raise RuntimeError(
            f"{tree.name}: the package comes from {there.strip() or 'nowhere'}, not from src/ of the commit"
        )
    for verb, *words in told["commands"]:
        line = [sys.executable, "-m", *(names.word(word) for word in ("bedside", verb, *words))]
        done = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True)
        if done.returncode not in (0, 3):
            raise RuntimeError(f"{case}, {tree.name}: {' '.join(line)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        reader.states[f"exit code[{verb}]"] = str(done.returncode)
        (folder / f"{verb}.out").write_text(done.stdout, encoding="utf-8")
    reader.trainings(folder)
    for name in told["results"]:
        (file,) = folder.rglob(names.files.get(name, name))
        text, reader.root = file.read_text(encoding="utf-8"), file.parent
        read = [json.loads(line) for line in text.splitlines()] if file.suffix == ".jsonl" else json.loads(text)
        reader.walk(read, name.partition(".")[0])
    return reader


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    both = {place: (old.get(place, ABSENT), new.get(place, ABSENT)) for place in {**old, **new}}
    return {place: f"{one} -> {other}" for place, (one, other) in both.items() if json.dumps(one) != json.dumps(other)}


def compared(case: str, trees: Mapping[str, Path], names: Renamed, allowed: Mapping[str, str], jobs: int) -> bool:
    """Whether both commits came to the same; prints a line, and one for each difference."""
    began, home = time.monotonic(), trees["old"].parent / "runs" / case.replace(" ", "-")
    with ThreadPoolExecutor(jobs) as pool:
        old = pool.submit(ran, case, trees["old"], Renamed(), Reader(Renamed(), names, home / "old"))
        new = pool.submit(ran, case, trees["new"], names, Reader(names, Renamed(), home / "new"))
        one, other = old.result(), new.result()
    states = differing(one.states, other.states)
    gone = tuple(place.removesuffix("state") for place, told in states.items() if ABSENT in told)
    exact = {place: told for place, told in differing(one.exact, other.exact).items() if not place.startswith(gone)}
    bad = [place for place, told in states.items() if allowed.get(place) != told]
    took = f"{time.monotonic() - began:.0f} s"
    print(f"{case:20}{took:>6}{len(other.exact):9} values, {len(exact)} differ;", end="")
    print(f"{len(other.states):4} states, {len(states)} differ, {len(bad)} of them not allowed", flush=True)
    for place, told in [*states.items(), *list(exact.items())[:SHOWN]]:
        print(f"    {place}: {told[:200]}{' (allowed)' if place in states and place not in bad else ''}")
    return not exact and not bad


def main() -> int:
    said = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    said.add_argument("old")
    said.add_argument("new")
    said.add_argument("--keys", type=Path)
    said.add_argument("--allowed", type=Path)
    said.add_argument("--case", action="append", choices=CASES["cases"])
    said.add_argument("--jobs", type=int, choices=(1, 2), default=2, help="commits at work at once")
    asked = said.parse_args()
    names = Renamed(**yaml.safe_load(asked.keys.read_text(encoding="utf-8")) if asked.keys else {})
    allowed = yaml.safe_load(asked.allowed.read_text(encoding="utf-8")) if asked.allowed else {}
    with tempfile.TemporaryDirectory() as home:
        trees = {"old": Path(home) / "old", "new": Path(home) / "new"}
        try:
            for side, tree in trees.items():
                subprocess.run(
                    ["git", "worktree", "add", "--quiet", "--detach", tree, getattr(asked, side)], check=True
                )
            chosen = asked.case or list(CASES["cases"])
            same = [compared(case, trees, names, allowed.get(case, {}), asked.jobs) for case in chosen]
            return 0 if all(same) else 1
        finally:
            for tree in trees.values():
                subprocess.run([*GIT, "remove", "--force", tree], check=False)


if __name__ == "__main__":
    sys.exit(main())
