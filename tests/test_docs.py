"""The documentation does what it says: commands run, YAML is understood, the reference is the models' own word."""

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bedside.config.schema import AlignConfig, Config
from tests.support import evidence
from tests.support.paths import EVIDENCE
from tests.support.processes import run_python

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("docs/how-to/*.md"), ROOT / "README.md"])
AGAIN = ("ci", "resume")
OF_RECIPES = {
    "comfort-classifier": "comfort_classifier",
    "consult-probe": "consult_probe",
    "first-hour": "first_hour",
    "frames": "frame_verifier",
    "monitor-months": "monitor_months",
    "smollm2": "smollm2_arms",
    "smollm2-final": "smollm2_final",
    "smollm2-judges": "smollm2_judges",
    "smollm2-readers": "smollm2_readers",
}
"""Results whose page a recipe writes; the other pages are those of `make prove`."""
INSTALLS = (
    "make ",
    "pip ",
    "docker ",
    "bedside init my-run &&",
    "bedside check  ",
    "bedside align  ",
    "bedside align --rehearse  ",
    "bedside review ",
    "bedside view ",
)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


def commands(page: Path) -> list[str]:
    lines = [line[2:] for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ ")]
    return [line for line in lines if not line.startswith(INSTALLS)]


def marked(page: Path):
    """Pages that train once more what the quickstart has trained are for `make prove`."""
    return pytest.param(page, id=page.stem, marks=[pytest.mark.prove] if page.stem in AGAIN else [])


def typed(command: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What a person gets who types ``command``. A shell reads it only where it is more than a program and its words."""
    program, *words = shlex.split(command, comments=True)
    if program == "bedside" and not set("|<>&;$*") & set(command):
        return run_python("-m", "bedside", *words, cwd=folder, env=env)
    return subprocess.run(command, shell=True, cwd=folder, env=env, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("page", [marked(page) for page in PAGES if commands(page)])
def test_every_command_of_a_page_runs_in_order(page, tmp_path):
    place = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "120"}
    for command in commands(page):
        done = typed(command, tmp_path, place)
        assert done.returncode in (0, 3), f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_yaml_blocks_hold_keys_that_exist(page):
    for block in blocks(page, "yaml"):
        told = yaml.safe_load(block)
        assert set(told) <= set(Config.model_fields)
        assert set(told.get("align", {})) <= set(AlignConfig.model_fields)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_blocks_compile_and_links_lead_somewhere(page):
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_judge_of_the_how_to_page_keeps_a_judges_promises(monkeypatch):
    from bedside.config import plugins
    from bedside.testing import checks

    monkeypatch.setattr(plugins, "_registry", dict(plugins._registry))
    (source,) = blocks(ROOT / "docs" / "how-to" / "own-judge.md", "python")
    space: dict[str, object] = {"__name__": "blunt"}
    exec(compile(source, "own-judge.md", "exec"), space)
    checks.judge(space["Blunt"]())


def test_the_metric_of_the_how_to_page_keeps_a_metrics_promises_and_may_be_required(monkeypatch):
    from bedside.config import plugins
    from bedside.run import experiment
    from bedside.testing import checks

    monkeypatch.setitem(plugins._registry, ("metric", "signposts"), checks)  # so that it goes again afterwards
    del plugins._registry["metric", "signposts"]
    page = ROOT / "docs" / "how-to" / "own-metric.md"
    (source,), (told,) = blocks(page, "python"), blocks(page, "yaml")
    space: dict[str, object] = {"__name__": "signposts"}
    exec(compile(source, "own-metric.md", "exec"), space)
    checks.metric(space["Signposts"]())
    part = {"kind": "clinic", "n": 10}
    data = {"train": {**part, "part": "train"}, "valid": {**part, "part": "valid"}, "test": {**part, "part": "test"}}
    config = Config.model_validate({"target": "embedded", "data": data, **yaml.safe_load(told)})
    metric = experiment.metric(config)
    assert "signposts" in metric.definitions()
    assert "signposts" in [limit.measure for limit in experiment.constraints(config, metric)]
    assert {m.name for m in metric.measure([])} >= {"err", "signposts"}


@pytest.mark.slow
def test_the_tour_in_python_goes_from_its_first_block_to_its_last(tmp_path):
    (tmp_path / "tour.py").write_text("\n".join(blocks(ROOT / "docs" / "tour.md", "python")))
    done = run_python("tour.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Nothing may be released" in done.stdout
    assert (tmp_path / "report.html").exists()


def test_the_reference_is_what_the_models_say(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    import reference

    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == reference.page(), "run: python recipes/reference.py docs/configuration.md"


@pytest.mark.parametrize("experiment", sorted({f.stem for f in EVIDENCE.glob("*.json")} - set(OF_RECIPES)))
def test_a_page_of_evidence_shows_what_its_results_say(experiment):
    sections = json.loads((EVIDENCE / f"{experiment}.json").read_text(encoding="utf-8"))
    assert (EVIDENCE / f"{experiment}.md").read_text(encoding="utf-8") == evidence.page(experiment, sections)


@pytest.mark.parametrize(("name", "recipe"), OF_RECIPES.items())
def test_a_page_of_a_recipe_shows_what_its_results_say(name, recipe, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    results = json.loads((EVIDENCE / f"{name}.json").read_text(encoding="utf-8"))
    assert (EVIDENCE / f"{name}.md").read_text(encoding="utf-8") == importlib.import_module(recipe).page(results)


def test_there_are_at_most_twenty_pages_of_evidence():
    assert len([*EVIDENCE.glob("*.md")]) <= 20


def test_every_page_of_evidence_that_is_named_is_there():
    named = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/*.py"), *ROOT.glob("*.md")]
    for page in named:
        for name in re.findall(r"evidence/([a-z0-9-]+\.(?:md|json))", page.read_text(encoding="utf-8")):
            assert (EVIDENCE / name).is_file(), f"{page.name} names {name}"


@pytest.mark.parametrize("folder", ["decisions", "evidence"])
def test_every_page_of_a_folder_stands_in_its_readme(folder):
    pages = {page.name for page in (ROOT / "docs" / folder).glob("*.md")} - {"README.md"}
    assert pages == set(
        re.findall(r"\]\(([^)/]+\.md)\)", (ROOT / "docs" / folder / "README.md").read_text(encoding="utf-8"))
    )
