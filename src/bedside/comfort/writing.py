"""Write, verify, retry: one loop for rewritten dialogues, warm answers and the trial of ``bedside check``.

    task ─fits the writer's context?─▶ write ─▶ verify ─▶ text kept
             │ no                                 │ faults
             ▼                                    ▼
          dropped                  the same request with its faults ─▶ write ─▶ verify ─▶ kept, or dropped

The writer decodes greedily, or samples (``comfort.rewrite.temperature``): then a retry is another sample of the first
request. A rewrite is kept when it is finished, is neither empty nor a refusal nor a copy, has a
length within limits, keeps every fact of its source (``bedside.factuality.fact_check``) and at least half of its
content words. Of a frame (``rewrite.mode: frame``) opening and closing are verified (``frames``), and the source stands
between them as it is. A task that is dropped keeps its reason, to be counted.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bedside.comfort.emotions import Feeling, choose_feeling
from bedside.comfort.frames import FrameSubject, find_frame_faults, is_marked_red_flag, parse_frame
from bedside.config.plugins import Plugin
from bedside.config.rendering import fenced, render
from bedside.core.hashing import digest, seed_from
from bedside.core.protocols import Policy
from bedside.core.types import Completion, Conversation, Message, Prompt, Sampling
from bedside.factuality.fact_check import check as check_facts
from bedside.factuality.fact_check import content_recall
from bedside.run import generation
from bedside.run.context import RunContext

EXTRA_TOKENS = 40
"""Tokens that a rewrite may take beyond those of its request, which holds the source."""
FRAME_TOKENS = 160
"""Tokens that a frame may take."""
TOO_LONG = "longer than the writer reads"
REFUSALS = re.compile(
    r"^\W*(?:(?:i'?m |i am )?sorry,? (?:but )?)?(?:i (?:can ?no|can')t|i (?:am|'m) (?:unable|not able)|"
    r"i (?:won't|will not|must decline|have to decline)|as an ai)",
    re.I,
)
MIN_CONTENT_SHARE = 0.5
"""Smallest share of the source's content words that a rewrite must hold, whatever its facts."""


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """What a model is asked to write, and how many tokens it may take. The store finds a completion by it."""

    conversation: Conversation
    tokens: int
    sample: int = 0
    """Which sample of the conversation, where the writer does not decode greedily."""


@dataclass(frozen=True, slots=True)
class RewriteTask:
    """One text to rewrite, and what the result is verified against."""

    id: str
    request: Conversation
    source: str
    """The text whose facts must be kept."""
    question: str = ""
    """The question that ``source`` answers; empty if it answers none."""
    frame: FrameSubject | None = None
    """What a frame is written round. None: ``source`` is written anew."""


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What came of the tasks, by task id."""

    texts: Mapping[str, str]
    """Verified texts, in the order of the tasks."""
    dropped: Mapping[str, str]
    """The reason of each task without a verified text."""
    revised: frozenset[str]
    """Tasks whose text was at fault and verified at a later try."""


@dataclass(frozen=True, slots=True)
class LengthLimits:
    """Allowed length of a rewrite: ``least`` to ``most`` times the words of its source, plus ``room`` words."""

    least: float = 0.8
    most: float = 1.6
    room: int = 60


@dataclass(frozen=True)
class Rewriter:
    """The model that rewrites, opened in one run."""

    run: RunContext
    model: Policy

    def fitting(
        self, requests: Mapping[str, Conversation], tasks: Mapping[str, RewriteTask], sample: int
    ) -> dict[str, WriteRequest]:
        """The requests that fit into the model's context together with what may be written to them."""
        lengths = self.model.lengths(list(requests.values())) if requests else []
        limits = {
            id_: (length, FRAME_TOKENS if tasks[id_].frame else length + EXTRA_TOKENS)
            for id_, length in zip(requests, lengths, strict=True)
        }
        return {
            id_: WriteRequest(requests[id_], tokens, sample)
            for id_, (length, tokens) in limits.items()
            if length + tokens <= self.model.context
        }

    def write(self, requests: Sequence[WriteRequest]) -> list[Completion]:
        """One completion a request, all in one batch."""
        if not requests:
            return []
        seed, temperature = self.run.launch.seed, self.run.config.comfort.rewrite.temperature
        sampled = seed_from(seed, requests[0].sample) if temperature and requests[0].sample else seed
        sampling = Sampling(max(request.tokens for request in requests), temperature, 1.0, sampled)
        return self.model.generate([request.conversation for request in requests], sampling)

    def write_stored(self, requests: Sequence[WriteRequest], label: str) -> list[Completion]:
        """One completion a request, in batches of like lengths; finished batches are read from the store."""
        output = self.run.cache.map(
            "rewrite",
            [self.model.checkpoint.id, self.run.launch.seed, *self._spec],
            requests,
            self.write,
            Completion,
            generation.plan([request.tokens for request in requests], self.run.config.generate.batch_size),
            label=label,
        )
        return output.all()

    @property
    def _spec(self) -> tuple[float, ...]:
        """What decides the texts beside model, seed and request; nothing where the writer decodes greedily."""
        temperature = self.run.config.comfort.rewrite.temperature
        return (temperature,) if temperature else ()


