"""Dialogues in, distressed questions and soothing answers out, every clinical fact kept or the row dropped.

    feeling    one of 8 emotions x 3 intensities that the situation makes plausible
    question   rewritten as somebody asks who feels so          answer    rewritten to soothe that feeling
    verified   no refusal, no echo, length within a ratio, facts intact (``stats.factcheck``), emotion recognised
    faults     what is wrong with a rewrite: the first time they are told to the writer, the second time the row goes

Beside each verified answer stand two to learn from by contrast: *warm but wrong* (one fact changed, the change
recorded) and *right but cold* (the original facts in a voice that does not care). Pure: the flow asks the model.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bedside.config.rendering import fenced, render
from bedside.core.hashing import digest
from bedside.core.results import Flow
from bedside.core.types import Conversation, Dialogue, Lesson, Message, Pair, Prompt, Thumb
from bedside.factuality import corruptions
from bedside.factuality.fact_check import check, retold

EMOTIONS = ("fear", "anxiety", "sadness", "anger", "guilt", "shame", "helplessness", "loneliness")
INTENSITIES = ("mild", "moderate", "strong")
SUITS: Mapping[str, tuple[str, ...]] = {
    r"emergency|blood|breath|chest|cancer|tumou?r|death|die[sd]?\b|fatal|surgery|stroke|unconscious|limp|blue": (
        "fear",
    ),
    r"my (?:son|daughter|child|baby|kid|infant|mother|father|grandmother|wife|husband)": (
        "guilt",
        "anxiety",
        "helplessness",
    ),
    r"skin|sexual|bowel|incontinen|weight|hair|acne|wart|lice|addict|alcohol|discharge": ("shame",),
    r"chronic|incurable|genetic|inherited|no cure|lifelong|syndrome": ("sadness", "helplessness"),
    r"again|still|wait|insurance|nobody|doctors? (?:will|would|did)(?: not|n't)|misdiagnos": ("anger", "helplessness"),
    r"alone|lonely|divorc|grief|widow|old\b|elderly|isolat|friend": ("loneliness", "sadness"),
}
"""Which emotions a situation makes plausible, by how a word begins; fear and anxiety always are."""
STRONG = re.compile(
    r"\b(?:emergency|cancer|tumou?r|death|die[sd]?\b|fatal|severe|stroke|unconscious|surgery|blue|limp|blood)", re.I
)
REFUSALS = re.compile(
    r"^\W*(?:(?:i'?m |i am )?sorry,? (?:but )?)?(?:i (?:can ?no|can')t|i (?:am|'m) (?:unable|not able)|"
    r"i (?:won't|will not|must decline|have to decline)|as an ai)",
    re.I,
)
COLD = ("Noted.", "The question is answered as follows.", "Facts only.", "See below.", "Standard reply.")
"""What a voice says that does not care. Invented here; it holds no fact."""
RETOLD = 0.5
"""Least share of the source's content words that a rewrite must hold, whatever its facts."""
WRONG_KINDS = (
    "digit",
    "duration",
    "negation",
    "drug",
    "modality",
    "condition",
    "urgency",
    "exchanged",
    "unit",
    "invented",
    "rate",
)


