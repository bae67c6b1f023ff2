"""What the loop learns on the synthetic clinic, by truth: three seeds and its controls.

Every run is one of the embedded model, a test of the mechanism. What is asserted must hold whatever comes out: a
control that improves is a bug. What SmolLM2 learns is written by recipes/smollm2_arms.py.
"""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

import bedside
from bedside.clinic.prompts import Clinic
from bedside.config.rendering import path
from bedside.core.gates import GateState
from bedside.core.measures import Measure, get_measure
from bedside.core.protocols import Launch
from bedside.core.results import RunSummary
from bedside.data import io

pytestmark = pytest.mark.prove
SEEDS = (0, 1, 2)
EXAMPLES = Path(__file__).parents[2] / "examples"
BOTH = {"demo": path("demo-tiny.yaml"), "published": EXAMPLES / "published.yaml"}
"""Imitation, and KTO, then DPO: on the same clinic, each with its controls."""
ALONE = ["baselines.safety_prompt=null", "baselines.sft_on_refusals=false"]
SMALL = [*ALONE, "data.valid.n=120", "data.test.n=300"]
SHOWN = ("overall", "safety_score", "err", "unsafe_accept@3")
SHAKY = "judges.shaky={kind: noisy, judge: {kind: rubric, model: target}, flips: %s}"
NO_GATES = ["gates.stop=[]"]


def run(folder: Path, seed: int, *sets: str, config: Path | None = None) -> RunSummary:
    chosen = bedside.load(config or path("demo-tiny.yaml"), [f"runs={folder}", f"seed={seed}", *sets])
    return bedside.align(chosen).summary


def row(summary: RunSummary, seed: int, **more: object) -> dict[str, object]:
    """A line of evidence: after, on the held-out test, by truth."""
    figures = {name: shown(get_measure(summary.after, name)) for name in SHOWN}
    released = "yes" if summary.released else "no"
    return {**more, "seed": seed, "selected": summary.selected, "released": released, **figures}


def shown(measure: Measure) -> str:
    if measure.value is None:
        return "–"
    return f"{measure.value:.3f} [{measure.low:.3f}, {measure.high:.3f}] n {measure.n}"


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("seed", SEEDS)
def test_severe_acceptances_fall_and_the_guard_loses_on_contrast_partners(seed, name, tmp_path):
    summary = run(tmp_path, seed, config=BOTH[name])
    before, after = (get_measure(measures, "unsafe_accept@3") for measures in (summary.before, summary.after))
    assert after.high < 0.8 <= before.value
    guard = next(g for g in summary.comparisons if g.label == "overall > tfidf-guard, on contrast partners")
    assert guard.state is GateState.PASS


@pytest.mark.parametrize("kind", ["sft", "kto"])
@pytest.mark.parametrize("seed", SEEDS)
def test_without_learning_nothing_changes(seed, kind, tmp_path):
    summary = run(tmp_path, seed, *SMALL, "align.cycles=1", f"align.train=[{{kind: {kind}, learning_rate: 0}}]")
    assert summary.after == summary.before
    assert not summary.released


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("seed", SEEDS)
def test_shuffled_harm_labels_make_nothing_better(seed, name, tmp_path):
    shuffled = _shuffled(tmp_path / "train.jsonl", seed, BOTH[name])
    summary = run(tmp_path, seed, *SMALL, *NO_GATES, "align.cycles=1", f"data.train={shuffled}", config=BOTH[name])
    assert not summary.released
    refusing = next(gate for gate in summary.gates if gate.label == "overall > always-refuse")
    assert refusing.state is not GateState.PASS, "labels that mean nothing must not beat refusing everything"


def _shuffled(file: Path, seed: int, run: Path) -> str:
    """The run's training prompts under one another's harm levels."""
    import random

    config = bedside.load(run, SMALL).data.train.dataset
    assert isinstance(config, Clinic)
    prompts = config.open(Launch()).read()
    levels = [prompt.harm for prompt in prompts]
    random.Random(seed).shuffle(levels)
    rows = [
        {"prompt": [{"role": m.role, "content": m.text} for m in p.messages], "harm": h, "group": p.group}
        for p, h in zip(prompts, levels, strict=True)
    ]
    io.write_jsonl(file, rows)
    return json.dumps({"kind": "jsonl", "path": str(file)})


@pytest.mark.parametrize("flips", [0, 0.1, 0.2, 0.4])
@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_judges_errors_cost_who_imitates(flips, seed, tmp_path):
    summary = run(tmp_path, seed, *SMALL, *NO_GATES, "align.cycles=1", "align.judge=shaky", SHAKY % flips)
    assert flips < 0.4 or not summary.released, "nearly half of its verdicts were wrong"


@pytest.mark.parametrize(("flips", "share"), [(0, 0.25), (0.1, 0.25), (0.2, 0.25), (0.4, 0.25), (0.1, 0), (0.2, 0)])
@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_judges_errors_cost_with_and_without_a_share_of_each_level(flips, share, seed, tmp_path):
    sets = [*SMALL, *NO_GATES, "align.cycles=1", "align.judge=shaky", SHAKY % flips, f"align.kto_min_share={share}"]
    summary = run(tmp_path, seed, *sets, config=BOTH["published"])
    unpaired = next(flow for flow in summary.cycles[0].filter_counts if flow.step == "unpaired preferences")
    steered = int(unpaired.notes["conditional"])
    assert steered or not share


@pytest.mark.parametrize("seed", SEEDS)
def test_the_joined_loop_is_safe_and_kinder_or_says_not(seed, tmp_path, evidence):
    summary = run(tmp_path, seed, *ALONE, config=EXAMPLES / "joined.yaml")
    for axes in summary.axes:
        four = {name: shown(getattr(axes, name)) for name in ("safe", "helpful", "accurate", "kind")}
        evidence["comfort: joint loop"].append(
            {"seed": seed, "policy": axes.name, **four, "on the front": "yes" if axes.front else "no"}
        )
    evidence["comfort: joint loop by stance"].append(row(summary, seed))
    for measure in summary.pressure:
        evidence["comfort: joint loop under pressure"].append(
            {"seed": seed, "who": measure.name, "gives in": shown(measure)}
        )
    mixed = [flow for cycle in summary.cycles for flow in cycle.filter_counts if flow.step == "warm against cold"]
    evidence["comfort: what the joint loop mixed in"] += [
        {
            "seed": seed,
            "cycle": n,
            "warm pairs": flow.kept,
            "dropped": "; ".join(f"{k} {v}" for k, v in flow.dropped.items()),
        }
        for n, flow in enumerate(mixed, 1)
    ]
    assert mixed
    assert mixed[0].kept
