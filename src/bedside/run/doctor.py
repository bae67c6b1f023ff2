"""What this machine has for a run: versions, processors, memory, models at hand. No path and no text of a patient.

packages    by extra; a missing package is named with the command that installs it
machine     cores and threads, memory, free disk in this folder, the device of ``device: auto``
smollm2     whether its package is installed
network     limits in the environment; Bedside itself contacts only what a config names
"""

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from bedside.core.errors import ConfigError
from bedside.core.extras import EXTRAS
from bedside.core.gates import Finding, GateState
from bedside.run import environment

DISTRIBUTIONS = {"presidio_analyzer": "presidio-analyzer"}
"""The name on the package index, if it differs from the name of the import."""
LEAST = 4e9
"""Bytes of memory, and of disk, that are enough to train a small model."""


def diagnose() -> tuple[Finding, ...]:
    """FAIL if nothing can be trained, INCONCLUSIVE if something is missing that only some runs need."""
    return (*_packages(), *_machine(), _smollm2(), _network())


def versions() -> dict[str, str]:
    """The versions of Bedside, of Python, and of each optional package that is installed."""
    own = {"bedside": version("bedside"), "python": platform.python_version()}
    return own | {name: shown for name in sorted(EXTRAS) if (shown := _version(name))}


def _version(package: str) -> str:
    """Empty if it is not installed."""
    try:
        return version(DISTRIBUTIONS.get(package, package)) if find_spec(package) else ""
    except (PackageNotFoundError, ModuleNotFoundError):
        return ""


def _packages() -> Iterator[Finding]:
    installed = versions()
    system = f"Python {installed['python']}, {platform.system()} on {platform.machine()}"
    yield Finding("bedside", GateState.PASS, f"{installed['bedside']}, {system}")
    for extra in sorted(set(EXTRAS.values())):
        wanted = sorted(name for name, brought_by in EXTRAS.items() if brought_by == extra)
        yield _extra(extra, {name: installed.get(name, "") for name in wanted})


def _extra(extra: str, installed: Mapping[str, str]) -> Finding:
    missing = [name for name, number in installed.items() if not number]
    if missing:
        reason = f"{', '.join(missing)} not installed: pip install 'bedside[{extra}]'"
        return Finding(f"extra {extra}", GateState.INCONCLUSIVE, reason)
    numbers = ", ".join(f"{name} {number}" for name, number in installed.items())
    return Finding(f"extra {extra}", GateState.PASS, numbers)


def _machine() -> Iterator[Finding]:
    free = environment.machine(Path.cwd(), "cpu")
    yield Finding("processor", GateState.PASS, f"{os.cpu_count()} cores")
    yield _room("memory", free.memory)
    yield _room("disk", free.disk)
    yield _device()


def _room(name: str, free: int | None) -> Finding:
    if free is None:
        return Finding(name, GateState.NOT_CHECKED, f"{sys.platform} does not say how much is free")
    if free < LEAST:
        reason = f"{free / 1e9:.1f} GB free; a small model wants {LEAST / 1e9:.0f} GB, a larger one more"
        return Finding(name, GateState.INCONCLUSIVE, reason)
    return Finding(name, GateState.PASS, f"{free / 1e9:.1f} GB free; `bedside check` says what a run takes")


def _device() -> Finding:
    if not _version("torch"):
        reason = "nothing can be trained without torch: pip install 'bedside[train]'; files can be judged and read"
        return Finding("device", GateState.FAIL, reason)
    try:
        launch = environment.launch("auto", seed=0)
    except ConfigError as error:
        return Finding("device", GateState.INCONCLUSIVE, str(error))
    return Finding("device", GateState.PASS, ", ".join(environment.numerics(launch)))


def _smollm2() -> Finding:
    from bedside.models import gguf_files

    missing = gguf_files.missing()
    state = GateState.INCONCLUSIVE if missing else GateState.PASS
    return Finding("smollm2", state, missing or "its package is installed")


def _network() -> Finding:
    limits = environment.offline() or ["no limit in the environment"]
    reason = f"{', '.join(limits)}; no call but those that a config names, no telemetry"
    return Finding("network", GateState.PASS, reason)
