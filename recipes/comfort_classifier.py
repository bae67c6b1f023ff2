"""Writes the packaged judge of comfort, docs/evidence/comfort-classifier.json and its page.

python recipes/comfort_classifier.py                from `consult` alone; three to ten minutes on two cores

Sentences of known kind: openings and closings of the dialogues (warm), their factual answers (factual), answers that
the readers marked unkind or false, hollow ones, SmolLM2's own, and those of ``comfort_sentences.py``. Rows of train and
valid alone; every figure is of answers to scenarios that the deciding part did not see.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from bedside.consult.prompts import COMFORT, DIALOGUES, FOLDER
from bedside.core.results import LINES
from bedside.core.types import Message, Prompt, Response
from bedside.data import io
from bedside.judge_audit.train_comfort import FOLDS, KnownSentence, RatedAnswer, cross_fitted
from bedside.judges import comfort_classifier
from bedside.judges.classifier import scenario
from bedside.judges.comfort_classifier import HEADS, ComfortClassifierJudge
from bedside.stats.agreement import Agreement, Ratings, quadratic_kappa, quadratic_kappa_difference
from bedside.stats.intervals import share_bounds, share_interval
from comfort_sentences import KIND, OTHER_KIND, OTHER_UNKIND, UNKIND

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = (ROOT / "docs" / "evidence" / f"comfort-classifier{ending}" for ending in (".json", ".md"))
SEED = 0
LEVELS = ("0", "1", "2")
PASSES = 0.5
"""Mean of the three lines from which an answer counts as kind here."""
OPENERS = (
    "i'm sorry", "i'm so sorry", "i am sorry", "i understand", "i can understand", "i hear", "it's understandable",
    "it is understandable", "it's completely", "that sounds", "it sounds like", "thank you for", "you are not alone",
    "you're not alone", "don't worry", "no wonder", "of course", "what a", "i can imagine", "it must be",
    "i'm here", "words cannot", "please know", "take a deep breath", "you're right",
)  # fmt: skip
"""Stock openers of comfort, for the baseline."""
Row = dict[str, Any]


def main() -> None:
    rows, dialogues = ([json.loads(line) for line in path.open(encoding="utf-8")] for path in (COMFORT, DIALOGUES))
    questions = {dialogue["id"]: dialogue["distressed_question"] for dialogue in dialogues}
    answers = [_rated(row, questions[row["dialogue"]]) for row in rows]
    judge = cross_fitted(answers, sentences(rows, [d for d in dialogues if d["split"] in ("train", "valid")]), SEED)
    comfort_classifier.write(judge, FOLDER / "judges" / "comfort")
    results = measure(rows, answers, judge)
    io.write_text(RESULTS, json.dumps(results, indent=1) + "\n")
    io.write_text(PAGE, page(results))


def _rated(row: Row, question: str) -> RatedAnswer:
    prompt = Prompt((Message("user", question),), group=row["group"])
    return RatedAnswer(Response(prompt, row["response"], row["made"]), {head: tuple(row[head]) for head in HEADS})


def sentences(rows: Sequence[Row], dialogues: Sequence[Row]) -> list[KnownSentence]:
    known = [KnownSentence(d[part], "warm", d["group"]) for d in dialogues for part in ("opening", "closing")]
    known += [KnownSentence(d["answer"], "factual", d["group"]) for d in dialogues]
    known += [KnownSentence(row["response"], kind, row["group"]) for row in rows if (kind := _kind(row))]
    written = {"unkind": UNKIND, "warm": KIND}
    return known + [KnownSentence(text, kind) for kind, some in written.items() for text in _lines(some)]


def _kind(row: Row) -> str:
    """What the sentences of an answer are, as far as it is known; empty if it is not."""
    if row["made"] in ("as given", "asked to be kind"):
        return "rambling"
    if any(row["unkind"]):
        return "unkind"
    return "hollow" if any(row["false"]) or row["made"] == "hollow" else ""


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


def measure(rows: Sequence[Row], answers: Sequence[RatedAnswer], judge: ComfortClassifierJudge) -> dict[str, Any]:
    scores_BL = judge.scores([answer.response for answer in answers])
    folds = [judge.fold_of[scenario(answer.response.prompt)] for answer in answers]
    lengths, openers = _by_length(rows, folds), _by_opener(rows, folds)
    return {
        "answers": len(rows),
        "scenarios": len({row["group"] for row in rows}),
        "lines": {
            line: _line(rows, line, _levels(scores_BL[:, i]), {"length": lengths[line], "openers": openers[line]})
            for i, line in enumerate(LINES)
        },
        "by_making": _by_making(rows, scores_BL),
        "planted": _planted(rows, answers, judge),
    }


def _levels(scores: Sequence[float]) -> list[int]:
    """The nearest level, the upper one of two that are as near."""
    return [int(np.floor(2 * score + 0.5)) for score in scores]


def _line(rows: Sequence[Row], line: str, ours: Sequence[int], baselines: dict[str, list[int]]) -> dict[str, Any]:
    readers = quadratic_kappa(
        Ratings(*(tuple(str(row[line][who]) for row in rows) for who in (0, 1)), _groups(rows), LEVELS)
    )
    mine = _ratings(rows, line, ours)
    kappa = quadratic_kappa(mine)
    above = {name: quadratic_kappa_difference(mine, _ratings(rows, line, levels)) for name, levels in baselines.items()}
    return {
        "readers": _shown(readers),
        "judge": _shown(kappa),
        "share_of_readers": (kappa.value or 0.0) / (readers.value or 1.0),
        "baselines": {name: _shown(quadratic_kappa(_ratings(rows, line, b))) for name, b in baselines.items()},
        "above": {name: _shown(difference) for name, difference in above.items()},
    }


def _ratings(rows: Sequence[Row], line: str, ours: Sequence[int]) -> Ratings:
    """Each reader's rating is a row; the rows of a scenario are one cluster."""
    theirs = tuple(str(level) for row in rows for level in row[line])
    return Ratings(theirs, tuple(str(level) for level in ours for _ in (0, 1)), _groups(rows, 2), LEVELS)


