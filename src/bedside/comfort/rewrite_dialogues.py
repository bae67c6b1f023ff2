"""Dialogues are rewritten, verified and kept: the flow around ``stages.rewrite``.

    question ─▶ verify ─▶ once more ─▶ verify ─▶ emotion recognised? ─▶ answer ─▶ verify ─▶ once more ─▶ verify ─▶ kept

What the model writes goes through the store, so an interrupted rewriting goes on where it stopped. Whatever is not
kept is dropped with its reason, counted.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from bedside.comfort import rewriting as stage
from bedside.comfort.rewriting import Feeling, Limits, Rewritten
from bedside.config.plugins import Plugin
from bedside.core.hashing import plain
from bedside.core.protocols import Judge, Policy
from bedside.core.results import Flow
from bedside.core.types import Completion, Conversation, Prompt, Response, Sampling, Verdict
from bedside.run import generation
from bedside.run.session import Session

ROOM_TOKENS = 40
"""What a rewrite may take beyond its whole request, which holds the source, tokens."""
RECOGNISED = 0.5


@dataclass(frozen=True, slots=True)
class Request:
    """What a model is asked to write, and how many tokens it may take."""

    conversation: Conversation
    tokens: int


@dataclass
class _Row:
    """A dialogue on its way."""

    prompt: Prompt
    felt: Feeling
    question: str
    answer: str = ""
    revised: list[str] = field(default_factory=list)


@dataclass
class _Desk:
    """Who writes, who reads, and what was dropped."""

    session: Session
    writer: Policy
    emotions: Judge
    label: str
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def limits(self) -> Limits:
        return limits(self.session)


def writer(session: Session) -> Policy:
    """Who writes: the model of ``comfort.rewrite``, or the target as given."""
    told = session.config.comfort.rewrite.model
    opened: Policy = session.open(told) if isinstance(told, Plugin) else session.target
    return opened


def limits(session: Session) -> Limits:
    """What a rewrite's length may be."""
    told = session.config.comfort.rewrite
    return Limits(told.least, told.most, told.room)


def rewrite(session: Session, prompts: Sequence[Prompt], label: str) -> tuple[list[Rewritten], Flow]:
    """The verified dialogues out of ``prompts`` (their answers in ``reference``), and why the others were dropped."""
    told = session.config.comfort.rewrite
    desk = _Desk(session, writer(session), session.open(told.judge), label)
    some = _to_soothe(desk, prompts)
    rows = _short_enough(desk, [_Row(p, stage.feeling(p, session.launch.seed), p.text) for p in some])
    if told.parts in ("question", "both"):
        calm = [row for row in rows if "emotion" not in row.prompt.facets]
        told_already = [row for row in rows if "emotion" in row.prompt.facets]
        rows = _in_order(rows, [*told_already, *_recognised(desk, _written(desk, calm, "question"))])
    rows = _written(desk, rows, "answer") if told.parts in ("answer", "both") else _as_they_are(rows)
    kept = [_made(desk, row) for row in rows]
    flow = stage.flow(f"rewrite: {label}", len(kept), desk.dropped, sum(bool(row.revised) for row in kept))
    return _with_negatives(session, kept), flow


def _to_soothe(desk: _Desk, prompts: Sequence[Prompt]) -> list[Prompt]:
    """Harmless questions with an answer: nothing else has one that could be soothed."""
    harmless = [prompt for prompt in prompts if not prompt.harm]
    kept = [prompt for prompt in harmless if prompt.reference]
    desk.dropped.update({"harmful request": len(prompts) - len(harmless), "no answer": len(harmless) - len(kept)})
    desk.dropped = +desk.dropped
    return kept


def _short_enough(desk: _Desk, rows: list[_Row]) -> list[_Row]:
    most = desk.session.config.comfort.rewrite.max_words
    kept = [row for row in rows if len((row.prompt.reference or "").split()) <= most]
    desk.dropped[f"answer over {most} words"] += len(rows) - len(kept)
    return kept


def _written(desk: _Desk, rows: list[_Row], side: str) -> list[_Row]:
    """The rows whose ``side`` was written without a fault, at the first try or the second."""
    asked = {id(row): _request(row, side) for row in rows}
    tried = _fitting(desk, rows, asked)
    first = written(desk.session, desk.writer, [asked[id(row)] for row in tried], f"{desk.label}: rewrite {side}")
    kept: list[_Row] = []
    again: list[_Row] = []
    complaints: list[tuple[str, ...]] = []
    for row, said in zip(tried, first, strict=True):
        found = _judge(desk, row, side, said)
        if found:
            again.append(row)
            complaints.append(found)
        else:
            kept.append(row)
    second = [stage.ask_again(asked[id(row)], found) for row, found in zip(again, complaints, strict=True)]
    fits = _fitting(desk, again, dict(zip(map(id, again), second, strict=True)))
    retried = [second[again.index(row)] for row in fits]
    for row, said in zip(fits, written(desk.session, desk.writer, retried, f"{desk.label}: once more"), strict=True):
        found = _judge(desk, row, side, said)
        if found:
            desk.dropped[f"{side}: {stage.reason(found)}"] += 1
        else:
            row.revised.append(side)
            kept.append(row)
    return _in_order(rows, kept)


