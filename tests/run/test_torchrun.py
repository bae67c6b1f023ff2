"""Two real processes under torchrun leave what one leaves, byte for byte; killed and resumed, too; and the refusals."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.paths import SUPPORT
from tests.support.processes import run_python, run_together

pytest.importorskip("torch")

from tests.alignment.test_align import result_files, with_coin, write_coin, write_config

SEVERAL = SUPPORT / "torchrun_process.py"
NO_CARD = {"CUDA_VISIBLE_DEVICES": ""}
"""On a machine with one card, two processes would be refused."""
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def torchrun(config: Path, coin: Path, kill: str = "", verb: str = "align") -> subprocess.CompletedProcess:
    command = [*TORCHRUN, str(SEVERAL), *verb.split(), "-c", str(config)]
    env = {**with_coin(coin), **NO_CARD, **({"KILL": kill} if kill else {})}
    return subprocess.run(command, env=env, capture_output=True, cwd=config.parent, text=True, timeout=600)


def two_ranks(config: Path, coin: Path, verb: str = "align") -> list[subprocess.CompletedProcess]:
    """Both processes that torchrun would start, without torchrun itself."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    env = {**with_coin(coin), **NO_CARD, **meeting, "LOCAL_WORLD_SIZE": "2"}
    ranks = [env | {"RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]
    return run_together([((SEVERAL, *verb.split(), "-c", config), rank) for rank in ranks], cwd=config.parent)


def said(done) -> list[str]:
    """Lines of ours that are errors, on either stream."""
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error: ")]


def write_small_pieces(root: Path, model: Path) -> Path:
    """Several micro-batches a step, so that there is something to share."""
    config = write_config(root, model)
    pieces = "  save_steps: 2\n  max_tokens_per_microbatch: 64"
    config.write_text(config.read_text().replace("  save_steps: 2", pieces))
    return config


@pytest.fixture(scope="module")
def alone(tiny, made_once):
    """The files of a run of one process."""

    def make(root):
        config = write_small_pieces(root, tiny["llama"])
        env = {**with_coin(write_coin(root / "coin")), **NO_CARD}
        done = run_python("-m", "bedside", "align", "-c", config, cwd=root, env=env)
        assert done.returncode == 3, done.stderr[-2000:]

    return result_files(made_once("alone", make))


def compared(alone: dict[str, bytes], root: Path) -> dict[str, object]:
    """How two runs differ: files, the loss of any step, any adapter weight."""
    from safetensors.torch import load

    several = result_files(root)
    assert set(several) == set(alone)
    logs = [name for name in alone if name.startswith("store/train/") and name.endswith("stage.json")]
    steps, others = ([step for name in logs for step in json.loads(found[name])["log"]] for found in (alone, several))
    adapters = [name for name in alone if name.endswith(".safetensors")]
    weights = [(load(alone[name]), load(several[name])) for name in adapters]
    return {
        "files compared": len(alone),
        "differing": sum(alone[name] != several[name] for name in alone),
        "steps": len(steps),
        "largest difference of a loss": max(
            abs(one["loss"] - other["loss"]) for one, other in zip(steps, others, strict=True)
        ),
        "of an adapter weight": max(float((a[k] - b[k]).abs().max()) for a, b in weights for k in a),
    }


def same(found: dict[str, object]) -> None:
    assert found["files compared"] > 50
    assert found["steps"] >= 25
    assert found["largest difference of a loss"] < 1e-5, "what was asked"
    assert found["differing"] == 0, "what is reached"


@pytest.mark.slow
def test_two_processes_leave_the_rows_losses_and_adapters_of_one(alone, tiny, tmp_path):
    done = torchrun(write_small_pieces(tmp_path, tiny["llama"]), write_coin(tmp_path / "coin"))
    assert "exitcode  : 3 (pid" in done.stderr, done.stderr[-3000:]
    same(compared(alone, tmp_path))
    assert done.stdout.count("Nothing may be released") == 1, "the first alone reports"
    assert len(re.findall(r"cycle 1, train: answer, (\d+) of \1\b", done.stderr)) == 1
    assert (tmp_path / "runs/tiny/report.html").exists()


def killed_and_resumed(kill, resumed_by, alone, tiny, tmp_path) -> dict[str, object]:
    config, coin = write_small_pieces(tmp_path, tiny["llama"]), write_coin(tmp_path / "coin")
    done = torchrun(config, coin, kill)
    assert done.returncode != 0
    assert "SIGKILL" in done.stderr, "nobody was killed"
    assert [line.startswith("error: another process of this run has stopped") for line in said(done)] == [True]
    kept = {p: p.read_bytes() for p in tmp_path.rglob("rows.jsonl")}
    if resumed_by == 2:
        assert [rank.returncode for rank in two_ranks(config, coin)] == [3, 0], "the first one's counts"
    else:
        alone_again = run_python("-m", "bedside", "align", "-c", config, cwd=tmp_path, env=with_coin(coin))
        assert alone_again.returncode == 3
    assert all(p.read_bytes() == data for p, data in kept.items())
    return compared(alone, tmp_path)


@pytest.mark.slow
def test_a_killed_rank_loses_nothing(alone, tiny, tmp_path):
    same(killed_and_resumed("1|kto: train|3", 2, alone, tiny, tmp_path))


MORE_KILLS = [
    ("1|train: judge|2", 2),
    ("0|kto: train|3", 1),
    ("0|train: answer|2", 2),
    ("1|train: answer|2", 1),
    ("1|reference: log|9", 2),
    ("0|kto-dpo: train|5", 1),
    ("1|kto-dpo: train|2", 2),
    ("1|held-out test: judge|1", 1),
]


@pytest.mark.prove
@pytest.mark.parametrize(("kill", "resumed_by"), [("", 0), *MORE_KILLS])
def test_two_processes_against_one(kill, resumed_by, alone, tiny, tmp_path, evidence):
    if kill:
        found = killed_and_resumed(kill, resumed_by, alone, tiny, tmp_path)
    else:
        torchrun(write_small_pieces(tmp_path, tiny["llama"]), write_coin(tmp_path / "coin"))
        found = compared(alone, tmp_path)
    rank, stage, at = kill.split("|") if kill else ("nobody", "", "")
    who = {"killed, of 0 and 1": rank, "in": stage, "at": at, "resumed by": resumed_by or ""}
    evidence["two-processes"].append({**who, **found})
    same(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "line"),
    [
        ("generate --out x.jsonl", "bedside generate runs in one process, and 2 were started"),
        ("align --set align.lora.dropout=0.1", "dropout needs one stream"),
        ("align --set data.train.path=nowhere.jsonl", "there is no such file"),
    ],
)
def test_what_two_processes_cannot_do_is_said_once(verb, line, tiny, tmp_path):
    both = two_ranks(write_config(tmp_path, tiny["llama"]), write_coin(tmp_path / "coin"), verb)
    assert both[0].returncode != 0
    (told,) = [line for done in both for line in said(done)]
    assert line in told


@pytest.mark.slow
def test_processes_that_cannot_meet_are_refused(tiny, tmp_path):
    env = {**with_coin(write_coin(tmp_path / "coin")), "WORLD_SIZE": "2"}
    config = write_config(tmp_path, tiny["llama"])
    done = run_python("-m", "bedside", "align", "-c", config, cwd=tmp_path, env=env)
    assert done.returncode == 1
    assert "2 processes, but did not set RANK, MASTER_ADDR, MASTER_PORT" in done.stderr


NOWHERE = ("--set", "data.train.path=nowhere.jsonl")


@pytest.mark.slow
def test_a_process_that_accelerate_launch_started_alone_says_so(tiny, tmp_path):
    config, coin = write_config(tmp_path, tiny["llama"]), write_coin(tmp_path / "coin")
    env = {**with_coin(coin), "ACCELERATE_MIXED_PRECISION": "no"}
    done = run_python("-m", "bedside", "align", "-c", config, *NOWHERE, cwd=tmp_path, env=env)
    assert done.stderr.count("accelerate launch started one process here") == 1, done.stderr[-2000:]


@pytest.mark.prove
def test_accelerate_launch_starts_one_of_two_and_that_is_said(tiny, tmp_path):
    config, coin = write_config(tmp_path, tiny["llama"]), write_coin(tmp_path / "coin")
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    command = [*launcher, "-m", "bedside", "align", "-c", str(config), *NOWHERE]
    done = subprocess.run(command, env=with_coin(coin), capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.stderr.count("accelerate launch started one process here") == 1, done.stderr[-2000:]
