"""What a run does differently where a model stands behind an endpoint: rows one by one, several at once, counted.

outside    purse, keys and memory of a run, for the plug-ins that need them
within     the endpoints inside a judge or model, however deep: a rubric, a panel of rubrics, a noisy one
findings   what `bedside check` says of them: reachable, what the probe found, what a run would cost
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bedside.config.schema import Config
from bedside.core.errors import BedsideError
from bedside.core.protocols import Endpoint, Probe
from bedside.core.results import Gate, GateState
from bedside.judges.cache import Judgements, beside
from bedside.models.budget import Purse, Spent
from bedside.run.stage_cache import Store

SPEND = "spend.jsonl"


def outside(config: Config, store: Store, secret: Callable[[str], str | None]) -> dict[str, Any]:
    """By the names that plug-ins ask for: see ``Plugin.needs``."""
    budget, cache = config.budget, config.cache
    found: dict[str, Any] = {
        "secret": secret,
        "purse": Purse(budget.max_tokens, budget.max_usd, budget.unknown_price, store.root / SPEND),
    }
    if cache.judgements != "none":
        root = Path(cache.folder) if cache.folder else beside(Path(config.runs))
        found["memory"] = Judgements(root, ", ".join(store.bits), cache.judgements == "all")
    return found


def within(opened: Any) -> list[Endpoint]:
    """The endpoints that ``opened`` is or stands on."""
    return list({id(one): one for one in _walk(opened, frozenset())}.values())


def lanes(opened: Any) -> int:
    """How many rows may be in work at once: as many as the widest endpoint takes; 1 where there is none."""
    return max((one.concurrency for one in within(opened)), default=1)


def rowwise(opened: Any, rows: Sequence[Any]) -> list[list[int]]:
    """Each row a batch of its own where an endpoint works, so that a kill costs rows in flight only; else none."""
    return [[number] for number in range(len(rows))] if within(opened) else []


def named(opened: Any) -> str:
    """What a person calls it."""
    config = getattr(opened, "config", None)
    return f"{getattr(config, 'model', type(opened).__name__)} at {getattr(config, 'url', 'its address')}"


def findings(name: str, opened: Any) -> list[Gate]:
    """One gate an endpoint inside ``opened``: can it be used, and how?"""
    return [_finding(f"endpoint of {name}", one) for one in within(opened)]


def remote(target: Any) -> list[Gate]:
    """Of a target behind an endpoint: can it be used, and what cannot be done with it."""
    reason = (
        f"{named(target)} answers and is judged (`bedside generate`, `judge`, `evaluate`, `chat`); an endpoint cannot "
        "be trained, so `align` and `train` are refused: they need a local folder or a hub id in target.model"
    )
    return [*findings("target", target), Gate("training", GateState.FAIL, reason=reason)]


def cost(before: Mapping[str, Spent], after: Mapping[str, Spent], share: float) -> list[Gate]:
    """What a run would take, from what a trial took; ``share``: rows of the run per row tried."""
    trials = {at: now.minus(before.get(at, Spent())) for at, now in after.items()}
    return [_cost(at, trial, share) for at, trial in trials.items() if trial.calls]


def _cost(at: str, trial: Spent, share: float) -> Gate:
    money = "at no known price" if trial.unpriced else f"about {trial.usd * share:,.2f} US dollars"
    said = (
        f"very roughly {trial.calls * share:,.0f} calls, {trial.tokens_in * share:,.0f} tokens in, "
        f"{trial.tokens_out * share:,.0f} out, {money}, from a trial of {trial.calls} calls"
    )
    return Gate(f"cost at {at}", GateState.INCONCLUSIVE, reason=said)


def _finding(name: str, one: Endpoint) -> Gate:
    try:
        return _told(name, one.probe())
    except BedsideError as error:
        return Gate(name, GateState.FAIL, reason=str(error))


def _told(name: str, probe: Probe) -> Gate:
    shown = "shows" if probe.logprobs else "does not show"
    what = {
        "enforced": "labels are enforced",
        "ignored": "it accepts a constraint and ignores it, so replies are read strictly",
        "unsupported": "it takes no constraint, so replies are read strictly",
    }[probe.constraint]
    reason = f"{probe.where}: {what}; it {shown} probabilities" + (f"; {probe.note}" if probe.note else "")
    sound = probe.constraint == "enforced" and not probe.note
    return Gate(name, GateState.PASS if sound else GateState.INCONCLUSIVE, reason=reason)


def _walk(opened: Any, above: frozenset[int]) -> Iterator[Endpoint]:
    if isinstance(opened, type) or id(opened) in above:
        return
    if isinstance(opened, Endpoint):
        yield opened
    elif isinstance(opened, (list, tuple)):
        for item in opened:
            yield from _walk(item, above | {id(opened)})
    elif dataclasses.is_dataclass(opened):
        for part in dataclasses.fields(opened):
            yield from _walk(getattr(opened, part.name), above | {id(opened)})
