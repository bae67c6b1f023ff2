"""A frame: an opening that names the patient's feeling and a closing, round the clinician's words, which stay as they are.

    OPENING: It makes sense that a question like this frightens you.
    CLOSING: You are not alone with it.

Verified by what it may say, not by what it may not: ``find_frame_faults`` lets pass what is made of words of feeling and
company and of grammar (``WORDS``, ``FUNCTION``), and of nothing else, so that a fact, a diagnosis or a drug has no words to
come in. What has such words all the same is refused by its form: a number, an order ("take", "do not"), what one should,
must or will do, a promise, another feeling than the patient's. An answer that sends for help at once is not softened.
"""

import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from bedside.comfort.emotions import EMOTIONS, Feeling
from bedside.comfort.judges import STEMS
from bedside.factuality import extraction
from bedside.factuality.common_words import FUNCTION

MOST_WORDS = 60
"""Of an opening, and of a closing."""
MOST_SHARE = 0.1
"""Largest share of the rows that may begin with one sentence."""
STOCK_OPENER = "an opener of more than a tenth of the rows"
_WRITTEN = re.compile(r"\A\s*OPENING:(?P<opening>.*?)\n\s*CLOSING:(?P<closing>.*)\Z", re.S)
WORDS = frozenset(
    ["afraid", "alone", "ashamed", "angry", "anger", "anxiety", "anxious", "answer", "ask", "asked", "asking", "ache", "aching", "awful", "bear", "bearing", "believe", "blame", "bother", "brave", "bravery", "bring", "brought", "burden", "care", "carried", "carry", "carrying", "child", "close", "comfort", "company", "concern", "courage", "dark", "day", "days", "deep", "deeply", "deserve", "difficult", "distress", "dread", "easily", "easy", "embarrassed", "embarrassing", "embarrassment", "exhausted", "exhausting", "face", "fault", "fear", "fearful", "feel", "feeling", "feelings", "felt", "fright", "frighten", "frightened", "frightening", "frustrated", "frustrating", "frustration", "gentle", "gently", "glad", "grief", "grieve", "guilt", "guilty", "hand", "hard", "hear", "heard", "hearing", "heart", "heavy", "help", "helpless", "helplessness", "here", "honest", "hopeless", "human", "hurt", "hurting", "imagine", "isolated", "isolating", "kind", "kindness", "know", "knowing", "lonely", "loneliness", "lost", "loud", "love", "meet", "mind", "moment", "natural", "night", "nobody", "overwhelmed", "overwhelming", "pain", "painful", "panic", "patience", "powerless", "question", "quiet", "read", "reason", "sad", "sadness", "scared", "scary", "seen", "sense", "shame", "share", "shared", "shoulders", "side", "small", "sorrow", "sorry", "stay", "strain", "stuck", "tears", "tender", "terrified", "thank", "thanks", "thought", "thoughts", "tired", "tiring", "told", "tough", "trouble", "trust", "troubling", "uneasy", "understand", "understandable", "understandably", "unhappy", "unsettling", "upset", "upsetting", "waiting", "weigh", "weighs", "weight", "welcome", "word", "words", "worn", "worried", "worries", "worry", "worrying", "worth", "write", "writing", "written", "wrote"]
)
"""Words of feeling and company. No name of a part of the body, of an illness, of a remedy; none of time and of number."""
_ALLOWED = frozenset(extraction.stem(word) for word in WORDS | FUNCTION | {stem for s in STEMS.values() for stem in s})
_COMMANDS = (
    ["take", "takes", "try", "stop", "start", "make", "keep", "go", "get", "give", "let", "do", "don't", "please", "never", "always", "remember", "put", "use", "call", "tell", "see", "say", "come", "avoid", "wait", "stay", "trust", "know", "help", "help", "ask", "write", "read", "carry", "bring", "share", "feel", "believe", "imagine", "be", "have", "meet", "hold", "begin", "face", "bear", "mind", "worry", "love", "call", "thank", "continue", "involve", "allow", "become", "know"]
)
_ORDER = re.compile(rf"(?:^|[,;:–-]\s*|\b(?:and|but|so|then|just|only)\s+)(?:{'|'.join(_COMMANDS)})\b(?! you\b)", re.I)
"""A sentence, or a part of it, that begins with a verb; "thank you" is none."""
_MODAL = re.compile(
    r"\b(?:should|must|ought|shall|will|would|won't|could|may|might|need|needs|can|cannot|can't|has to|have to|had to|had better|"
    r"'ll|going to|about to|if|unless|until|when|whenever|before|after|once|because|due to|means?|cause[sd]?|likely|"
    r"unlikely|possibl[ey]|perhaps|probably|maybe)\b",
    re.I,
)
_MODAL_ALLOWED = re.compile(
    r"\b(?:anyone|anybody|many people|most people|somebody|who) would\b|\bi can\b|\bwould anyone\b"
)
_PROMISE = re.compile(
    r"\b(?:soon|certain|certainly|sure|surely|promise|guarantee|fine|ok|okay|better|best|safe|always|never|nothing|"
    r"no (?:reason|need)|go away|all right|alright|over with|get through|end(?:s|ed)? well|not (?:serious|dangerous)|"
    r"not (?:a|your) (?:fault|reason)|back to|no trouble|easy|easily)\b",
    re.I,
)
_DIAGNOSIS = re.compile(
    r"\b(?:you|he|she|they|it|this|that|which) (?:have|has|had|is|are|was|were|'s|'re) (?:only |just |really |all |in )?"
    r"(?:a |an |the |your |from |in |your own )?(?:anxiety|mind|panic|grief|sadness|heart|strain|stress|distress|"
    r"depress\w*|guilt|pain|hopeless|nobody|nothing|none|trouble|burden|fault|tired|worn)\b|"
    r"\b(?:it|this|that) (?:is|was) (?:not )?(?:from|of|for|in|by|out|off|on|up|down|over|more|less|most|all|only)\b",
    re.I,
)
_LIGHT = re.compile(
    r"\b(?:quiet|calm|easy|easily|small|little|moment|gently|patience|not (?:so|that|too|very)|just|only|nothing|rest)\b",
    re.I,
)
"""Words that make a danger sign lighter than it is."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands before and after the clinician's words."""

    opening: str
    closing: str

    def around(self, answer: str) -> str:
        return f"{self.opening}\n\n{answer}\n\n{self.closing}"


