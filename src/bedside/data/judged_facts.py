"""Judged answers without their texts, to compute rates of a file that is larger than memory.

kept        ids, harm level, group, the attributes that rows are grouped by, checkpoint, verdict
left out    what people and models wrote
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType

from bedside.core.types import JudgedResponse, Message, with_id
from bedside.data.prompts import HARM_BY

_LEFT_OUT = "(left out)"
_TURNS = (Message("user", _LEFT_OUT),)


def without_texts(row: JudgedResponse, groupings: Collection[str]) -> JudgedResponse:
    """``row`` with its ids and no text; an empty answer stays empty. ``groupings``: names in the metadata to keep."""
    prompt, response = row.prompt, row.response
    kept = tuple((name, value) for name, value in prompt.metadata.items() if name == HARM_BY or name in groupings)
    light = with_id(replace(prompt, messages=_TURNS, metadata=_shared(kept), reference=None), prompt.id)
    text = "" if response.is_empty else _LEFT_OUT
    return JudgedResponse(with_id(replace(response, prompt=light, text=text, ids=()), response.id), row.verdict)


@lru_cache(maxsize=1 << 16)
def _shared(metadata: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """One mapping for all rows with the same metadata."""
    return MappingProxyType(dict(metadata))
