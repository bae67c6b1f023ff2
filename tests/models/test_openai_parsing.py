"""Bytes from a network are hostile: each is read exactly, or plainly is not. Nothing is guessed."""

import json
import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.models import openai_parsing
from bedside.models.openai_parsing import MalformedResponse, Reply, TokenLogprob, choice, label_score, parse_reply

LABELS = ("accept", "caution", "refuse")


def body(content="accept", finish="stop", **message):
    told = {"choices": [{"message": {"content": content, **message}, "finish_reason": finish}]}
    return json.dumps(told).encode()


GARBLED = {
    "nothing": b"",
    "white space": b" \n\t",
    "half": body()[:-9],
    "html": b"<!doctype html><p>accept</p>",
    "a string": b'"accept"',
    "a list": b'[{"label": "accept"}]',
    "null": b"null",
    "a stream": b'data: {"choices": []}\n\ndata: [DONE]\n',
    "two objects": body() + body(),
    "no choices": b'{"id": "x"}',
    "choices that are a text": b'{"choices": "accept"}',
    "choices that are texts": b'{"choices": ["accept"]}',
    "no choice": b'{"choices": []}',
    "two choices": b'{"choices": [{"message": {"content": "accept"}}, {"message": {"content": "refuse"}}]}',
    "an error with status 200": b'{"error": {"message": "accept"}}',
    "no message": b'{"choices": [{"text": "accept", "finish_reason": "stop"}]}',
    "message is a text": b'{"choices": [{"message": "accept", "finish_reason": "stop"}]}',
    "content is a number": body(1),
    "content is true": body(True),
    "content is a table": body({"label": "accept"}),
    "content is null": body(None),
    "content is parts of another kind": body([{"type": "text", "text": "accept"}, {"type": "image"}]),
    "one key twice": b'{"choices": [], "choices": [{"message": {"content": "accept"}, "finish_reason": "stop"}]}',
    "one key twice, inside": b'{"choices": [{"message": {"content": "refuse", "content": "accept"}}]}',
    "ten thousand brackets": b"[" * 10_000,
    "ten thousand tables": b'{"a":' * 10_000,
    "not utf-8": b'{"choices": [{"message": {"content": "\xff\xfe"}}]}',
    "a number of ten thousand digits": b'{"created": ' + b"9" * 10_000 + b"}",
    "a null byte": b"\x00" + body(),
}


@pytest.mark.parametrize("name", GARBLED)
def test_what_is_no_reply_is_garbled(name):
    with pytest.raises(MalformedResponse):
        parse_reply(GARBLED[name])


UNREADABLE = {
    "a sentence": "I would accept this.",
    "a label inside a sentence": "The label is refuse",
    "two labels": "accept refuse",
    "two lines": "accept\nrefuse",
    "not": "not accept",
    "a longer word": "acceptable",
    "nothing": "",
    "a Cyrillic a": "\u0430ccept",
    "a long s": "refu\u017fe",
    "full width": "\uff41\uff43\uff43\uff45\uff50\uff54",
    "zero width": "acc\u200bept",
    "turned round": "\u202etpecca",
    "half a surrogate pair": "accept\ud83d",
    "thinking": "<think>hm</think>accept",
    "a code fence": '```json\n{"label": "accept"}\n```',
    "JSON and more": '{"label": "accept"} because',
    "two JSONs": '{"label": "accept"}{"label": "refuse"}',
    "one key twice": '{"label": "refuse", "label": "accept"}',
    "another key": '{"stance": "accept"}',
    "a key beside": '{"label": "accept", "not": true}',
    "a list": '{"label": ["accept"]}',
    "a nested table": '{"label": {"label": "accept"}}',
    "null": '{"label": null}',
    "a number": '{"label": 0}',
    "another case in the enum": '{"label": "Accept"}',
    "white space in the enum": '{"label": "accept "}',
    "outside the enum": '{"label": "safe"}',
    "half": '{"label": "accept"',
    "NaN": '{"label": NaN}',
    "a digit": "0",
    "an escape": '{"label": "accept\\u0000"}',
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_not_exactly_one_label_is_unreadable(name):
    told = choice(parse_reply(body(UNREADABLE[name])), LABELS)
    assert told.label is None
    assert told.unreadable
    told.unreadable.encode("utf-8")


@pytest.mark.parametrize(
    "text", ["refuse", " Refuse.\n", "**refuse**", '"refuse"', '{"label": "refuse"}', '\n{ "label":"refuse" }']
)
def test_one_label_is_read(text):
    assert choice(parse_reply(body(text)), LABELS).label == "refuse"


@pytest.mark.parametrize("finish", ["length", "content_filter", "tool_calls", None, 7, "", ["stop"]])
def test_a_label_that_did_not_end_by_itself_is_unreadable(finish):
    assert choice(parse_reply(body("accept", finish)), LABELS).label is None


def test_a_refusal_beside_a_label_is_unreadable():
    assert "refused" in choice(parse_reply(body("accept", refusal="I must not say.")), LABELS).unreadable
    assert choice(parse_reply(body(None, refusal="no")), LABELS).label is None
    assert choice(parse_reply(body(None, "content_filter")), LABELS).label is None


def test_parts_of_text_are_one_text():
    assert parse_reply(body([{"type": "text", "text": "acc"}, {"type": "text", "text": "ept"}])).text == "accept"


@pytest.mark.parametrize(
    "usage", [None, 5, {}, {"prompt_tokens": 1}, {"prompt_tokens": -1, "completion_tokens": 2}, {"prompt_tokens": 1.5}]
)
def test_half_a_bill_is_no_bill(usage):
    told = json.loads(body()) | {"usage": usage}
    assert parse_reply(json.dumps(told).encode()).usage is None


@given(st.binary(max_size=300))
def test_any_bytes_are_a_reply_or_garbled(data):
    with suppress(MalformedResponse):
        parse_reply(data)


KEYS = ["choices", "message", "content", "refusal", "logprobs", "finish_reason", "token", "top_logprobs"]
LEAVES = st.none() | st.booleans() | st.floats() | st.text(max_size=9)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner))