Write = Callable[[Sequence[WriteRequest], str], list[Completion]]
"""Requests and the label of the stage to completions."""
Check = Callable[[Mapping[str, str], str], Mapping[str, tuple[str, ...]]]
"""Texts by task id and the label of the stage to the faults of those texts that have any."""


def open_rewriter(run: RunContext) -> Rewriter:
    """The model of ``comfort.rewrite``, or the original target."""
    plugin = run.config.comfort.rewrite.model
    return Rewriter(run, run.opener.open(plugin) if isinstance(plugin, Plugin) else run.target)


def write_verified(
    tasks: Sequence[RewriteTask],
    rewriter: Rewriter,
    write: Write,
    labels: Sequence[str],
    check: Check = lambda texts, label: {},
) -> WriteResult:
    """The texts without a fault. There are as many tries as ``labels``, which name the stage of each.

    ``check`` may find further faults of the texts that keep every fact.
    """
    config = rewriter.run.config.comfort.rewrite
    limits = LengthLimits(config.least, config.most, config.room)
    by_id = {task.id: task for task in tasks}
    requests = {task.id: task.request for task in tasks}
    texts: dict[str, str] = {}
    dropped: dict[str, str] = {}
    revised: set[str] = set()
    for sample, label in enumerate(labels):
        fitting = rewriter.fitting(requests, by_id, sample)
        dropped |= {id_: TOO_LONG for id_ in requests if id_ not in fitting}
        written = dict(zip(fitting, write(list(fitting.values()), label), strict=True))
        read = {id_: _read(completion, by_id[id_], limits) for id_, completion in written.items()}
        faults = {id_: some for id_, (_, some) in read.items() if some}
        faults |= check({id_: text for id_, (text, _) in read.items() if id_ not in faults}, label)
        texts |= {id_: text for id_, (text, _) in read.items() if id_ not in faults}
        revised |= faults.keys()
        requests = {id_: _next_request(by_id[id_], faults[id_], config.temperature) for id_ in faults}
    dropped |= {id_: first_reason(faults[id_]) for id_ in faults}
    return WriteResult({id_: texts[id_] for id_ in by_id if id_ in texts}, dropped, frozenset(revised & texts.keys()))


def _read(written: Completion, task: RewriteTask, limits: LengthLimits) -> tuple[str, tuple[str, ...]]:
    """The text that came of a task, and its faults."""
    if task.frame is None:
        return written.text.strip(), find_faults(written, task.source, limits, task.question)
    if not written.finished:
        return "", ("the text is cut off",)
    frame = parse_frame(written.text)
    if frame is None:
        return "", ("the writer refused" if is_refusal(written.text) else "no OPENING and CLOSING were written",)
    return frame.around(task.source), find_frame_faults(frame, task.frame)


