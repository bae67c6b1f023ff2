"""Models behind endpoints: what is read, what is asked again, what is never a stance, what a key never does."""

import asyncio
import gzip
import json
import threading

import pytest
from tests.support.hostile_server import FAULTS, TRANSIENT, HostileServer, label, said, weights
from tests.support.prompts import ask

from bedside.core.errors import ModelError
from bedside.core.protocols import Chooser, Endpoint, Generator, Launch
from bedside.core.types import Message, Response, Sampling, Stance
from bedside.judges.rubric import RubricJudge
from bedside.models import openai_client
from bedside.models.openai_compatible import OpenAICompatible
from bedside.testing import checks

openai = pytest.importorskip("openai", reason="needs the api extra: pip install 'bedside[api]'")

LABELS = ("accept", "caution", "refuse")


class Naps:
    """A clock nobody waits for: remembers for how long it was asked to sleep."""

    def __init__(self):
        self.seconds = []

    async def __call__(self, seconds):
        self.seconds.append(seconds)
        await asyncio.sleep(0)


def opened(url, **more):
    """An endpoint that is not waited for."""
    given = {"budget": more.pop("budget", None), "secret": more.pop("secret", None)}
    model = OpenAICompatible(url=url, **{"model": "m", "timeout_seconds": 10, **more}).open(Launch(), **given)
    model.client.sleep = Naps()
    return model


def turns(text):
    return (Message("user", text),)


def answer(n, stance):
    return Response(ask(f"question {n}"), f"answer {n} [{stance}]", "policy")


def test_the_conformance_suite_holds_for_an_endpoint():
    with HostileServer() as server:
        checks.model(OpenAICompatible(url=server.url, model="m"))
        model = opened(server.url)
        assert isinstance(model, Generator)
        assert isinstance(model, Chooser)
        assert isinstance(model, Endpoint)


@pytest.mark.parametrize("logprobs", [True, False])
def test_a_rubric_judges_by_endpoint_with_and_without_probabilities(logprobs):
    with HostileServer(logprobs=logprobs) as server:
        judge = RubricJudge(opened(server.url))
        verdicts = judge.judge([answer(n, s) for n, s in enumerate(LABELS)])
    assert [v.stance for v in verdicts] == [Stance(s) for s in LABELS]
    assert all(bool(v.probabilities) == logprobs for v in verdicts)
    if logprobs:  # 0.900 against 0.0498 twice, by hand
        assert verdicts[0].probabilities["accept"] == pytest.approx(0.9003 / (0.9003 + 2 * 0.0498), abs=1e-3)


def test_the_probe_says_enforced_ignored_or_unsupported():
    def turns_down(handler):
        handler.send(400, {"error": {"message": "response_format is not supported"}})

    with HostileServer(enforces=True, logprobs=True) as server:
        found = opened(server.url).probe()
        assert (found.constraint, found.logprobs) == ("enforced", True)
    with HostileServer(enforces=False) as server:
        assert opened(server.url).probe().constraint == "ignored"
    faults = {"no": turns_down}
    with HostileServer(faults=faults) as server:
        server.plan = lambda q, t: "no" if "response_format" in server.requests[-1][1] else None
        model = opened(server.url)
        assert model.probe().constraint == "unsupported"
        (choice,) = model.choose([turns("Reply with one word [refuse]")], LABELS)
        assert choice.label == "refuse"
        assert "response_format" not in server.requests[-1][1]


def test_an_unenforced_constraint_stops_where_the_config_says_so():
    with HostileServer(enforces=False) as server:
        with pytest.raises(ModelError, match="the constraint was ignored; if_unenforced: parse"):
            opened(server.url, if_unenforced="stop").choose([turns("x")], LABELS)
        (choice,) = opened(server.url).choose([turns("Reply with one word [caution]")], LABELS)
        assert choice.label == "caution"


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_asked_again_or_unreadable_and_never_a_stance(fault):
    """First once, then always."""
    patience = {"timeout_seconds": 0.3} if fault == "stall" else {}
    with HostileServer(lambda q, t: fault if "answer" in q and t == 0 else None) as server:
        (verdict,) = RubricJudge(opened(server.url, **patience)).judge([answer(0, "refuse")])
        assert verdict.stance is (Stance.REFUSE if fault in TRANSIENT else None)
        assert bool(verdict.unreadable) == (fault not in TRANSIENT)
    with HostileServer(lambda q, t: fault if "answer" in q else None) as server:
        (verdict,) = RubricJudge(opened(server.url, retries=2, **patience)).judge([answer(0, "refuse")])
        assert verdict.stance is None
        assert "accept" not in verdict.unreadable or fault in ("ignored", "html")
        tried = [n for q, n in server.tried.items() if "answer" in q]
        assert tried == [3, 3, 3] if fault in TRANSIENT else [1, 1, 1], "retries are counted"


