"""Reads the response of an endpoint strictly: a reply, a label, the probabilities of the labels, or a reason.

    {"choices": [{"message": {"content": "{\\"label\\": \\"accept\\"}"}, "finish_reason": "stop"}], "usage": {...}}

Bytes from a network are hostile. Broken JSON, HTML, duplicate keys, no choice or two, a content that is not text: each
raises ``MalformedResponse``, and the request may be sent again. A refusal, a reply that was cut or filtered, a label
that was not offered: each is a reply without a readable label. Nothing is ever guessed.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bedside.core.protocols import Choice, LabelScore

KEY = "label"
"""The only key of the JSON object that holds a label."""
ENDED = ("stop", "eos", "eos_token", "end_turn", "stop_sequence")
"""The values of finish_reason for a reply that the model ended by itself."""
CUT = ("length", "content_filter", "tool_calls")
FINISH = {"complete": "stop", "completed": "stop", "max_tokens": "length", "safety": "content_filter"}
"""What some endpoints call it, in lower case, to the usual word."""
THINKING_PARTS = ("thinking", "reasoning", "redacted_thinking", "reasoning_text")
_THINKING = re.compile(r"\s*<(think|thinking)>(.*?)</\1>\s*", re.S)
_UNCLOSED = re.compile(r"\s*<(think|thinking)>")
_VERSION = re.compile(r"(?:[-@]\d{4}[\d-]*|:latest)$")
"""What a vendor adds to the name of a model, such as ``-2024-08-06``."""
_DECORATION = " \t\r\n\"'`*.\u201c\u201d"
_TOLERANCE = 1e-3
_MOST_TOKENS = 10**9
_LEAST_NATS, _LEAST_SHARE = 1e6, 1e-9


class MalformedResponse(ValueError):
    """These bytes are not a reply."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token of a reply, and the tokens that were possible in its place, with log-probabilities in nats."""

    text: str
    alternatives: tuple[tuple[str, float], ...]
    """Text and nats, the token itself among them."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The text of a reply, and how it ended."""

    text: str
    finish: str
    refusal: str = ""
    tokens: tuple[TokenLogprob, ...] = ()
    usage: tuple[int, int] | None = None
    """Tokens in and out, if the endpoint reports them."""
    model: str = ""
    """The model that the endpoint says it is from; empty if it names none."""

    @property
    def ended(self) -> bool:
        return self.finish in ENDED

    @property
    def outcome(self) -> str:
        """How it ended, in a fixed word of this module, since the endpoint's own word may be anything."""
        if self.refusal:
            return "refusal"
        return "ended" if self.ended else self.finish if self.finish in CUT else "ended otherwise"


def without_thinking(reply: Reply) -> Reply:
    """The reply without the block in which a model thinks first; a block that does not end is a reply that was cut."""
    block = _THINKING.match(reply.text)
    if block:
        return replace(reply, text=reply.text[block.end() :], tokens=_tokens_from(reply.tokens, block.end()))
    return replace(reply, text="", finish="length", tokens=()) if _UNCLOSED.match(reply.text) else reply


def _tokens_from(tokens: Sequence[TokenLogprob], start: int) -> tuple[TokenLogprob, ...]:
    """The tokens from character ``start`` on; none if a token stands across it."""
    length = 0
    for number, token in enumerate(tokens):
        if length == start:
            return tuple(tokens[number:])
        length += len(token.text)
    return ()


