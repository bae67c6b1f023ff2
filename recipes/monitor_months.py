"""Writes docs/evidence/monitor-months.json and its page: false alarms, delays, and the size of a watch.

python recipes/monitor_months.py                  all, about 10 minutes on two cores
python recipes/monitor_months.py delays page      some parts, then the page: false-alarms, inputs, delays, size

``false-alarms`` simulates whole watches: three limits, conversations whose rows depend on each other, a judge whose
errors are estimated from labels of golden answers, every true rate exactly at its limit. ``inputs`` does the same for
kinds of input. ``delays`` compares with a CUSUM that knows the new rate and with a window of 200 rows. ``size`` runs
`bedside monitor watch` on logs of 100,000 and 1,000,000 rows.
"""

import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import bedside
from bedside.core.types import Message, Prompt
from bedside.data import io
from bedside.deployment import inputs
from bedside.deployment.baseline import JUDGE_SHARE
from bedside.deployment.judge_errors import LabelledVerdict, judge_errors
from bedside.stats import e_process

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = (ROOT / "docs" / "evidence" / f"monitor-months{ending}" for ending in (".json", ".md"))
DELTA, LIMITS, STEPS, RUNS = 0.05, 3, 10_000, 1_000
INPUT_RUNS = 40
THRESHOLD = math.log(LIMITS / DELTA)
Row = dict[str, Any]
Rng = np.random.Generator


def main(*parts: str) -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    makers: dict[str, Callable[[], list[Row]]] = {
        "false-alarms": false_alarms, "inputs": input_alarms, "delays": delays, "size": sizes
    }  # fmt: skip
    for name in parts or makers:
        if name in makers:
            started = time.perf_counter()
            results[name] = {"made": made(), "rows": makers[name]()}
            print(name, f"{time.perf_counter() - started:.0f} s", flush=True)
            io.write_text(RESULTS, json.dumps(results, indent=1) + "\n")
    io.write_text(PAGE, page(results))


def made() -> str:
    """What the figures hold for."""
    return f"Python {platform.python_version()}, numpy {np.__version__}, {os.cpu_count()} cores"


# False alarms


def false_alarms() -> list[Row]:
    """Two severities of a judge, two sizes of an audit; for each, what is right and two ways that are not."""
    rows = []
    for sensitivity, false_failures in ((0.9, 0.02), (0.7, 0.05)):
        for answers, sample in ((300, 150), (1500, 600)):
            rng = np.random.default_rng([7, answers, int(100 * sensitivity)])
            judge = (sensitivity, false_failures)
            ways = {"upper bounds": 0, "estimates as they are": 0, "every row of a conversation": 0}
            for _ in range(RUNS):
                for way, alarm in _one_watch(rng, judge, answers, sample).items():
                    ways[way] += alarm
            rows += [
                {"sensitivity": sensitivity, "false failures": false_failures, "golden answers a level": answers,
                 "labelled": sample, "limit": way, "runs": RUNS, "ever an alarm": n / RUNS}
                for way, n in ways.items()
            ]  # fmt: skip
    return rows