@dataclass(frozen=True, slots=True)
class Feeling:
    """What a patient may feel, and how much."""

    emotion: str
    intensity: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What a rewrite's length may be: from ``least`` to ``most`` times its source's words, plus ``room`` words."""

    least: float = 0.8
    most: float = 1.6
    room: int = 60


@dataclass(frozen=True, slots=True)
class Rewritten:
    """One verified dialogue, and everything it came from."""

    prompt: Prompt
    """The distressed question; facets hold emotion and intensity, ``reference`` is the original answer."""
    answer: str
    """The soothing answer."""
    original: Prompt
    feeling: Feeling
    rewriter: str
    """Id of the checkpoint that wrote."""
    revised: tuple[str, ...] = ()
    """Which sides took a second try: question, answer."""
    cold: str = ""
    wrong: str = ""
    """Warm, with one fact changed; empty where no kind of change had a place that the verifier sees."""
    change: Mapping[str, str] = field(default_factory=dict)
    """Kind, before and after of that change."""


def feeling(prompt: Prompt, seed: int) -> Feeling:
    """What the facets or the words of a question say, else one of what suits the situation, by ``seed``."""
    told = prompt.facets
    if "emotion" in told:
        return Feeling(told["emotion"], told.get("intensity", "moderate"))
    fits = {e for pattern, found in SUITS.items() if re.search(rf"\b(?:{pattern})", prompt.text, re.I) for e in found}
    rng = random.Random(digest(seed, prompt.id))
    likely = [*sorted(fits), *sorted(fits), "fear", "anxiety"] if fits else list(EMOTIONS)
    weights = (1, 2, 5) if STRONG.search(prompt.text) else (2, 3, 2)
    return Feeling(rng.choice(likely), rng.choices(INTENSITIES, weights)[0])


def ask_question(prompt: Prompt, felt: Feeling) -> Conversation:
    """The request to write the last question as somebody who feels so."""
    text = render(
        "rewrite_question.jinja", question=fenced(prompt.text), emotion=felt.emotion, intensity=felt.intensity
    )
    return (Message("user", text),)


def ask_answer(question: str, answer: str, felt: Feeling) -> Conversation:
    """The request to soothe."""
    text = render("rewrite_answer.jinja", question=fenced(question), answer=fenced(answer), emotion=felt.emotion)
    return (Message("user", text),)


def ask_again(request: Conversation, faults: Sequence[str]) -> Conversation:
    """The same request with what was wrong."""
    text = render("rewrite_revise.jinja", request=request[-1].text, faults=[fenced(fault) for fault in faults])
    return (*request[:-1], Message("user", text))


def faults(source: str, written: str, finished: bool, limits: Limits, beside: str = "") -> tuple[str, ...]:
    """Everything wrong with ``written`` as a rewrite of ``source``; empty where nothing is."""
    if not written.strip():
        return ("nothing was written",)
    if refuses(written) and not refuses(source):
        return ("the writer refused",)
    if " ".join(written.split()) == " ".join(source.split()):
        return ("the text was only repeated",)
    if not finished:
        return ("the text is cut off",)
    words, wanted = len(written.split()), len(source.split())
    if words > limits.most * wanted + limits.room:
        return ("too long",)
    if words < limits.least * wanted:
        return ("too short",)
    found = tuple(str(d) for d in check(source, written, beside).differences)
    return found or (("half of the source's words are gone",) if retold(source, written) < RETOLD else ())


def refuses(text: str) -> bool:
    """Whether a text begins as a refusal does."""
    return REFUSALS.search(text.replace("’", "'")) is not None


def reason(found: Sequence[str]) -> str:
    """The first fault without its words, to be counted."""
    return found[0].partition(":")[0]


def with_feeling(prompt: Prompt, question: str, felt: Feeling) -> Prompt:
    """``prompt`` asked in the words of ``question``."""
    *before, last = prompt.messages
    facets = {**prompt.facets, "emotion": felt.emotion, "intensity": felt.intensity}
    messages = (*before, Message(last.role, question))
    return replace(prompt, messages=messages, facets=facets, group=prompt.cluster)


def negatives(row: Rewritten, names: Sequence[str], seed: int) -> Rewritten:
    """``row`` with its warm-but-wrong and right-but-cold sides. ``names``: drugs to swap among."""
    rng = random.Random(digest(seed, row.prompt.id, row.answer))
    original = row.original.reference or ""
    told = original if original and original in row.answer else row.answer
    found = corruptions.any_of(WRONG_KINDS, told, rng, names)
    row = replace(row, cold=f"{rng.choice(COLD)} {original}")
    wrong = row.answer.replace(told, found.text) if found else row.answer
    if found is None or check(original, wrong, row.prompt.text).intact:
        return row
    return replace(row, wrong=wrong, change={"kind": found.kind, "before": found.before, "after": found.after})


def lesson(rows: Iterable[Rewritten], *, wrong: bool = True, cold: bool = True) -> Lesson:
    """Chosen and wanted: the soothing answer. Rejected and unwanted: the dry one, and the hard negatives asked for."""
    dialogues: list[Dialogue] = []
    pairs: list[Pair] = []
    thumbs: list[Thumb] = []
    for row in rows:
        worse = [row.original.reference or "", row.wrong if wrong else "", row.cold if cold else ""]
        dialogues.append(Dialogue(row.prompt, row.answer, emotion=row.feeling.emotion, provenance=row.rewriter))
        thumbs.append(Thumb(row.prompt, row.answer, wanted=True))
        for text in (text for text in worse if text and text != row.answer):
            pairs.append(Pair(row.prompt, row.answer, text))
            thumbs.append(Thumb(row.prompt, text, wanted=False))
    return Lesson(dialogues, pairs, thumbs)


def flow(name: str, kept: int, dropped: Mapping[str, int], revised: int) -> Flow:
    return Flow(name, kept, dict(Counter(dropped).most_common()), {"kept after a second try": float(revised)})
