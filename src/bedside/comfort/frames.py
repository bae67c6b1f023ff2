"""A frame: an opening that names the patient's feeling and a closing, round the clinician's unchanged words.

    OPENING: It makes sense that a question like this frightens you.
    CLOSING: You are not alone with it.

Each sentence is verified by its form and by a reader that learned (``frame_reader``). Refused by form: a number that
the patient did not write, an order ("take"), advice ("helps"), what should, must or will be, a promise, what the
patient has or what it comes from, and another feeling than the patient's. The reader refuses every word that is not of
grammar, feeling or company, and what reads like an intrusion made of such words. Round an answer that sends for help
at once, or a question with a danger sign, a frame is short and calls nothing small, common or natural.
"""

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass

from bedside.comfort import frame_reader
from bedside.comfort.emotions import EMOTIONS, Feeling
from bedside.comfort.frame_words import FEELINGS
from bedside.core.types import Prompt
from bedside.factuality import extraction

MOST_WORDS = 60
"""Of an opening, and of a closing."""
MOST_WORDS_URGENT = 25
"""Of an opening before an answer that sends for help at once."""
MOST_SHARE = 0.1
"""Largest share of the rows that may begin with one sentence."""
STOCK_OPENER = "an opener of more than a tenth of the rows"
_WRITTEN = re.compile(r"\A\s*OPENING:(?P<opening>.*?)\n\s*CLOSING:(?P<closing>.*)\Z", re.S)

