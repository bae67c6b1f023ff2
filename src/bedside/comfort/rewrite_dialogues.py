"""Dialogues in, distressed questions and soothing answers out; every clinical fact is kept, or the dialogue is dropped.

    question ─▶ written as somebody with a feeling asks it, verified ─▶ emotion recognised?
      answer ─▶ written to soothe that feeling, verified            ─▶ kept, with its hard negatives

Both sides go through ``writing.write_verified`` and the store, so an interrupted rewriting resumes. In mode ``written``
the soothing answer stands in the data (``data.prompts.SOOTHING``) and is verified as one that a model wrote. Every
dialogue that is not kept is counted by its reason.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bedside.comfort.dialogues import RewrittenDialogue, with_hard_negatives
from bedside.comfort.emotions import Feeling, choose_feeling
from bedside.comfort.frames import STOCK_OPENER, FrameSubject, is_marked_red_flag, stock_openers
from bedside.comfort.writing import (
    TOO_LONG,
    LengthLimits,
    Rewriter,
    RewriteTask,
    answer_task,
    find_faults,
    first_reason,
    open_rewriter,
    question_request,
    try_labels,
    write_verified,
)
from bedside.core.hashing import digest, plain
from bedside.core.protocols import Judge
from bedside.core.results import FilterCounts
from bedside.core.types import Completion, Message, Prompt, Response, Verdict
from bedside.data.prompts import SOOTHING
from bedside.run import generation
from bedside.run.context import RunContext

RECOGNISED = 0.5
"""Score from which on an emotion counts as recognised."""
WRITTEN = "the data"
"""In the place of a writer's checkpoint: who wrote the answers stands in the card of the data."""