def _in_order(rows: Sequence[_Row], kept: Sequence[_Row]) -> list[_Row]:
    """``kept`` in the order of ``rows``."""
    order = {id(row): place for place, row in enumerate(rows)}
    return sorted(kept, key=lambda row: order[id(row)])


def _request(row: _Row, side: str) -> Conversation:
    if side == "question":
        return stage.ask_question(row.prompt, row.felt)
    return stage.ask_answer(row.question, row.prompt.reference or "", row.felt)


def _judge(desk: _Desk, row: _Row, side: str, said: Completion) -> tuple[str, ...]:
    """Faults of what was written; where there are none, it is taken."""
    text = said.text.strip()
    if side == "question":
        found = stage.faults(row.prompt.text, text, said.finished, desk.limits)
        row.question = text if not found else row.question
    else:
        found = stage.faults(row.prompt.reference or "", text, said.finished, desk.limits, row.question)
        row.answer = text if not found else row.answer
    return found


def _fitting(desk: _Desk, rows: list[_Row], asked: dict[int, Conversation]) -> list[_Row]:
    """Rows the writer can read and answer within its context; the others are dropped and counted."""
    lengths = desk.writer.lengths([asked[id(row)] for row in rows]) if rows else []
    fits = [row for row, n in zip(rows, lengths, strict=True) if reads(desk.writer, n)]
    desk.dropped["longer than the writer reads"] += len(rows) - len(fits)
    desk.dropped = +desk.dropped
    return fits


def reads(writer: Policy, tokens: int) -> bool:
    """Whether a request of so many tokens and what may be written to it fit into the writer's context."""
    return 2 * tokens + ROOM_TOKENS <= writer.context


def written(session: Session, writer: Policy, conversations: Sequence[Conversation], label: str) -> list[Completion]:
    """One completion a request, greedy, in batches of like lengths; answered from the store where it was written."""
    lengths = writer.lengths(conversations) if conversations else []
    requests = [Request(c, n + ROOM_TOKENS) for c, n in zip(conversations, lengths, strict=True)]
    rows = session.store.map(
        "rewrite",
        [writer.checkpoint.id, session.launch.seed],
        requests,
        writing(writer, session.launch.seed),
        Completion,
        generation.plan(lengths, session.config.generate.batch_size),
        label=label,
    )
    return rows.all()


def writing(writer: Policy, seed: int) -> Callable[[list[Request]], list[Completion]]:
    """What answers a batch of requests, greedily."""

    def write(batch: list[Request]) -> list[Completion]:
        most = max(request.tokens for request in batch)
        return writer.generate([request.conversation for request in batch], Sampling(most, 0.0, 1.0, seed))

    return write


def _recognised(desk: _Desk, rows: list[_Row]) -> list[_Row]:
    """Rows in whose question the judge of emotions sees the emotion that was asked for."""
    responses = [Response(row.prompt, row.question, desk.writer.checkpoint.id) for row in rows]
    read = desk.session.store.map(
        "emotion",
        [desk.emotions.name, [plain(row.felt) for row in rows]],
        responses,
        desk.emotions.judge,
        Verdict,
        generation.plan([len(r.text) for r in responses], desk.session.config.generate.batch_size),
        label=f"{desk.label}: emotion",
    )
    seen = [v.scores.get(row.felt.emotion, 0.0) >= RECOGNISED for v, row in zip(read, rows, strict=True)]
    desk.dropped["question: emotion not recognised"] += seen.count(False)
    desk.dropped = +desk.dropped
    return [row for row, ok in zip(rows, seen, strict=True) if ok]


def _as_they_are(rows: list[_Row]) -> list[_Row]:
    return [replace(row, answer=row.prompt.reference or "") for row in rows]


def _made(desk: _Desk, row: _Row) -> Rewritten:
    return Rewritten(
        prompt=stage.with_feeling(row.prompt, row.question, row.felt),
        answer=row.answer,
        original=row.prompt,
        feeling=row.felt,
        rewriter=desk.writer.checkpoint.id,
        revised=tuple(row.revised),
    )


def _with_negatives(session: Session, rows: Sequence[Rewritten]) -> list[Rewritten]:
    """Each with its hard negatives; drugs are swapped among those that the rows themselves name."""
    names = sorted({row.original.facets["drug"] for row in rows if "drug" in row.original.facets})
    return [stage.negatives(row, names, session.launch.seed) for row in rows]