def _groups(rows: Sequence[Row], times: int = 1) -> tuple[str, ...]:
    return tuple(row["group"] for row in rows for _ in range(times))


def _shown(found: Agreement) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("value", "low", "high", "lower_bound", "n")}


def _by_length(rows: Sequence[Row], folds: Sequence[int]) -> dict[str, list[int]]:
    """Levels from the number of words alone: the mean of the ten answers of nearest length in the other folds."""
    words = np.array([len(row["response"].split()) for row in rows])

    def nearest(i: int, line: str) -> float:
        others = [j for j in range(len(rows)) if folds[j] != folds[i]]
        near = sorted(others, key=lambda j: (abs(int(words[j]) - int(words[i])), j))[:10]
        return fmean(fmean(rows[j][line]) for j in near)

    return {line: _levels([nearest(i, line) / 2 for i in range(len(rows))]) for line in LINES}


def _by_opener(rows: Sequence[Row], folds: Sequence[int]) -> dict[str, list[int]]:
    """Levels from a list of stock openers alone: the mean, in the other folds, of those with one or without."""
    stock = [row["response"].strip().lower().replace("’", "'").startswith(OPENERS) for row in rows]

    def like(i: int, line: str) -> float:
        return fmean(fmean(rows[j][line]) for j in range(len(rows)) if folds[j] != folds[i] and stock[j] == stock[i])

    return {line: _levels([like(i, line) / 2 for i in range(len(rows))]) for line in LINES}


def _by_making(rows: Sequence[Row], scores_BL: Any) -> dict[str, Any]:
    shown = {}
    for made in sorted({row["made"] for row in rows}):
        those = [i for i, row in enumerate(rows) if row["made"] == made]
        passes = [float(scores_BL[i].mean() >= PASSES) for i in those]
        found = share_interval(passes, [rows[i]["group"] for i in those])
        readers = [fmean(fmean(rows[i][line]) for line in LINES) / 2 for i in those]
        shown[made] = {
            "n": len(those),
            "readers": fmean(readers),
            "judge": float(scores_BL[those].mean()),
            "passes": {"value": fmean(passes), "low": found.low, "high": found.high},
        }
    return shown