_VERBS = """
take try stop start make keep go get give let do don't please never always remember put use call tell see come avoid
wait stay trust ask write read carry bring breathe feel believe imagine be have meet hold begin bear mind worry continue
involve allow become know speak talk look listen watch think turn leave lose set rest sleep sit stand drink eat rub wash
walk move lie add check follow report seek visit bother lean focus notice accept cover return reach pick cool press wrap
swallow join inform apply reduce increase treat give eat swap cut lower raise test ring phone contact
"""
_NOUN = r"(?! (?:you|is|are|was|of|has|can|like|often|grows|with it)\b)"
_LEAD = r"(?:(?:and|but|so|then|just|now|instead|first|again|or|well|maybe|simply|only|today|tonight|from now on),? )*"
_ORDER = re.compile(
    rf"(?:^{_LEAD}|; {_LEAD}|: {_LEAD}| - {_LEAD}|, (?:so|then|please|just|and) )"
    rf"(?:{'|'.join(sorted({*_VERBS.split()}))})\b{_NOUN}|\bplease\b|\bmake sure\b|"
    r"^(?:not (?:a|an|another|one)|no (?:more|longer|other)|off (?:to|with)|straight to|up with|hands off|"
    r"eyes closed)\b|"
    r"^you (?:take|call|go|stop|rest|put|give|drink|eat|see|visit|phone|sleep)\b",
    re.I,
)
"""A sentence, or a part of it, that begins with a verb; "thank you" is none."""
_DOES = (
    r"(?:want|wish|try|take|ask|see|stop|start|think|consider|have|be able|expect|rest|use|share|go|call|do|get|need|"
    r"feel better|eat|drink|sleep|walk|relax|trust|look forward|live|leave|wait|talk|find|keep)"
)
_ADVICE = re.compile(
    r"\b(?:should(?! (?:not |never )?have)|ought|shall|will|won't|'ll|going to|about to|had better|needs? to|needs|"
    r"have to|has to|supposed to|advis\w+|recommend\w*|suggest\w*|helps?|helpful|useful|wise|wiser|wonders|idea|"
    rf"(?:you|one|she|he|they) (?:may|might|can|could) (?:also |even |always |now |safely )?{_DOES}|"
    r"(?:may|might|could) (?:be|have|like)|kinder|must(?! (?:be|feel|have|sound|seem|make|weigh|hurt))|"
    r"must be (?:patient|careful|strong|brave|calm|treated|done|taken)|worth (?:a|the|\w+ing\b(?<!asking)(?<!hearing))|"
    r"does? (?:\w+ ){0,4}?good|good (?:to (?!you|me)|for (?:you|him|her|them|the))|(?:is|are) (?:the )?(?:best|"
    r"better|enough)|"
    r"have you (?:thought|tried|asked|considered)|it is time|(?:makes?|made) (?:it|things|this|that) |"
    r"i (?:would|'d) (?:ask|take|see|try|stop|wait|talk|go|call|rest|choose|avoid|leave|keep)|no (?:need|use|point)|"
    r"would (?:help|do|ease|be (?:good|best|better|wise))|asking for|ask for)\b",
    re.I,
)
_ADVICE_ALLOWED = re.compile(
    r"\bto have to (?:ask|say|write|face|wait)\b|\bgood to (?:hear from|have you|meet)\b|"
    r"\b(?:do|does) not have to (?:be|carry|bear|hide|explain|pretend|apologi\w+|face|smile|laugh|say)\b|"
    r"\b(?:would|will) (?:be|like|rather|have) (?:glad|happy|to hear)\b|\bi can(?:not)? have\b|\bwhat helps? "
)
"""Of company and of how something must feel: no forecast and no advice."""
_PROMISE = re.compile(
    r"\b(?:soon|promise\w*|guarantee\w*|certain|certainly|sure|surely|everything (?:is|works|goes|turns)|"
    r"all (?:right(?! (?:to|that))|well|of this (?:ends|passes|goes))|safe|safer|safely|harmless|"
    r"nothing (?:bad|serious|to (?:fear|worry|be (?:afraid|scared|worried))|dangerous|is wrong|"
    r"wrong with (?!asking)|can|else)|"
    r"no (?:danger|risk|harm|pain|cancer|reason|cause|sign|damage|tumou?r|doubt)|get through|gets? (?:easier|better)|"
    r"feel better|end(?:s|ed)? well|always (?:ends?|passes|heals?)|over soon|pass(?:es)? (?:away|by|on|quickly)|"
    r"go(?:es)? away|cure[sd]?|curable|heal\w*|recover\w*|in good hands|not (?:dangerous|serious|ill|sick|"
    r"dying|so bad)|"
    r"never (?:happen\w*|hurts?)|back to (?:normal|your|himself|herself|yourself)|normal again|only a memory|"
    r"comes? (?:right|good|back(?! here)|home)|turns? out|works? out|(?:be|is|are|am) fine|be okay|be ok|(?:is|"
    r"are) okay|"
    r"good (?:one|place|end|answer|hands)|day and night|my word(?: that|$|[.,])|from now|way back|"
    r"behind (?:you|him|her|us)|one day|next (?:spring|summer|year|week|month)|"
    r"by (?:spring|summer|autumn|winter|easter|christmas|then)|(?:feels?|notices?) (?:none|nothing)|if it were|"
    r"the odds|"
    r"on your side|too late|(?:only|just) (?:looks?|sounds?|feels?)|(?:sounds|looks) worse|means nothing|"
    r"next to nothing|"
    r"(?:wake|wakes|woke) up|beat (?:this|it)|count on|believe me|once is|not her|not him|leaves? no|no more|"
    r"anymore|any more|"
    r"stays? (?:well|with|as|the)|lighter|gets? (?:over|back|out)|again(?: yourself)?[.!]?$|too (?:young|old|"
    r"small|healthy|strong|fit) (?:for|to)|worry (?:is bigger|too much)|"
    r"(?<!not an )easy|easily|easier|the worst is|find a (?:cure|way)|against it)\b",
    re.I,
)
_SOMEBODY = (
    r"(?:he|she|they|life|god|people|women|men|children|parents|doctors|(?:your|the) (?:son|daughter|child|children|"
    r"mother|father|husband|wife|brother|sister|family|parents?|friends?|grand\w+|boy|girl|baby|body))"
)
_OTHERS = re.compile(
    rf"(?:^|[,;:] (?:and |but |so |then |for )?|\b(?:that|and|but|because|how|until|as) ){_SOMEBODY} (?!who )|"
    r"\bi (?:know|believe|think|hope|trust|am sure) (?:that )?(?:you|it|this|he|she|they|all|everything) "
    r"(?!feel|are (?:afraid|scared|worried|sad|angry|tired)|is hard)|\bi would(?: not|n't)? (?!be|like|have|rather)",
    re.I,
)
"""Speaks of somebody else, or says what is so: a frame speaks to the patient, of what they feel and asked."""
_CAUSES = (
    r"(?:anxiety|mind|panic|grief|sadness|heart|strain|stress|distress|depress\w*|guilt|worry|nerves|fear|terror|"
    r"loneliness|burnout|exhaustion|shock|sorrow|shame)"
)
_DIAGNOSIS = re.compile(
    rf"\b(?:you|he|she|they|i think|it|this|that) (?:have|has|had|suffers? from|is|are|was|is from|comes? from|"
    rf"is due to) "
    rf"(?:\w+ ){{0,2}}?(?:attack|disorder|{_CAUSES})(?=[.,;!?]|$| and not| alone)|"
    rf"\b(?:comes?|is|are|stems?) (?:\w+ )?from (?:\w+ ){{0,2}}?{_CAUSES}\b|\bcaused\b|\bdue to\b|"
    rf"\bbecause of your {_CAUSES}|"
    rf"\b(?:only|just|simply|nothing but|probably|merely|all) (?:\w+ )?{_CAUSES}(?=[.,;!?]|$)|"
    r"\bin your (?:mind|head)\b|\byour (?:mind|heart|nerves|body) (?:is|are|has|have|makes?)\b|"
    r"\b(?:you|he|she|they) (?:are|is|seem|seems) (?:depressed|ill|sick|simply|just|only|suffering|dying|having)\b|"
    r"\b(?:sounds|looks|seems|appears|points) (?:to me )?(?:like|as|to) (?:a|an|you have|the)\b|\bsigns? of\b|"
    r"\bthat is all\b|\bnothing more\b|\b(?:probably|likely|presumably)\b|\bin (?:your|the|his|her|"
    r"my) family\b|\b(?:half|thirds?|quarters?) of\b|"
    r"\b(?:one|two|three|four|five|six|seven|eight|nine|\d+) (?:out of|in) (?:every )?(?:\w+)(?=[ .,])(?<!in one)|"
    r"\b(?:most|many|some|few|half|other|all|more) (?:of )?(?:people|patients|women|men|children|parents|them) "
    r"(?:have|get|live|do|grow|recover|are|find|need|suffer|take|try)\b",
    re.I,
)
"""What the patient has or is, what it comes from, and what is so with most people."""
_SMALLER = re.compile(
    r"\b(?:calm\w*|easy|easily|small|little|gentl[ey]|patience|not (?:so|that|too|very)|just|only|rest\w*|natural|"
    r"understandabl[ey]|normal|ordinary|common|usual|everyone|anyone|anybody|most|many|people|makes sense|slight\w*|"
    r"tiny|silly|foolish|odd|a bit|tonight|wait(?:ed|ing)? (?:for|until)|can wait|trust|relax\w*|harmless|nothing|"
    r"worse)\b",
    re.I,
)
"""Words that make a danger sign smaller, or ordinary."""
_COMPANY = re.compile(
    r"\b(?:ask\w*|question\w*|answer(?= )|hear\w*|listen\w*|understand\w*|understood|glad|sorry|thank\w*|here|with you|"
    r"welcome|words?|tell\w*|told|say\w*|said|writ\w*|wrote|read|carr\w+|feel\w*|felt|emotions?|alone|company|"
    r"hard|heavy|"
    r"courage|brave|trust|care|cares|heart|hurts?|painful|matters?|kind|human|no wonder|seen|see)\b",
    re.I,
)
"""Every sentence has a word of these, or names a feeling."""
_CONDITION = re.compile(r"\b(?:if|when|whenever|unless|in case|should (?:you|he|she|it|they)|after)\b", re.I)
DANGER_SIGN = re.compile(
    r"\bchest (?:pain|pressure|tight\w*)|\b(?:crushing|tight\w*|pressure) (?:\w+ ){0,3}chest|"
    r"\b(?:cannot|can't|can hardly|struggl\w+ (?:to|for)|fight\w* (?:to|for)) (?:get (?:any )?(?:air|breath)|"
    r"breathe?)\b|"
    r"\bblue lips|\blips (?:\w+ ){0,4}blue|\bslurr\w+|\bface (?:\w+ ){0,2}(?:droop|hang)\w*|\bworst headache|"
    r"\b(?:cough|vomit|throw|bring|spit)\w* (?:\w+ ){0,2}blood|\bunconscious|\bstiff neck|"
    r"\blips? (?:\w+ ){0,3}swell|\bswell\w* (?:\w+ ){0,3}(?:lips?|tongue|throat)|\boverdos\w+|\bpoison(?:ed|ing)\b|"
    r"\bswallowed (?:a|the|some|bleach) ?(?:batter|bleach|pill|tablet|magnet)?\w*|"
    r"\b(?:kill|hurt|end) (?:myself|my life|himself|herself)\b|\bsuicid\w*|\bdon't want to (?:live|be here)|"
    r"\b(?:not|no longer|stopped|barely) (?:breath|respond|wak)(?:e|es|ing)\b",
    re.I,
)
"""In a question: a sign for which patients are sent for help at once. Few and plain; the answer says the rest."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands before and after the clinician's words."""

    opening: str
    closing: str

    def around(self, answer: str) -> str:
        return f"{self.opening}\n\n{answer}\n\n{self.closing}"


