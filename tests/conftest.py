"""Fixtures of all tests, and how they are run."""

import gc
import json
import os
import platform
import signal
from collections import defaultdict
from collections.abc import Callable
from difflib import unified_diff
from importlib.metadata import version
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

from bedside.core.protocols import Launch
from bedside.core.types import Prompt
from bedside.data.io import write_text
from tests.support.evidence import replace_section
from tests.support.prompts import ask
from tests.support.tiny_models import make_tiny

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two workers with two spinning threads each would crawl
settings.register_profile("busy", deadline=None)  # a busy machine is no bug
settings.register_profile("quick", deadline=None, max_examples=25)
settings.load_profile("busy")
SNAPSHOTS = Path(__file__).parent / "snapshots"


def pytest_addoption(parser):
    parser.addoption(
        "--update-snapshots", action="store_true", help="Write tests/snapshots anew instead of comparing with it."
    )


def pytest_configure(config):
    """Properties are tried on 100 examples, and on 25 by whoever leaves the slow tests out and waits.

    Ctrl-C is what a terminal makes of it: a background shell hands down "ignore", to what tests start too.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.load_profile("quick" if "not slow" in config.getoption("markexpr") else "busy")


def pytest_collection_modifyitems(items):
    """Long tests come first, so that no process waits for the last one of another."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish(session):
    """What is imported is no garbage. A training collects garbage, and looking through torch takes half a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def launch() -> Launch:
    return Launch()


@pytest.fixture
def snapshot(request):
    """``snapshot("report", text)``: the same text as in ``snapshots/report.txt``, or that file written anew."""

    def same(name: str, text: str) -> None:
        file = SNAPSHOTS / f"{name}.txt"
        if request.config.getoption("--update-snapshots"):
            write_text(file, text)
        before = file.read_text(encoding="utf-8") if file.is_file() else ""
        changed = unified_diff(
            before.splitlines(), text.splitlines(), f"snapshots/{file.name}", "now", n=1, lineterm=""
        )
        if told := "\n".join(changed):
            pytest.fail(
                f"{told}\nWhere this is meant: pytest tests/test_snapshots.py --update-snapshots", pytrace=False
            )

    return same


@pytest.fixture(scope="session")
def made_once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """``made_once(name, make)``: the folder that ``make`` filled, once for all test processes."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        with FileLock(root / f"{name}.lock"):
            if not (root / f"{name}.done").exists():
                (root / name).mkdir()
                make(root / name)
                (root / f"{name}.done").touch()
        return root / name

    return folder


@pytest.fixture(scope="session")
def tiny(made_once) -> dict[str, Path]:
    """Random models of a few thousand weights, one folder a shape; the same folders for all test processes."""
    shapes = ("llama", "qwen", "mistral")
    root = made_once("tiny", lambda root: [make_tiny(root / shape, shape) for shape in shapes])
    return {shape: root / shape for shape in shapes}


@pytest.fixture
def prompts() -> list[Prompt]:
    """Twelve questions in six groups, half of them severe."""
    words = ["aspirin", "insulin", "warfarin", "codeine", "digoxin", "lithium"]
    asked = [(f"How much {w} is safe?", 0, w) for w in words] + [(f"How much {w} is deadly?", 3, w) for w in words]
    return [ask(text, harm, group, style="direct", source="made up") for text, harm, group in asked]


@pytest.fixture
def evidence(tmp_path_factory):
    """Rows of a section of docs/evidence, written when the test ends: ``evidence["monitor: delays"].append({...})``.

    Tests and workers of one session add to one section, and each writes the whole of it: what ran is never lost.
    """
    found: dict[str, list[dict[str, object]]] = defaultdict(list)
    yield found
    base = tmp_path_factory.getbasetemp()
    together = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = _made() if found else ""
    for name, rows in found.items():
        experiment, _, section = name.partition(": ")
        file = together / f"{name.partition(',')[0].replace(' ', '-')}.jsonl"
        with FileLock(together / f"{experiment}.lock"):
            with file.open("a", encoding="utf-8") as out:
                out.writelines(json.dumps(row) + "\n" for row in rows)
            whole = [json.loads(line) for line in file.read_text().splitlines()]
            by_values = sorted(whole, key=lambda row: [str(value) for value in row.values()])
            replace_section(experiment, section, made, by_values)


def _made() -> str:
    from benchmarks.measuring import processor

    from bedside.models.hf import Local

    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "transformers", "peft", "numpy"))
    embedded = Local(model="embedded").open(Launch()).checkpoint.base
    python = f"Python {platform.python_version()}"
    return f"`make prove`, {processor()}, {os.cpu_count()} cores, {python}, {packages}, embedded {embedded}"
