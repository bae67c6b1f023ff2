"""What a reader needs to trace a figure: which data, model, judges, settings, machine, when. All as text."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bedside.core.identity import digest
from bedside.core.types import Checkpoint, Judged, Prompt
from bedside.kernel import config as configs

if TYPE_CHECKING:
    from bedside.flows.session import Session

PACKAGES = ("bedside", "torch", "transformers", "peft", "accelerate", "numpy")
CONFIGURATION = "configuration"


def of(
    session: "Session", parts: Mapping[str, Sequence[Prompt]], carried: Checkpoint, after: list[Judged]
) -> dict[str, str]:
    """In the order in which a report shows them."""
    config, tables = session.config, configs.tables(session.config)
    return {
        "target": f"{getattr(config.target, 'model', config.target.kind)}",
        "target digest": session.target.checkpoint.base,
        **_adapter(carried),
        **{f"data, {name}": _data(tables["data"][name], rows) for name, rows in parts.items()},
        "training judge": _judge(config.align.judge, tables),
        "selecting judge": _judge(config.selecting_judge, tables),
        "selecting judge's name in every verdict": ", ".join(sorted({row.verdict.judge for row in after})) or "none",
        "alpha": str(config.select.alpha),
        "seed": str(session.launch.seed),
        **_events(session.store.events()),
        **{f"spent at {at}": str(spent) for at, spent in getattr(session.outside.get("purse"), "spent", {}).items()},
        "machine": ", ".join(session.store.bits),
        "versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "command": f"bedside align -c {Path(config.runs) / config.run / 'config.yaml'}",
        CONFIGURATION: yaml.safe_dump(tables, sort_keys=False, allow_unicode=True),
    }


def _adapter(carried: Checkpoint) -> dict[str, str]:
    if carried.adapter is None:
        return {"carried adapter": "none: the target as given"}
    return {
        "carried adapter, digest": carried.adapter,
        "carried adapter learned": f"{carried.objective} on rows {carried.learned_from}",
    }


def _data(said: Any, rows: Sequence[Prompt]) -> str:
    """Where the rows came from, how many, and a digest that only the same prompts in the same order have."""
    told = ", ".join(f"{key} {value}" for key, value in said.items() if value is not None)
    return f"{told}; {len(rows)} prompts, digest {digest([row.id for row in rows])}"


def _judge(name: str, tables: Mapping[str, Any]) -> str:
    return f"{name}: {yaml.safe_dump(tables['judges'].get(name), default_flow_style=True, width=10_000).strip()}"


def _events(events: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Begin, end, seconds of work by stage, and when the sealed test was opened for whom."""
    opened: dict[str, str] = {}
    for event in events:
        if event["event"] == "sealed test opened":
            opened.setdefault(f"{event['candidate']} ({event['checkpoint']})", event["time"][:19])
    told = "; ".join(f"{time} UTC for {who}" for who, time in opened.items())
    spent = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in _seconds(events).items())
    times = [event["time"][:19] for event in events]
    return {
        "sealed test opened": told or "never",
        "time": f"{min(times)} to {max(times)} UTC; work that was not repeated: {spent}" if times else "not known",
    }


def _seconds(events: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Between the last start of a stage and its end, summed by stage. What a kill interrupted is not counted."""
    begun: dict[tuple[str, str], datetime] = {}
    spent: dict[str, float] = {}
    for event in events:
        if event["event"] in ("start", "done"):
            key, at = (event["stage"], event["what"]), datetime.fromisoformat(event["time"])
            if event["event"] == "start":
                begun[key] = at
            elif key in begun:
                spent[key[0]] = spent.get(key[0], 0.0) + (at - begun.pop(key)).total_seconds()
    return dict(sorted(spent.items()))
