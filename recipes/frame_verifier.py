"""Writes the packaged reader of frames, docs/evidence/frames.json and its page.

python recipes/frame_verifier.py                from `consult` alone; a minute on two cores

The reader learns from rows of train and valid: sentences of the frames (company), of factual answers and references,
and of written intrusions (``frame_sentences.py``). The figures are of the test part and of intrusions that were
written for them alone (``frame_intrusions.py``), after the rules and the reader were fixed.
"""

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.comfort import frame_reader, frames
from bedside.comfort.emotions import Feeling
from bedside.comfort.frame_reader import CLASSES
from bedside.comfort.frames import Frame, FrameSubject, find_frame_faults
from bedside.consult.prompts import DIALOGUES, PROMPTS
from bedside.core.hashing import digest, seed_from
from bedside.data import io
from bedside.stats.intervals import share_bounds, share_interval
from bedside.stats.tfidf import LinearClassifier, fit_linear
from frame_intrusions import planted
from frame_sentences import closings, intrusions, openings

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = (ROOT / "docs" / "evidence" / f"frames{ending}" for ending in (".json", ".md"))
FRESH = ROOT / "recipes" / "frame_fresh.jsonl"
SEED, FOLDS = 0, 5
CONTEXTS = 3
"""Dialogues in whose words each written sentence is read."""
COMPANY, INTRUDES = CLASSES
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Known:
    """The outline of a sentence whose class is known. ``group``: its scenario, or its form."""

    outline: str
    kind: str
    group: str


def known_sentences(dialogues: Sequence[Row], references: Iterable[tuple[str, str]]) -> list[Known]:
    """Every sentence that teaches. ``references``: factual texts with their groups."""
    rng = random.Random(SEED)
    known = [Known(o, COMPANY, d["group"]) for d in dialogues for o in _outlines(_frame_text(d), d)]
    for text, group in references:
        own = rng.random() < 0.5
        context = rng.choice(dialogues) if own else {"distressed_question": "", "answer": ""}
        known += [Known(o, INTRUDES, group) for o in _outlines(text, context)]
    written = [(text, COMPANY, text) for text in (*(o for _, o in openings()), *closings())]
    written += [(text, INTRUDES, form) for _, form, text in intrusions()]
    for text, kind, group in written:
        for _ in range(CONTEXTS):
            known += [Known(o, kind, group) for o in _outlines(text, rng.choice(dialogues))]
    return known


def _frame_text(dialogue: Row) -> str:
    return f"{dialogue['opening']} {dialogue['closing']}"


def _outlines(text: str, dialogue: Row) -> list[str]:
    return frame_reader.outlines(frames.split(text), dialogue["distressed_question"], dialogue["answer"])


def learn(known: Sequence[Known]) -> LinearClassifier:
    return fit_linear([k.outline for k in known], [k.kind for k in known], SEED)


def cross_fitted(known: Sequence[Known]) -> list[float]:
    """Of each sentence the probability that it intrudes, by a classifier that did not see its group."""
    folds = [seed_from(digest(SEED, k.group)) % FOLDS for k in known]
    scores = [0.0] * len(known)
    for fold in range(FOLDS):
        classifier = learn([k for k, f in zip(known, folds, strict=True) if f != fold])
        those = [i for i, f in enumerate(folds) if f == fold]
        for i, score in zip(
            those, frame_reader.probabilities(classifier, [known[i].outline for i in those]), strict=True
        ):
            scores[i] = score
    return scores


def main() -> None:
    frame_reader.write(learn(teaching()))
    frame_reader.packaged.cache_clear()
    results = measure(_rows(DIALOGUES, ("test",)))
    io.write_text(RESULTS, json.dumps(results, indent=1) + "\n")
    io.write_text(PAGE, page(results))


