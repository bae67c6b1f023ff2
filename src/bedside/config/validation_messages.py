"""What pydantic finds wrong in a table, in words a person can act on.

    {"type": "less_than_equal", "input": 6, "ctx": {"le": 1}}   ->   is 6; should be at most 1
    {"type": "extra_forbidden", "loc": ("cycels",)}             ->   no such key; did you mean 'cycles'?

A mistake is worded where the table's class is known, so that an unknown key can be compared with the keys
there are, and travels on as an error of type ``told``. A place is a dotted path: ``align.train.0.beta``.
"""

import difflib
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

Loc = tuple[int | str, ...]

VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
NAME_OF_KEY = "holds the NAME of an environment variable, in capitals (JUDGE_KEY), never the key itself"
"""Said of a key's name that is none; what stands there is never repeated."""

INLINE = ""
"""Alias of a field whose keys are written in the table around it: it has no name in a place."""

_NEEDED = {
    "model_type": "a table",
    "model_attributes_type": "a table",
    "dict_type": "a table",
    "mapping_type": "a table",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "string_type": "text; put it in quotes",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "none_required": "null",
}
_NAMED = {str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "a table"}


def told(error: ValidationError, cls: type[BaseModel]) -> ValidationError:
    """``error``, raised by the table ``cls``, with every mistake in words."""
    rows = [_told(details, cls) for details in error.errors(include_url=False)]
    once = {row["loc"]: row for row in reversed(rows)}
    return ValidationError.from_exception_data(cls.__name__, list(reversed(once.values())))


def wrong(mistakes: Sequence[tuple[Loc, str]], *, beside: ValidationError | None = None) -> ValidationError:
    """An error out of places and sentences of our own, after those of another."""
    rows = [_told(details, BaseModel) for details in beside.errors(include_url=False)] if beside else []
    rows += [InitErrorDetails(type=_sentence(sentence), loc=loc, input=None) for loc, sentence in mistakes]
    return ValidationError.from_exception_data("table", rows)


def nearest(word: str, words: Iterable[str], *, there: str = "there is") -> str:
    """``did you mean 'cycles'?``, or else what there is."""
    known = sorted(words)
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"{there} {', '.join(known) or 'none'}"


def place(loc: Sequence[int | str]) -> str:
    """The dotted path of ``loc``."""
    return ".".join(str(part) for part in loc if part != INLINE)


def in_words(details: ErrorDetails) -> str:
    """What is wrong, and what it should be."""
    kind, ctx, value = details["type"], details.get("ctx", {}), shown(details["input"])
    if kind == "missing":
        return "is missing; give it a value"
    if kind == "value_error":
        return str(ctx["error"])
    if kind in ("told", "unknown"):
        return str(ctx["told"])
    if kind in ("too_short", "too_long"):
        bound = f"at least {ctx['min_length']}" if kind == "too_short" else f"at most {ctx['max_length']}"
        return f"has {ctx['actual_length']} items; should have {bound}"
    return f"is {value}; should be {_needed(kind, ctx, details['msg'])}"


def shown(value: Any) -> str:
    """``value`` as a message may show it: short, on one line, a table as {...}."""
    if isinstance(value, (Mapping, BaseModel)):
        return "a table"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = {None: "null", True: "true", False: "false"}.get(value) if _is_word(value) else None
    text = text or (repr(value) if isinstance(value, str) else str(value))
    return text if len(text) <= 60 else text[:57] + "..."


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _needed(kind: str, ctx: Mapping[str, Any], message: str) -> str:
    bounds = {"le": "at most", "lt": "below", "ge": "at least", "gt": "above"}
    for bound, words in bounds.items():
        if bound in ctx:
            return f"{words} {ctx[bound]:g}" if isinstance(ctx[bound], float) else f"{words} {ctx[bound]}"
    if kind == "string_too_short":
        return "a text" if ctx["min_length"] == 1 else f"{ctx['min_length']} characters or more"
    if "expected" in ctx:
        return f"one of {ctx['expected']}".replace("one of ", "", " or " not in ctx["expected"])
    return _NEEDED.get(kind) or message.removeprefix("Input should be ").removeprefix("Value should be ")


def _told(details: ErrorDetails, cls: type[BaseModel]) -> InitErrorDetails:
    loc, value = details["loc"], details["input"]
    if details["type"] == "extra_forbidden" and len(loc) == 1:
        return _unknown(loc, value, keys_of(cls), _kind(cls))
    if details["type"] == "unknown" and len(loc) == 2 and loc[0] == INLINE:
        return _unknown(loc, value, [*details["ctx"]["keys"], *keys_of(cls)], details["ctx"]["kind"])
    if details["type"] == "unknown":
        return InitErrorDetails(type=_sentence(**details["ctx"]), loc=loc, input=value)
    choices = _choices(cls, loc) if details["type"] != "told" else ""
    if choices:
        return InitErrorDetails(type=_sentence(f"is {shown(value)}; should be {choices}"), loc=loc[:1], input=value)
    return InitErrorDetails(type=_sentence(in_words(details)), loc=loc, input=value)


def _unknown(loc: Loc, value: Any, keys: Sequence[str], kind: str) -> InitErrorDetails:
    nothing = f"kind {kind!r} has no such key" if kind else "no such key"
    sentence = f"{nothing}; {nearest(str(loc[-1]), keys, there='the keys are')}"
    return InitErrorDetails(type=_sentence(sentence, tuple(keys), kind), loc=loc, input=value)


def _sentence(told: str, keys: tuple[str, ...] | None = None, kind: str = "") -> PydanticCustomError:
    """An error that says ``told``. With ``keys``, a table around it may still offer its own."""
    if keys is None:
        return PydanticCustomError("told", "{told}", {"told": told})
    return PydanticCustomError("unknown", "{told}", {"told": told, "keys": keys, "kind": kind})


def _kind(cls: type[BaseModel]) -> str:
    """What a person calls the plug-in ``cls``; empty for any other table."""
    return str(cls.model_fields["kind"].default) if "kind" in cls.model_fields else ""


def keys_of(cls: type[BaseModel]) -> list[str]:
    """The keys a person may write in the table ``cls``."""
    return [name for name, field in cls.model_fields.items() if field.alias != INLINE]


def _choices(cls: type[BaseModel], loc: Loc) -> str:
    """``text or a list`` where the field holds one of several types: pydantic complains once for each."""
    field = cls.model_fields.get(str(loc[0])) if len(loc) > 1 else None
    if field is None or get_origin(field.annotation) not in (Union, types.UnionType):
        return ""
    options = [option for option in get_args(field.annotation) if option is not type(None)]
    return " or ".join(_named(option) for option in options) if len(options) > 1 else ""


def _named(option: Any) -> str:
    origin = get_origin(option) or option
    if origin is Annotated:
        return _named(get_args(option)[0])
    if origin is Literal:
        return " or ".join(repr(value) for value in get_args(option))
    return _NAMED.get(origin) or ("a list" if origin in (list, tuple) else "a table")
