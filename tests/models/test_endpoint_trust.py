"""What an endpoint is told and what it may cost: keys, hosts, headers, tokens and money."""

import json
import logging

import pytest
from tests.models.test_openai_client import LABELS, opened, turns
from tests.support.hostile_server import FAULTS, HostileServer, said

from bedside.core.errors import BedsideError, ConfigError, ModelError
from bedside.core.protocols import Launch
from bedside.core.types import Sampling
from bedside.models import openai_client
from bedside.models.budget import Budget
from bedside.models.openai_compatible import OpenAICompatible


@pytest.mark.parametrize(
    ("status", "words"), [(401, "rejects the key in JUDGE_KEY"), (403, "rejects the key"), (404, "no such path")]
)
def test_a_key_that_is_rejected_is_named_by_its_variable(status, words):
    echo = {"no": lambda h: h.send(status, {"error": {"message": f"bad key {h.headers['Authorization']}"}})}
    with HostileServer(lambda q, t: "no", faults=echo) as server:
        model = opened(server.url, api_key_env="JUDGE_KEY", secret=lambda name: "CANARY-1")
        with pytest.raises(ModelError, match=words) as told:
            model.probe()
        (spent,) = model.client.budget.spent.values()
    assert (spent.calls, spent.tokens_in, spent.usd) == (1, 0, 0), "a rejected call costs nothing"
    assert "CANARY" not in str(told.value)


def test_a_redirect_is_not_followed_and_no_other_host_hears_of_it():
    with HostileServer() as elsewhere:
        faults = {"go": lambda h: h.send(307, {}, {"Location": elsewhere.url.replace("127.0.0.1", "localhost")})}
        with (
            HostileServer(lambda q, t: "go", faults=faults) as server,
            pytest.raises(ModelError, match="redirects are not followed"),
        ):
            opened(server.url).generate([turns("hello")], Sampling())
        assert elsewhere.requests == []


def test_what_is_sent_is_what_the_config_says_and_nothing_of_this_machine(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "CANARY-OF-ANOTHER")
    monkeypatch.setenv("OPENAI_ORG_ID", "CANARY-ORG")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Canary: CANARY-HEADER")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/CANARY")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with HostileServer() as server:
        opened(server.url, extra={"chat_template_kwargs": {"enable_thinking": False}}).generate(
            [turns("hello")], Sampling(temperature=0.5, seed=7)
        )
        ((headers, body),) = server.requests
    assert "CANARY" not in json.dumps([headers, body])
    assert {name.lower() for name in headers} <= {
        "accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent",
    }  # fmt: skip
    assert headers["user-agent" if "user-agent" in headers else "User-Agent"] == "bedside"
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 256,
        "temperature": 0.5,
        "top_p": 1.0,
        "seed": 7,
        "chat_template_kwargs": {"enable_thinking": False},
    }


def test_a_key_is_sent_and_never_told(caplog):
    """Echoed in an answer, in a refusal, in an error: it comes out nowhere."""
    key = "CANARY-7f3a"
    bodies = {
        "echo": lambda h: h.send(200, said(f"your key is {h.headers['Authorization']}")),
        "refuse": lambda h: h.send(200, said(None, refusal=f"{h.headers['Authorization']} may not")),
        "400": lambda h: h.send(400, {"error": {"message": f"{h.headers['Authorization']} is wrong"}}),
    }
    with HostileServer(faults=bodies) as server, caplog.at_level(logging.DEBUG):
        server.plan = lambda q, t: q if q in bodies else None
        model = opened(server.url, api_key_env="JUDGE_KEY", secret=lambda name: key)
        told = model.generate([turns(name) for name in bodies], Sampling())
        assert server.requests[0][0]["authorization"] == f"Bearer {key}" or "Authorization" in server.requests[0][0]
        choices = model.choose([turns(name) for name in bodies], LABELS)
        with pytest.raises(ModelError) as missing:
            opened(server.url, api_key_env="JUDGE_KEY", secret=lambda name: None)
        with pytest.raises(ModelError) as strange:
            opened(server.url, api_key_env="JUDGE_KEY", secret=lambda name: f"{key}\u00e9")
    everything = f"{told} {choices} {model!r} {model.config} {missing.value} {strange.value} {caplog.text}"
    assert "your key is Bearer [key]" in everything
    assert key not in everything


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"url": "localhost:8000/v1"}, "http"),
        ({"url": "http://me:CANARY@host/v1"}, "api_key_env"),
        ({"url": "https://host/v1?key=CANARY"}, "api_key_env"),
        ({"url": "http://host/v1", "api_key_env": "sk-CANARY-123"}, "NAME of an environment variable"),
        ({"url": "http://host/v1", "proxy": "http://me:CANARY@proxy"}, "password"),
        ({"url": "http://host/v1", "extra": {"n": 3, "messages": []}}, "may not contain messages, n"),
    ],
)
def test_a_config_that_could_leak_or_lie_is_refused_without_repeating_it(wrong, words):
    with pytest.raises(ValueError, match=words) as told:
        OpenAICompatible(model="m", **wrong)
    assert "CANARY" not in str(told.value)


