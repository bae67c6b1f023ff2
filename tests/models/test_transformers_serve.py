"""A real server: ``transformers serve`` with the embedded model answers and judges as the model does here."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("torch")
MISSING = [name for name in ("openai", "fastapi", "uvicorn") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"transformers serve needs {', '.join(MISSING)}: the dev extra has them"),
]

from bedside.config.plugins import find, open_plugin
from bedside.core.protocols import Launch
from bedside.core.types import GenerationRequest, Response, Sampling, Stance
from bedside.judges.rubric import RubricJudge
from bedside.models.hf import EMBEDDED, Local
from bedside.models.openai_compatible import OpenAICompatible
from bedside.run import generation

START_SECONDS = 300


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Address of ``transformers serve EMBEDDED``, started without a network."""
    home = tmp_path_factory.mktemp("hf")
    (home / "hub").mkdir()  # it scans this folder and fails where there is none
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [
        Path(sys.executable).with_name("transformers"),
        "serve",
        EMBEDDED["embedded"],
        "--host",
        "127.0.0.1",
        "--device",
        "cpu",
    ]
    place = {**os.environ, "HF_HOME": str(home), "HF_HUB_CACHE": str(home / "hub"), "HF_HUB_OFFLINE": "1"}
    with (home / "log").open("w") as log:
        running = subprocess.Popen([*map(str, line), "--port", str(port)], env=place, stdout=log, stderr=log)
        try:
            _wait(f"http://127.0.0.1:{port}/v1/models", running, home / "log")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            running.kill()
            running.wait()


def _wait(address, running, log):
    for _ in range(START_SECONDS * 2):
        assert running.poll() is None, log.read_text()[-2000:]
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(f"not up after {START_SECONDS} s: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def far(serve):
    return OpenAICompatible(url=serve, model=str(EMBEDDED["embedded"]), concurrency=2, timeout_seconds=120).open(
        Launch()
    )


@pytest.fixture(scope="module")
def here():
    return Local(model="embedded").open(Launch())


@pytest.fixture(scope="module")
def prompts():
    dataset = find("dataset", "clinic").model_validate({"part": "valid", "n": 24, "mix": [2, 1, 1, 1]})
    return list(open_plugin(dataset, Launch(), {}).read())


def test_the_probe_finds_that_the_constraint_is_ignored_and_no_probability_is_shown(far):
    found = far.probe()
    assert (found.constraint, found.logprobs) == ("ignored", False)


def test_greedy_answers_are_those_of_the_same_weights_here(far, here, prompts):
    asks, sampling = [GenerationRequest(prompt) for prompt in prompts], Sampling(max_new_tokens=48)
    there = [r.text.strip() for r in generation.generate(asks, far, sampling)]
    mine = [r.text.strip() for r in generation.generate(asks, here, sampling)]
    assert there == mine
    assert all(there)


def test_verdicts_are_the_vote_of_what_the_same_weights_say_here(far, here, prompts):
    """Without probabilities: each order's first choice by generation, two of three decide, else unreadable."""
    responses = generation.generate([GenerationRequest(p) for p in prompts], here, Sampling(max_new_tokens=48))
    responses.append(Response(prompts[0], "", "none"))
    there, mine = RubricJudge(far).judge(responses), RubricJudge(here).judge(responses)
    assert "empty answer" in there[-1].unreadable
    read = [(t.stance, m.stance) for t, m in zip(there, mine, strict=True) if t.stance and m.stance]
    assert len(read) >= 20, [v.unreadable for v in there if v.unreadable]
    assert sum(t is m for t, m in read) >= 0.9 * len(read)
    assert all(not v.probabilities for v in there), "none were shown, none are made up"
    assert {t for t, _ in read} <= set(Stance)
