"""What the tables of the config file are made of: numbers with bounds, and a plug-in's keys among a table's own."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from bedside.kernel import words
from bedside.kernel.registry import Table

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]


class Around(Table):
    """A table that adds keys of its own to those of a plug-in: a person writes both in one table."""

    model_config = ConfigDict(populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _hand_on(cls, value: Any) -> Any:
        """Keys that are not this table's go to the plug-in's."""
        if not isinstance(value, Mapping) or words.INLINE in value:
            return value
        own = {key: item for key, item in value.items() if key in cls.model_fields}
        rest = {key: item for key, item in value.items() if key not in cls.model_fields}
        inner = next(name for name, field in cls.model_fields.items() if field.alias == words.INLINE)
        return own if inner in own and not rest else {**own, words.INLINE: rest}