def measure(dialogues: Sequence[Row]) -> dict[str, Any]:
    """Of rows of the test part, and of the planted sentences."""
    plain = [d for d in dialogues if not d["red_flag"]]
    flagged = [d for d in dialogues if d["red_flag"]]
    cases = [(kind, *_plant(n, dialogue, text, plain)) for n, (kind, dialogue, text) in enumerate(planted())]
    kinds = {kind: [case for case in cases if case[0] == kind] for kind in dict.fromkeys(case[0] for case in cases)}
    return {
        "caught": _caught(cases),
        "caught_by_kind": {kind: _caught(some) for kind, some in kinds.items()},
        "missed": [text for _, text, _, faults in cases if not faults],
        "fresh": _fresh(plain),
        "caught_by": dict(Counter(_kind(faults[0]) for *_, faults in cases if faults).most_common()),
        "false_refusals": _refused(plain),
        "general_frames_refused": _share([bool(_general_faults(n, d)) for n, d in enumerate(plain)], plain),
        "red_flags": {
            "seen_without_mark": _share([_subject(d, marked=False).urgent for d in flagged], flagged),
            "own_frames_refused": _refused(flagged)["refused"],
            "general_frames_refused": _share([bool(_general_faults(n, d)) for n, d in enumerate(flagged)], flagged),
        },
    }


def _fresh(plain: Sequence[Row]) -> dict[str, Any]:
    """Of sentences that were written when the rules had been fixed. One that fits any dialogue is its own group."""
    rows = [json.loads(line) for line in FRESH.open(encoding="utf-8")]
    planted_rows = [(row, *_plant(n, row["dialogue"], row["sentence"], plain)) for n, row in enumerate(rows)]
    return _caught([(r["kind"], text, g if r["dialogue"] else text, faults) for r, text, g, faults in planted_rows])


def _plant(n: int, dialogue: str, sentence: str, plain: Sequence[Row]) -> tuple[str, str, tuple[str, ...]]:
    """The sentence, its dialogue, and the faults of a frame that has none without it."""
    host = next((d for d in plain if d["id"] == dialogue), plain[n % len(plain)])
    subject = _subject(host)
    frame = next(f for f in _general_frames(n, host) if not find_frame_faults(f, subject))
    there = (
        Frame(f"{frame.opening} {sentence}", frame.closing)
        if n % 2
        else Frame(frame.opening, f"{sentence} {frame.closing}")
    )
    return sentence, host["group"], find_frame_faults(there, subject)


def _general_frames(n: int, dialogue: Row) -> list[Frame]:
    """Frames of the general sentences for the dialogue's emotion, beginning with the ``n``-th."""
    first = [text for emotion, text in openings() if emotion == dialogue["emotion"]]
    last = closings()
    return [Frame(first[(n + i) % len(first)], last[(n + i) % len(last)]) for i in range(len(last))]


def _general_faults(n: int, dialogue: Row) -> tuple[str, ...]:
    return find_frame_faults(_general_frames(n, dialogue)[0], _subject(dialogue))


def _subject(dialogue: Row, *, marked: bool = True) -> FrameSubject:
    feeling = Feeling(dialogue["emotion"], dialogue["intensity"])
    return FrameSubject(dialogue["distressed_question"], dialogue["answer"], feeling, marked and dialogue["red_flag"])


def _caught(cases: Sequence[tuple[str, str, str, tuple[str, ...]]]) -> dict[str, Any]:
    hits = [float(bool(faults)) for *_, faults in cases]
    bounds = share_bounds(hits, [group for _, _, group, _ in cases])
    return {"caught": int(sum(hits)), "n": len(hits), "lower_bound": bounds.low}


def _refused(dialogues: Sequence[Row]) -> dict[str, Any]:
    faults = [find_frame_faults(Frame(d["opening"], d["closing"]), _subject(d)) for d in dialogues]
    reasons = Counter(kind for some in faults for kind in {_kind(fault) for fault in some})
    return {"refused": _share([bool(some) for some in faults], dialogues), "reasons": dict(reasons.most_common())}


