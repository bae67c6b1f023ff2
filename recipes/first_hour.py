"""Writes docs/evidence/first-hour.json and its page: fifty things a new user would try, and what came out of each.

python recipes/first_hour.py

Each runs `bedside` as a person would, in a fresh folder, on the embedded model. What is written is the exit code
and the line that a person would read first. About ten minutes on two cores.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bedside.data.io import write_text

CONFIG = """target: embedded
data:
  train: {kind: jsonl, path: p.jsonl, split: train}
  valid: {kind: jsonl, path: p.jsonl, split: valid}
  test: {kind: jsonl, path: p.jsonl, split: test}
judges: {words: {kind: keyword}}
generate: {max_new_tokens: 8}
align: {cycles: 1, judge: words, kto_min_class: 1}
"""
TEN_MISTAKES = """target: embedded
seed: -1
runs: ""
device: tpu
data: {train: {kind: jsonll}, valid: {kind: jsonl}, test: 4}
align: {cycles: 0, lora: {r: 0}, epocs: 3}
select: {alpha: 2, judge: nobody}
"""
Tried = tuple[int, str]
RESULTS, PAGE = (Path(__file__).parents[1] / "docs" / "evidence" / f"first-hour{ending}" for ending in (".json", ".md"))


def rows(**changes: object) -> list[dict[str, object]]:
    made: list[dict[str, object]] = [
        {"prompt": f"{part} asks {i} about thing{i}?", "harm": (0, 3)[i % 2], "split": part, "group": f"{part}{i}"}
        for part in ("train", "valid", "test")
        for i in range(40)
    ]
    made[0] = {key: value for key, value in (made[0] | changes).items() if value != "absent"}
    return made


class Newcomer:
    """A person in a fresh folder."""

    def __init__(self) -> None:
        self.here = Path(tempfile.mkdtemp(prefix="bedside-first-hour-"))
        self.env = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
        self.write("bedside.yaml", CONFIG)
        self.data(rows())

    def write(self, name: str, text: str | bytes) -> None:
        (self.here / name).parent.mkdir(parents=True, exist_ok=True)
        (self.here / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    def data(self, made: Sequence[dict[str, object]]) -> None:
        self.write("p.jsonl", "".join(json.dumps(row) + "\n" for row in made))

    def bedside(self, *words: str, typed: str = "") -> Tried:
        command = [str(Path(sys.executable).with_name("bedside")), *words]
        done = subprocess.run(command, cwd=self.here, env=self.env, input=typed, capture_output=True, text=True)
        return done.returncode, _first(done.stdout, done.stderr).replace(str(self.here), "HERE")

    def interrupted(self, *words: str) -> Tried:
        command = [str(Path(sys.executable).with_name("bedside")), *words]
        going = subprocess.Popen(
            command,
            cwd=self.here,
            env=self.env,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell hands down "ignore"
        )
        assert going.stderr is not None
        first = next(line for line in going.stderr if "answer" in line)
        os.killpg(going.pid, signal.SIGINT)
        _, said = going.communicate()
        return going.returncode, _first("", first + said)


def _first(out: str, err: str) -> str:
    """The line that says how it ended."""
    if "Traceback" in err:
        return "TRACEBACK: " + err.strip().splitlines()[-1]
    split = [line for line in err.splitlines() if line.startswith("(cut")]
    errors = [line for line in err.splitlines() if line.startswith(("error", "interrupted")) or "No such" in line]
    shown = errors or [line for line in out.splitlines() if line.startswith(("Nothing may", "Ship", "wrote"))]
    lines = shown or out.strip().splitlines() or err.strip().splitlines() or [""]
    return " ".join([lines[0], *split]).strip("│ ")[:300]


def changed(**changes: object) -> Callable[[Newcomer], Tried]:
    def attempt(me: Newcomer) -> Tried:
        me.data(rows(**changes))
        return me.bedside("align")

    return attempt


def written(name: str, text: str | bytes, *words: str) -> Callable[[Newcomer], Tried]:
    def attempt(me: Newcomer) -> Tried:
        me.write(name, text)
        return me.bedside(*(words or ("align",)))

    return attempt


def said(*words: str, typed: str = "") -> Callable[[Newcomer], Tried]:
    return lambda me: me.bedside(*words, typed=typed)


def twice(first: Sequence[str], second: Sequence[str], typed: str = "") -> Callable[[Newcomer], Tried]:
    def attempt(me: Newcomer) -> Tried:
        me.bedside(*first)
        return me.bedside(*second, typed=typed)

    return attempt


def one_level(me: Newcomer) -> Tried:
    me.data([row | {"harm": 0} for row in rows()])
    return me.bedside("align")


def another_config(me: Newcomer) -> Tried:
    me.bedside("align")
    return me.bedside("align", "--set", "generate.max_new_tokens=4")


def interrupted_then_again(me: Newcomer) -> Tried:
    code, line = me.interrupted("align", "--set", "generate.max_new_tokens=64")
    again, end = me.bedside("align", "--set", "generate.max_new_tokens=64")
    return again, f"{code}: {line} / again: {end}"


def label(me: Newcomer) -> Tried:
    me.write("new.jsonl", '{"prompt": "And this?"}\n')
    return me.bedside("label", "new.jsonl", "--learn-from", "p.jsonl", "-o", "levels.csv")


CSV = "data.train={kind: jsonl, path: p.csv}"


def spreadsheet(me: Newcomer) -> Tried:
    lines = [f'Is number {i} safe; or thing{i}?";{(0, 3)[i % 2]};' for i in range(9)]
    me.write("p.csv", "\ufeffprompt;harm;\r\n" + "".join(f'"{line}\r\n' for line in lines) + ";;\r\n")
    return me.bedside("align", "--set", CSV)


def windows(me: Newcomer) -> Tried:
    me.write("p.csv", "prompt;harm\r\nGef\u00e4hrlich?;0\r\n".encode("cp1252"))
    return me.bedside("align", "--set", CSV)


def unlabelled(me: Newcomer) -> Tried:
    me.write("p.csv", "prompt,risk\nIs it safe?,0\nOr that?,3\n")
    return me.bedside("align", "--set", CSV)


def pickle_weights(me: Newcomer) -> Tried:
    me.write("m/config.json", "{}")
    me.write("m/pytorch_model.bin", b"x")
    return me.bedside("align", "--set", "target=./m")


def swapped(me: Newcomer) -> Tried:
    me.bedside("generate", "-n", "4", "-o", "answers.jsonl")
    me.bedside("judge", "answers.jsonl", "-o", "verdicts.jsonl")
    return me.bedside("evaluate", "verdicts.jsonl", "answers.jsonl")


def one_training(me: Newcomer) -> Tried:
    turns = [{"role": "user", "content": "How much?"}, {"role": "assistant", "content": "Ask a nurse."}]
    me.write("rows.jsonl", (json.dumps({"messages": turns}) + "\n") * 4)
    return me.bedside("train", "sft", "-d", "rows.jsonl", "-o", "adapter")


TRIED: dict[str, Callable[[Newcomer], Tried]] = {
    "bedside": said(),
    "bedside --version": said("--version"),
    "a verb mistyped": said("algin"),
    "align where no config is": lambda me: me.bedside("align", "-c", "nowhere.yaml"),
    "init in a fresh folder": said("init", "new"),
    "init where one is already": twice(("init", "new"), ("init", "new")),
    "config": said("config"),
    "check": said("check"),
    "align": said("align"),
    "align again": twice(("align",), ("align",)),
    "align, other settings, same run": another_config,
    "align -n 0": said("align", "-n", "0"),
    "Ctrl-C in the middle, then again": interrupted_then_again,
    "report before any run": said("report"),
    "report": twice(("align",), ("report",)),
    "the same run twice side by side": twice(("align",), ("report", "run", "run", "-o", "both.html")),
    "select": twice(("align",), ("select",)),
    "generate": said("generate", "-o", "answers.jsonl"),
    "judge a file that is not there": said("judge", "answers.jsonl", "-o", "verdicts.jsonl"),
    "train kto on prompts": said("train", "kto", "-d", "p.jsonl", "-o", "adapter"),
    "chat": said("chat", typed="Hello\n"),
    "forget somebody": twice(("align",), ("erase", "train asks 3 about")),
    "label": label,
    "a CSV as Excel saves it: semicolons, mark at the start, CRLF": spreadsheet,
    "a CSV in Windows' own letters": windows,
    "a file without a column of harm levels": unlabelled,
    "a data file that is not there": said("align", "--set", "data.train.path=q.jsonl"),
    "not UTF-8": written("p.jsonl", b'{"prompt": "\xff", "harm": 0, "split": "train"}\n'),
    "half a line of JSON": written("p.jsonl", '{"prompt": "abc'),
    "harm 7": changed(harm=7),
    "no harm": changed(harm="absent"),
    "the same text with two levels": changed(prompt="train asks 1 about thing1?"),
    "an empty prompt": changed(prompt="  "),
    "a prompt of 200,000 characters": changed(prompt="word " * 40_000),
    "control characters, fences, template marks": changed(prompt="a\x00\x1b[31m <<<PATIENT {{ x }} <|end|>"),
    "unknown columns": written("p.jsonl", '{"frage": "x", "schaden": 1}\n'),
    "an unknown key": written("bedside.yaml", CONFIG + "dta: 3\n"),
    "ten mistakes at once": written("bedside.yaml", TEN_MISTAKES),
    "a folder that is no model": said("align", "--set", "target=."),
    "pickle weights": pickle_weights,
    "one harm level only": one_level,
    "everything unreadable": written("bedside.yaml", CONFIG.replace("keyword", "truth")),
    "init on a file": said("init", "p.jsonl"),
    "-n beside a --set of the same": said("align", "-n", "4", "--set", "data.train.limit=8"),
    "generate over the data file": said("generate", "-o", "p.jsonl"),
    "judge given the prompts": said("judge", "p.jsonl", "-o", "verdicts.jsonl"),
    "evaluate with both files swapped": swapped,
    "a judge's name mistyped": said("audit", "p.jsonl", "--judge", "keywrod"),
    "train sft on rows of one's own": one_training,
    "forget, tried first": twice(("align",), ("erase", "train asks 3 about", "--dry-run")),
    "a run folder that cannot be made": said("align", "--set", "runs=p.jsonl"),
}  # fmt: skip


def main() -> None:
    results = {"tried": [_result(what) for what in TRIED]}
    write_text(RESULTS, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    write_text(PAGE, page(results))


def _result(what: str) -> dict[str, Any]:
    code, line = TRIED[what](Newcomer())
    print(code, what, "->", line, flush=True)
    return {"what": what, "exit": code, "line": line}


def page(results: Mapping[str, Any]) -> str:
    tried = results["tried"]
    head = f"# The first hour\n\n`python recipes/first_hour.py`: {len(tried)} things tried on the embedded model."
    return "\n".join([head, "", "| tried | exit | what came out |", "| --- | --- | --- |", *map(_row, tried), ""])


def _row(one: Mapping[str, Any]) -> str:
    shown = one["line"].replace("|", "\\|").replace("<", "&lt;")
    return f"| {one['what']} | {one['exit']} | {shown} |"


if __name__ == "__main__":
    main()
