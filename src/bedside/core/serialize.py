"""The JSON form of every result: what ``--json`` prints, and what a result file for other programs holds.

    dataclass            an object with its fields
    tuple of Measure     an object by name: {"err": {"value": 0.08, "n": 121, "unreadable": 1, ...}}
    enum, path           its value, its text
    Constraint           its text, as a config writes it: "kappa >= 0.4"

Files that Bedside reads again hold ``core.hashing.plain`` instead, where every tuple is a list.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from bedside.core.gates import Constraint, Gate
from bedside.core.hashing import plain
from bedside.core.measures import Measure


def to_json(value: Any) -> Any:
    """``value`` as ``json.dumps`` takes it. TypeError for a type that has no JSON form.

    ValueError if two measures of one tuple have the same name, or if a float is not finite.
    """
    if isinstance(value, (Constraint, Path)):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        if value and all(isinstance(item, Measure) for item in value):
            return _by_name(value)
        return [to_json(item) for item in value]
    return plain(value)


def gates_by_name(gates: Sequence[Gate]) -> dict[str, dict[str, Any]]:
    """Decisions by name. If one measure has two limits, the name is the whole text of each limit."""
    names = Counter(gate.name for gate in gates)
    return {
        gate.name if names[gate.name] == 1 else gate.limited: to_json(gate) | {"limit": gate.limit} for gate in gates
    }


def _fields(value: Any) -> dict[str, Any]:
    """An empty tuple of measures is an empty object, so that a key always has one type."""
    types = get_type_hints(type(value))
    by_name = {name for name, kind in types.items() if kind == tuple[Measure, ...]}
    items = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {name: to_json(item) if item or name not in by_name else {} for name, item in items.items()}


def _by_name(measures: Sequence[Measure]) -> dict[str, Any]:
    names = Counter(measure.name for measure in measures)
    if twice := [name for name, times in names.items() if times > 1]:
        raise ValueError(f"two measures are called {twice[0]}")
    return {measure.name: {key: item for key, item in plain(measure).items() if key != "name"} for measure in measures}