@dataclass(frozen=True, slots=True)
class FrameSubject:
    """What a frame stands round, and for whom."""

    question: str
    answer: str
    feeling: Feeling
    red_flag: bool = False
    """Known to be a danger sign; others are seen in the question and in the answer."""

    @property
    def urgent(self) -> bool:
        return self.red_flag or _sends_now(self.answer) or DANGER_SIGN.search(_plain(self.question)) is not None


def parse_frame(text: str) -> Frame | None:
    """The frame that a model wrote; None if it wrote something else."""
    match = _WRITTEN.match(text.replace("**", ""))
    if not match:
        return None
    frame = Frame(*(" ".join(match[part].split()) for part in ("opening", "closing")))
    return frame if frame.opening and frame.closing else None


def find_frame_faults(frame: Frame, subject: FrameSubject) -> tuple[str, ...]:
    """Everything that is wrong with ``frame``; empty if nothing is. The kind of a fault stands before its colon."""
    faults = [fault for text in (frame.opening, frame.closing) for fault in _faults_of(_plain(text), subject)]
    faults += _wrong_feeling(frame, subject.feeling)
    faults += _faults_of_urgent(frame) if subject.urgent else []
    return tuple(dict.fromkeys(faults))


def _faults_of(text: str, subject: FrameSubject) -> Iterator[str]:
    if len(text.split()) > MOST_WORDS:
        yield "the frame is too long"
    sentences = split(text)
    for sentence in sentences:
        yield from _faults_of_form(sentence)
    yield from (
        f"the frame states a number: {number}" for number in _numbers(text) - _numbers(_plain(subject.question))
    )
    if extraction.false_reassurance(text):
        yield "the frame promises"
    brought = frame_reader.intrusions(sentences, subject.question, subject.answer)
    yield from (f"the frame states a fact or advises: {what}" for what in brought if what)