def label_schema(labels: Sequence[str]) -> dict[str, Any]:
    """The ``response_format`` that allows one of ``labels``, such as {"label": "accept"}."""
    schema = {
        "type": "object",
        "properties": {KEY: {"type": "string", "enum": list(labels)}},
        "required": [KEY],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": KEY, "strict": True, "schema": schema}}


def parse_reply(body: bytes) -> Reply:
    """The reply in the body of a response with status 200. Raises MalformedResponse."""
    response = parse_object(body)
    choices = response.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise MalformedResponse("the reply has no choices" + _error(response))
    if len(choices) != 1 and "error" in response:
        raise MalformedResponse("the reply has no choice" + _error(response))
    if len(choices) != 1:
        raise MalformedResponse(f"the reply has {len(choices)} choices where one was asked for")
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise MalformedResponse("the reply has no message")
    refusal, finish = message.get("refusal"), choices[0].get("finish_reason")
    finish = FINISH.get(finish.lower(), finish.lower()) if isinstance(finish, str) else "none given"
    return Reply(
        text=_text(message.get("content"), refusal, finish),
        finish=finish,
        refusal=clean(refusal) if isinstance(refusal, str) else "",
        tokens=_tokens(choices[0].get("logprobs")),
        usage=_usage(response.get("usage")),
        model=clean(named)[:200] if isinstance(named := response.get("model"), str) else "",
    )


def parse_object(body: bytes | str) -> dict[str, Any]:
    """A JSON object with unique keys. Raises MalformedResponse."""
    try:
        parsed = json.loads(body, object_pairs_hook=_unique_keys)
    except MalformedResponse:
        raise
    except (ValueError, RecursionError):
        start = body[:40] if isinstance(body, str) else body[:40].decode("utf-8", "replace")
        raise MalformedResponse(f"the reply is no JSON: {clean(start)!r}") from None
    if not isinstance(parsed, dict):
        raise MalformedResponse("the reply is no JSON object")
    return parsed


def clean(text: str) -> str:
    """``text`` that UTF-8 can encode: half a surrogate pair becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def choice(reply: Reply, labels: Sequence[str]) -> Choice:
    """The label that equals the whole reply, or the reason why none does."""
    if reply.refusal:
        return Choice(None, f"the endpoint refused: {reply.refusal[:80]!r}")
    if not reply.ended:
        return Choice(None, f"the reply did not end by itself (finish_reason {reply.finish[:40]!r})")
    label = _label(reply.text, labels)
    if label is None:
        return Choice(None, f"the reply is none of the labels: {reply.text[:80]!r}")
    score = label_score(reply, label, labels)
    if score is not None and score.logprobs[labels.index(label)] < max(score.logprobs) - _TOLERANCE:
        return Choice(None, f"the reply says {label}, its probabilities say another label")
    return Choice(label, score=score)


def label_score(reply: Reply, label: str, labels: Sequence[str]) -> LabelScore | None:
    """The probabilities of the labels, from the tokens that were possible where ``label`` begins in the reply.

    A token counts for the only label that it can begin. A label without a shown token gets its upper bound: the
    smallest probability shown, or what is left of 1. Mass is the sum over the shown tokens of labels. None if the
    place is not found, or if its figures cannot be right: no probabilities, none finite, more than 1 in all.
    """
    token, within = _token_at(reply, reply.text.casefold().rfind(label))
    if token is None or not token.alternatives:
        return None
    values = [nats for _, nats in token.alternatives]
    possible = all(math.isfinite(nats) and nats <= _TOLERANCE for nats in values)
    if not possible or math.fsum(math.exp(nats) for nats in values) > 1 + _TOLERANCE:
        return None
    head, shares = token.text[:within], dict.fromkeys(labels, 0.0)
    for text, nats in token.alternatives:
        begun = _label_begun_by(text, head, labels)
        if begun is not None:
            shares[begun] += math.exp(nats)
    if shares[label] <= 0:
        return None
    mass, rest = math.fsum(shares.values()), 1 - math.fsum(math.exp(nats) for nats in values)
    unseen = max(min(math.exp(min(values)), rest), _LEAST_SHARE)
    logs = [math.log(shares[name] or unseen) for name in labels]
    total = math.log(math.fsum(math.exp(x) for x in logs))
    return LabelScore(tuple(x - total for x in logs), min(mass, 1.0))


def _label(text: str, labels: Sequence[str]) -> str | None:
    """The label of ``{"label": "accept"}``, or of the label alone, without quotes, stars or a full stop around it."""
    if text.lstrip().startswith("{"):
        try:
            parsed = parse_object(text)
        except MalformedResponse:
            return None
        value = parsed.get(KEY)
        return value if len(parsed) == 1 and isinstance(value, str) and value in labels else None
    word = text.strip(_DECORATION)
    return word.lower() if word.isascii() and word.lower() in labels else None


def _token_at(reply: Reply, place: int) -> tuple[TokenLogprob | None, int]:
    """The token that holds character ``place`` of the reply, and the character's place in the token."""
    start = 0
    for token in reply.tokens if place >= 0 else ():
        if not reply.text.startswith(token.text, start):
            return None, 0
        if start <= place < start + len(token.text):
            return token, place - start
        start += len(token.text)
    return None, 0


def _label_begun_by(text: str, head: str, labels: Sequence[str]) -> str | None:
    """The only label that a token can begin; ``head`` is the text before the label in the token of the reply."""
    decorated = not head.strip(_DECORATION)
    if not decorated and not text.startswith(head):
        return None
    rest = (text.strip(_DECORATION) if decorated else text[len(head) :]).casefold()
    begun = [label for label in labels if rest and (label.startswith(rest) or rest.startswith(label))]
    return begun[0] if len(begun) == 1 else None


def is_same_model(asked: str, named: str) -> bool:
    """Whether a reply that names its model ``named`` is from the model ``asked`` for, or names none.

    A vendor may add a version (``gpt-4o`` answers as ``gpt-4o-2024-08-06``) or leave the owner out.
    """
    names = {_without_owner(named), _without_owner(_VERSION.sub("", named))}
    return not named or _without_owner(asked) in names


def _without_owner(model: str) -> str:
    return model.rpartition("/")[2].casefold()


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise MalformedResponse("the reply says one key twice")
    return table


def _text(content: Any, refusal: Any, finish: Any) -> str:
    if isinstance(content, list):
        parts = [part for part in content if not (isinstance(part, dict) and part.get("type") in THINKING_PARTS)]
        texts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in parts]
        content = "".join(map(str, texts)) if content and all(isinstance(text, str) for text in texts) else None
    if isinstance(content, str):
        return clean(content)
    if content is None and ((isinstance(refusal, str) and refusal) or finish in ("content_filter", "length")):
        return ""
    raise MalformedResponse("the reply has no text")


