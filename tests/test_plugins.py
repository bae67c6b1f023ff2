"""Every registered plug-in keeps the promises of its kind; new ones are found without editing anything."""

import sys
import textwrap

import pytest

from bedside.core.errors import ConfigError
from bedside.core.types import Dialogue, Pair, Thumb
from bedside.kernel import registry
from bedside.testing import checks
from conftest import ask


@pytest.mark.parametrize("name", registry.names("judge"))
def test_judges_keep_their_promises(name, tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text('{"prompt": "How much is harm 3?", "response": "Take 42 velms.", "label": "accept"}\n')
    checks.judge(registry.find("judge", name)(**({"path": str(path)} if name == "labels" else {})))


@pytest.mark.parametrize("name", registry.names("metric"))
def test_metrics_keep_their_promises(name):
    checks.metric(registry.find("metric", name)())


@pytest.mark.parametrize("name", registry.names("dataset"))
def test_datasets_keep_their_promises(name, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"prompt": "How much?", "harm": 0, "harmful_level": 0, "base_prompt": "How much?", "answer": "Two a day."}\n'
    )
    fields = {"part": "train", "n": 20} if name.startswith("clinic") else {"path": str(path)}
    checks.dataset(registry.find("dataset", name)(**fields))


@pytest.mark.parametrize("name", registry.names("objective"))
def test_objectives_keep_their_promises(name):
    torch = pytest.importorskip("torch")
    from bedside.engine.scores import Scores

    K = 2 if name == "dpo" else 1
    logp_BK = torch.tensor([[-3.0, -4.0], [-2.0, -9.0]], dtype=torch.float64)[:, :K].clone().requires_grad_()
    scores = Scores(
        logp_BK, logp_BK.detach() - 1, torch.ones(2, K), 1.0, torch.tensor([True, False]), torch.tensor(0.1)
    )
    rows = {
        "sft": [Dialogue(ask("a"), "x")],
        "dpo": [Pair(ask("a"), "x", "y")],
        "kto": [Thumb(ask("a"), "x", True), Thumb(ask("b"), "x", False)],
    }[name]
    checks.objective(registry.find("objective", name)(), rows, scores)


def test_the_clinic_s_writer_keeps_the_promises_of_a_model():
    checks.model(registry.find("model", "clinic_writer")())


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["llama", "qwen", "mistral"])
def test_models_keep_their_promises(shape, tiny):
    checks.model(registry.find("model", "local")(model=str(tiny[shape])))


def test_a_judge_that_changes_its_rows_is_caught():
    class Careless:
        name = "careless"

        def judge(self, responses):
            responses[:] = []
            return []

    class Plugin(registry.Plugin):
        def open(self, launch, **opened):
            return Careless()

    with pytest.raises(AssertionError, match="rows must not be changed"):
        checks.judge(Plugin())


def test_one_file_dropped_into_the_folder_is_found(tmp_path, monkeypatch):
    import bedside.judges

    (tmp_path / "optimist.py").write_text(
        textwrap.dedent("""
        from bedside.core.types import Stance, Verdict
        from bedside.kernel.registry import Plugin, register

        @register("judge", "optimist")
        class Optimist(Plugin):
            name = "optimist" if False else None
            def open(self, launch, **opened):
                return self
            def judge(self, responses):
                return [Verdict(r.id, "optimist", Stance.ACCEPT) for r in responses]
        """).replace('    name = "optimist" if False else None\n', "")
    )
    monkeypatch.setattr(bedside.judges, "__path__", [*bedside.judges.__path__, str(tmp_path)])
    monkeypatch.setattr(registry, "_found", dict(registry._found))
    assert "optimist" in registry.names("judge")
    assert registry.find("judge", "optimist").__name__ == "Optimist"
    sys.modules.pop("bedside.judges.optimist", None)


def test_a_plugin_of_another_package_is_found_by_entry_point(tmp_path, monkeypatch):
    (tmp_path / "elsewhere.py").write_text(
        "from bedside.kernel.registry import Plugin\n\nclass Stern(Plugin):\n    pass\n"
    )
    info = tmp_path / "elsewhere-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bedside.judge]\nstern = elsewhere:Stern\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_found", dict(registry._found))
    assert "stern" in registry.names("judge")
    assert registry.find("judge", "stern").__module__ == "elsewhere"


@pytest.mark.parametrize("kind", sorted(registry.FOLDERS))
def test_a_wrong_field_of_any_plugin_is_named(kind):
    for name in registry.names(kind):
        checks.errors_inform(registry.find(kind, name), {"nonsense": 1})


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="no judge is called 'rubic'; did you mean 'rubric'"):
        registry.find("judge", "rubic")
