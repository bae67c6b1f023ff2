"""`bedside check` of comfort: does the writer write what the verifier keeps, and does its judge rate an answer?"""

from collections import Counter
from collections.abc import Callable, Sequence

from bedside.core.comforts import LINES, rating
from bedside.core.errors import BedsideError
from bedside.core.protocols import Policy
from bedside.core.reports import Gate, GateState
from bedside.core.types import Conversation, Prompt, Response
from bedside.flows import endpoints, rewrite
from bedside.flows.session import Session
from bedside.stages import judge
from bedside.stages import rewrite as stage

TRIED = 4
"""Answers that are soothed: seconds of a small model, a cent of an endpoint."""
WRITER, JUDGE = "comfort.rewrite.model", "comfort.judge"


def tried(session: Session, answered: Sequence[tuple[Prompt, str]], rows: int) -> list[Gate]:
    """The first few answers to harmless prompts, soothed, verified and rated. ``rows``: how many a run soothes."""
    some = [(prompt, text) for prompt, text in answered if not prompt.harm and text.strip()][:TRIED]
    if not some:
        return [Gate(WRITER, GateState.NOT_CHECKED, reason="there is no harmless prompt with an answer to soothe")]
    fresh, share = endpoints.forgetful(session), rows / len(some)
    return [
        *_used(WRITER, lambda: _counted(fresh, share, lambda: _written(fresh, some))),
        *_used(JUDGE, lambda: _counted(fresh, share, lambda: _rated(fresh, some))),
    ]


def _used(name: str, work: Callable[[], list[Gate]]) -> list[Gate]:
    try:
        return work()
    except BedsideError as error:
        return [Gate(name, GateState.FAIL, reason=str(error))]


def _counted(session: Session, share: float, work: Callable[[], list[Gate]]) -> list[Gate]:
    """What ``work`` finds, and what it would cost in a run."""
    before = endpoints.spent(session)
    found = work()
    return [*found, *endpoints.cost(before, endpoints.spent(session), share)]


def _written(session: Session, some: Sequence[tuple[Prompt, str]]) -> list[Gate]:
    if session.config.comfort.rewrite.parts == "question":
        return [Gate(WRITER, GateState.NOT_CHECKED, reason="it writes questions; `bedside rewrite -n 8` shows them")]
    writer = rewrite.writer(session)
    found = endpoints.findings(WRITER, writer)
    if any(gate.state is GateState.FAIL for gate in found):
        return found
    asks = [stage.ask_answer(p.text, text, stage.feeling(p, session.launch.seed)) for p, text in some]
    reasons = _reasons(session, writer, some, asks)
    kept = len(some) - reasons.total()
    why = "".join(f"; {n} {reason}" for reason, n in reasons.most_common())
    state = GateState.PASS if 2 * kept >= len(some) else GateState.INCONCLUSIVE
    return [*found, Gate(WRITER, state, reason=f"{len(some)} answers soothed, {kept} keep every fact{why}")]


def _reasons(
    session: Session, writer: Policy, some: Sequence[tuple[Prompt, str]], asks: Sequence[Conversation]
) -> Counter[str]:
    """Why what was written at the first try is not kept."""
    lengths = writer.lengths(asks)
    fits = [i for i, n in enumerate(lengths) if rewrite.reads(writer, n)]
    reasons = +Counter({"longer than the writer reads": len(asks) - len(fits)})
    requests = [rewrite.Request(asks[i], lengths[i] + rewrite.ROOM_TOKENS) for i in fits]
    said = rewrite.writing(writer, session.launch.seed)(requests) if fits else []
    for i, one in zip(fits, said, strict=True):
        prompt, text = some[i]
        if wrong := stage.faults(text, one.text.strip(), one.finished, rewrite.limits(session), prompt.text):
            reasons[stage.reason(wrong)] += 1
    return reasons


def _rated(session: Session, some: Sequence[tuple[Prompt, str]]) -> list[Gate]:
    opened = session.open(session.config.comfort.judge)
    found = endpoints.findings(JUDGE, opened)
    if any(gate.state is GateState.FAIL for gate in found):
        return found
    read = judge.judge([Response(prompt, text, "given") for prompt, text in some], opened)
    rated = [verdict for verdict in read if rating(verdict.scores) is not None]
    silent = [verdict.unreadable or f"it does not rate {', '.join(LINES)}" for verdict in read if verdict not in rated]
    why = f"; else: {silent[0]}" if silent else ""
    state = GateState.PASS if 2 * len(rated) > len(read) else GateState.INCONCLUSIVE
    return [*found, Gate(JUDGE, state, reason=f"{len(read)} answers tried, {len(rated)} rated{why}")]