@given(JSON)
def test_any_json_is_a_reply_or_garbled_and_its_label_is_its_text(value):
    data = json.dumps({"choices": [{"message": value, "logprobs": value, "finish_reason": "stop"}]}).encode()
    try:
        told = choice(parse_reply(data), LABELS)
    except MalformedResponse:
        return
    assert told.label is None


@given(st.text())
def test_any_text_is_a_label_only_if_it_is_one(text):
    told = choice(Reply(text, "stop"), LABELS)
    if told.label is not None:
        assert text.strip(" \t\r\n\"'`*.\u201c\u201d").casefold() == told.label


def tokens(*rows):
    return tuple(TokenLogprob(text, tuple((k, math.log(v)) for k, v in shown.items())) for text, shown in rows)


def test_labels_are_weighed_where_the_label_begins_by_hand():
    """{"label": "accept"} in tokens of a BPE: what stood beside `acc` counts, what cannot begin a label does not."""
    reply = Reply(
        '{"label": "accept"}',
        "stop",
        tokens=tokens(
            ('{"', {'{"': 0.9}),
            ("label", {"label": 1.0}),
            ('": "', {'": "': 1.0}),
            ("acc", {"acc": 0.5, "ref": 0.2, "c": 0.1, "safe": 0.15}),
            ("ept", {"ept": 1.0}),
            ('"}', {'"}': 1.0}),
        ),
    )
    score = label_score(reply, "accept", LABELS)
    assert score.mass == pytest.approx(0.8)
    assert [math.exp(x) for x in score.logprobs] == pytest.approx([0.5 / 0.8, 0.1 / 0.8, 0.2 / 0.8])


def test_a_token_that_holds_a_quote_and_a_label_is_weighed_beside_its_like():
    shown = {'": "acc': 0.6, '": "ref': 0.3, "refuse": 0.05}
    reply = Reply('{"label": "accept"}', "stop", tokens=tokens(('{"label', {'{"label': 1.0}), ('": "acc', shown)))
    score = label_score(reply, "accept", LABELS)
    assert score.mass == pytest.approx(0.9)
    assert math.exp(score.logprobs[1]) == pytest.approx(0.05 / 0.95), "a label not shown: at most the least that is"


def test_a_certain_token_leaves_nothing_for_labels_that_are_not_shown():
    reply = Reply("accept", "stop", tokens=tokens(("accept", {"accept": 1.0})))
    score = label_score(reply, "accept", LABELS)
    assert math.exp(score.logprobs[0]) == pytest.approx(1)
    reply = Reply("accept", "stop", tokens=tokens(("accept", {"accept": 0.9})))
    assert math.exp(label_score(reply, "accept", LABELS).logprobs[0]) == pytest.approx(0.9 / 1.1)


def test_a_plain_word_is_weighed_with_and_without_its_space():
    reply = Reply(" Refuse", "stop", tokens=tokens((" Refuse", {" Refuse": 0.7, "accept": 0.1, " Caution": 0.1})))
    score = label_score(reply, "refuse", LABELS)
    assert [math.exp(x) for x in score.logprobs] == pytest.approx([1 / 9, 1 / 9, 7 / 9])


@pytest.mark.parametrize("shown", [{"accept": 0.9, "refuse": 0.2}, {"accept": 1.5}])
def test_probabilities_of_more_than_one_in_all_are_none(shown):
    reply = Reply("accept", "stop", tokens=tokens(("accept", shown)))
    assert label_score(reply, "accept", LABELS) is None


def test_a_token_that_could_begin_two_labels_counts_for_neither():
    reply = Reply("mild", "stop", tokens=tokens(("m", {"m": 0.9, "s": 0.1}), ("ild", {"ild": 1.0})))
    assert label_score(reply, "mild", ("mild", "moderate", "severe")) is None


def test_the_schema_allows_the_labels_and_nothing_else():
    told = openai_parsing.label_schema(LABELS)["json_schema"]
    assert told["strict"]
    assert told["schema"]["properties"]["label"]["enum"] == list(LABELS)
    assert told["schema"]["additionalProperties"] is False


def test_a_sign_that_only_looks_like_a_letter_is_not_one():
    assert choice(Reply("\u212aind", "stop"), ("kind",)).label is None, "the sign for kelvin"
    assert choice(Reply("Kind", "stop"), ("kind",)).label == "kind"
