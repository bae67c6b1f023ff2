"""Whole commands against an endpoint: killed and resumed, out of budget, with a key that must not get out."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tests.support.paths import SUPPORT

pytest.importorskip("torch")
pytest.importorskip("openai", reason="needs the api extra: pip install 'bedside[api]'")

from tests.alignment.test_align import write_config
from tests.support.hostile_server import FAULTS, HostileServer, said
from tests.support.prompts import ask

import bedside
from bedside.alignment import preflight, single_stage
from bedside.cli.main import main
from bedside.core.errors import ConfigError
from bedside.core.gates import GateState
from bedside.core.hashing import digest, plain
from bedside.core.protocols import SilentProgress
from bedside.core.types import Response
from bedside.data import io
from bedside.judges.cache import FOLDER
from bedside.run.context import open_run

CONFIG = """
run: far
target: {{kind: openai, url: "{url}", model: m{key}, timeout_seconds: 5}}
data:
  train: {{kind: jsonl, path: p.jsonl, split: train}}
  valid: {{kind: jsonl, path: p.jsonl, split: valid}}
  test: {{kind: jsonl, path: p.jsonl, split: test}}
judges:
  external: {{kind: rubric, model: {{kind: openai, url: "{url}", model: m{key}, concurrency: 4, timeout_seconds: 5}}}}
