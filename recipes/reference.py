"""Writes docs/configuration.md: every key of the config and of every plug-in, as the models themselves say it.

python recipes/reference.py docs/configuration.md
"""

import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bedside.config import plugins as registry
from bedside.config.schema import Config
from bedside.core.gates import Constraint
from bedside.data.io import write_text

HEAD = """# Every key

Made by `python recipes/reference.py docs/configuration.md` from the models that read the file; a test compares.
Tables nest: `align.lora.r` is the key `r` under **align.lora**. `--set align.lora.r=8` wins over the file.
"""


def page() -> str:
    found = [(kind, name) for kind in registry.BUILT_IN for name in registry.names(kind)]
    ours = [(kind, name) for kind, name in found if registry.find(kind, name).__module__.startswith("bedside.")]
    plugins = [line for kind, name in ours for line in _plugin(kind, name)]
    return "\n".join([HEAD, *_table("top", Config, ""), "## Plug-ins, by `kind`", "", *plugins]).rstrip() + "\n"


def _plugin(kind: str, name: str) -> list[str]:
    cls = registry.find(kind, name)
    if cls.model_fields["kind"].default != name:
        return []  # another name of a plug-in that is listed under its own
    return _table(f"{kind}: `{name}`", cls, (cls.__doc__ or "").strip().splitlines()[0], skip=("kind",))


def _table(title: str, model: type[BaseModel], said: str, skip: tuple[str, ...] = ()) -> list[str]:
    rows, below = [], []
    for key, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            below += _table(key if title == "top" else f"{title}.{key}", inner, (inner.__doc__ or "").strip())
        elif key not in skip:
            rows.append(f"| `{field.alias or key}` | {_default(field)} | {_cell(field.description or '')} |")
    head = [f"### {title}", "", *([said, ""] if said else [])]
    return [*head, "| key | default | meaning |", "| --- | --- | --- |", *rows, "", *below] if rows else head + below


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True) if not field.is_required() else PydanticUndefined
    if value is PydanticUndefined:
        return "needed"
    text = str(_plain(value))
    return f"`{_cell(text if len(text) <= 60 else text[:57] + '...')}`"


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Constraint):
        return str(value)
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    write_text(Path(sys.argv[1]), page())