def _faults_of_form(sentence: str) -> Iterator[str]:
    advising = _ADVICE_ALLOWED.sub(" ", sentence.lower())
    for fault, pattern, searched in (
        ("the frame gives an order", _ORDER, sentence),
        ("the frame advises or foretells", _ADVICE, advising),
        ("the frame promises", _PROMISE, sentence),
        ("the frame diagnoses", _DIAGNOSIS, sentence),
        ("the frame speaks of somebody else", _OTHERS, sentence),
    ):
        if match := pattern.search(searched):
            yield f"{fault}: {match[0].strip()}"
    if not _COMPANY.search(sentence) and not named_feelings(sentence):
        yield "a sentence of the frame keeps no company"


def _faults_of_urgent(frame: Frame) -> Iterator[str]:
    if len(frame.opening.split()) > MOST_WORDS_URGENT:
        yield "the frame is long before a danger sign"
    if match := _SMALLER.search(_plain(f"{frame.opening} {frame.closing}")):
        yield f"the frame soothes a danger sign: {match[0].strip()}"


def _sends_now(answer: str) -> bool:
    """Whether a sentence of ``answer`` sends for help at once, whatever happens next."""
    sentences = re.split(r"(?<=[.!?])\s+", _plain(answer))
    return any(extraction.sends_for_help(sentence) and not _CONDITION.search(sentence) for sentence in sentences)