def _error(response: Mapping[str, Any]) -> str:
    """The endpoint's own words in a body with status 200."""
    if "error" not in response:
        return ""
    error = response["error"]
    message = error.get("message") if isinstance(error, dict) else error
    return f", but an error: {clean(message)[:200]}" if isinstance(message, str) and message else ", but an error"


def _tokens(logprobs: Any) -> tuple[TokenLogprob, ...]:
    """Empty if the endpoint shows none, or shows them in another shape."""
    rows = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(rows, list):
        return ()
    tokens = [_token(row) for row in rows]
    return tuple(token for token in tokens if token) if all(tokens) else ()


def _token(row: Any) -> TokenLogprob | None:
    if not isinstance(row, dict) or not isinstance(row.get("top_logprobs") or [], list):
        return None
    alternatives: dict[str, float] = {}
    for item in [*(row.get("top_logprobs") or []), row]:
        text, nats = (item.get("token"), item.get("logprob")) if isinstance(item, dict) else (None, None)
        if not isinstance(text, str) or not isinstance(nats, int | float) or abs(nats) > _LEAST_NATS:
            return None
        if alternatives.setdefault(clean(text), float(nats)) != nats:  # two values for one token, or not a number
            return None
    return TokenLogprob(clean(row["token"]), tuple(alternatives.items()))


def _usage(usage: Any) -> tuple[int, int] | None:
    """Tokens in and out. None unless both are counts that can be right."""
    usage = usage if isinstance(usage, dict) else {}
    tokens_in, tokens_out = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(tokens_in, int) or not isinstance(tokens_out, int):
        return None
    plausible = 0 <= min(tokens_in, tokens_out) <= max(tokens_in, tokens_out) <= _MOST_TOKENS
    return (tokens_in, tokens_out) if plausible else None
