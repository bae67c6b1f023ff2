"""Pydantic's validation errors as sentences that a person can act on.

    {"type": "less_than_equal", "input": 6, "ctx": {"le": 1}}   ->   is 6; should be at most 1
    {"type": "extra_forbidden", "loc": ("cycels",)}             ->   no such key; did you mean 'cycles'?

``explain`` rewrites the errors of one table. It is called where the table's class is known, so that an unknown key can
be compared with the table's keys. A rewritten error has type ``SENTENCE`` and passes through the tables around it.
Only an unknown key (type ``UNKNOWN_KEY``) may be rewritten again: a table that inlines another adds its own keys.
"""

import difflib
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

Loc = tuple[int | str, ...]
"""Pydantic's path to a value: keys of tables and indices of lists."""

VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
NAME_OF_KEY = "holds the NAME of an environment variable, in capitals (JUDGE_KEY), never the key itself"
"""The message for a value that is not a variable's name. It never repeats the value, which may be a secret."""

INLINE = ""
"""Alias of a field whose keys are written in the table around it. It does not appear in dotted paths."""
SENTENCE, UNKNOWN_KEY = "sentence", "unknown_key"

_EXPECTED = {
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
_BOUNDS = {"le": "at most", "lt": "below", "ge": "at least", "gt": "above"}
_TYPE_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "a table"}


def explain(error: ValidationError, table: type[BaseModel]) -> ValidationError:
    """``error``, raised while validating ``table``, with every mistake as a sentence and one for each place."""
    mistakes = (_explained(details, table) for details in reversed(error.errors(include_url=False)))
    first_by_place = {mistake["loc"]: mistake for mistake in mistakes}
    return ValidationError.from_exception_data(table.__name__, list(reversed(first_by_place.values())))


def sentences(error: ValidationError, table: type[BaseModel]) -> list[tuple[str, str]]:
    """Dotted path and sentence of every mistake in ``error``, raised while validating ``table``."""
    return [
        (".".join(str(part) for part in mistake["loc"] if part != INLINE), str(mistake["ctx"]["sentence"]))
        for mistake in explain(error, table).errors(include_url=False)
    ]


def validation_error(mistakes: Sequence[tuple[Loc, str]], *, after: ValidationError | None = None) -> ValidationError:
    """A ValidationError with our own ``mistakes`` (place and sentence), following those of ``after``."""
    details = [_explained(row, BaseModel) for row in after.errors(include_url=False)] if after else []
    details += [InitErrorDetails(type=_sentence(text), loc=loc, input=None) for loc, text in mistakes]
    return ValidationError.from_exception_data("table", details)


def did_you_mean(word: str, known: Iterable[str], *, otherwise: str = "there is") -> str:
    """``did you mean 'cycles'?`` if a known word is similar, else ``otherwise`` and all known words."""
    words = sorted(known)
    similar = difflib.get_close_matches(word, words, n=1)
    return f"did you mean {similar[0]!r}?" if similar else f"{otherwise} {', '.join(words) or 'none'}"


def short(value: Any) -> str:
    """``value`` for a message: on one line and at most 60 characters, or "a table" or "a list"."""
    if isinstance(value, (Mapping, BaseModel)):
        return "a table"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def keys_of(table: type[BaseModel]) -> list[str]:
    """The keys that a person may write in ``table``."""
    return [name for name, field in table.model_fields.items() if field.alias != INLINE]


def _explained(details: ErrorDetails, table: type[BaseModel]) -> InitErrorDetails:
    loc, value, kind, ctx = details["loc"], details["input"], details["type"], details.get("ctx", {})
    if kind == "extra_forbidden" and len(loc) == 1:
        return _unknown_key(
            loc,
            value,
            keys=keys_of(table),
            plugin=str(table.model_fields["kind"].default) if "kind" in table.model_fields else "",
        )
    if kind == UNKNOWN_KEY and len(loc) == 2 and loc[0] == INLINE:
        return _unknown_key(loc, value, [*ctx["keys"], *keys_of(table)], ctx["plugin"])
    if kind == UNKNOWN_KEY:
        return InitErrorDetails(type=PydanticCustomError(UNKNOWN_KEY, "{sentence}", ctx), loc=loc, input=value)
    options = _options_of_union(table, loc) if kind != SENTENCE else ""
    sentence = f"is {short(value)}; should be {options}" if options else _sentence_for(details)
    return InitErrorDetails(type=_sentence(sentence), loc=loc[:1] if options else loc, input=value)


def _unknown_key(loc: Loc, value: Any, keys: Sequence[str], plugin: str) -> InitErrorDetails:
    problem = f"kind {plugin!r} has no such key" if plugin else "no such key"
    ctx = {
        "sentence": f"{problem}; {did_you_mean(str(loc[-1]), keys, otherwise='the keys are')}",
        "keys": tuple(keys),
        "plugin": plugin,
    }
    return InitErrorDetails(type=PydanticCustomError(UNKNOWN_KEY, "{sentence}", ctx), loc=loc, input=value)


def _sentence(sentence: str) -> PydanticCustomError:
    return PydanticCustomError(SENTENCE, "{sentence}", {"sentence": sentence})


def _sentence_for(details: ErrorDetails) -> str:
    """What is wrong with a value, and what it should be."""
    kind, ctx = details["type"], details.get("ctx", {})
    if kind == "missing":
        return "is missing; give it a value"
    if kind == "value_error":
        return str(ctx["error"])
    if kind in (SENTENCE, UNKNOWN_KEY):
        return str(ctx["sentence"])
    if kind in ("too_short", "too_long"):
        bound = f"at least {ctx['min_length']}" if kind == "too_short" else f"at most {ctx['max_length']}"
        return f"has {ctx['actual_length']} items; should have {bound}"
    return f"is {short(details['input'])}; should be {_expected(kind, ctx, details['msg'])}"


def _expected(kind: str, ctx: Mapping[str, Any], message: str) -> str:
    for bound, words in _BOUNDS.items():
        if bound in ctx:
            return f"{words} {ctx[bound]:g}" if isinstance(ctx[bound], float) else f"{words} {ctx[bound]}"
    if kind == "string_too_short":
        return "a text" if ctx["min_length"] == 1 else f"{ctx['min_length']} characters or more"
    if "expected" in ctx:
        return f"one of {ctx['expected']}" if " or " in ctx["expected"] else str(ctx["expected"])
    return _EXPECTED.get(kind) or message.removeprefix("Input should be ").removeprefix("Value should be ")


def _options_of_union(table: type[BaseModel], loc: Loc) -> str:
    """``text or a list`` if the field allows several types, for which pydantic reports one error each; else empty."""
    field = table.model_fields.get(str(loc[0])) if len(loc) > 1 else None
    if field is None or get_origin(field.annotation) not in (Union, types.UnionType):
        return ""
    options = [option for option in get_args(field.annotation) if option is not type(None)]
    return " or ".join(_type_name(option) for option in options) if len(options) > 1 else ""


def _type_name(option: Any) -> str:
    origin = get_origin(option) or option
    if origin is Annotated:
        return _type_name(get_args(option)[0])
    if origin is Literal:
        return " or ".join(repr(value) for value in get_args(option))
    return _TYPE_NAMES.get(origin) or ("a list" if origin in (list, tuple) else "a table")
