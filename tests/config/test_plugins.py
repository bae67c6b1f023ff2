"""Every registered plug-in keeps the promises of its kind; new ones are found without editing anything."""

from typing import Annotated, Any

import pytest
from tests.support.prompts import ask

from bedside.config import plugins
from bedside.core.errors import ConfigError
from bedside.core.protocols import declared_endpoints
from bedside.core.types import Demonstration, PreferencePair, UnpairedPreference
from bedside.judges.composite import EnsembleJudge, NoisyJudge
from bedside.judges.keyword import KeywordJudge
from bedside.judges.rubric import RubricJudge
from bedside.testing import checks
from bedside.testing.checks import Scripted


@pytest.mark.parametrize("name", plugins.names("judge"))
def test_judges_keep_their_promises(name, tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text('{"prompt": "How much is harm 3?", "response": "Take 42 velms.", "label": "accept"}\n')
    checks.judge(plugins.find("judge", name)(**({"path": str(path)} if name == "labels" else {})))


@pytest.mark.parametrize("name", plugins.names("metric"))
def test_metrics_keep_their_promises(name):
    checks.metric(plugins.find("metric", name)())


@pytest.mark.parametrize("name", plugins.names("dataset"))
def test_datasets_keep_their_promises(name, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"prompt": "How much?", "harm": 0, "harmful_level": 0, "base_prompt": "How much?", "answer": "Two a day."}\n'
    )
    fields = {"part": "train", "n": 20} if name.startswith("clinic") else {"path": str(path)}
    fields = {"part": "train"} if name.startswith("consult") else fields
    fields = {**fields, "harm": 3} if name == "seed_prompts" else fields
    checks.dataset(plugins.find("dataset", name)(**fields))


@pytest.mark.parametrize("name", [name for name in plugins.names("attack") if name != "chain"])
def test_attacks_keep_their_promises(name):
    checks.attack(plugins.find("attack", name)())


@pytest.mark.parametrize("name", plugins.names("objective"))
def test_objectives_keep_their_promises(name):
    torch = pytest.importorskip("torch")
    from bedside.training.objectives import Scores

    K = 2 if name == "dpo" else 1
    logp_BK = torch.tensor([[-3.0, -4.0], [-2.0, -9.0]], dtype=torch.float64)[:, :K].clone().requires_grad_()
    scores = Scores(
        logp_BK, logp_BK.detach() - 1, torch.ones(2, K), 1.0, torch.tensor([True, False]), torch.tensor(0.1)
    )
    rows = {
        "sft": [Demonstration(ask("a"), "x")],
        "dpo": [PreferencePair(ask("a"), "x", "y")],
        "kto": [UnpairedPreference(ask("a"), "x", True), UnpairedPreference(ask("b"), "x", False)],
    }[name]
    checks.objective(plugins.find("objective", name)(), rows, scores)


def test_the_clinic_s_writer_keeps_the_promises_of_a_model():
    checks.model(plugins.find("model", "clinic_writer")())


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["llama", "qwen", "mistral"])
def test_models_keep_their_promises(shape, tiny):
    checks.model(plugins.find("model", "local")(model=str(tiny[shape])))


def test_a_judge_that_changes_its_rows_is_caught():
    class Careless:
        name = "careless"

        def judge(self, responses):
            responses[:] = []
            return []

    class Plugin(plugins.Plugin):
        def open(self, launch, **opened):
            return Careless()

    with pytest.raises(AssertionError, match="rows must not be changed"):
        checks.judge(Plugin())


def test_a_plugin_on_the_list_whose_module_does_not_register_it_is_named(tmp_path, monkeypatch):
    (tmp_path / "forgetful.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(plugins.BUILT_IN["judge"], "forgetful", "forgetful")
    with pytest.raises(ConfigError, match="forgetful does not register a judge called 'forgetful'"):
        plugins.find("judge", "forgetful")


def test_a_plugin_of_another_package_is_found_by_entry_point(tmp_path, monkeypatch):
    (tmp_path / "elsewhere.py").write_text(
        "from bedside.config.plugins import Plugin\n\nclass Stern(Plugin):\n    pass\n"
    )
    info = tmp_path / "elsewhere-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bedside.judge]\nstern = elsewhere:Stern\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(plugins, "_registry", dict(plugins._registry))
    assert "stern" in plugins.names("judge")
    assert plugins.find("judge", "stern").__module__ == "elsewhere"


@pytest.mark.parametrize("kind", sorted(plugins.BUILT_IN))
def test_a_wrong_field_of_any_plugin_is_named(kind):
    for name in plugins.names(kind):
        checks.errors_inform(plugins.find(kind, name), {"nonsense": 1})


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="no judge is called 'rubic'; did you mean 'rubric'"):
        plugins.find("judge", "rubic")


def test_a_judge_that_hides_the_endpoint_of_its_model_is_caught():
    class Hidden:
        name = "hidden"

        def judge(self, responses):
            return []

    class Plugin(plugins.Plugin):
        model: Annotated[Any, plugins.PluginField("model", "target")] = "target"

        def open(self, launch, **opened):
            return Hidden()

    with pytest.raises(AssertionError, match="declares every endpoint"):
        checks.judge(Plugin())


def test_a_plug_in_that_declares_no_endpoints_has_none_and_an_ensemble_joins_those_of_its_members():
    endpoint = checks._ScriptedEndpoint()
    rubrics = [RubricJudge(Scripted(endpoints=(endpoint,))) for _ in range(2)]
    ensemble = EnsembleJudge((*rubrics, KeywordJudge(), NoisyJudge(rubrics[0], 0.2, 0)))
    assert declared_endpoints(ensemble) == (endpoint,)
    assert declared_endpoints(KeywordJudge(), object()) == ()
