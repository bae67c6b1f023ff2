"""Where the figures of a run come from, and what runs of its kind do not show. For alignment and for comfort.

facts       as text: target, facts of this kind of run, seed, time, cost, machine, versions, command, configuration
untested    sentences
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from bedside.clinic.lexicon import mechanism_test
from bedside.config import loader
from bedside.core.hashing import digest
from bedside.core.types import Prompt
from bedside.run.context import RunContext

PACKAGES = ("bedside", "torch", "transformers", "peft", "accelerate", "numpy")


def facts(run: RunContext, command: str, own: Mapping[str, str], packages: Sequence[str] = ()) -> dict[str, str]:
    """The facts, in the order of the report. ``own``: facts that only this kind of run has."""
    config = run.config
    return {
        "target": f"{getattr(config.target, 'model', config.target.kind)}",
        "target digest": run.target.checkpoint.base,
        **own,
        "seed": str(run.launch.seed),
        **events(run.cache.events()),
        **{f"spent at {at}": str(spent) for at, spent in run.opener.spending().items()},
        "machine": ", ".join(run.cache.numerics),
        "versions": ", ".join(f"{name} {version(name)}" for name in (*PACKAGES, *packages)),
        "command": f"bedside {command} -c {Path(config.runs) / config.run / 'config.yaml'}",
        "configuration": yaml.safe_dump(loader.tables(config), sort_keys=False, allow_unicode=True),
    }


def data(run: RunContext, parts: Mapping[str, Sequence[Prompt]]) -> dict[str, str]:
    """The source and the number of the rows, and a digest that only the same prompts in the same order have."""
    tables = loader.tables(run.config)["data"]
    keys = {name: ", ".join(f"{key} {value}" for key, value in tables[name].items() if value is not None)
            for name in parts}  # fmt: skip
    return {
        f"data, {name}": f"{keys[name]}; {len(rows)} prompts, digest {digest([row.id for row in rows])}"
        for name, rows in parts.items()
    }


def events(logged: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Begin, end, seconds of work by stage, and when the held-out test was first opened for each candidate.

    To read finished results is not work, so a second run gives the same facts.
    """
    opened: dict[str, str] = {}
    for event in logged:
        if event["event"] == "held-out test opened":
            opened.setdefault(f"{event['candidate']} ({event['checkpoint']})", event["time"][:19])
    times_opened = "; ".join(f"{time} UTC for {who}" for who, time in opened.items())
    spent = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in _seconds(logged).items())
    times = [event["time"][:19] for event in logged if event["event"] in ("start", "done")]
    return {
        "held-out test opened": times_opened or "never",
        "time": f"{min(times)} to {max(times)} UTC; work that was not repeated: {spent}" if times else "not known",
    }


def untested(first: Sequence[str], more: Sequence[str], prompts: Sequence[Prompt]) -> tuple[str, ...]:
    """``first``, that there is one seed, ``more``, and for prompts of the clinic that they are no evidence."""
    seed = "One seed: how much another seed would differ is not known."
    return (*first, seed, *more, *mechanism_test(prompts))


def _seconds(logged: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Between the last start of a stage and its end, summed by stage. What a kill interrupted is not counted."""
    begun: dict[tuple[str, str], datetime] = {}
    spent: dict[str, float] = {}
    for event in logged:
        if event["event"] in ("start", "done"):
            key, at = (event["stage"], event["what"]), datetime.fromisoformat(event["time"])
            if event["event"] == "start":
                begun[key] = at
            elif key in begun:
                spent[key[0]] = spent.get(key[0], 0.0) + (at - begun.pop(key)).total_seconds()
    return dict(sorted(spent.items()))
