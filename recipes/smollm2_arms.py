"""Writes docs/evidence/smollm2.json and its page: SmolLM2 on `consult`, by objective, judge, control and seed.

python recipes/smollm2_arms.py [ARM-SEED ...]     sft-0, kto-2 ...; without a name all that have no result yet

Every arm is the config of `bedside demo` with a few keys changed, on the same prompts. One job an arm and seed, 5 to 12
minutes on two cores; a killed one goes on where it was, and its result stands in the file as soon as it is there. Rates
were chosen on valid (docs/log.md).
"""

import json
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import measuring

import bedside
from bedside.alignment.summary import judged_test
from bedside.api.opening import opened_run
from bedside.config.plugins import find, open_plugin
from bedside.config.rendering import path
from bedside.config.schema import BaselinesConfig, Config
from bedside.core.measures import Measure
from bedside.core.protocols import Launch
from bedside.core.results import Candidate, RunSummary
from bedside.core.types import GenerationRequest, JudgedResponse
from bedside.data import io
from bedside.run import experiment
from bedside.run.context import RunContext
from bedside.safety import selection
from bedside.safety.selection import PolicyRows
from bedside.safety.selection import beats as beaten

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = (ROOT / "docs" / "evidence" / f"smollm2{ending}" for ending in (".json", ".md"))
RUNS = ROOT / ".prove" / "smollm2"
SEEDS = (0, 1, 2)
SHOWN = ("unsafe_accept@3", "err", "overall", "degenerate")
NOISY = "judges.trainer={{kind: noisy, judge: {{kind: classifier, folder: consult-trainer}}, flips: {}}}"
TEST = ["data.test.per_level=150"]
"""The demo's own test has 36 of a level; evidence reads nearly all severe scenarios, and as many ordinary questions."""
BESIDE = ["baselines.safety_prompt=" + BaselinesConfig().safety_prompt, "baselines.sft_on_refusals=true"]
"""What stands beside the result in the first arm; in the others only what costs nothing."""
PAIRS = ["align.batch_size=16", "align.num_train_epochs=2"]
CHAIN = [
    *PAIRS,
    *("align.warmup_ratio=0.1", "data.train.per_level={0: 52, 3: 104}", "align.candidates=all"),
    "align.train=[{kind: kto, learning_rate: 1.0e-3}, {kind: dpo, learning_rate: 2.0e-4}]",
]
"""Balance and batch were chosen on valid among three and two, by one seed (docs/log.md)."""
ARMS = {
    "sft": BESIDE,
    "kto-dpo": CHAIN,
    "reference-base": [*CHAIN, "align.reference=base"],
    "all": ["data.train.per_level=null", "align.num_train_epochs=2"],
    "three-to-one": ["data.train.per_level={0: 312, 3: 104}", "align.num_train_epochs=2"],
    "cycles": ["align.cycles=3"],
    "rate-0": ["align.train=[{kind: sft, learning_rate: 0}]"],
    "shuffled": ["gates.stop=[]"],
    **{f"noisy-{percent}": [NOISY.format(percent / 100)] for percent in (10, 20, 40)},
    "partners": ["data.train.partners=true", "data.train.per_level=100", "data.test.partners=true"],
}
"""What is changed in the demo's config. all: 307 harmless and 225 severe prompts of train in the place of 78 and 52;
three-to-one: 307 and 104; rate-0: nothing is learned; shuffled: harm levels of train change places."""


def main(names: Sequence[str]) -> None:
    results = _results()
    done = {f"{row['arm']}-{row['seed']}" for row in results}
    for name in names or [f"{arm}-{seed}" for seed in SEEDS for arm in ARMS]:
        if names or name not in done:
            row = _run(name)
            results = _results()  # another process may have added one
            results = [*(one for one in results if (one["arm"], one["seed"]) != (row["arm"], row["seed"])), row]
            io.write_text(RESULTS, json.dumps(results, indent=1) + "\n")
            io.write_text(PAGE, page(results))


def _results() -> list[dict[str, Any]]:
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else []


def _run(name: str) -> dict[str, Any]:
    arm, _, seed = name.rpartition("-")
    sets = [*TEST, *ARMS[arm], f"runs={RUNS}", f"run={name}", f"seed={seed}"]
    if arm == "shuffled":
        sets.append(f"data.train={_shuffled(int(seed))}")
    _share_answers(RUNS / name)
    config = bedside.load(path("demo.yaml"), sets)
    summary = bedside.align(config).summary
    row = {"arm": arm, "seed": int(seed), "machine": measuring.machine(), **_figures(summary)}
    return {**row, "objectives": _objectives(config, summary)} if "align.candidates=all" in sets else row


def _objectives(config: Config, summary: RunSummary) -> dict[str, Any]:
    """Every checkpoint of the cycle on test, beside the one of KTO, then DPO; nothing is chosen here."""
    metric, rng = experiment.metric(config), np.random.default_rng(config.seed)
    with opened_run(config, None) as run:
        rows = {c.name: _judged(run, c) for c in summary.candidates if c.checkpoint.adapter}
    both = next(name for name in rows if name.endswith("kto-dpo"))
    beats = {name: beaten(PolicyRows(both, rows[both]), PolicyRows(name, rows[name]), metric, rng) for name in rows}
    return {
        "test": {name: _measures([m for m in metric.measure(some) if m.name in SHOWN]) for name, some in rows.items()},
        "paired": {name: {"state": g.state.value, "figures": g.reason} for name, g in beats.items() if name != both},
    }


def _judged(run: RunContext, candidate: Candidate) -> list[JudgedResponse]:
    judge = run.opener.open(run.config.judges[run.config.selecting_judge])
    requests = [GenerationRequest(prompt) for prompt in experiment.read_parts(run.config, run.launch).test]
    return judged_test(run, requests, candidate.name, candidate.checkpoint, judge)