def parse_frame(text: str) -> Frame | None:
    """The frame that a model wrote; None if it wrote something else."""
    match = _WRITTEN.match(text.replace("**", ""))
    if not match:
        return None
    frame = Frame(*(" ".join(match[part].split()) for part in ("opening", "closing")))
    return frame if frame.opening and frame.closing else None


def find_frame_faults(frame: Frame, answer: str, feeling: Feeling) -> tuple[str, ...]:
    """Everything that is wrong with ``frame`` round ``answer``; empty if nothing is."""
    urgent = extraction.sends_for_help(answer)
    faults = [*_faults_of(frame.opening, urgent), *_faults_of(frame.closing, urgent), *_wrong_feeling(frame, feeling)]
    return tuple(dict.fromkeys(faults))


def _faults_of(text: str, urgent: bool) -> list[str]:
    plain = text.replace("’", "'")
    if len(plain.split()) > MOST_WORDS:
        return ["the frame is too long"]
    searched = _MODAL_ALLOWED.sub("", plain.lower())
    patterns = {
        "the frame gives an order": _ORDER,
        "the frame advises or foretells": _MODAL,
        "the frame promises": _PROMISE,
        "the frame diagnoses": _DIAGNOSIS,
    } | ({"the frame softens a danger sign": _LIGHT} if urgent else {})
    faults = [
        f"{fault}: {match[0].strip()}"
        for fault, pattern in patterns.items()
        for part in re.split(r"(?<=[.!?])\s+", searched)
        if (match := pattern.search(part.strip()))
    ]
    faults += [f"the frame states a fact: {word}" for word in _foreign(plain)]
    if extraction.false_reassurance(plain):
        faults.append("the frame promises")
    return faults


def _foreign(text: str) -> list[str]:
    """Numbers, and words that are neither of grammar nor of feeling."""
    parsed = extraction.extract_facts(text)
    numbers = [fact.excerpt for fact in parsed.facts if fact.kind in extraction.QUANTITIES]
    tokens = [token for sentence in parsed.sentences for token in sentence]
    return numbers + [t.text for t in tokens if t.text[0].isdigit() or (t.content and t.stem not in _ALLOWED)]


def _wrong_feeling(frame: Frame, feeling: Feeling) -> list[str]:
    named = named_feelings(f"{frame.opening} {frame.closing}")
    if feeling.emotion not in named:
        return [f"the frame does not name the feeling: {feeling.emotion}"]
    others = named - {feeling.emotion} - _LIKE.get(feeling.emotion, frozenset())
    return [f"the frame names another feeling: {sorted(others)[0]}"] if others else []


_LIKE: Mapping[str, frozenset[str]] = {
    "fear": frozenset({"anxiety"}),
    "anxiety": frozenset({"fear"}),
    "guilt": frozenset({"shame"}),
    "shame": frozenset({"guilt"}),
    "sadness": frozenset({"loneliness"}),
    "loneliness": frozenset({"sadness"}),
}
"""Feelings that are named in one breath."""
_DENIES_ALONE = re.compile(r"\bnot (?:\w+ )?alone\b|\bless alone\b|\bthank\w*|\bhear\w*|\bslow\w*")


def named_feelings(text: str) -> frozenset[str]:
    """The emotions that ``text`` names, by the stems of the judge of emotions; "not alone" names none."""
    plain = _DENIES_ALONE.sub("", text.lower())
    return frozenset(
        emotion for emotion in EMOTIONS if any(re.search(rf"\b{re.escape(stem)}", plain) for stem in STEMS[emotion])
    )


def opener(text: str) -> str:
    """The first sentence, in lower case."""
    return re.split(r"[.!?]", " ".join(text.split()), maxsplit=1)[0].lower()


def stock_openers(texts: Mapping[Hashable, str]) -> frozenset[Hashable]:
    """Keys of texts to leave out, the last ones first, so that no opener makes up more than a tenth of what is left.

    Of fewer than ten texts none is left out: each alone is more than a tenth.
    """
    left = dict(texts)
    while len(left) >= 1 / MOST_SHARE:
        counts = Counter(opener(text) for text in left.values())
        common = {first for first, n in counts.items() if n > MOST_SHARE * len(left)}
        excess = [key for key, text in left.items() if opener(text) in common]
        if not excess:
            break
        del left[excess[-1]]
    return frozenset(texts.keys() - left.keys())


def openers_at_most(texts: Sequence[str]) -> float:
    """Share of the rows that begin with the commonest opener; 0 of none."""
    counts = Counter(opener(text) for text in texts)
    return max(counts.values(), default=0) / max(len(texts), 1)