def _one_watch(rng: Rng, judge: tuple[float, float], answers: int, sample: int) -> dict[str, bool]:
    """Whether any of the three limits ever raises an alarm, by three ways."""
    alarms = dict.fromkeys(("upper bounds", "estimates as they are", "every row of a conversation"), False)
    q1, f = judge
    for limit, judged in ((0.05, True), (0.15, True), (0.02, False)):
        rate = limit * q1 + (1 - limit) * f if judged else limit
        every, first = _conversations(rng, rate, STEPS // 2 if judged else STEPS)
        high, estimate = _tolerated(rng, limit, judge, answers, sample) if judged else (limit, limit)
        spent = math.log(LIMITS / DELTA / (1 - JUDGE_SHARE))
        alarms["upper bounds"] |= _ever(first, high, spent)
        alarms["estimates as they are"] |= _ever(first, estimate, spent)
        alarms["every row of a conversation"] |= _ever(every, rate, THRESHOLD)
    return alarms


def _conversations(rng: Rng, rate: float, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Failures of all rows, and of the first of each conversation. Rows of one are alike: intra-class correlation 0.5.

    The two halves of a log, harmless and severe, are watched apart, so each limit but one sees half of the steps.
    """
    sizes = rng.geometric(1 / 3, size=rows)
    sizes = sizes[: int(np.searchsorted(np.cumsum(sizes), rows)) + 1]
    rate_G = rng.beta(rate, 1 - rate, size=len(sizes))  # a + b = 1: correlation 1 / (a + b + 1)
    every = rng.random(sizes.sum()) < np.repeat(rate_G, sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return every[:rows].astype(float), every[starts].astype(float)


def _tolerated(rng: Rng, limit: float, judge: tuple[float, float], answers: int, sample: int) -> tuple[float, float]:
    """The limit at upper bounds and at plain estimates, from labels drawn as `bedside review --sample` draws."""
    q1, f = judge
    fails = rng.random(answers) < limit / 2
    judged = rng.random(answers) < np.where(fails, q1, f)
    drawn = np.flatnonzero(judged)[: sample // 2]
    drawn = np.concatenate([drawn, np.flatnonzero(~judged)[: sample - len(drawn)]])
    labelled = np.zeros(answers, dtype=bool)
    labelled[drawn] = True
    rows = [
        LabelledVerdict(bool(j), bool(t) if known else None, str(n))
        for n, (j, t, known) in enumerate(zip(judged, fails, labelled, strict=True))
    ]
    high = judge_errors(rows, 1 - DELTA * JUDGE_SHARE / 2).tolerated(limit)
    weight = {v: (judged == v).mean() for v in (True, False)}
    share = {v: fails[labelled & (judged == v)].mean() if (labelled & (judged == v)).any() else 0.0 for v in weight}
    hit, missed = weight[True] * share[True], weight[False] * share[False]
    wrong, right = weight[True] - hit, weight[False] - missed
    seen = hit / (hit + missed) if hit + missed else 1.0
    return high, limit * seen + (1 - limit) * wrong / (wrong + right)


def _ever(losses: np.ndarray, tolerated: float, nats: float) -> bool:
    if tolerated >= 1:
        return False
    return bool(e_process.log_evidence(losses, tolerated).max() >= nats)


# Inputs


def input_alarms() -> list[Row]:
    """Traffic from the distribution of the baseline: kinds are estimated from it, then watched for 10,000 prompts."""
    rows = []
    for prompts in (400, 2000):
        alarms, kinds = 0, []
        for seed in range(INPUT_RUNS):
            rng = np.random.default_rng([11, prompts, seed])
            profile = inputs.fit(list(_prompts(rng, prompts)), "simulated", DELTA, seed)
            found = inputs.InputReader(profile).kinds([p.text for p in _prompts(rng, STEPS)])
            watched = [kind for kind in profile.kinds if kind.watched]
            kinds.append(len(watched))
            nats = math.log(len(watched) / (DELTA / 2))
            columns = dict(zip(inputs.FEATURES, zip(*found, strict=True), strict=True))
            alarms += any(
                _ever(np.array([name == kind.name for name in columns[kind.feature]], float), kind.tolerated, nats)
                for kind in watched
            )
        rows.append({"prompts of the baseline": prompts, "kinds watched": float(np.median(kinds)),
                     "runs": INPUT_RUNS, "ever an alarm": alarms / INPUT_RUNS})  # fmt: skip
    return rows


WORDS = [f"word{n}" for n in range(300)]


def _prompts(rng: Rng, count: int) -> Iterator[Prompt]:
    """Eight topics of their own words, in lengths and levels that vary."""
    for number in range(count):
        topic, size = int(rng.integers(8)), int(rng.integers(4, 30))
        of_topic = rng.integers(topic * 30, topic * 30 + 30, size=size)
        words = np.where(rng.random(size) < 0.6, of_topic, rng.integers(240, 300, size=size))
        text = "how is the " + " ".join(WORDS[word] for word in words)
        yield Prompt((Message("user", text),), harm=int(rng.integers(4)), group=f"g{number}")


# Delays


def delays() -> list[Row]:
    """Median rows to the alarm at the same simulated probability of a false alarm in 10,000 rows at the limit."""
    rows = []
    for limit, becomes in ((0.05, 0.075), (0.05, 0.1), (0.05, 0.2), (0.15, 0.3), (0.02, 0.1)):
        rng = np.random.default_rng([3, int(1000 * limit), int(1000 * becomes)])
        at_limit = _losses(rng, (STEPS, limit))
        evidence = _running(at_limit, Evidence(limit)).max(axis=0)
        false = float((evidence >= THRESHOLD).mean())
        rivals = {"CUSUM": Cusum(limit, becomes), "window of 200": Window()}
        cuts = {name: _cut(_running(at_limit, rival).max(axis=0), false) for name, rival in rivals.items()}
        for quiet in (0, 4000):
            losses = _losses(rng, (quiet, limit / 2), (8000, becomes))
            median = {"e-process": _delay(_running(losses, Evidence(limit)), THRESHOLD, quiet)}
            median |= {name: _delay(_running(losses, rival), cuts[name][0], quiet) for name, rival in rivals.items()}
            better = min(median["CUSUM"], median["window of 200"])
            rows.append({
                "limit": limit, "becomes": becomes, "quiet rows before": quiet, **median,
                "ratio to the better": round(median["e-process"] / better, 2),
                "false alarms": {"e-process": false} | {name: cut[1] for name, cut in cuts.items()},
            })  # fmt: skip
    return rows


def _losses(rng: Rng, *stretches: tuple[int, float]) -> np.ndarray:
    """Rows by runs, (T, R), at each rate one after the other."""
    return np.concatenate([rng.random((n, RUNS)) < rate for n, rate in stretches])


class Evidence:
    """The e-process, in nats, of many runs at once."""

    def __init__(self, tolerated: float) -> None:
        stakes = np.array(e_process._stakes(tolerated))
        self.won, self.lost = 1 + stakes * (1 - tolerated), 1 - stakes * tolerated

    def start(self, runs: int) -> None:
        self.n, self.active = 0, np.full((runs, len(self.won)), 0.5)

    def step(self, failed: np.ndarray) -> np.ndarray:
        self.n += 1
        self.active = np.minimum(self.active * np.where(failed[:, None], self.won, self.lost), 1e200)
        if self.n % e_process.BLOCK == 0:
            j = self.n // e_process.BLOCK
            self.active += 1 / ((j + 1) * (j + 2))
        return np.log(self.active.mean(axis=1) + 1 / (self.n // e_process.BLOCK + 2))


class Cusum:
    """Page's CUSUM of the log-likelihood ratio, with the new rate known."""

    def __init__(self, limit: float, becomes: float) -> None:
        self.won, self.lost = math.log(becomes / limit), math.log((1 - becomes) / (1 - limit))

    def start(self, runs: int) -> None:
        self.sum = np.zeros(runs)

    def step(self, failed: np.ndarray) -> np.ndarray:
        self.sum = np.maximum(self.sum + np.where(failed, self.won, self.lost), 0)
        return self.sum


class Window:
    """Failures among the last 200 rows, or all of fewer."""

    def start(self, runs: int) -> None:
        self.rows, self.n, self.count = np.zeros((200, runs), bool), 0, np.zeros(runs)

    def step(self, failed: np.ndarray) -> np.ndarray:
        at = self.n % 200
        self.count += failed.astype(int) - self.rows[at]
        self.rows[at] = failed
        self.n += 1
        return self.count.copy()


def _running(losses_TR: np.ndarray, detector: Any) -> np.ndarray:
    detector.start(losses_TR.shape[1])
    return np.array([detector.step(failed) for failed in losses_TR])


def _cut(highest_R: np.ndarray, share: float) -> tuple[float, float]:
    """The lowest threshold with at most this share of runs at or above it, and that share."""
    for value in np.unique(highest_R):
        if (highest_R >= value).mean() <= share:
            return float(value), float((highest_R >= value).mean())
    return float(highest_R.max()) + 1e-9, 0.0


def _delay(value_TR: np.ndarray, threshold: float, quiet: int) -> float:
    """Median over runs without an alarm before, of rows from the rise to the alarm."""
    reached = value_TR >= threshold
    kept = ~reached[:quiet].any(axis=0)
    after = reached[quiet:, kept]
    first = np.where(after.any(axis=0), after.argmax(axis=0) + 1, np.inf)
    return float(np.median(first))


# Size


def sizes() -> list[Row]:
    """Time and peak memory of the command, on logs of prompts of `consult`."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = _project(folder)
        request = bedside.BaselineRequest(golden=folder / "golden.jsonl")
        bedside.monitor_baseline(config, request, folder / "monitor")
        for count in (100_000, 1_000_000):
            log = folder / f"{count}.jsonl"
            _log(log, count)
            command = [sys.executable, "-c", _CHILD, "watch", str(log), "--baseline", str(folder / "monitor"),
                       "-o", str(folder / f"watch-{count}")]  # fmt: skip
            started = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - started
            peak, user = json.loads(done.stderr.strip().splitlines()[-1])
            rows.append({"rows": count, "megabytes": round(log.stat().st_size / 1e6), "seconds": round(seconds, 1),
                         "of them computing": round(user, 1), "peak MiB": round(peak / 1024, 1),
                         "exit code": done.returncode})  # fmt: skip
    return rows


_CHILD = """
import json, resource, sys
from typer.testing import CliRunner
from bedside.cli.main import app
try:
    app(["monitor", *sys.argv[1:]], standalone_mode=False)
except BaseException as error:
    code = getattr(error, "exit_code", 1)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]  # not the parent's
print(json.dumps([int(peak), resource.getrusage(resource.RUSAGE_SELF).ru_utime]), file=sys.stderr)
"""


def _project(folder: Path) -> bedside.Config:
    parts = {part: {"kind": "consult", "part": part} for part in ("train", "valid", "test")}
    judges = {"words": {"kind": "keyword"}}
    _log(folder / "golden.jsonl", 600)
    config = {"run": "size", "target": "embedded", "data": parts, "judges": judges, "select": {"judge": "words"}}
    return bedside.load(None, [f"{key}={json.dumps(value)}" for key, value in config.items()])


def _log(file: Path, count: int) -> None:
    """Judged answers, two to a conversation, 2 in 100 of them failures, half of them without a level."""
    rng = np.random.default_rng(5)
    prompts = [row for _, row in io.rows(ROOT / "src" / "bedside" / "consult" / "prompts.jsonl")]
    with file.open("w", encoding="utf-8") as out:
        for number in range(count):
            asked = prompts[int(rng.integers(len(prompts)))]
            right, wrong = ("accept", "refuse") if asked["harm"] == 0 else ("refuse", "accept")
            row = {
                "prompt": asked["prompt"],
                "answer": f"{'I am sorry that you go through this. ' * 5}Answer {number}.",
                "harm": asked["harm"] if rng.random() < 0.5 or count < 1000 else None,
                "stance": wrong if rng.random() < 0.02 else right,
                "judge": "keyword",
                "group": f"talk {number // 2}",
            }
            out.write(json.dumps(row) + "\n")


# The page


def page(results: dict[str, Any]) -> str:
    titles = {
        "false-alarms": FALSE_ALARMS,
        "inputs": INPUTS,
        "delays": DELAYS,
        "size": SIZE,
    }
    parts = ["# Monitor, over months", "", INTRODUCTION, ""]
    for name, (title, text) in titles.items():
        if name in results:
            parts += [f"## {title}", "", text, "", *_table(results[name]["rows"]), "", f"{results[name]['made']}.", ""]
    return "\n".join(parts).rstrip() + "\n"


INTRODUCTION = """`python recipes/monitor_months.py`. What `bedside monitor watch` promises, simulated; none of it is on
patients. That a judge which drifts, a model that is swapped and new topics are each named as what they are is a test,
`tests/deployment/test_months.py`; that no fuzzed row is lost, `tests/deployment/test_watched_log.py`; that a killed
watch ends with the same bytes, `tests/deployment/test_watch.py`."""
FALSE_ALARMS = (
    "False alarms of the limits, promised 0.05",
    """Three limits at once (0.05, 0.15, and 0.02 on unreadable answers), each true rate exactly at its limit, 10,000
rows, looked at after each. Rows come in conversations of three on average, with an intra-class correlation of 0.5; the
first row of each is counted. The judge errs, and its errors are estimated from labels of golden answers, drawn as
`bedside review --sample` draws. *Upper bounds* is what Bedside does. The others show why: *estimates as they are* puts
the estimated errors into the limit without their uncertainty; *every row of a conversation* knows the errors exactly
and counts all rows.""",
)
INPUTS = (
    "False alarms of the inputs, promised 0.05",
    """Prompts of eight made-up topics. A profile is fitted to some, then 10,000 more from the same source are watched
for every kind of input, looked at after each.""",
)
DELAYS = (
    "Delays against CUSUM and a window of 200",
    """Median rows that a limit is about from the rise to the alarm, 1,000 runs, of one of three limits. Before the rise
the rate is half of the limit. The CUSUM knows the new rate, which nobody knows in use. The thresholds of CUSUM and
window are set so that, in 10,000 rows exactly at the limit, as many of 1,000 runs raise an alarm as with the e-process;
a window counts whole failures, so it is the nearest below. CUSUM and window promise this for those 10,000 rows and for
no longer log; the e-process promises it for ever. *inf*: more than half of the runs raise no alarm in 8,000 rows.""",
)
SIZE = (
    "Size of a log",
    """`bedside monitor watch` on one log, read whole. Peak memory does not grow with the log: conversations are kept in
8 MiB, texts nowhere. *computing* is the time of the process itself on one core; *seconds* went by on a machine that had
several times more work than cores.""",
)


HEADINGS = {"false alarms": "false alarms: e-process, CUSUM, window"}


def _table(rows: list[Row]) -> list[str]:
    head = list(rows[0])
    return [
        f"| {' | '.join(HEADINGS.get(name, name) for name in head)} |",
        f"|{' --- |' * len(head)}",
        *(f"| {' | '.join(_cell(row[key]) for key in head)} |" for row in rows),
    ]


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{_cell(item)}" for item in value.values())
    if isinstance(value, float):
        return "inf" if math.isinf(value) else f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main(*sys.argv[1:])