def _share_answers(run: Path) -> None:
    """A new run takes over the finished stages of one that is there: the target answers the same in every arm."""
    others = [other / "store" for other in sorted(RUNS.glob("*")) if (other / "summary.json").is_file()]
    if others and not run.exists():
        shutil.copytree(others[0], run / "store", ignore=shutil.ignore_patterns("train"))


def _shuffled(seed: int) -> str:
    """The demo's training prompts under one another's harm levels."""
    dataset = find("dataset", "consult")(part="train", levels=[0, 3], partners=False, per_level={0: 78, 3: 52})
    prompts = open_plugin(dataset, Launch(), {}).read()
    levels = [prompt.harm for prompt in prompts]
    random.Random(seed).shuffle(levels)
    rows = [{"prompt": p.text, "harm": h, "group": p.group} for p, h in zip(prompts, levels, strict=True)]
    io.write_jsonl(RUNS / f"shuffled-{seed}.jsonl", rows)
    return f"{{kind: jsonl, path: {RUNS / f'shuffled-{seed}.jsonl'}}}"


def _figures(summary: RunSummary) -> dict[str, Any]:
    valid = {c.name: _measures([c.measure(name) for name in SHOWN]) for c in summary.candidates}
    test = {name: _measures([m for m in some if m.name in SHOWN]) for name, some in summary.policies.items()}
    paired = {gate.label: {"state": gate.state.value, "figures": gate.reason} for gate in summary.paired}
    winners = [[s.start, s.end, s.winner] for s in selection.flip_points(selection.lines(summary.candidates))]
    return {"selected": summary.selected, "valid": valid, "test": test, "paired": paired, "winners": winners}


def _measures(measures: Sequence[Measure]) -> dict[str, Any]:
    return {m.name: {"value": m.value, "low": m.low, "high": m.high, "n": m.n, "groups": m.groups} for m in measures}


def page(results: Sequence[dict[str, Any]]) -> str:
    ordered = sorted(results, key=lambda row: (list(ARMS).index(row["arm"]), row["seed"]))
    constants = {name: some for name, some in ordered[0]["test"].items() if name != "after"}
    test = [_line([name, "", ""], some) for name, some in constants.items()]
    test += [_line([row["arm"], row["seed"], row["selected"]], row["test"]["after"]) for row in ordered]
    valid = [
        _line([row["arm"], row["seed"], name], some)
        for row in ordered
        for name, some in row["valid"].items()
        if name != "target"
    ]
    parts = [HEAD, *_table(test), VALID, *_table(valid), PAIRED, *_paired(ordered), *_by_objective(ordered)]
    return "\n".join([*parts, ALPHA, *_winners(ordered)]) + "\n"


def _by_objective(results: Sequence[dict[str, Any]]) -> list[str]:
    rows = [(row, row["objectives"]) for row in results if "objectives" in row]
    test = [_line([row["arm"], row["seed"], name], m) for row, o in rows for name, m in o["test"].items()]
    paired = [
        f"* {row['arm']}, seed {row['seed']}, overall of KTO, then DPO > {name}: {gate['state']}, {gate['figures']}"
        for row, objectives in rows
        for name, gate in objectives["paired"].items()
    ]
    return [OBJECTIVES, *_table(test), "", *paired] if rows else []


def _winners(results: Sequence[dict[str, Any]]) -> list[str]:
    return [
        f"* {row['arm']}, seed {row['seed']}: "
        + "; ".join(f"{low:.2f} to {high:.2f} {winner}" for low, high, winner in row["winners"])
        for row in results
    ]


def _table(lines: Sequence[str]) -> list[str]:
    headings = ("arm", "seed", "checkpoint", *SHOWN)
    return ["| " + " | ".join(headings) + " |", "| --- " * len(headings) + "|", *lines]


HEAD = """# SmolLM2-135M on `consult`, by objective, judge, control and seed

`python recipes/smollm2_arms.py`; the keys of each arm are `ARMS` there. Held-out test, by the selecting judge: what it
is worth stands in the [readers](smollm2-readers.md) and in its card (src/bedside/consult/CARD.md). 95 % intervals over
scenarios. Estimates: a rehearsal decides nothing. Contrast partners are left out but in the arm `partners`; in noisy-20
a fifth of the training judge's verdicts are replaced by wrong ones.
"""


VALID = """
Every checkpoint on valid, which selects; where none is better than the target, the target is selected, and its figures
stand above:
"""
PAIRED = """
Paired, on the same prompts of test:
"""

OBJECTIVES = """
KTO, DPO and KTO, then DPO, from the same answers. Here each checkpoint answers the test; nothing is chosen by it:
"""
ALPHA = """
Which checkpoint wins on valid as alpha, the weight of safety against erroneous refusals, goes from 0 to 1 (the demo has
0.6), among all checkpoints, limits aside:
"""


def _line(names: Sequence[object], measures: dict[str, Any]) -> str:
    cells = [_cell(measures[name]) if name in measures else "" for name in SHOWN]
    return "| " + " | ".join([*map(str, names), *cells]) + " |"


def _cell(m: dict[str, Any]) -> str:
    return "–" if m["value"] is None else f"{m['value']:.2f} ({m['low']:.2f} to {m['high']:.2f}), n {m['n']}"


def _paired(results: Sequence[dict[str, Any]]) -> list[str]:
    return [
        f"* {row['arm']}, seed {row['seed']}, {label}: {gate['state']}, {gate['figures']}"
        for row in results
        for label, gate in row["paired"].items()
        if gate["state"] != "NOT CHECKED"
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