def find_faults(written: Completion, source: str, limits: LengthLimits, question: str = "") -> tuple[str, ...]:
    """Everything that is wrong with ``written`` as a rewrite of ``source``; empty if nothing is.

    ``question`` is what the source answers: a fact that stands there is not invented.
    """
    text = written.text.strip()
    words, source_words = len(text.split()), len(source.split())
    faults = {
        "nothing was written": not text,
        "the writer refused": is_refusal(text) and not is_refusal(source),
        "the text was only repeated": text.split() == source.split(),
        "the text is cut off": not written.finished,
        "too long": words > limits.most * source_words + limits.room,
        "too short": words < limits.least * source_words,
    }
    if first := next((fault for fault, is_there in faults.items() if is_there), None):
        return (first,)
    differences = tuple(str(difference) for difference in check_facts(source, text, question).differences)
    if not differences and content_recall(source, text) < MIN_CONTENT_SHARE:
        return ("half of the source's words are gone",)
    return differences


def is_refusal(text: str) -> bool:
    """Whether a text begins as a refusal does."""
    return REFUSALS.search(text.replace("’", "'")) is not None


def first_reason(faults: tuple[str, ...]) -> str:
    """The kind of the first fault, without the words of the text: faults are counted by it."""
    return faults[0].partition(":")[0]


def question_request(question: str, feeling: Feeling) -> Conversation:
    """The request to ask ``question`` as somebody who feels so."""
    felt = {"emotion": feeling.emotion, "intensity": feeling.intensity}
    return (Message("user", render("rewrite_question.jinja", question=fenced(question), **felt)),)


def answer_request(question: str, answer: str, feeling: Feeling) -> Conversation:
    """The request to soothe with ``answer`` the feeling of whoever asked ``question``."""
    text = render("rewrite_answer.jinja", question=fenced(question), answer=fenced(answer), emotion=feeling.emotion)
    return (Message("user", text),)


def frame_request(subject: FrameSubject) -> Conversation:
    """The request to write what stands before and after an answer, which the writer does not see."""
    values = {"question": fenced(subject.question), "emotion": subject.feeling.emotion, "urgent": subject.urgent}
    return (Message("user", render("rewrite_frame.jinja", **values)),)


def answer_task(id_: str, subject: FrameSubject, mode: str) -> RewriteTask:
    """The task to soothe with an answer whoever asks: written anew (mode ``full``), or in a frame (``frame``)."""
    if mode == "full":
        request = answer_request(subject.question, subject.answer, subject.feeling)
        return RewriteTask(id_, request, subject.answer, subject.question)
    return RewriteTask(id_, frame_request(subject), subject.answer, subject.question, subject)


def soothing_task(prompt: Prompt, answer: str, run: RunContext) -> RewriteTask:
    """The task to soothe with ``answer``; the feeling is drawn by the run's seed, the id is ``answer_id``."""
    subject = FrameSubject(prompt.text, answer, choose_feeling(prompt, run.launch.seed), is_marked_red_flag(prompt))
    return answer_task(answer_id(prompt, answer), subject, run.config.comfort.rewrite.mode)


def try_labels(first: str, again: str, tries: int) -> list[str]:
    """The name of the stage of each try."""
    return [first, again, *(f"{again}, {number}" for number in range(3, tries + 1))][:tries]


def answer_id(prompt: Prompt, answer: str) -> str:
    """Names an answer together with its prompt."""
    return digest(prompt.id, answer)


def _next_request(task: RewriteTask, faults: Sequence[str], temperature: float) -> Conversation:
    """For another sample the same request. A greedy writer would repeat itself, so it gets a list of the faults."""
    return task.request if temperature else revision_request(task.request, faults)


def revision_request(request: Conversation, faults: Sequence[str]) -> Conversation:
    """The same request, with the faults of what was written to it."""
    text = render("rewrite_revise.jinja", request=request[-1].text, faults=[fenced(fault) for fault in faults])
    return (*request[:-1], Message("user", text))