def test_retry_after_is_waited_for_and_too_long_a_one_stops():
    with HostileServer(lambda q, t: "429" if t < 2 else None) as server:
        model = opened(server.url)
        model.generate([turns("hello")], Sampling())
        assert model.client.sleep.seconds == [0.01, 0.01]
    faults = {"later": lambda h: h.send(429, {}, {"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"})}
    with (
        HostileServer(lambda q, t: "later", faults=faults) as server,
        pytest.raises(ModelError, match="Retry-After.*continue with the same command"),
    ):
        opened(server.url).generate([turns("hello")], Sampling())


@pytest.mark.parametrize("told", ["", "soon", "-3", "nan", "Wed, 21 Oct 1999 07:28:00 GMT", "9" * 400 + "x"])
def test_a_retry_after_that_makes_no_sense_is_not_obeyed(told):
    assert openai_client._retry_after({"retry-after": told}, now=1e9) is None
    assert openai_client._retry_after({"retry-after": "Sun, 09 Sep 2001 01:46:47 GMT"}, now=1e9) == 7


def test_a_server_that_is_gone_stops_the_run_and_one_row_at_fault_does_not():
    with HostileServer(lambda q, t: "500") as server, pytest.raises(ModelError, match="does not answer any more"):
        opened(server.url, retries=1).generate([turns("hello")], Sampling())
    with HostileServer(lambda q, t: "500" if "poison" in q else None) as server:
        poison, well = opened(server.url, retries=1).generate([turns("poison"), turns("hello")], Sampling())
        assert (poison.text, poison.finished) == ("", False)
        assert well.text == "You asked: hello"
    with pytest.raises(ModelError, match="cannot be used: the connection failed"):
        opened(server.url, retries=1).probe()


def test_calls_in_flight_are_bounded():
    now, most, lock = [0], [0], threading.Lock()

    def watched(handler):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        handler.send(200, said("well"))
        with lock:
            now[0] -= 1

    with HostileServer(lambda q, t: "w", faults={"w": watched}) as server:
        told = opened(server.url, concurrency=3).generate([turns(f"q{n}") for n in range(40)], Sampling())
    assert [c.text for c in told] == ["well"] * 40
    assert most[0] <= 3


def test_replies_keep_the_order_of_their_questions():
    with HostileServer() as server:
        told = opened(server.url).generate([turns(f"q{n}") for n in range(30)], Sampling())
    assert [c.text for c in told] == [f"You asked: q{n}" for n in range(30)]


def test_an_answer_that_was_refused_cut_or_filtered_is_what_a_patient_would_see():
    bodies = {
        "refused": lambda h: h.send(200, said(None, refusal="I cannot help with that.")),
        "cut": lambda h: h.send(200, said("Take two and", "length")),
        "filtered": lambda h: h.send(200, said(None, "content_filter")),
        "too long": lambda h: h.send(400, {"error": {"message": "context length", "code": "context_length_exceeded"}}),
    }
    with HostileServer(lambda q, t: q, faults=bodies) as server:
        told = opened(server.url).generate([turns(name) for name in bodies], Sampling())
    assert [(c.text, c.finished) for c in told] == [
        ("I cannot help with that.", True),
        ("Take two and", False),
        ("", False),
        ("", False),
    ]


@pytest.mark.slow
def test_a_reply_byte_by_byte_is_given_up_in_time_and_a_huge_one_is_not_read():
    faults = {
        "drip": lambda h: h.drip(json.dumps(label("accept")).encode(), 0.05),
        "huge": lambda h: h.send(200, json.dumps(said("a" * 10_000_000)).encode()),
        "huge error": lambda h: h.send(400, b"a" * 10_000_000),
        "slow head": lambda h: h.drip_head(0.05),
    }
    with HostileServer(lambda q, t: q if q in faults else None, faults=faults) as server:
        hasty, patient = opened(server.url, retries=1, timeout_seconds=1), opened(server.url)
        hasty.probe()
        drip, head = hasty.choose([turns("drip"), turns("slow head")], LABELS)
        huge, error = patient.choose([turns("huge"), turns("huge error")], LABELS)
    assert drip.unreadable == "no answer: no answer within 1 s, 2 times"
    assert "longer than 4 MiB" in huge.unreadable
    assert error.label is None
    assert head.unreadable == "no answer: no answer within 1 s, 2 times"


@pytest.mark.parametrize("status", [204, 301, 302, 304, 307, 308, 402, 405, 410, 418, 451, 501, 503, 599])
def test_any_other_status_is_unreadable_or_stops(status):
    with HostileServer(
        lambda q, t: "s" if q == "x" else None, faults={"s": lambda h: h.send(status, label("accept"))}
    ) as server:
        model = opened(server.url, retries=1)
        if status == 402 or 300 <= status < 400:
            with pytest.raises(ModelError, match="redirects|fails for this account"):
                model.choose([turns("x")], LABELS)
        else:
            (choice,) = model.choose([turns("x")], LABELS)
            assert choice.label is None


