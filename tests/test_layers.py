"""What the import linter cannot say: where torch may be imported, who prints, and that core code stays light."""

import ast
import functools
import importlib.util
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import bedside
from bedside.config import plugins
from tests.support.paths import ROOT

PACKAGE = ROOT / "src" / "bedside"
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = {"torch", "transformers", "peft", "accelerate", "safetensors", "datasets", "pyarrow", "sklearn"}
MAY_BE_HEAVY = {
    "training",
    "models",
    "run/environment.py",
    "judges/classifier.py",
    "judges/comfort_classifier.py",
    "comfort/frame_reader.py",
}
MAY_IMPORT = {
    "data/io.py": {"datasets", "pyarrow"},
    "stats/tfidf.py": {"sklearn"},
    "judge_audit/train_comfort.py": {"sklearn"},
    "comfort/frame_reader.py": {"safetensors"},
}
TALKS_TO_THE_SYSTEM = {"cli", "run/environment.py", "run/launcher.py"}


@functools.cache
def nodes(path):
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports(path):
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)


def place(path):
    name = path.relative_to(PACKAGE).as_posix()
    return name, name.split("/")[0]


def test_rooms_import_only_rooms_below_them_and_in_no_circle():
    lint = "from importlinter.cli import lint_imports_command as lint; lint()"
    done = subprocess.run([sys.executable, "-c", lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda p: place(p)[0])
def test_torch_and_its_kin_stay_in_their_rooms(path):
    name, room = place(path)
    found = set(imports(path)) & HEAVY
    assert not found - MAY_IMPORT.get(name, set()) or {room, name} & MAY_BE_HEAVY


@pytest.mark.parametrize("path", FILES, ids=lambda p: place(p)[0])
def test_only_the_command_line_and_the_environment_print_read_variables_or_catch_everything(path):
    name, room = place(path)
    for node in nodes(path):
        if isinstance(node, ast.ExceptHandler):
            caught = node.type.id if isinstance(node.type, ast.Name) else ""
            assert node.type is not None, f"{name}: bare except"
            assert caught not in ("Exception", "BaseException"), f"{name}: broad except"
        if not {room, name} & TALKS_TO_THE_SYSTEM:
            assert not (isinstance(node, ast.Name) and node.id == "print"), f"{name} prints"
            assert not (isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")), f"{name} reads env"


def modules_after(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return set(done.stdout.decode().split())


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "import bedside; bedside.load",
        "import sys; sys.argv = ['bedside', '--help']; from bedside.cli import main",
        "from bedside.alignment import single_stage, summary",
        "from bedside.config.schema import Config",
    ],
)
def test_the_front_door_is_light(code):
    tops = {name.split(".")[0] for name in modules_after(code)}
    assert not tops & {"torch", "transformers", "peft", "datasets", "sklearn"}


@pytest.mark.slow
def test_finding_a_judge_loads_that_judge_only():
    loaded = modules_after("from bedside.config import plugins; plugins.find('judge', 'keyword')")
    assert "bedside.judges.keyword" in loaded
    assert "bedside.judges.rubric" not in loaded


@pytest.mark.parametrize("kind", sorted(plugins.BUILT_IN))
def test_every_built_in_plugin_is_where_the_list_says(kind):
    for name, module in plugins.BUILT_IN[kind].items():
        assert plugins.find(kind, name).__module__ == module


def test_every_module_that_registers_a_plugin_is_on_the_list():
    listed = {module for modules in plugins.BUILT_IN.values() for module in modules.values()}
    for info in pkgutil.walk_packages(bedside.__path__, "bedside."):
        if not info.ispkg and info.name != "bedside.__main__":
            source = Path(importlib.util.find_spec(info.name).origin).read_text(encoding="utf-8")
            assert "\n@register(" not in source or info.name in listed, info.name
