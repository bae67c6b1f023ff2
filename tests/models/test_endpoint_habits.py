"""Habits of real endpoints, each tried once, adapted to, and said; an account that cannot pay stops the run."""

import json

import pytest
from tests.models.test_openai_client import LABELS, opened, turns
from tests.support.hostile_server import HostileServer, said

from bedside.core.errors import ModelError
from bedside.core.types import Message, Sampling
from bedside.models import openai_client

ACCEPT = "I think so [accept]"


def refused(status, message, **more):
    return lambda h: h.send(status, {"error": {"message": message, **more}})


def habit(answer, when=lambda body: True):
    """A server that answers as ``answer`` does, where ``when`` holds of the request."""
    server = HostileServer(logprobs=True)
    server.plan = lambda question, tried: "habit" if when(server.requests[-1][1]) else None
    server.faults = {"habit": answer}
    return server


def choose(server, *questions, **keys):
    """The model, and its choices for each question, asked one after the other."""
    with server:
        model = opened(server.url, retries=0, concurrency=1, **keys)
        return model, model.choose([turns(question) for question in questions or (ACCEPT,)], LABELS)


@pytest.mark.parametrize(
    ("status", "message", "more"),
    [(402, "Insufficient balance", {}), (429, "You exceeded your quota", {"code": "insufficient_quota"})],
)
def test_an_account_that_cannot_pay_stops_the_run_with_the_endpoints_words(status, message, more):
    with pytest.raises(ModelError, match=f"account .status {status}: {message}.*continue with the same command"):
        choose(habit(refused(status, message, **more)))


def test_a_text_that_is_forbidden_is_a_row_and_a_key_that_is_forbidden_stops():
    flagged = habit(refused(403, "Your input was flagged by moderation"), lambda b: "KILL" in str(b["messages"]))
    _, choices = choose(flagged, ACCEPT, "KILL [refuse]", ACCEPT)
    assert [choice.label for choice in choices] == ["accept", None, "accept"]
    assert "status 403: Your input was flagged by moderation" in choices[1].unreadable
    _, choices = choose(habit(refused(403, "Forbidden"), lambda b: "KILL" in str(b["messages"])), ACCEPT, "KILL")
    assert choices[1].label is None, "others get a reply, so the key is good"
    with pytest.raises(ModelError, match=r"status 403: Forbidden.*check the key"):
        choose(habit(refused(403, "Forbidden")))


def test_a_key_that_is_revoked_in_the_middle_stops_the_run():
    server = habit(refused(403, "Forbidden"), lambda b: len(server.requests) > 3)
    with pytest.raises(ModelError, match=r"forbids every text now \(status 403: Forbidden.*same command"):
        choose(server, ACCEPT, ACCEPT, ACCEPT, ACCEPT)


@pytest.mark.parametrize(
    ("named", "told"), [("m", 0), ("m-2024-08-06", 0), ("M", 0), (None, 0), (7, 0), ("", 0), ("m2", 1), ("cheap-7b", 1)]
)
def test_a_reply_that_names_another_model_is_told_once(named, told):
    reply = {**said("accept"), "model": named}
    with habit(lambda h: h.send(200, reply)) as server:
        model = opened(server.url, model="owner/m")
        model.generate([turns("How?"), turns("Where?")], Sampling())
        assert len(model.new_notes()) == told
        assert model.new_notes() == []


def test_a_reply_that_is_too_large_is_that_rows_reason(monkeypatch):
    monkeypatch.setattr(openai_client, "LONGEST_BODY_BYTES", 1 << 20)
    large = said("x" * (1 << 20))
    server = habit(lambda h: h.send(200, large), lambda b: "KILL" in str(b["messages"]))
    _, choices = choose(server, ACCEPT, "KILL [refuse]", ACCEPT)
    assert [choice.label for choice in choices] == ["accept", None, "accept"]
    assert "the reply is longer than 1 MiB" in choices[1].unreadable


def test_a_temperature_that_is_declined_is_left_out_once_for_all_and_said():
    server = habit(refused(400, "Unsupported value: 'temperature' does not support 0"), lambda b: "temperature" in b)
    model, (choice,) = choose(server)
    assert choice.label == "accept"
    assert not model.repeatable
    assert "declines a temperature" in model.probe().note
    assert sum("temperature" in body for _, body in server.requests) == 1


def test_the_other_name_of_a_length_is_found():
    message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    model, (choice,) = choose(habit(refused(400, message), lambda b: "max_tokens" in b))
    assert choice.label == "accept"
    assert "takes max_completion_tokens" in model.probe().note


