"""How a run works with models behind endpoints: row by row, several calls at once, with a budget.

resources          budget, secrets and judgement cache of a run, for the plug-ins that need them
concurrency        how many rows are sent at once
notes              observed behaviour of endpoints, for people
endpoint_gates     what `bedside check` reports: reachable or not, what the probe shows, what a run would cost
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bedside.config.schema import Config
from bedside.core.errors import BedsideError
from bedside.core.gates import Finding, GateState
from bedside.core.protocols import Endpoint, declared_endpoints
from bedside.data.io import SPEND
from bedside.judges.cache import JudgementFiles, default_root
from bedside.models.budget import Budget, Spend
from bedside.run.stage_cache import StageCache

_CONSTRAINTS = {
    "enforced": "labels are enforced",
    "ignored": "it accepts a constraint and ignores it, so replies are read strictly",
    "unsupported": "it takes no constraint, so replies are read strictly",
}


def resources(config: Config, store: StageCache, secret: Callable[[str], str | None]) -> dict[str, Any]:
    """What plug-ins may need from the run, by the names in ``Plugin.needs``."""
    limits, cache = config.budget, config.cache
    budget = Budget(limits.max_tokens, limits.max_usd, limits.unknown_price, store.root / SPEND)
    if cache.judgements == "none":
        return {"secret": secret, "budget": budget}
    root = Path(cache.folder) if cache.folder else default_root(Path(config.runs))
    files = JudgementFiles(root, ", ".join(store.numerics), cache.judgements == "all")
    return {"secret": secret, "budget": budget, "judgement_cache": files}


def concurrency(opened: object) -> int:
    """How many rows a model or judge works on at once: the highest ``concurrency`` of its endpoints, or 1."""
    return max((endpoint.concurrency for endpoint in declared_endpoints(opened)), default=1)


def notes(opened: object) -> list[str]:
    """What people should know about the endpoints of ``opened``, each sentence once."""
    return [note for endpoint in declared_endpoints(opened) for note in endpoint.new_notes()]


def single_rows(opened: object, rows: Sequence[Any]) -> list[list[int]]:
    """One row per batch if ``opened`` calls endpoints, so that a kill loses only calls in flight. Otherwise empty."""
    return [[number] for number in range(len(rows))] if declared_endpoints(opened) else []


def model_name(opened: object) -> str:
    """Host and model of an endpoint; the type of any other model."""
    return next((endpoint.where for endpoint in declared_endpoints(opened)), type(opened).__name__)


def endpoint_gates(name: str, opened: object) -> list[Finding]:
    """One finding for each endpoint that ``opened`` calls: whether it works, and what it can do."""
    return [_probe_gate(f"endpoint of {name}", endpoint) for endpoint in declared_endpoints(opened)]


def remote_target_gates(target: object) -> list[Finding]:
    """For a target behind an endpoint: whether it works, and that it cannot be trained."""
    reason = (
        f"{model_name(target)} answers and is judged (`bedside generate`, `judge`, `evaluate`, `chat`); an endpoint "
        "cannot be trained, so `align` and `train` are refused: they need a local folder or a hub id in target.model"
    )
    return [*endpoint_gates("target", target), Finding("training", GateState.FAIL, reason=reason)]


def cost_gates(before: Mapping[str, Spend], after: Mapping[str, Spend], share: float) -> list[Finding]:
    """The cost of a run, from the spend of a trial at each endpoint. ``share``: rows of the run per row tried."""
    trials = {where: spend.minus(before.get(where, Spend())) for where, spend in after.items()}
    return [_cost_gate(where, trial, share) for where, trial in trials.items() if trial.calls]


def _cost_gate(where: str, trial: Spend, share: float) -> Finding:
    money = "at no known price" if trial.unpriced else f"about {trial.usd * share:,.2f} US dollars"
    reason = (
        f"very roughly {trial.calls * share:,.0f} calls, {trial.tokens_in * share:,.0f} tokens in, "
        f"{trial.tokens_out * share:,.0f} out, {money}, from a trial of {trial.calls} calls"
    )
    return Finding(f"cost at {where}", GateState.INCONCLUSIVE, reason=reason)


def _probe_gate(name: str, endpoint: Endpoint) -> Finding:
    try:
        probe = endpoint.probe()
    except BedsideError as error:
        return Finding(name, GateState.FAIL, reason=str(error))
    shown = "shows probabilities" if probe.logprobs else "does not show probabilities"
    note = f"; {probe.note}" if probe.note else ""
    state = GateState.PASS if probe.constraint == "enforced" and not note else GateState.INCONCLUSIVE
    return Finding(name, state, reason=f"{probe.where}: {_CONSTRAINTS[probe.constraint]}; it {shown}{note}")
