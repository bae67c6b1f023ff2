"""Prompt files of red-teaming tools, as rows: garak's and PyRIT's.

    garak    .txt                  one prompt per line
             .json                 a list of prompts; or an object with a list of entries, each with a conversation
             .jsonl                its report and its hit log: the prompts of the attempts
    PyRIT    .yaml .yml .prompt    seeds: [{value: ...}], or prompts: [...] in older files; a seed may be a text alone.
                                   Seeds with the same ``prompt_group_alias`` are turns of one conversation, ordered by
                                   ``sequence``.

    {kind: seed_prompts, path: payloads.txt, harm: 3}

These files have no harm levels, so the config gives one. Seeds that are not text (images, sound, templates of simulated
conversations) are left out and counted. Placeholders such as ``{{ item }}`` or ``{generator.name}`` stay as they are.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field

from bedside.config.plugins import Plugin, register
from bedside.core.errors import DataError
from bedside.core.protocols import Launch
from bedside.core.results import FilterCounts
from bedside.data.deidentify import Names, Phi
from bedside.data.io import Row
from bedside.data.prompts import ReadOptions, TablePrompts
from bedside.data.turns import ROLES

YAML, ENDINGS = (".yaml", ".yml", ".prompt"), (".txt", ".json", ".jsonl", ".yaml", ".yml", ".prompt")
_LISTS = ("seeds", "prompts", "entries", "data")
_TEXTS = ("conversation", "prompt", "value", "payload", "text", "goal")
_ALIAS = "prompt_group_alias"


@register("dataset", "seed_prompts")
class SeedPrompts(Plugin):
    """Prompts of a file of garak or PyRIT."""

    kind: str = "seed_prompts"
    path: str = Field(min_length=1)
    """A file: .txt, .json, .jsonl, .yaml, .yml or .prompt."""
    harm: Annotated[int, Field(ge=0, le=3)]
    """Harm level of all its prompts, 0 (harmless) to 3 (severe), because such files have none."""
    phi: Phi = "scan"
    names: Names = False

    def open(self, launch: Launch, **opened: Any) -> TablePrompts:
        return SeedFile(Path(self.path)).prompts(self.harm, ReadOptions(phi=self.phi, names=self.names))


@dataclass(frozen=True)
class SeedFile:
    """One file of prompts of garak or PyRIT."""

    path: Path
    left_out: Counter[str] = field(default_factory=Counter)
    """Number of seeds that gave no row, by reason. It is complete after all rows were read."""

    def prompts(self, harm: int | None, options: ReadOptions) -> TablePrompts:
        """The prompts, each with the harm level ``harm``."""
        return TablePrompts(str(self.path), partial(self.rows, harm), options, self._with_left_out)

    def rows(self, harm: int | None = None) -> Iterator[Row]:
        """Rows with the columns prompt, source and harm. DataError if the file is not of these formats."""
        self.left_out.clear()
        for place, prompt in self._prompts():
            level = {} if harm is None else {"harm": harm}
            yield f"{self.path.name}, {place}", {"prompt": prompt, "source": self.path.stem, **level}

    def _with_left_out(self, counts: FilterCounts) -> FilterCounts:
        return replace(counts, dropped={**counts.dropped, **self.left_out})

    def _prompts(self) -> Iterator[tuple[str, Any]]:
        ending = self.path.suffix.lower()
        if ending not in ENDINGS:
            raise DataError(f"{self.path}: garak and PyRIT write {', '.join(ENDINGS)}; correct the path")
        text = self._text()
        if ending == ".txt":
            yield from ((f"row {n}", line) for n, line in enumerate(text.split("\n"), start=1) if line.strip())
        elif ending in YAML:
            yield from self._seeds(self._parsed(yaml.safe_load, text))
        elif ending == ".json":
            yield from self._seeds(self._parsed(json.loads, text))
        else:
            lines = [line for line in text.split("\n") if line.strip()]
            yield from self._items([self._parsed(json.loads, line) for line in lines])

    def _text(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror}); correct the path") from None
        except UnicodeDecodeError:
            raise DataError(f"{self.path}: is not UTF-8; save it as UTF-8") from None

    def _parsed(self, parse: Any, text: str) -> Any:
        try:
            return parse(text)
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            cause = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"{self.path}: cannot be parsed ({cause}); correct it") from None

    def _seeds(self, whole: Any) -> Iterator[tuple[str, Any]]:
        """The prompts of a list, of an object with one known list, or of an object that is one prompt."""
        if isinstance(whole, Mapping):
            name = next((name for name in _LISTS if isinstance(whole.get(name), list)), None)
            whole = whole[name] if name else [whole]
        if not isinstance(whole, list):
            raise DataError(f"{self.path}: holds no list of prompts; garak writes a list, PyRIT `seeds: [...]`")
        return self._items(whole)

    def _items(self, items: list[Any]) -> Iterator[tuple[str, Any]]:
        groups: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
        for number, item in enumerate(items, start=1):
            if isinstance(item, Mapping) and item.get(_ALIAS):
                groups.setdefault(str(item[_ALIAS]), []).append((number, item))
            elif (prompt := self._prompt(item)) is not None:
                yield f"item {number}", prompt
        for seeds in groups.values():
            if (turns := self._turns([seed for _, seed in seeds])) is not None:
                yield f"item {seeds[0][0]}", turns

    def _prompt(self, item: Any) -> Any:
        """The text or the turns of an item. None if it has none; this is counted."""
        if isinstance(item, str):
            return item
        if not isinstance(item, Mapping):
            raise DataError(f"{self.path}: an item is {type(item).__name__}; it is a text or an object")
        if "entry_type" in item and item["entry_type"] != "attempt":
            return None  # a line of garak's report that is not an attempt
        given = next((item[name] for name in _TEXTS if item.get(name)), None)
        if given is None or item.get("data_type", "text") != "text":
            self.left_out["no text"] += 1
            return None
        return _conversation(given)

    def _turns(self, seeds: list[Mapping[str, Any]]) -> list[dict[str, str]] | None:
        """One conversation of the seeds of a group, up to the last turn of the user."""
        if any(seed.get("data_type", "text") != "text" or not isinstance(seed.get("value"), str) for seed in seeds):
            self.left_out["no text"] += len(seeds)
            return None
        in_order = sorted(seeds, key=lambda seed: int(seed.get("sequence") or 0))
        turns = [{"role": _role(seed.get("role")), "content": seed["value"]} for seed in in_order]
        while turns and turns[-1]["role"] != "user":
            turns.pop()
        return turns or None


def _role(given: Any) -> str:
    return ROLES.get(str(given or "user").strip().lower(), "user")


def _conversation(given: Any) -> Any:
    """A text, or turns whose contents are texts: garak's report writes ``{"turns": [{"content": {"text": ...}}]}``."""
    turns = given.get("turns") if isinstance(given, Mapping) else given
    if not isinstance(turns, list):
        return given["text"] if isinstance(given, Mapping) and isinstance(given.get("text"), str) else given
    return [
        {**turn, "content": turn["content"]["text"]}
        if isinstance(turn, Mapping) and isinstance(turn.get("content"), Mapping) and "text" in turn["content"]
        else turn
        for turn in turns
    ]