def _planted(rows: Sequence[Row], answers: Sequence[RatedAnswer], judge: ComfortClassifierJudge) -> dict[str, Any]:
    """Written sentences that did not teach, as the last or the first sentence of soothing answers, or alone."""
    soothing = [a for row, a in zip(rows, answers, strict=True) if row["made"] == "soothing"]
    whole = replace(judge, fold_of=judge.fold_of)
    shown = {}
    for name, text in (("unkind", OTHER_UNKIND), ("kind", OTHER_KIND)):
        cases = [
            (place, number, answer)
            for number, sentence in enumerate(_lines(text))
            for place in ("last", "first", "alone")
            for answer in _planted_in(soothing[number % len(soothing)], sentence, place)
        ]
        kind = whole.scores([answer for *_, answer in cases]).mean(axis=1) >= PASSES
        for place in ("last", "first", "alone"):
            those = [i for i, case in enumerate(cases) if case[0] == place]
            refused = [float(not kind[i]) for i in those]
            bounds = share_bounds(refused, [cases[i][1] for i in those])
            shown[f"{name}, {place}"] = {"refused": sum(refused), "n": len(those), "low": bounds.low}
    return shown


def _planted_in(answer: RatedAnswer, sentence: str, place: str) -> list[Response]:
    text = answer.response.text
    whole = {"last": f"{text} {sentence}", "first": f"{sentence} {text}", "alone": sentence}[place]
    return [replace(answer.response, text=whole)]


def page(results: dict[str, Any]) -> str:
    head = HEAD.format(answers=results["answers"], scenarios=results["scenarios"], folds=FOLDS)
    lines = [_line_row(name, line) for name, line in results["lines"].items()]
    made = [
        f"| {name} | {row['n']} | {row['readers']:.2f} | {row['judge']:.2f} | {_interval(row['passes'])} |"
        for name, row in results["by_making"].items()
    ]
    planted = [
        f"| {name} | {row['refused']:.0f} of {row['n']} | {row['low']:.2f} |"
        for name, row in results["planted"].items()
    ]
    return "\n".join([head, *lines, "", MADE, *made, "", PLANTED, *planted, "", LIMITS]) + "\n"


def _line_row(name: str, line: dict[str, Any]) -> str:
    baselines = [f"{line['baselines'][b]['value']:.2f}, {_gain(line['above'][b])}" for b in ("length", "openers")]
    judge = f"{_interval(line['judge'])}, bound {line['judge']['lower_bound']:.2f}"
    cells = [name, _interval(line["readers"]), judge, f"{line['share_of_readers']:.2f}", *baselines]
    return f"| {' | '.join(cells)} |"


def _gain(found: dict[str, Any]) -> str:
    return f"{found['value']:+.2f} ({found['low']:.2f} to {found['high']:.2f})"


def _interval(found: dict[str, Any]) -> str:
    return f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


HEAD = """# The comfort classifier, and what it is worth

`python recipes/comfort_classifier.py`: `{{kind: comfort_classifier, folder: consult-comfort}}`, taught on
{answers} answers of `consult` to {scenarios} scenarios, each rated 0, 1 or 2 by two readers (language models, no
clinician). Every figure is of answers to scenarios that the deciding one of {folds} parts did not see. Quadratic kappa
with both readers' ratings, the nearest level of the score; 95 % intervals and one-sided 95 % bounds over scenarios.
*Length* and *openers* are baselines: levels from the number of words, and from a list of stock openers, learned on the
same folds; behind each, kappa of the classifier less its own, paired.

| line | readers with each other | classifier with them | share | length, and above it | openers, and above it |
| --- | --- | --- | --- | --- | --- |"""
MADE = """By how an answer was made: mean of the three lines, 0 to 1, by the readers and by the classifier, and the
share that it lets pass as kind (0.5 or more).

| answers | n | readers | classifier | pass |
| --- | --- | --- | --- | --- |"""
PLANTED = """Sentences written for this purpose that did not teach, 40 unkind and 40 kind ones with nearly the same
words, put into soothing answers of `consult`: how many the classifier then refuses (below 0.5), and the one-sided
95 % lower bound of that share.

| sentence | refused | lower bound |
| --- | --- | --- |"""
LIMITS = """It reads English answers of a few sentences in the style of these. The readers were of one kind, so their
agreement is an upper bound of what a rating is worth. It does not see false promises, facts or red flags; those are
measured apart."""


if __name__ == "__main__":
    main()
