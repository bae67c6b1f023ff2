"""What an endpoint sent, read strictly: a reply, a label, how it weighed the labels; or why it cannot be read.

    {"choices": [{"message": {"content": "{\\"label\\": \\"accept\\"}"}, "finish_reason": "stop"}], "usage": {...}}

Bytes from a network are hostile. Half JSON, HTML, doubled keys, no choice or two, a content that is no text: each
is ``Garbled``, which may be asked again. A refusal, a reply that was cut or filtered, a label that was not on
offer: each is a reply, and no label can be read in it. Nothing is ever guessed.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bedside.core.protocols import Choice, LabelScore

KEY = "label"
"""The one key of the JSON object that a label is asked in."""
ENDED = ("stop", "eos", "eos_token", "end_turn", "stop_sequence")
"""What servers call a reply that the model ended by itself."""
CUT = ("length", "content_filter", "tool_calls")
_AROUND = " \t\r\n\"'`*.\u201c\u201d"
_TOLERANCE = 1e-3
_MOST_TOKENS = 10**9
_LEAST_NATS, _LEAST_SHARE = 1e6, 1e-9


class Garbled(ValueError):
    """This is no reply."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a reply, and what stood beside it: text to log-probability, nats, the token itself among them."""

    text: str
    weighed: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said, and how it came to an end."""

    text: str
    finish: str
    refusal: str = ""
    tokens: tuple[Token, ...] = ()
    usage: tuple[int, int] | None = None
    """Tokens in and out, where the endpoint says so."""

    @property
    def ended(self) -> bool:
        return self.finish in ENDED

    @property
    def outcome(self) -> str:
        """How it ended, in a word of ours: what an endpoint says may be anything."""
        if self.refusal:
            return "refusal"
        return "ended" if self.ended else self.finish if self.finish in CUT else "ended otherwise"


def schema(labels: Sequence[str]) -> dict[str, Any]:
    """``response_format`` for one of ``labels``: {"label": "accept"}."""
    told = {
        "type": "object",
        "properties": {KEY: {"type": "string", "enum": list(labels)}},
        "required": [KEY],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": KEY, "strict": True, "schema": told}}


def read(body: bytes) -> Reply:
    """The reply in the body of a response with status 200. Raises Garbled."""
    told = strictly(body)
    choices = told.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise Garbled("the reply has no choices" + (", but an error" if "error" in told else ""))
    if len(choices) != 1:
        raise Garbled(f"the reply has {len(choices)} choices where one was asked for")
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise Garbled("the reply has no message")
    refusal, finish = message.get("refusal"), choices[0].get("finish_reason")
    return Reply(
        text=_text(message.get("content"), refusal, finish),
        finish=finish if isinstance(finish, str) else "none given",
        refusal=clean(refusal) if isinstance(refusal, str) else "",
        tokens=_tokens(choices[0].get("logprobs")),
        usage=_usage(told.get("usage")),
    )


def strictly(body: bytes | str) -> dict[str, Any]:
    """A JSON object with each key once. Raises Garbled."""
    try:
        told = json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        shown = body[:40] if isinstance(body, str) else body[:40].decode("utf-8", "replace")
        why = str(error) if isinstance(error, Garbled) else f"the reply is no JSON: {clean(shown)!r}"
        raise Garbled(why) from None
    if not isinstance(told, dict):
        raise Garbled("the reply is no JSON object")
    return told


def clean(text: str) -> str:
    """``text`` that a file can hold: half a surrogate pair becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def choice(reply: Reply, labels: Sequence[str]) -> Choice:
    """The label that a reply is, exactly; or why it is none."""
    if reply.refusal:
        return Choice(None, f"the endpoint refused: {reply.refusal[:80]!r}")
    if not reply.ended:
        return Choice(None, f"the reply did not end by itself (finish_reason {reply.finish[:40]!r})")
    label = _label(reply.text, labels)
    if label is None:
        return Choice(None, f"the reply is none of the labels: {reply.text[:80]!r}")
    score = weighed(reply, label, labels)
    if score is not None and score.logprobs[labels.index(label)] < max(score.logprobs) - _TOLERANCE:
        return Choice(None, f"the reply says {label}, its probabilities say another label")
    return Choice(label, score=score)


