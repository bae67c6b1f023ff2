"""``target.serve``: a server answers and weighs labels as the model here does, token for token, adapters by digest."""

import asyncio

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("openai", reason="needs the api extra: pip install 'bedside[api]'")

from tests.models.test_hf import noisy_adapter
from tests.support.prompts import ask
from tests.support.vllm_server import VllmLike

from bedside.core.errors import ModelError
from bedside.core.protocols import Launch
from bedside.core.types import Checkpoint, Response, Sampling
from bedside.judges.rubric import RubricJudge
from bedside.models.budget import Budget
from bedside.models.hf import Local
from bedside.models.openai_parsing import MalformedResponse
from bedside.models.vllm import _parse, start_command
from bedside.training.adapters import digest_adapter

ASKED = [ask(text).messages for text in ("How much is safe?", "word", "a patient asks for an answer", "How much?")]
LABELS = ("accept", "caution", "refuse")


@pytest.fixture
def server(tiny):
    with VllmLike(tiny["llama"]) as running:
        yield running


def served(tiny, url, budget=None, **more):
    model = Local(model=str(tiny["llama"]), serve=url, **more).open(Launch(), budget=budget)
    model.served.client.sleep = lambda seconds: asyncio.sleep(0)
    return model


def test_greedy_answers_are_those_of_the_model_here_token_for_token(tiny, server):
    here, there = Local(model=str(tiny["llama"])).open(Launch()), served(tiny, server.url)
    sampling = Sampling(max_new_tokens=12)
    assert there.generate(ASKED, sampling) == here.generate(ASKED, sampling)
    assert there.checkpoint == here.checkpoint, "the same weights, whoever answers"


def test_labels_are_those_of_the_model_here_without_a_flip(tiny, server):
    here, there = Local(model=str(tiny["llama"])).open(Launch()), served(tiny, server.url)
    for one, other in zip(here.score(ASKED, LABELS), there.score(ASKED, LABELS), strict=True):
        assert other.logprobs == pytest.approx(one.logprobs, abs=1e-5)
        assert other.mass == pytest.approx(one.mass, rel=1e-4)
        assert other.logprobs.index(max(other.logprobs)) == one.logprobs.index(max(one.logprobs))


def test_an_adapter_is_put_up_once_under_its_digest(tiny, server, tmp_path):
    here, there = Local(model=str(tiny["llama"])).open(Launch()), served(tiny, server.url + "/v1/")
    folder = noisy_adapter(tiny["llama"], tmp_path / "adapter")
    checkpoint, sampling = Checkpoint(here.checkpoint.base, digest_adapter(folder)), Sampling(max_new_tokens=8)
    expected = here.with_adapter(folder, checkpoint).generate(ASKED, sampling)
    assert expected != here.generate(ASKED, sampling), "or the test shows little"
    for _ in range(2):
        assert there.with_adapter(folder, checkpoint).generate(ASKED, sampling) == expected
    assert served(tiny, server.url).with_adapter(folder, checkpoint).generate(ASKED, sampling) == expected
    loaded = [body for path, body in server.requests if path == "/v1/load_lora_adapter"]
    assert loaded == [{"lora_name": digest_adapter(folder), "lora_path": str(folder.resolve())}]
    assert there.generate(ASKED, sampling) == here.generate(ASKED, sampling), "the base is the base again"


def test_a_request_is_sent_again_and_every_token_is_counted(tiny):
    budget = Budget()
    with VllmLike(tiny["llama"], failing=3) as server:
        there = served(tiny, server.url, budget)
        answers = there.generate(ASKED[:1], Sampling(max_new_tokens=5))
    (spend,) = budget.spent.values()
    assert spend.tokens_out == len(answers[0].ids)
    assert spend.tokens_in == len(there.renderer.prompt_ids(ASKED[0]))


def test_the_version_is_a_part_of_the_runs_numerics_and_of_a_judges_name(tiny, server):
    config = Local(model=str(tiny["llama"]), serve=server.url)
    assert config.engine(Launch()) == ("vLLM 0.32.0",)
    assert Local(model=str(tiny["llama"])).engine(Launch()) == ()
    here, there = Local(model=str(tiny["llama"])).open(Launch()), served(tiny, server.url)
    with VllmLike(tiny["llama"], version="0.33.0") as newer:
        names = {RubricJudge(model).name for model in (here, there, served(tiny, newer.url))}
    assert len(names) == 3
    rows = [Response(ask(f"q{n}"), f"answer {n}", "policy") for n in range(4)]
    stances = [[verdict.stance for verdict in RubricJudge(model, min_mass=0).judge(rows)] for model in (here, there)]
    assert stances[0] == stances[1]


def test_no_server_is_one_line_with_the_command_that_starts_it(tiny):
    with pytest.raises(ModelError) as refused:
        served(tiny, "http://127.0.0.1:9").generate(ASKED[:1], Sampling(max_new_tokens=2))
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 vllm serve" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_server_without_label_probabilities_is_refused_by_name(tiny):
    with (
        VllmLike(tiny["llama"], labels=False) as server,
        pytest.raises(ModelError, match=r"vLLM 0.32.0 does not give logprob_token_ids"),
    ):
        served(tiny, server.url).score(ASKED[:1], LABELS)


def test_a_model_that_the_server_cannot_hold_is_refused(tiny, tmp_path):
    adapter = noisy_adapter(tiny["llama"], tmp_path / "adapter")
    with pytest.raises(ModelError, match="target.serve: .* an adapter as target changes the model"):
        Local(model=str(adapter), serve="http://127.0.0.1:9").open(Launch())
    with pytest.raises(ModelError, match="2 processes would each count"):
        Local(model=str(tiny["llama"]), serve="http://127.0.0.1:9").open(Launch(world=2))


@pytest.mark.parametrize("body", [b'{"choices": []}', b'{"choices": [{}], "usage": {}}', b"{", b'{"choices": [1]}'])
def test_bytes_that_are_no_completion_are_malformed(body):
    with pytest.raises(MalformedResponse):
        _parse(body)


def test_the_command_takes_a_rank_that_vllm_knows(tmp_path):
    line = start_command(tmp_path / "a b", dtype="float32", rank=17, context=512)
    assert line == (
        f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 vllm serve '{tmp_path}/a b' --served-model-name base --dtype float32 "
        "--enable-lora --max-lora-rank 32 --max-model-len 512 --generation-config vllm"
    )
