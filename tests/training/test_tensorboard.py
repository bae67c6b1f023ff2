"""report_to: curves are there when training is done, and a package that is not there is said before it begins."""

import importlib
import importlib.util
import sys

import pytest
from rich.console import Console

pytest.importorskip("torch")

from tests.alignment.test_align import coin, write_config  # noqa: F401

import bedside
from bedside.alignment import single_stage
from bedside.core.errors import ConfigError
from bedside.core.gates import GateState
from bedside.core.protocols import SilentProgress
from bedside.data.io import write_jsonl
from bedside.run import environment
from bedside.run.context import open_run
from bedside.training.step_log import STATISTICS


@pytest.mark.slow
def test_a_training_leaves_its_curve_for_tensorboard(tiny, tmp_path, coin):  # noqa: F811
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    run = open_run(bedside.load(write_config(tmp_path, tiny["llama"]), ["report_to=tensorboard"]), SilentProgress())
    rows = [{"prompt": f"How much {i}?", "completion": f"Take {i}.", "label": i % 2 == 0} for i in range(12)]
    write_jsonl(tmp_path / "kto.jsonl", rows)
    single_stage.train(run, {"kind": "kto"}, tmp_path / "kto.jsonl", tmp_path / "adapter")
    (log,) = [path for path in (run.folder / "tensorboard").rglob("*") if path.is_file()]
    events = loader.EventFileLoader(str(log)).Load()
    losses = [(e.step, v.tensor.float_val[0]) for e in events for v in e.summary.value if v.tag == "train/loss"]
    assert [step for step, _ in losses] == [1, 2, 3]
    assert losses[0][1] == pytest.approx(0.5, abs=0.01)  # KTO at its reference: half a lambda
    tags = {value.tag for event in loader.EventFileLoader(str(log)).Load() for value in event.summary.value}
    assert tags >= {f"train/{name}" for name in STATISTICS}


def test_a_package_that_is_not_installed_is_said_before_anything_is_trained(tiny, tmp_path):
    missing = next(name for name in ("mlflow", "wandb", "trackio") if importlib.util.find_spec(name) is None)
    sets = [f"report_to={missing}", "judges={}", "align.judge=self"]
    config = bedside.load(write_config(tmp_path, tiny["llama"]), sets)
    with pytest.raises(ConfigError, match=f"pip install {missing}"):
        bedside.align(config)
    assert [file.name for file in (tmp_path / "runs").rglob("*") if file.is_file()] == ["owner.lock"]
    failed = [gate for gate in bedside.check(config).findings if gate.state is GateState.FAIL]
    assert any("pip install" in gate.reason for gate in failed)


def test_a_tracker_that_stops_in_the_middle_is_named_and_no_traceback_is_shown(tmp_path, monkeypatch, capsys):
    (tmp_path / "trackio.py").write_text("def init():\n    raise RuntimeError('No key here.\\nMore of it.')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "trackio", None)  # so that what is imported here is forgotten with the test
    del sys.modules["trackio"]
    with pytest.raises(SystemExit) as ended, environment.clean_exit(Console(stderr=True, width=300)):
        importlib.import_module("trackio").init()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("error: report_to: trackio: No key here.; fix that or set report_to: none")
    assert said.endswith("finished work is kept\n")


def test_a_bug_of_ours_is_not_laid_at_a_trackers_door():
    with pytest.raises(ZeroDivisionError), environment.clean_exit(Console(stderr=True)):
        print(1 / 0)