@pytest.mark.parametrize("before", range(0, 60, 7))
def test_no_half_of_a_long_key_is_left_where_a_message_is_cut_short(before):
    key = "CANARY" * 30
    faults = {
        "html": lambda h: h.send(200, b"<" * before + h.headers["Authorization"].encode()),
        "error": lambda h: h.send(400, {"error": {"message": "x" * (before + 140) + h.headers["Authorization"]}}),
        "error 200": lambda h: h.send(200, {"error": {"message": "x" * (before + 80) + h.headers["Authorization"]}}),
        "text": lambda h: h.send(200, said("x" * (before + 20) + h.headers["Authorization"])),
        "refusal": lambda h: h.send(200, said(None, refusal="x" * (before + 20) + h.headers["Authorization"])),
        "finish": lambda h: h.send(200, said("accept", "x" * before + h.headers["Authorization"])),
    }
    with HostileServer(lambda q, t: q if q in faults else None, faults=faults) as server:
        model = opened(server.url, retries=0, api_key_env="JUDGE_KEY", secret=lambda name: key)
        told = model.choose([turns(name) for name in faults], LABELS)
    assert all(choice.unreadable for choice in told)
    assert "CANARY" not in str(told)


def test_an_unknown_price_stops_unless_allowed_or_on_this_machine():
    for more in ({}, {"usd_per_million_in": 1.0}):
        with pytest.raises(ConfigError, match=r"usd_per_million_in.*unknown_price: allow"):
            OpenAICompatible(url="https://api.example.org/v1", model="m", **more).open(Launch())
    with pytest.raises(ConfigError, match="not known"):
        OpenAICompatible(url="http://localhost:1/v1", model="m").open(Launch(), budget=Budget(max_usd=5))
    OpenAICompatible(url="http://localhost:1/v1", model="m").open(Launch())
    OpenAICompatible(url="https://api.example.org/v1", model="m").open(Launch(), budget=Budget(unknown_price="allow"))
    priced = {"usd_per_million_in": 0, "usd_per_million_out": 0}
    OpenAICompatible(url="https://api.example.org/v1", model="m", **priced).open(Launch(), budget=Budget(max_usd=5))


def test_a_budget_is_never_passed_whatever_is_in_flight():
    with HostileServer() as server:
        budget = Budget(max_tokens=4000)
        model = opened(server.url, budget=budget, concurrency=8)
        with pytest.raises(BedsideError, match=r"budget.max_tokens is 4,000.*raise it and continue"):
            model.generate([turns(f"q{n}") for n in range(200)], Sampling(max_new_tokens=100))
        (spent,) = budget.spent.values()
    assert spent.tokens_in + spent.tokens_out <= 4000
    assert spent.calls > 50, "what a call took counts, not the most that it could have taken"


def test_tokens_and_money_are_counted_and_what_is_not_told_counts_as_the_most():
    nothing = {"mute": lambda h: h.send(200, {"choices": said("well")["choices"]})}
    with HostileServer(lambda q, t: "mute" if q == "mute" else None, faults={**FAULTS, **nothing}) as server:
        budget = Budget(max_usd=1.0)
        model = opened(server.url, budget=budget, usd_per_million_in=2.0, usd_per_million_out=10.0)
        model.generate([turns("hello")], Sampling())
        (spent,) = budget.spent.values()
        assert (spent.calls, spent.tokens_in, spent.tokens_out) == (1, 40, 5)
        assert spent.usd == pytest.approx(40 * 2e-6 + 5 * 10e-6)
        model.generate([turns("mute")], Sampling(max_new_tokens=7))
        (spent,) = budget.spent.values()
        assert (spent.tokens_in, spent.tokens_out) == (40 + 4 + openai_client.EXTRA_TOKENS, 5 + 7)
