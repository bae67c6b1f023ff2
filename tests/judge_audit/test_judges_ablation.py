"""When which judge is needed: the published ablation in small on the clinic, scored by truth.

    self-frozen   self-current   external   fine-tuned   ensemble

Fifteen runs take long, so they are marked ``prove``, and so is that each config runs at all, on a handful of prompts.
"""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("torch")

import bedside
from bedside.config.plugins import find, open_plugin
from bedside.core.errors import ConfigError
from bedside.core.measures import get_measure
from bedside.core.protocols import Launch
from bedside.core.results import RunSummary
from bedside.data.io import write_jsonl
from bedside.judge_audit import finetune
from bedside.run.context import open_run

ROOT = Path(__file__).parents[2]
JUDGES = sorted((ROOT / "examples" / "judges").glob("*.yaml"))
TINY = [f"data.{part}.n=10" for part in ("train", "valid", "test")]
TINY += ["align.cycles=1", "align.num_train_epochs=1", "align.kto_min_class=1", "generate.max_new_tokens=16"]
TINY += ["gates.stop=[]", "align.lora.r=2"]


class Heard:
    """A progress that remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def step(self, stage: str, done: int, total: int) -> None:
        pass

    def say(self, line: str) -> None:
        self.lines.append(line)


def recipe():
    spec = importlib.util.spec_from_file_location("labelled_clinic", ROOT / "recipes" / "labelled_clinic.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tuned(folder: Path, n: int, seed: int, *sets: str) -> Path:
    """The embedded model fine-tuned as a judge on labelled answers of its own."""
    policy = open_plugin(find("model", "local")(model="embedded"), Launch(), {})
    write_jsonl(folder / "labelled.jsonl", recipe().labelled(n, "valid", 1, policy))
    config = bedside.load(
        ROOT / "examples/judges/self-frozen.yaml", [f"runs={folder}", "run=judge", f"seed={seed}", *sets]
    )
    labels = find("judge", "labels").model_validate({"path": str(folder / "labelled.jsonl")})
    finetune.train(open_run(config, Heard()), labels, folder / "tuned-judge", None)
    return folder / "tuned-judge"


def run(config: Path, folder: Path, seed: int, *sets: str) -> tuple[RunSummary, Heard]:
    heard = Heard()
    told = bedside.load(config, [f"runs={folder}", f"seed={seed}", *sets])
    return bedside.align(told, heard).summary, heard


def adapter_of(config: Path, folder: Path, n: int, seed: int, *sets: str) -> list[str]:
    if config.stem != "fine-tuned":
        return []
    return [f"judges.tuned.adapter={tuned(folder, n, seed, *sets)}"]


@pytest.mark.parametrize("config", JUDGES, ids=lambda path: path.stem)
def test_every_config_of_the_ablation_is_understood_and_truth_selects(config):
    told = bedside.load(config)
    assert told.align.judge != told.selecting_judge == "truth"


@pytest.mark.prove
@pytest.mark.parametrize("config", JUDGES, ids=lambda path: path.stem)
def test_every_config_of_the_ablation_runs(config, tmp_path):
    summary, heard = run(config, tmp_path, 0, *TINY, *adapter_of(config, tmp_path, 6, 0, "align.lora.r=2"))
    assert summary.verdict
    loud = [line for line in heard.lines if line.startswith("EXPERIMENT ONLY")]
    assert bool(loud) == (config.stem == "self-current")
    assert any("An experiment" in line for line in summary.untested) == bool(loud)


@pytest.mark.slow
def test_the_policy_in_training_never_selects_itself(tmp_path):
    config = ROOT / "examples/judges/self-current.yaml"
    with pytest.raises(ConfigError, match="is the policy in training and cannot select itself"):
        run(config, tmp_path, 0, *TINY, "select.judge=current")


@pytest.mark.slow
def test_one_judge_for_both_is_said_loudly(tmp_path):
    summary, heard = run(ROOT / "examples/judges/self-frozen.yaml", tmp_path, 0, *TINY, "select.judge=self")
    assert any("both labels the training answers and selects" in line for line in heard.lines)
    assert any("One judge both trained and selected" in line for line in summary.untested)


@pytest.mark.prove
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("config", JUDGES, ids=lambda path: path.stem)
def test_whatever_a_judge_taught_what_is_worse_by_truth_is_not_released(config, seed, tmp_path):
    summary, _ = run(config, tmp_path, seed, *adapter_of(config, tmp_path, 240, seed, "align.num_train_epochs=2"))
    better = get_measure(summary.before, "overall").value < get_measure(summary.after, "overall").value
    assert better or not summary.released