def _share(hits: Sequence[bool], dialogues: Sequence[Row]) -> dict[str, Any]:
    interval = share_interval([float(hit) for hit in hits], [d["group"] for d in dialogues])
    return {"count": sum(hits), "n": len(hits), "low": interval.low, "high": interval.high}


def _kind(fault: str) -> str:
    return fault.partition(":")[0]


def _rows(path: Path, parts: Sequence[str]) -> list[Row]:
    rows = [json.loads(line) for line in path.open(encoding="utf-8")]
    return [row for row in rows if row["split"] in parts]


def teaching() -> list[Known]:
    dialogues, prompts = (_rows(path, ("train", "valid")) for path in (DIALOGUES, PROMPTS))
    references = [(d["answer"], d["group"]) for d in dialogues]
    references += [(p["reference"], p["group"]) for p in prompts if p.get("reference")]
    return known_sentences(dialogues, references)


def page(results: dict[str, Any]) -> str:
    caught = results["caught"]
    kinds = [f"| {kind} | {row['caught']} of {row['n']} |" for kind, row in results["caught_by_kind"].items()]
    reasons = [f"| {reason} | {n} |" for reason, n in results["false_refusals"]["reasons"].items()]
    flags = results["red_flags"]
    return PAGE_TEXT.format(
        caught=f"{caught['caught']} of {caught['n']}",
        bound=f"{caught['lower_bound']:.3f}",
        fresh=f"{results['fresh']['caught']} of {results['fresh']['n']}",
        fresh_bound=f"{results['fresh']['lower_bound']:.3f}",
        missed="; ".join(f'"{text}"' for text in results["missed"]) or "none",
        kinds="\n".join(kinds),
        refused=_shown(results["false_refusals"]["refused"]),
        general=_shown(results["general_frames_refused"]),
        reasons="\n".join(reasons),
        seen=_shown(flags["seen_without_mark"]),
        own=_shown(flags["own_frames_refused"]),
    )


def _shown(share: dict[str, Any]) -> str:
    return f"{share['count']} of {share['n']} ({share['low']:.2f} to {share['high']:.2f})"


PAGE_TEXT = """# The verifier of frames: what it catches, and what it costs

`python recipes/frame_verifier.py`: `comfort.rewrite.mode: frame` puts an opening and a closing round an answer that
stays word for word. The verifier refuses a frame that brings a fact, a drug or dose, advice, a diagnosis, a promise, an
instruction or false reassurance.

Planted: 200 sentences, written one by one, each put into a frame that passes without it, round a dialogue of the test
part of `consult`. **Caught: {caught}, one-sided 95 % lower bound {bound}** (over dialogues).
Missed: {missed}

| kind | caught |
| --- | --- |
{kinds}

The rules were made on 301 other sentences and on two earlier trials of 200, of which 182 and 191 were caught; then they
were fixed and these 200 were written. One author wrote rules and sentences, so a stranger's intrusions may fare worse.

200 more sentences were written when the rules had long been fixed, by a writer who had read them, in plainer words,
some behind words of company ("Your gums are inflamed, and so the sink is pink"). Caught: {fresh}, lower bound
{fresh_bound} (a sentence that fits any dialogue is a group of its own). They have been read since: they measure no
later change. A trial of other rules and another reader, which let more of `consult`'s frames pass, caught 173 of these
200 and was not taken: [log](../log.md).

**The price: it lets plain sentences pass and refuses personal ones.** Frames of `consult` itself, test part, without
a red flag: refused {refused}, 95 % interval. They speak in pictures of the patient's own life ("Handing
over a child is among the hardest gestures there are"), which the verifier cannot tell from a fact. Frames made of the
general sentences that taught the packaged writer, round the same dialogues: refused {general}.

| why `consult`'s own frames are refused (a frame may have several faults) | frames |
| --- | --- |
{reasons}

Red flags, test part: seen in the question or the answer without the mark of the data, {seen}.
`consult`'s own frames there: refused {own}; an opening there has at most 25 words and calls nothing
small, natural or common.
"""


if __name__ == "__main__":
    main()