align: {{judge: external}}
{more}
"""
WATCHED = SUPPORT / "watched_process.py"
STANCES = ("accept", "caution", "refuse")


def project(root, url, n=40, key="", more=""):
    rows = [
        {"prompt": f"{part} {i} asks [{STANCES[i % 3]}]", "harm": (0, 3)[i % 2], "split": part, "group": f"{part}{i}"}
        for part in ("train", "valid", "test")
        for i in range(n)
    ]
    root.mkdir(parents=True, exist_ok=True)
    io.write_jsonl(root / "p.jsonl", rows)
    (root / "bedside.yaml").write_text(CONFIG.format(url=url, key=f", api_key_env: {key}" if key else "", more=more))
    return root


def line(root, *words, program=("-m", "bedside"), **environment):
    """A process of its own, as a person starts it."""
    started = [sys.executable, *map(str, [*program, *words])]
    return subprocess.Popen(
        started, cwd=root, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def booked(root, run="far"):
    """The calls in the books of a run, as they ended; ``sent`` for one whose process was killed."""
    return list({call["call"]: call for call in read(root / f"runs/{run}/spend.jsonl")}.values())


@pytest.fixture
def command(monkeypatch, capfd):
    """The command line in this process: exit code, stdout, stderr."""

    def run(root, *words):
        monkeypatch.chdir(root)
        monkeypatch.setattr(sys, "argv", ["bedside", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as left:
            code = left.code or 0
        return code, *capfd.readouterr()

    return run


def read(path):
    return [json.loads(row) for row in path.read_text().splitlines()]


@pytest.mark.slow
def test_generate_judge_and_evaluate_by_endpoint_and_a_second_run_asks_no_judge(tmp_path, command):
    with HostileServer(logprobs=True) as server:
        root = project(tmp_path, server.url, 12)
        assert command(root, "generate", "--part", "test", "-o", "a.jsonl")[0] == 0
        assert "12 verdicts, 0 unreadable" in command(root, "judge", "a.jsonl", "-o", "v.jsonl")[1]
        told = json.loads(command(root, "evaluate", "a.jsonl", "v.jsonl", "--json")[1])
        assert told["measures"]["unreadable"]["n"] == 12
        asked = len(server.requests)
        assert command(root, "judge", "a.jsonl", "-o", "w.jsonl")[0] == 0, "read from the store"
        assert command(root, "judge", "a.jsonl", "-o", "x.jsonl", "--set", "run=other")[0] == 0, "from the cache"
        assert len(server.requests) == asked
    assert read(root / "x.jsonl") == read(root / "w.jsonl") == read(root / "v.jsonl")
    assert [row["stance"] for row in read(root / "v.jsonl")] == [STANCES[i % 3] for i in range(12)]
    assert len(booked(root)) == 12 + 36 + 1, "twelve answers, three orders each, one probe"


@pytest.mark.slow
def test_training_an_endpoint_is_refused_in_one_line(tmp_path, command):
    with HostileServer() as server:
        root = project(tmp_path, server.url, 4)
        io.write_jsonl(root / "rows.jsonl", [{"prompt": "How?", "completion": "So.", "label": True}] * 2)
        for words in (("align",), ("train", "kto", "-d", "rows.jsonl", "-o", "out")):
            code, _, said = command(root, *words)
            assert code == 1
            assert said.strip().startswith("error: target: 127.0.0.1:")
            assert "it cannot be trained here" in said
            assert len(said.strip().splitlines()) == 1
        assert server.requests == [], "refused before anything is paid for"


def judge_killed(root, server, at, signal_=signal.SIGKILL):
    """`bedside judge`, ended by a signal at the ``at``-th answer of the server; the calls that were in flight."""
    running = line(root, "judge", "a.jsonl", "-o", "v.jsonl")

    def kills(question, tried):
        if sum(server.answered.values()) == at:
            running.send_signal(signal_)

    server.plan = kills
    _, said = running.communicate()
    server.plan = lambda question, tried: None
    assert running.returncode == (-signal.SIGKILL if signal_ == signal.SIGKILL else 130), said
    in_flight = [call for call in booked(root) if call["outcome"] == "sent"]
    never_arrived = len(booked(root)) - len(server.requests)
    assert 0 <= never_arrived <= len(in_flight), "each call stands in the books before it is sent"
    return in_flight


@pytest.fixture(scope="module")
def judged_calmly(tmp_path_factory):
    """A folder whose answers were judged and nothing was killed."""
    with HostileServer() as server, pytest.MonkeyPatch.context() as patch:
        calm = project(tmp_path_factory.mktemp("calm"), server.url)
        patch.chdir(calm)
        bedside.generate("bedside.yaml", out="a.jsonl", progress=SilentProgress())
        bedside.judge("a.jsonl", config="bedside.yaml", out="v.jsonl", progress=SilentProgress())
    return calm


def killed_and_judged(root, calm, command, ends):
    """The most calls that were in flight at one of the ``ends``, places and signals, and the calls never booked."""
    with HostileServer() as server:
        project(root, server.url, more="cache: {judgements: none}")
        (root / "a.jsonl").write_bytes((calm / "a.jsonl").read_bytes())
        in_flight = [len(judge_killed(root, server, at, signal_)) for at, signal_ in ends]
        (part,) = root.rglob("part.jsonl")
        assert part.read_bytes().count(b"\n") > 0, "some rows were finished"
        assert command(root, "judge", "a.jsonl", "-o", "v.jsonl")[0] == 0
        assert len(server.questions) == 120, "no row lost"
        assert max(server.questions.values()) <= 1 + len(ends)
        assert sum(n > 1 for n in server.questions.values()) <= 4 * 3 * len(ends), "rows in flight, of four lanes"
        unbooked = max(0, len(server.requests) - len(booked(root)))
    assert [row["stance"] for row in read(root / "v.jsonl")] == [row["stance"] for row in read(calm / "v.jsonl")]
    assert len({row["judge"] for row in read(root / "v.jsonl")}) == 1
    return max(in_flight), unbooked


@pytest.mark.slow
def test_killed_while_judging_only_unfinished_rows_are_asked_again(tmp_path, judged_calmly, command):
    in_flight, unbooked = killed_and_judged(tmp_path, judged_calmly, command, [(60, signal.SIGKILL)])
    assert 0 < in_flight <= 4, "of four lanes"
    assert unbooked == 0


@pytest.mark.slow
@pytest.mark.prove
@pytest.mark.parametrize("first", [13, 27, 38])
def test_killed_four_times_while_judging_every_call_is_booked(first, tmp_path, judged_calmly, command, evidence):
    signals = [signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGINT]
    ends = [(first + 19 * n, signal_) for n, signal_ in enumerate(signals)]
    unbooked = killed_and_judged(tmp_path, judged_calmly, command, ends)[1]
    assert unbooked == 0
    row = {
        "killed at": f"judge by an endpoint, answer {first} and on; every call is booked",
        "step": "4 times",
        "files compared": 1,
    }
    evidence["kills"].append({**row, "differing": 0})


@pytest.mark.slow
def test_a_budget_stops_a_run_that_goes_on_when_it_is_raised(tmp_path, command):
    with HostileServer() as server:
        root = project(tmp_path, server.url, more="budget: {max_tokens: 1500}")
        code, _, said = command(root, "generate", "-o", "a.jsonl")
        assert code == 1
        assert "budget.max_tokens is 1,500" in said
        before = len(server.questions)
        assert 0 < before < 40
        assert "budget.max_tokens" in command(root, "generate", "-o", "a.jsonl")[2], "what was spent before counts"
        assert len(server.questions) == before
        assert command(root, "generate", "-o", "a.jsonl", "--set", "budget.max_tokens=null")[0] == 0
        assert set(server.questions.values()) == {1}, "nothing is answered twice"


@pytest.mark.slow
def test_a_key_gets_into_no_file_and_no_message(tmp_path, command, monkeypatch):
    """Through answers, refusals and errors that echo it, into runs, cache, output: it is nowhere."""
    key = "CANARY-0f9e8d7c"
    echoes = {
        "said": lambda h: h.send(200, said(f"{h.headers['Authorization']} it is")),
        "refused": lambda h: h.send(200, said(None, refusal=f"{h.headers['Authorization']} it is")),
        "400": lambda h: h.send(400, {"error": {"message": f"{h.headers['Authorization']}", "code": key}}),
        "html": lambda h: h.send(200, f"<p>{h.headers['Authorization']}".encode()),
        "401": lambda h: h.send(401, {"error": {"message": f"{h.headers['Authorization']} is wrong"}}),
    }
    kinds = ["said", "refused", "400", None, "html"]
    told = []
    with HostileServer(faults={**FAULTS, **echoes}) as server:
        server.plan = lambda q, t: kinds[int(q.split("asks")[0].split()[-1]) % 5] if "asks" in q and t == 0 else None
        root = project(tmp_path, server.url, 10, key="BEDSIDE_CANARY")
        code, _, out = command(root, "generate", "-o", "a.jsonl")
        assert code == 1
        assert "the environment variable BEDSIDE_CANARY is not set" in out
        monkeypatch.setenv("BEDSIDE_CANARY", key)
        for words, expected in (
            (("generate", "-o", "a.jsonl"), 0),
            (("judge", "a.jsonl", "-o", "v.jsonl"), 0),
            (("check",), 3),
            (("config",), 0),
        ):
            code, *said_ = command(root, *words)
            told += said_
            assert code == expected
        words = ("judge", "a.jsonl", "-o", "v.jsonl", "--set", "cache.judgements=none", "--set", "run=loud")
        loud = line(root, *words, program=[WATCHED, tmp_path / "contacted"], OPENAI_LOG="debug")
        told += loud.communicate()
        contacted = (tmp_path / "contacted").read_text().splitlines()
        port = server.http.server_address[1]
        assert set(contacted) <= {f"('127.0.0.1', {port})", f"[('127.0.0.1', {port})]"}, "and nobody else"
        assert contacted
        assert loud.returncode == 0
        server.plan = lambda q, t: "401"
        told += command(root, "generate", "--part", "test", "-o", "b.jsonl")[1:]
        assert "rejects the key in BEDSIDE_CANARY" in told[-1]
        headers = [{name.lower(): value for name, value in sent.items()} for sent, _ in server.requests]
        assert {sent.get("authorization") for sent in headers} == {f"Bearer {key}"}, "it was sent"
    written = b"".join(file.read_bytes() for file in root.rglob("*") if file.is_file())
    assert b"[key] it is" in written, "and echoed"
    spent = booked(root)
    assert {call["outcome"] for call in spent} >= {"ended", "refusal", "status 400", "no reply"}
    assert "asks" not in (root / "runs/far/spend.jsonl").read_text(), "no text, ours or theirs"
    assert key.encode() not in written
    assert key not in "".join(told)


@pytest.mark.slow
def test_align_trains_a_local_model_under_a_judge_behind_an_endpoint(tiny, tmp_path):
    """The whole loop; the second run of the same config asks nobody."""

    def knows(question):
        answered = question.rpartition("<<<ANSWER")[2].rpartition("ANSWER>>>")[0]
        return STANCES[int(digest(answered)[3:9], 16) % 3]

    def fails(question, tried):
        return "500" if not tried and "<<<ANSWER" in question and int(digest(question)[3:9], 16) % 10 == 0 else None

    path = write_config(tmp_path, tiny["llama"], more="cache: {judgements: endpoints}\n")
    with HostileServer(fails, knows=knows, logprobs=True) as server:
        far = f'{{kind: rubric, model: {{kind: openai, url: "{server.url}", model: m}}}}'
        path.write_text(path.read_text().replace("{kind: coin}", far))
        run = bedside.align(bedside.load(path))
        asked = len(server.requests)
        again = bedside.align(bedside.load(path))
        assert len(server.requests) == asked
    assert set(server.questions.values()) == {1}, "no question is answered twice"
    assert again.verdict == run.verdict
    assert run.measures["unreadable"].value == 0
    assert [c.name for c in run.summary.cycles[0].candidates][:2] == ["target", "cycle-1/kto"]
    (spent,) = [told for name, told in run.summary.facts.items() if name.startswith("spent at 127.0.0.1")]
    calls = booked(tmp_path, "tiny")
    answered = sum(call["outcome"] == "ended" for call in calls)
    assert {call["outcome"] for call in calls} == {"ended", "status 500"}
    assert spent.startswith(f"{len(calls)} calls, {40 * answered} tokens in")
    assert list((tmp_path / "cache").rglob("*.json"))


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_calls_in_flight(tmp_path):
    with HostileServer(lambda q, t: "stall" if "exactly" not in q else None) as server:
        root = project(tmp_path, server.url)
        told = (root / "bedside.yaml").read_text()
        (root / "bedside.yaml").write_text(told.replace("timeout_seconds: 5", "timeout_seconds: 60"))
        io.write_jsonl(root / "a.jsonl", [plain(Response(ask("q"), "a", "m"))])
        running = line(root, "judge", "a.jsonl", "-o", "v.jsonl")
        while not any("ANSWER" in q for q in list(server.tried)):
            assert running.poll() is None
            server.over.wait(0.05)
        running.send_signal(signal.SIGINT)
        began = time.monotonic()
        running.communicate(timeout=60)
    assert running.returncode == 130
    assert time.monotonic() - began < 50, "before the call in flight would have been given up even once"


@pytest.fixture
def far(tmp_path, monkeypatch):
    def opened(server, n=20, more="", sets=()):
        monkeypatch.chdir(project(tmp_path, server.url, n, more=more))
        return open_run(bedside.load("bedside.yaml", sets), SilentProgress())

    return opened


def test_check_says_what_the_probe_found_what_it_costs_and_that_nothing_is_trained(far):
    with HostileServer(enforces=False) as server:
        price = ["judges.external.model.usd_per_million_in=2", "judges.external.model.usd_per_million_out=10"]
        run = far(server, sets=price)
        found = preflight.online(run, None, preflight.read_data(run.config).parts)
    gates = {gate.name: gate for gate in found}
    endpoint = gates["endpoint of judge external"]
    assert endpoint.state is GateState.INCONCLUSIVE
    assert "accepts a constraint and ignores it" in endpoint.reason
    assert "does not show probabilities" in endpoint.reason
    assert gates["training"].state is GateState.FAIL
    assert gates["judge external"].state is GateState.PASS
    (cost,) = [gate for name, gate in gates.items() if name.startswith("cost at")]
    # 5 cycles of 2 (20 + 2 · 20) verdicts and 20 after KTO, and 4 · 20 on test, are 780; 8 were tried, each three calls
    # of 40 + 5 tokens
    assert "2,340 calls, 93,600 tokens in, 11,700 out" in cost.reason
    assert "from a trial of 24 calls" in cost.reason


def test_check_says_that_an_endpoint_is_not_there(far):
    with HostileServer() as server:
        run = far(server, sets=["judges.external.model.url=http://127.0.0.1:9/v1", "judges.external.model.retries=0"])
        found = {gate.name: gate for gate in preflight.online(run, None, preflight.read_data(run.config).parts)}
    assert found["endpoint of judge external"].state is GateState.FAIL
    assert "127.0.0.1:9 m: cannot be used: the connection failed" in found["endpoint of judge external"].reason


def test_a_judge_that_is_everywhere_is_found_inside_others(far):
    from bedside.run import endpoints

    with HostileServer() as server:
        run = far(server)
        rubric = run.config.judges["external"]
        noisy = run.opener.open(bedside.config.plugins.find("judge", "noisy")(judge=rubric))
        assert endpoints.concurrency(noisy) == 4
        assert endpoints.single_rows(noisy, "abc") == [[0], [1], [2]]
        assert endpoints.concurrency(run.opener.open(bedside.config.plugins.find("judge", "keyword")())) == 1
        assert endpoints.single_rows("keyword", "abc") == []


def test_an_adapter_on_an_endpoint_is_refused(far, tmp_path):
    from bedside.core.types import Checkpoint

    with HostileServer() as server:
        run = far(server)
        with pytest.raises(ConfigError, match="cannot load an adapter here"):
            run.opener.policy(Checkpoint(run.target.checkpoint.base, adapter="b2-1", path="a"))
        assert single_stage.chat(run, None, None).answer("hello") == "You asked: hello"


def test_the_cache_lies_beside_the_runs_or_where_the_config_says(far, tmp_path):
    with HostileServer() as server:
        for more, folder in (("", tmp_path / "cache"), ("cache: {folder: kept}", tmp_path / "kept")):
            run = far(server, 2, more)
            bedside.generate(run.config, "test", out=tmp_path / "a.jsonl")
            bedside.judge(tmp_path / "a.jsonl", config=run.config)
            (tmp_path / "runs").rename(tmp_path / f"runs-{folder.name}")
            assert len(list((folder / FOLDER).rglob("*.json"))) == 2


@pytest.mark.slow
def test_a_target_that_answers_nothing_ends_in_an_error_that_says_why_and_some_of_it_is_told(tmp_path, command):
    faults = {"no": lambda h: h.send(400, {"error": {"message": "This model is asleep"}})}
    with HostileServer(lambda q, t: "no", faults=faults) as server:
        code, _, err = command(project(tmp_path / "a", server.url, 3), "generate", "--part", "test", "-o", "a.jsonl")
    assert code == 1
    assert "3 of 3 prompts got no answer: 3 status 400: This model is asleep" in " ".join(err.split())
    with HostileServer(lambda q, t: "no" if "test 0" in q else None, faults=faults) as server:
        code, out, _ = command(project(tmp_path / "b", server.url, 3), "generate", "--part", "test", "-o", "a.jsonl")
    assert code == 0
    assert "1 of 3 prompts got no answer: 1 status 400: This model is asleep" in " ".join(out.split())
