"""Several ranks share a stage, gradients and the KL term, and make what one makes, to the bit. Ranks are threads."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from bedside import load
from bedside.alignment import align
from bedside.config.plugins import find
from bedside.config.rendering import path
from bedside.core.distributed import SingleRank, rejoin, share
from bedside.core.errors import BedsideError, ConfigError, RankLost, StageError
from bedside.core.protocols import Launch
from bedside.models.budget import Budget
from bedside.run import environment, launcher
from bedside.run.context import Opener, RunContext
from bedside.run.launcher import ProcessInfo, process_info
from bedside.run.stage_cache import StageCache
from bedside.training import collectives
from bedside.training.logprobs import TokenizedExchange
from bedside.training.train import Mismatch, kl_estimate


@dataclass
class Thread:
    """A rank that is a thread of this process."""

    rank: int
    world: int
    table: list
    here: threading.Barrier

    def gather(self, mine):
        self.table[self.rank] = mine
        self._wait()
        found = list(self.table)
        self._wait()
        return found

    gather_tensors = gather

    def _wait(self):
        try:
            self.here.wait(timeout=60)
        except threading.BrokenBarrierError:
            raise RankLost from None


def side_by_side(world, work):
    """What ``work`` gives on each rank, or the error it raises there."""
    table, here = [None] * world, threading.Barrier(world)

    def one(rank):
        try:
            return work(Thread(rank, world, table, here) if world > 1 else SingleRank())
        except (BedsideError, OSError) as error:
            return error

    with ThreadPoolExecutor(world) as pool:
        return list(pool.map(one, range(world)))


@given(world=st.integers(1, 4), count=st.integers(0, 9))
def test_what_is_shared_comes_back_in_order(world, count):
    assert side_by_side(world, lambda r: rejoin(r, list(share(r, range(count))))) == [list(range(count))] * world


def stage(root, worked, fails=()):
    """A stage of 7 batches of 2; ``worked`` learns who did which, ``fails`` are batches that raise."""

    def run(ranks):
        def work(rows):
            if rows[0] // 2 in fails:
                raise StageError(f"batch {rows[0] // 2} broke")
            worked.append((ranks.rank, rows[0] // 2))
            return [f"{row} of 14" for row in rows]

        plan = [[2 * n, 2 * n + 1] for n in range(7)]
        return StageCache(root, ranks=ranks).map("answer", "spec", list(range(14)), work, str, plan).all()

    return run


def files(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in (root / "store").rglob("*") if p.is_file()}


@pytest.mark.parametrize("world", [1, 2, 3])
def test_each_batch_is_done_once_by_its_rank_and_the_files_are_those_of_one(world, tmp_path):
    worked: list = []
    rows = side_by_side(world, stage(tmp_path / "several", worked))
    side_by_side(1, stage(tmp_path / "one", []))
    assert rows == [[f"{i} of 14" for i in range(14)]] * world
    assert sorted(worked) == sorted((n % world, n) for n in range(7))
    assert files(tmp_path / "several") == files(tmp_path / "one")
    assert len(StageCache(tmp_path / "several").events()) == 2, "the first alone tells"


@pytest.mark.parametrize(("first", "then"), [(2, 1), (2, 3), (1, 2), (3, 2)])
def test_what_fails_on_one_rank_is_raised_on_all_and_any_number_of_ranks_goes_on(first, then, tmp_path):
    worked: list = []
    errors = side_by_side(first, stage(tmp_path / "several", worked, fails=[5]))
    assert all(isinstance(error, StageError) and "batch 5 broke" in str(error) for error in errors)
    side_by_side(then, stage(tmp_path / "several", worked))
    assert sorted(number for _, number in worked) == list(range(7)), "no batch is lost, none is done twice"
    side_by_side(1, stage(tmp_path / "one", []))
    assert files(tmp_path / "several") == files(tmp_path / "one")


def test_a_full_disk_of_one_rank_is_told_by_all(tmp_path):
    def work(rows):
        raise OSError(28, "No space left on device", "there")

    def run(ranks):
        return StageCache(tmp_path, ranks=ranks).map("answer", "spec", [1], work, str, [[0]])

    own, other = side_by_side(2, run)
    assert isinstance(own, OSError)
    assert "process 0: [Errno 28] No space left" in str(other)


def test_ranks_that_would_do_other_work_stop(tmp_path):
    def run(ranks):
        return StageCache(tmp_path, (f"{ranks.rank} threads",), ranks=ranks).map("answer", "", [1], list, int)

    assert all("do not do the same work" in str(error) for error in side_by_side(2, run))


def test_a_rank_that_is_gone_is_noticed(tmp_path):
    def run(ranks):
        if ranks.rank == 1:
            ranks.here.abort()
            return None
        return StageCache(tmp_path, ranks=ranks).map("answer", "", [1], list, int)

    assert isinstance(side_by_side(2, run)[0], RankLost)


def gradients(world, turns=5):
    """Of sums of micro-batches that world ranks share, for three weights; on each rank."""
    rows = torch.randn(turns, 3, 400, generator=torch.Generator().manual_seed(0))

    def run(ranks):
        weights = [torch.full((400,), 0.3, requires_grad=True) for _ in range(3)]
        for turn in (list(range(turns))[start : start + world] for start in range(0, turns, world)):
            with collectives.add_gradients_in_order(ranks, weights, len(turn)):
                for i in share(ranks, turn):
                    sum((w * w * row).sum() for w, row in zip(weights, rows[i], strict=True)).backward()
        return [w.grad for w in weights]

    return side_by_side(world, run)


@pytest.mark.parametrize("world", [2, 3, 4])
def test_gradients_have_the_bits_of_one_process_on_every_rank(world):
    (alone,) = gradients(1)
    for rank in gradients(world):
        assert all(torch.equal(one, other) for one, other in zip(alone, rank, strict=True))


def test_weights_that_differ_in_one_bit_are_not_kept():
    def run(ranks, nudge=0.0):
        collectives.require_same_weights(
            ranks, [torch.ones(3), torch.ones(2, dtype=torch.bfloat16) + ranks.rank * nudge]
        )

    assert side_by_side(2, run) == [None, None]
    errors = side_by_side(2, lambda ranks: run(ranks, 0.01))
    assert all("trained different weights" in str(error) for error in errors)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
def test_the_kl_term_is_the_whole_batch_s_to_the_bit_and_its_passes_are_shared(packed, tiny, monkeypatch):
    from transformers import AutoModelForCausalLM

    from bedside.training import backbone, logprobs

    model = AutoModelForCausalLM.from_pretrained(tiny["llama"], dtype=torch.float32)
    texts = [TokenizedExchange((5 + i, *range(6, 30 + i)), (7, 3 + i, 9)) for i in range(12)]
    pairs = [Mismatch(text, -50.0 - i) for i, text in enumerate(texts)]
    monkeypatch.setattr(logprobs, "pack_tokens", lambda _: 100)
    monkeypatch.setattr(backbone, "MAX_PADDED_TOKENS", 100)
    if not packed:
        monkeypatch.setattr(logprobs, "find_backbone", lambda _: None)
    seen: list[int] = []
    for name in ("_packed_logps", "_padded_logps"):
        way = getattr(logprobs, name)
        monkeypatch.setattr(logprobs, name, lambda *a, way=way: (seen.append(len(a[1])), way(*a))[1])
    alone = kl_estimate(model, pairs, 0)
    passes = len(seen)
    seen.clear()
    assert passes > 2
    models = [copy.deepcopy(model), copy.deepcopy(model)]
    both = side_by_side(2, lambda ranks: kl_estimate(models[ranks.rank], pairs, 0, ranks))
    assert alone > 0
    assert both == [alone, alone]
    assert len(seen) == passes, "no pass is made twice"


VARIABLES = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ProcessInfo()),
        (VARIABLES, ProcessInfo(1, 2, 1)),
        ({"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}, ProcessInfo()),
        ({"WORLD_SIZE": "2"}, ProcessInfo(0, 2, 0, ("RANK", "MASTER_ADDR", "MASTER_PORT"))),
        (
            {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"},
            ProcessInfo(3, 4, 0, ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")),
        ),
        ({"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_USE_CPU": "True"}, ProcessInfo(accelerated=True)),
        ({**VARIABLES, "ACCELERATE_MIXED_PRECISION": "no"}, ProcessInfo(1, 2, 1)),
    ],
)
def test_what_a_launcher_says_is_read(environ, expected):
    assert process_info(environ) == expected


def test_more_processes_than_cards_are_refused():
    launcher._require_one_device_kind(["cuda", "cuda"])
    launcher._require_one_device_kind(["cpu", "cpu"])
    with pytest.raises(ConfigError, match="3 processes were started, and 2 of them have a GPU .* set device: cpu"):
        launcher._require_one_device_kind(["cuda", "cuda", "cpu"])


class TwoRanks(SingleRank):
    """The first of two, of whom the other says the same."""

    world = 2

    def gather(self, mine):
        return [mine, mine]


def shared(tmp_path, *sets) -> RunContext:
    resources = {"secret": lambda name: None, "budget": Budget(), "judgement_cache": None}
    config = load(path("demo-tiny.yaml"), sets)
    opener = Opener(config, Launch(world=2), tmp_path, None, resources)
    return RunContext(config, opener, StageCache(tmp_path, ranks=TwoRanks()))


def test_an_endpoint_and_dropout_are_refused_in_two_processes(tmp_path):
    http = find("model", "openai")(model="m", url="http://127.0.0.1:1/v1", usd_per_million_in=0, usd_per_million_out=0)
    with pytest.raises(ConfigError, match="each count their own spending; start one process"):
        shared(tmp_path).opener.open(http)
    with pytest.raises(ConfigError, match="dropout needs one stream"):
        align.align(shared(tmp_path, "align.lora.dropout=0.1"))


def test_a_second_process_that_has_met_nobody_is_ended_without_a_word(monkeypatch):
    monkeypatch.setattr(launcher, "STARTED", ProcessInfo(rank=1, world=2))
    monkeypatch.setattr(environment, "STARTED", ProcessInfo(rank=1, world=2))
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as left:
        environment._on_terminate()
    assert left.value.code == 0
    monkeypatch.delenv("RANK")
    with pytest.raises(RankLost):
        environment._on_terminate()


def test_the_first_process_always_tells_of_one_that_is_gone(monkeypatch):
    monkeypatch.setattr(environment, "STARTED", ProcessInfo(rank=0, world=2))
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(RankLost):
        environment._on_terminate()
