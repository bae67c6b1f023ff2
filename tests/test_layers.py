"""The house, as a table that fails when it is broken: imports point down, plug-ins know no sibling."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "bedside"
FLOOR_1 = {"kernel", "stats", "engine"}
MAY_IMPORT = {
    "core": set(),
    "kernel": {"core"},
    "stats": {"core"},
    "engine": {"core"},
    "models": {"core", "kernel", "engine"},
    "judges": {"core", "kernel", "stats"},
    "datasets": {"core", "kernel", "stats"},
    "metrics": {"core", "kernel", "stats"},
    "objectives": {"core", "kernel", "engine"},
    "stages": {"core"} | FLOOR_1,
    "flows": {"core", "stages"} | FLOOR_1,
    "faces": {"core", "stages", "flows"} | FLOOR_1,
    "testing": {"core", "kernel"},
}
LONERS = {"stages", "judges", "models", "datasets", "metrics", "objectives"}
HEAVY = {"torch", "transformers", "peft", "accelerate", "safetensors", "datasets", "pyarrow", "sklearn"}
MAY_BE_HEAVY = {"engine", "models", "objectives", "stages/train.py", "faces/environment.py"}
OWN_HEAVY = {"kernel/tables.py": {"datasets", "pyarrow"}, "stats/bagofwords.py": {"sklearn"}}
LIGHT_IN_CORE = set(sys.stdlib_module_names) | {"bedside"}
FILES = sorted(ROOT.rglob("*.py"))


@functools.cache
def nodes(path: Path):
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports(path: Path):
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def place(path: Path) -> tuple[str, str]:
    name = path.relative_to(ROOT).as_posix()
    return name, name.split("/")[0]


@pytest.mark.parametrize("path", [f for f in FILES if "/" in place(f)[0]], ids=lambda p: place(p)[0])
def test_imports_point_down(path):
    name, here = place(path)
    for module in imports(path):
        parts = module.split(".")
        if parts[0] == "bedside" and len(parts) > 1 and parts[1] in MAY_IMPORT:
            there = parts[1]
            assert there == here or there in MAY_IMPORT[here], f"{here} must not import {module}"
            assert there != here or here not in LONERS, f"{name} must not know its sibling {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: place(p)[0])
def test_torch_and_its_kin_stay_in_their_rooms(path):
    name, here = place(path)
    found = {module.split(".")[0] for module in imports(path)} & HEAVY
    assert not found - OWN_HEAVY.get(name, set()) or {here, name} & MAY_BE_HEAVY


@pytest.mark.parametrize("path", sorted((ROOT / "core").glob("*.py")), ids=lambda p: place(p)[0])
def test_core_needs_the_standard_library_only(path):
    assert {module.split(".")[0] for module in imports(path)} <= LIGHT_IN_CORE


@pytest.mark.parametrize("path", FILES, ids=lambda p: place(p)[0])
def test_only_the_faces_print_read_the_environment_or_catch_everything(path):
    name, here = place(path)
    for node in nodes(path):
        if isinstance(node, ast.ExceptHandler):
            caught = node.type.id if isinstance(node.type, ast.Name) else ""
            assert node.type is not None, f"{name}: bare except"
            assert caught not in ("Exception", "BaseException"), f"{name}: broad except"
        if here != "faces":
            assert not (isinstance(node, ast.Name) and node.id == "print"), f"{name} prints"
            assert not (isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")), f"{name} reads env"


def modules_after(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return {name.split(".")[0] for name in done.stdout.decode().split()}, set(done.stdout.decode().split())


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "import bedside; bedside.load",
        "import sys; sys.argv = ['bedside', '--help']; from bedside.faces import cli",
        "from bedside.flows import figures, summary, rules",
        "from bedside.kernel.schema import Config",
    ],
)
def test_the_front_door_is_light(code):
    tops, _ = modules_after(code)
    assert not tops & {"torch", "transformers", "peft", "datasets", "sklearn"}


@pytest.mark.slow
def test_finding_a_judge_loads_that_judge_only():
    _, loaded = modules_after("from bedside.kernel import registry; registry.find('judge', 'keyword')")
    assert "bedside.judges.keyword" in loaded
    assert "bedside.judges.rubric" not in loaded