@dataclass(frozen=True, slots=True)
class _Dialogue:
    """A dialogue between two steps of its rewriting."""

    prompt: Prompt
    feeling: Feeling
    question: str
    answer: str
    revised: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The same at every step: a question may be there with several answers."""
        return digest(self.prompt)

    @property
    def shows_feeling(self) -> bool:
        """The question as given shows an emotion, so it is left as it is."""
        return "emotion" in self.prompt.metadata

    @property
    def written(self) -> str:
        """The soothing answer of the data; empty if there is none."""
        return self.prompt.metadata.get(SOOTHING, "").strip()

    def task(self, side: Literal["question", "answer"], mode: str) -> RewriteTask:
        if side == "question":
            return RewriteTask(self.id, question_request(self.question, self.feeling), self.question)
        subject = FrameSubject(self.question, self.answer, self.feeling, is_marked_red_flag(self.prompt))
        return answer_task(self.id, subject, mode)

    def finished(self, rewriter: str) -> RewrittenDialogue:
        """The result. ``rewriter``: id of the checkpoint that wrote it."""
        *earlier, last = self.prompt.messages
        prompt = replace(
            self.prompt,
            messages=(*earlier, Message(last.role, self.question)),
            metadata={**self.prompt.metadata, "emotion": self.feeling.emotion, "intensity": self.feeling.intensity},
            group=self.prompt.cluster,
        )
        return RewrittenDialogue(prompt, self.answer, self.prompt, self.feeling, rewriter, self.revised)


def rewrite(run: RunContext, prompts: Sequence[Prompt], label: str) -> tuple[list[RewrittenDialogue], FilterCounts]:
    """The verified dialogues made of ``prompts`` (answers in ``reference``), and why the others were dropped."""
    config = run.config.comfort.rewrite
    rewriter, emotions = open_rewriter(run), run.opener.open(config.judge)
    rows, dropped = _eligible(run, prompts)
    if config.parts in ("question", "both"):
        calm, reasons = _rewrite_side(rewriter, [row for row in rows if not row.shows_feeling], "question", label)
        recognised = _with_recognised_emotion(rewriter, emotions, calm, label)
        dropped += reasons + Counter({"question: emotion not recognised": len(calm) - len(recognised)})
        by_id = {row.id: row for row in recognised}
        rows = [by_id.get(row.id, row) for row in rows if row.shows_feeling or row.id in by_id]
    if config.parts in ("answer", "both"):
        rows, reasons = _soothed(rewriter, rows, label)
        dropped += reasons
        if config.mode == "frame":
            stock = stock_openers({row.id: row.answer for row in rows})
            rows = [row for row in rows if row.id not in stock]
            dropped += Counter({f"answer: {STOCK_OPENER}": len(stock)})
    writer = WRITTEN if config.mode == "written" else rewriter.model.checkpoint.id
    kept = with_hard_negatives([row.finished(writer) for row in rows], run.launch.seed)
    notes = {
        "kept after a second try": float(sum(bool(row.revised) for row in kept)),
        "share kept": len(kept) / max(len(kept) + dropped.total(), 1),
    }
    return kept, FilterCounts(f"rewrite: {label}", len(kept), dict(dropped.most_common()), notes)


def _eligible(run: RunContext, prompts: Sequence[Prompt]) -> tuple[list[_Dialogue], Counter[str]]:
    """Harmless questions with an answer that is not too long, each with a feeling; the others are counted."""
    max_words = run.config.comfort.rewrite.max_words
    harmless = [prompt for prompt in prompts if not prompt.harm]
    answered = [(prompt, prompt.reference) for prompt in harmless if prompt.reference]
    short = [(prompt, answer) for prompt, answer in answered if len(answer.split()) <= max_words]
    dropped = {
        "harmful request": len(prompts) - len(harmless),
        "no answer": len(harmless) - len(answered),
        f"answer over {max_words} words": len(answered) - len(short),
    }
    rows = [_Dialogue(p, choose_feeling(p, run.launch.seed), p.text, answer) for p, answer in short]
    return rows, +Counter(dropped)


def _soothed(rewriter: Rewriter, rows: Sequence[_Dialogue], label: str) -> tuple[list[_Dialogue], Counter[str]]:
    """The dialogues with a verified soothing answer, and the reasons of the others."""
    config = rewriter.run.config.comfort.rewrite
    if config.mode != "written":
        return _rewrite_side(rewriter, rows, "answer", label)
    limits = LengthLimits(config.least, config.most, config.room)
    reasons = {row.id: why for row in rows if (why := _fault_of_written(row, limits))}
    kept = [replace(row, answer=row.written) for row in rows if row.id not in reasons]
    return kept, Counter(f"answer: {reason}" for reason in reasons.values())


def _fault_of_written(row: _Dialogue, limits: LengthLimits) -> str:
    """The kind of the first fault of the written answer; empty if it has none."""
    if not row.written:
        return f"no column {SOOTHING}, or empty"
    faults = find_faults(Completion(row.written), row.answer, limits, row.question)
    return first_reason(faults) if faults else ""


def _rewrite_side(
    rewriter: Rewriter, rows: Sequence[_Dialogue], side: Literal["question", "answer"], label: str
) -> tuple[list[_Dialogue], Counter[str]]:
    """The dialogues whose ``side`` was written without a fault, and the reasons of the others."""
    config = rewriter.run.config.comfort.rewrite
    labels = try_labels(f"{label}: rewrite {side}", f"{label}: once more", config.tries)
    result = write_verified([row.task(side, config.mode) for row in rows], rewriter, rewriter.write_stored, labels)
    kept = [
        replace(
            row,
            question=result.texts[row.id] if side == "question" else row.question,
            answer=result.texts[row.id] if side == "answer" else row.answer,
            revised=(*row.revised, side) if row.id in result.revised else row.revised,
        )
        for row in rows
        if row.id in result.texts
    ]
    reasons = (reason if reason == TOO_LONG else f"{side}: {reason}" for reason in result.dropped.values())
    return kept, Counter(reasons)


def _with_recognised_emotion(
    rewriter: Rewriter, emotions: Judge, rows: Sequence[_Dialogue], label: str
) -> list[_Dialogue]:
    """The dialogues in whose question the judge of emotions recognises the emotion that was asked for."""
    run = rewriter.run
    verdicts = run.cache.map(
        "emotion",
        [emotions.name, [plain(row.feeling) for row in rows]],
        [Response(row.prompt, row.question, rewriter.model.checkpoint.id) for row in rows],
        emotions.judge,
        Verdict,
        generation.plan([len(row.question) for row in rows], run.config.generate.batch_size),
        label=f"{label}: emotion",
    )
    scores = [verdict.scores.get(row.feeling.emotion, 0.0) for verdict, row in zip(verdicts, rows, strict=True)]
    return [row for row, score in zip(rows, scores, strict=True) if score >= RECOGNISED]