def weighed(reply: Reply, label: str, labels: Sequence[str]) -> LabelScore | None:
    """Labels weighed by the tokens that could have stood where ``label`` begins in the reply.

    A token counts for the one label that it can begin. A label that is not shown gets the most it can have: the
    least probability that is shown, or what is left of 1. Mass is the sum over what is shown. None where that place
    or its figures are not to be trusted: no probabilities, none finite, more than 1 in all.
    """
    begins = reply.text.casefold().rfind(label)
    token, within = _at(reply, begins)
    if token is None or not token.weighed:
        return None
    values = [nats for _, nats in token.weighed]
    if not all(math.isfinite(nats) and nats <= _TOLERANCE for nats in values):
        return None
    if math.fsum(math.exp(nats) for nats in values) > 1 + _TOLERANCE:
        return None
    head, shares = token.text[:within], dict.fromkeys(labels, 0.0)
    for text, nats in token.weighed:
        owner = _owner(text, head, labels)
        if owner is not None:
            shares[owner] += math.exp(nats)
    if shares[label] <= 0:
        return None
    mass, rest = math.fsum(shares.values()), 1 - math.fsum(math.exp(nats) for nats in values)
    unseen = max(min(math.exp(min(values)), rest), _LEAST_SHARE)
    logs = [math.log(shares[name] or unseen) for name in labels]
    total = math.log(math.fsum(math.exp(x) for x in logs))
    return LabelScore(tuple(x - total for x in logs), min(mass, 1.0))


def _label(text: str, labels: Sequence[str]) -> str | None:
    """``{"label": "accept"}``, or the label alone; quotes, stars and a full stop around it do not matter."""
    if text.lstrip().startswith("{"):
        try:
            told = strictly(text)
        except Garbled:
            return None
        value = told.get(KEY)
        return value if len(told) == 1 and isinstance(value, str) and value in labels else None
    word = text.strip(_AROUND)
    return word.lower() if word.isascii() and word.lower() in labels else None


def _at(reply: Reply, place: int) -> tuple[Token | None, int]:
    """The token that holds character ``place`` of the reply, and how far into it."""
    start = 0
    for token in reply.tokens if place >= 0 else ():
        if not reply.text.startswith(token.text, start):
            return None, 0
        if start <= place < start + len(token.text):
            return token, place - start
        start += len(token.text)
    return None, 0


def _owner(text: str, head: str, labels: Sequence[str]) -> str | None:
    """The one label that a token begins: ``head`` is what stands before the label inside the token."""
    if head.strip(_AROUND):
        if not text.startswith(head):
            return None
        rest = text[len(head) :]
    else:
        rest = text.strip(_AROUND)
    rest = rest.casefold()
    owners = [label for label in labels if rest and (label.startswith(rest) or rest.startswith(label))]
    return owners[0] if len(owners) == 1 else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) != len(pairs):
        raise Garbled("the reply says one key twice")
    return told


def _text(content: Any, refusal: Any, finish: Any) -> str:
    if isinstance(content, list):
        told = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        parts = [part for part in told if isinstance(part, str)]
        content = "".join(parts) if parts and len(parts) == len(content) else None
    if isinstance(content, str):
        return clean(content)
    if content is None and ((isinstance(refusal, str) and refusal) or finish == "content_filter"):
        return ""
    raise Garbled("the reply has no text")


def _tokens(told: Any) -> tuple[Token, ...]:
    """Empty where the endpoint shows none, or shows them in another shape."""
    rows = told.get("content") if isinstance(told, dict) else None
    if not isinstance(rows, list):
        return ()
    tokens = [_token(row) for row in rows]
    return tuple(token for token in tokens if token) if all(tokens) else ()


def _token(row: Any) -> Token | None:
    if not isinstance(row, dict) or not isinstance(row.get("top_logprobs") or [], list):
        return None
    found: dict[str, float] = {}
    for item in [*(row.get("top_logprobs") or []), row]:
        text, nats = (item.get("token"), item.get("logprob")) if isinstance(item, dict) else (None, None)
        if not isinstance(text, str) or not isinstance(nats, int | float) or abs(nats) > _LEAST_NATS:
            return None
        if found.setdefault(clean(text), float(nats)) != nats:  # says two things of one token, or is not a number
            return None
    return Token(clean(row["token"]), tuple(found.items()))


def _usage(told: Any) -> tuple[int, int] | None:
    """Both counts, or None: half a bill is no bill."""
    tokens_in, tokens_out = (
        (told.get("prompt_tokens"), told.get("completion_tokens")) if isinstance(told, dict) else ("", "")
    )
    if not isinstance(tokens_in, int) or not isinstance(tokens_out, int):
        return None
    return (
        (tokens_in, tokens_out)
        if 0 <= min(tokens_in, tokens_out) <= max(tokens_in, tokens_out) <= _MOST_TOKENS
        else None
    )