def test_fewer_probabilities_are_asked_for_where_twenty_are_declined():
    server = habit(refused(400, "top_logprobs must be <= 5"), lambda b: b.get("top_logprobs", 0) > 5)
    _, (choice,) = choose(server)
    assert choice.label == "accept"
    assert choice.score is not None
    assert server.requests[-1][1]["top_logprobs"] == 5


def test_parameters_that_no_model_takes_are_left_out_and_an_unknown_model_stops():
    message = "No endpoints found that can handle the requested parameters."
    server = habit(refused(404, message), lambda b: "response_format" in b or "logprobs" in b)
    assert choose(server)[0].probe().constraint == "unsupported"
    with pytest.raises(ModelError, match="knows no such path or model .404: The model `x` does not exist"):
        choose(habit(refused(404, "The model `x` does not exist")))


def test_a_system_turn_that_is_declined_stands_before_the_first_question():
    server = habit(refused(400, "System role not supported"), lambda b: b["messages"][0]["role"] == "system")
    with server:
        asked = [(Message("system", "Be brief."), Message("user", f"How {n}?")) for n in range(3)]
        answers = opened(server.url, retries=0).generate(asked, Sampling())
    assert [answer.text for answer in answers] == [f"You asked: Be brief.\n\nHow {n}?" for n in range(3)]


@pytest.mark.parametrize(
    "reply",
    [
        said("<think>\nIt gives what was asked.\n</think>\n\n" + json.dumps({"label": "accept"})),
        said([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "accept"}]),
        said("accept", finish="STOP"),
        said("accept", finish="COMPLETE"),
        said("accept", reasoning_content="hm"),
    ],
    ids=["think block", "thinking parts", "STOP", "COMPLETE", "reasoning_content"],
)
def test_thinking_is_no_part_of_a_reply_and_an_end_is_an_end_in_any_case(reply):
    _, (choice,) = choose(habit(lambda h: h.send(200, reply), lambda b: "exactly this" not in str(b["messages"])))
    assert choice.label == "accept"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (said("<think>It goes on and on"), "finish_reason 'length'"),
        (said(None, finish="length", reasoning_content="hm"), "finish_reason 'length'"),
        (said("accept", finish="MAX_TOKENS"), "finish_reason 'length'"),
        (said("accept", finish=None), "finish_reason 'none given'"),
        ({"error": {"message": "model is overloaded"}, "choices": []}, "but an error: model is overloaded"),
        ({"error": {"message": "model is overloaded"}}, "but an error: model is overloaded"),
    ],
)
def test_a_cut_reply_is_unreadable_at_once_and_an_error_keeps_its_words(reply, reason):
    server = habit(lambda h: h.send(200, reply), lambda b: "KILL" in str(b["messages"]))
    _, choices = choose(server, ACCEPT, "KILL")
    assert [choice.label for choice in choices] == ["accept", None]
    assert reason in choices[1].unreadable
    assert server.tried["KILL"] == 1


def test_an_answer_is_what_follows_the_thinking_unless_that_is_switched_off():
    text = "<think>hm</think>Take two."
    for strip, expected in ((True, "Take two."), (False, text)):
        with habit(lambda h: h.send(200, said(text))) as server:
            model = opened(server.url, strip_thinking=strip)
            assert model.generate([turns("How much?")], Sampling())[0].text == expected


def test_a_probe_says_how_replies_end_where_none_is_whole():
    with habit(lambda h: h.send(200, said("hello", finish=None))) as server:
        assert "finish_reason 'none given'" in opened(server.url).probe().note


def test_an_answers_first_words_are_gone_on_from_and_where_that_is_declined_they_are_sent_all_the_same():
    def told_to_continue(body):
        return body.get("continue_final_message") is True and body.get("add_generation_prompt") is False

    begun = [(Message("user", f"How {n}?"), Message("assistant", "I can't help with")) for n in range(2)]
    server = habit(refused(400, "Unknown parameter: 'continue_final_message'"), told_to_continue)
    with server:
        model = opened(server.url, retries=0, concurrency=1)
        answers = model.generate([*begun, turns("How?")], Sampling())
        assert all(answer.text for answer in answers)
        assert "cannot continue an answer" in model.probe().note
    asked = [body for _, body in server.requests if body["messages"][-1]["role"] == "assistant"]
    assert [told_to_continue(body) for body in asked[-2:]] == [False, False]
    assert {body["messages"][-1]["content"] for body in asked} == {"I can't help with"}