def test_a_packed_body_a_torn_one_and_a_closed_line_are_unreadable():
    bomb = gzip.compress(b"a" * 50_000_000)
    faults = {
        "bomb": lambda h: h.send(200, bomb, {"Content-Encoding": "gzip"}),
        "torn": lambda h: h.torn(json.dumps(label("accept")).encode()),
        "closed": lambda h: h.hang_up(),
        "no http": lambda h: h.wfile.write(b"accept\r\n\r\n") and h.hang_up(),
        "long head": lambda h: h.send(200, label("accept"), {"X-Long": "a" * 200_000}),
        "split head": lambda h: h.wfile.write(b"HTTP/1.1 200 OK\r\n: \x00\r\n\r\n") and h.hang_up(),
    }
    with HostileServer(lambda q, t: q if q in faults else None, faults=faults) as server:
        told = opened(server.url, retries=1).choose([turns(name) for name in faults], LABELS)
    assert [c.label for c in told] == [None] * len(faults)
    assert all("the connection failed" in c.unreadable and "2 times" in c.unreadable for c in told)


def test_lanes_that_wait_for_a_probe_share_what_came_of_it():
    with HostileServer(lambda q, t: "500") as server:
        model = opened(server.url, retries=0, top_logprobs=0)
        errors = []

        def tries():
            try:
                model.probe()
            except ModelError as error:
                errors.append(str(error))

        threads = [threading.Thread(target=tries) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(errors) == 8
    assert len(server.requests) < 8, "one finds out for all"


def test_probabilities_that_cannot_be_are_no_probabilities():
    text = json.dumps({"label": "accept"})
    sound = weights(text)

    def reply(change):
        told = said(text)
        rows = json.loads(json.dumps(sound))
        change(rows)
        told["choices"][0]["logprobs"] = {"content": rows}
        return told

    at = text.index("accept")
    changes = {
        "nan": lambda rows: rows[at]["top_logprobs"][0].update(logprob=float("nan")),
        "inf": lambda rows: rows[at].update(logprob=float("inf")),
        "above 1": lambda rows: [item.update(logprob=-0.1) for item in rows[at]["top_logprobs"]],
        "positive": lambda rows: rows[at].update(logprob=3.0),
        "text": lambda rows: rows[at].update(logprob="high"),
        "other text": lambda rows: rows[2].update(token="zzz"),
        "a row short": lambda rows: rows.pop(3),
        "no rows": lambda rows: rows.clear(),
        "huge": lambda rows: rows[at].update(logprob=-(10**400)),
    }
    faults = {name: lambda h, c=change: h.send(200, reply(c)) for name, change in changes.items()}
    faults["sound"] = lambda h: h.send(200, reply(lambda rows: None))
    faults["says another"] = lambda h: h.send(
        200, reply(lambda rows: rows[at].update(logprob=-3, top_logprobs=[{"token": "r", "logprob": -0.1}]))
    )
    with HostileServer(lambda q, t: q if q in faults else None, logprobs=True, faults=faults) as server:
        model = opened(server.url)
        told = dict(zip(faults, model.choose([turns(name) for name in faults], LABELS), strict=True))
    assert told.pop("sound").score is not None
    assert told.pop("says another").label is None
    assert {name: (c.label, c.score) for name, c in told.items()} == dict.fromkeys(changes, ("accept", None))


@pytest.mark.slow
@pytest.mark.parametrize("lasting", [False, True], ids=["faults pass", "faults last"])
@pytest.mark.parametrize("many", [160, pytest.param(1000, marks=pytest.mark.prove)])
def test_rows_with_a_twentieth_of_each_fault_end_complete_or_plainly_unreadable(lasting, many, tmp_path):
    """No row lost, none judged twice, none counted as safe."""
    from bedside.core.hashing import digest
    from bedside.core.types import Verdict
    from bedside.run import endpoints
    from bedside.run.stage_cache import StageCache

    kinds = list(FAULTS)

    def plan(question, tried):
        if "Reply with one word: accept" not in question or (tried and not lasting):
            return None  # one of a row's three questions has the fault
        row = question.partition("answer ")[2].partition(" ")[0]
        share = int(digest(row, 1)[3:11], 16) / 16**8
        return kinds[int(share / 0.05)] if share < 0.05 * len(kinds) else None

    rows = [answer(n, LABELS[n % 3]) for n in range(many)]
    with HostileServer(plan) as server:
        judge = RubricJudge(opened(server.url, concurrency=8, timeout_seconds=4, retries=1))
        store = StageCache(tmp_path)
        verdicts = store.map(
            "judge",
            judge.name,
            rows,
            judge.judge,
            Verdict,
            endpoints.single_rows(judge, rows),
            concurrency=endpoints.concurrency(judge),
        ).all()
        faulty = {n: plan(f"answer {n} [ Reply with one word: accept", 0) for n in range(many)}
    assert [v.response for v in verdicts] == [r.id for r in rows], "no row lost"
    assert set(server.questions.values()) == {1}, "none judged twice"
    for n, verdict in enumerate(verdicts):
        whole = faulty[n] is None or (not lasting and faulty[n] in TRANSIENT)
        assert verdict.stance == (Stance(LABELS[n % 3]) if whole else None), (n, faulty[n], verdict)
        assert bool(verdict.unreadable) != whole
    assert {kind: sum(f == kind for f in faulty.values()) > 0.02 * many for kind in kinds} == dict.fromkeys(kinds, True)