def _numbers(text: str) -> frozenset[str]:
    parsed = extraction.extract_facts(text)
    spelt = {fact.value for fact in parsed.facts if fact.kind in extraction.QUANTITIES}
    tokens = {token.text for sentence in parsed.sentences for token in sentence if token.text[0].isdigit()}
    return frozenset(spelt | tokens)


def _wrong_feeling(frame: Frame, feeling: Feeling) -> list[str]:
    text = f"{frame.opening} {frame.closing}"
    if feeling.emotion not in named_feelings(text):
        return [f"the frame does not name the feeling: {feeling.emotion}"]
    others = named_feelings(text.replace("alone", "")) - {feeling.emotion} - _LIKE[feeling.emotion]
    return [f"the frame names another feeling: {sorted(others)[0]}"] if others else []


_LIKE: Mapping[str, frozenset[str]] = {
    "fear": frozenset({"anxiety", "helplessness"}),
    "anxiety": frozenset({"fear", "helplessness"}),
    "guilt": frozenset({"shame", "sadness"}),
    "shame": frozenset({"guilt", "loneliness"}),
    "sadness": frozenset({"loneliness", "helplessness"}),
    "loneliness": frozenset({"sadness"}),
    "anger": frozenset({"helplessness"}),
    "helplessness": frozenset({"fear", "anxiety", "sadness"}),
}
"""Feelings that are named in one breath."""
_NAMES_NONE = re.compile(
    r"\b(?:not|never|less|no longer|nobody|isn't|aren't) (?:\w+ ){0,2}?(?:alone|to blame|at fault|your fault|silly)\b|"
    r"\blet alone\b|\bnot too much\b|\bwithout (?:blame|shame|reproach)\b|\b(?:no|"
    r"nothing) (?:\w+ )?(?:shame\w*|blame|fault)\b|"
    r"\bnot (?:\w+ )?(?:shameful|ashamed|embarrassing|your fault)\b|\b(?:a)?cross (?:the|from|his|her|your|a|my|it)\b"
)
_NAMED = {
    emotion: re.compile(rf"\b(?:{'|'.join(re.escape(beginning) for beginning in FEELINGS[emotion])})")
    for emotion in EMOTIONS
}


def named_feelings(text: str) -> frozenset[str]:
    """The emotions that ``text`` names; "you are not alone" and "not your fault" name none."""
    plain = _NAMES_NONE.sub(" ", _plain(text).lower())
    return frozenset(emotion for emotion, pattern in _NAMED.items() if pattern.search(plain))


def split(text: str) -> list[str]:
    """The sentences of a frame; what stands before a colon or a semicolon is one of its own."""
    return [part for part in re.split(r"(?<=[.!?:;])[\"')]*\s+", text.strip()) if part]


def _plain(text: str) -> str:
    return text.replace("’", "'").replace("—", " - ").replace("–", "-")


def is_marked_red_flag(prompt: Prompt) -> bool:
    """Whether the metadata of ``prompt`` call it a red flag."""
    return prompt.metadata.get("red_flag", "").lower() in ("yes", "true", "1")


def opener(text: str) -> str:
    """The first sentence in lower case, within the first 400 characters."""
    return re.split("[.!?]", " ".join(text.split())[:400], maxsplit=1)[0].lower()


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
