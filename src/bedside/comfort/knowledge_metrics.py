"""How much of the reference answer's knowledge an answer keeps.

    bleu_1 .. bleu_4   sentence BLEU with n-grams up to n (sacrebleu; its signature stands in the definitions)
    chrf               character n-gram F-score (sacrebleu)
    rouge_l            F1 of the longest common subsequence of tokens (Lin 2004)
    fact_recall        share of the reference's facts that survive (``factuality.fact_check``)
    fact_conflict      share of answers that contradict the reference or make a fact up

Every row has one value in [0, 1] a measure; measures are means, intervals count groups. The reference is
``prompt.reference``: the verified soothing answer, or the original one; ``comfort.summary`` reports the two apart.
Tokens are sacrebleu's for the script of the text: 13a, zh if there are Chinese characters, char for other scripts
without spaces; so two identical Chinese texts have a BLEU of 1 and not of 0.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from bedside.config.plugins import Plugin, register
from bedside.core.measures import Measure
from bedside.core.protocols import Launch
from bedside.core.types import JudgedResponse
from bedside.factuality.fact_check import check
from bedside.stats.measures import mean

BLEU = tuple(f"bleu_{n}" for n in range(1, 5))
NAMES = (*BLEU, "chrf", "rouge_l", "fact_recall", "fact_conflict")
_CHINESE = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_NO_SPACES = re.compile(r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff]")
"""Thai, Lao, Khmer, Japanese syllables."""


@register("metric", "knowledge")
class Knowledge(Plugin):
    """BLEU, chrF, ROUGE-L, fact recall and fact conflict against each prompt's reference answer."""

    def open(self, launch: Launch, **opened: Any) -> "KnowledgeMetric":
        return KnowledgeMetric()


@dataclass(frozen=True, slots=True)
class KnowledgeMetric:
    """Knowledge, opened: a metric. Nothing to load."""

    def measure(self, rows: Sequence[JudgedResponse]) -> list[Measure]:
        """The measures of ``NAMES``. A prompt without a reference is unreadable here; a blank answer scores 0."""
        groups = [row.prompt.cluster for row in rows]
        return [mean(name, values, groups) for name, values in self.values(rows).items()]

    def values(self, rows: Sequence[JudgedResponse]) -> dict[str, list[float | None]]:
        """One value a row and measure; None if the prompt has no reference or the reference states no fact."""
        by_row = [_row_values(row.prompt.reference, row.response.text, row.prompt.text) for row in rows]
        return {name: [values.get(name) for values in by_row] for name in NAMES}

    def definitions(self) -> dict[str, str]:
        """One sentence a measure, with sacrebleu's signature."""
        bleu = {
            name: f"Mean sentence BLEU of up to {n}-grams, 0 to 1; {signature(n)}." for n, name in enumerate(BLEU, 1)
        }
        return bleu | {
            "chrf": f"Mean character F-score, 0 to 1; {_chrf_signature()}.",
            "rouge_l": "Mean F1 of the longest common subsequence of tokens, in the tokens of BLEU.",
            "fact_recall": "Mean share of the reference's facts (numbers with units, negations, modality, conditions, "
            "urgency, names) that survive.",
            "fact_conflict": "Share of answers that contradict a fact of the reference or make one up.",
        }


def signature(order: int) -> str:
    """sacrebleu's signature of this BLEU; the tokenizer is chosen by script."""
    shown = "nrefs:1|case:mixed|eff:yes|tok:13a, zh or char by script|smooth:exp"
    return f"sacrebleu {shown}|version:{version('sacrebleu')}|order:{order}"


def _chrf_signature() -> str:
    return f"sacrebleu nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{version('sacrebleu')}"


def tokenizer(text: str) -> str:
    """sacrebleu's name of the tokenizer for the script of ``text``."""
    if _NO_SPACES.search(text):
        return "char"
    return "zh" if _CHINESE.search(text) else "13a"


@cache
def _bleu(order: int, tokens: str) -> Any:
    from sacrebleu.metrics import bleu

    return bleu.BLEU(max_ngram_order=order, tokenize=tokens, effective_order=True)


@cache
def _chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


def _row_values(reference: str | None, answer: str, question: str) -> dict[str, float | None]:
    if not reference or not reference.strip():
        return {}
    tokens = tokenizer(reference + answer)
    scores: dict[str, float | None] = {
        name: _clipped(_bleu(n, tokens).sentence_score(answer, [reference]).score) for n, name in enumerate(BLEU, 1)
    }
    checked = check(reference, answer, question)
    return scores | {
        "chrf": _clipped(_chrf().sentence_score(answer, [reference]).score),
        "rouge_l": rouge_l(reference, answer),
        "fact_recall": checked.recall,
        "fact_conflict": float(bool(checked.conflicts)),
    }


def _clipped(percent: float) -> float:
    return min(1.0, max(0.0, percent / 100))


def rouge_l(reference: str, answer: str) -> float:
    """F1 of the longest common subsequence: 2 · lcs / (tokens of reference + tokens of answer), case ignored."""
    split: Callable[[str], str] = _bleu(1, tokenizer(reference + answer)).tokenizer
    tokens, others = split(reference.lower()).split(), split(answer.lower()).split()
    return 2 * _lcs(tokens, others) / (len(tokens) + len(others)) if tokens and others else 0.0


def _lcs(tokens: Sequence[str], others: Sequence[str]) -> int:
    """Length of the longest common subsequence, row by row of the table."""
    row = [0] * (len(others) + 1)
    for token in tokens:
        diagonal = 0
        for i, other in enumerate(others, 1):
            diagonal, row[i] = row[i], diagonal + 1 if token == other else max(row[i], row[i - 1])
    return row[-1]
