"""Harm levels for prompts that have none: a classifier proposes them, people confirm them (`bedside label`).

    propose    writes a file of proposals: harm level and principle of each unlabelled prompt, with a probability
    confirm    asks a person for the level of each row of that file and records who confirmed it

The classifier (``stats/tfidf.py``) learns from labelled prompts. Its agreement with their labels is estimated by
5-fold cross-validation with groups kept whole, as Cohen's κ with quadratic weights.

A proposal is not a label: it enters no rate until a person confirms it, or the report says that it is unconfirmed. In
the file, ``harm`` stays empty until then:

    prompt, harm, harm_proposed, harm_probability, principle, principle_proposed, group, confirmed_by, ...

``confirm`` writes the file after every answer, so no work is lost. A CSV keeps the delimiter and the byte order mark
of the file it comes from, so that the same spreadsheet program opens it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bedside.config.validation_messages import did_you_mean
from bedside.core.display import Tabular
from bedside.core.errors import DataError
from bedside.core.types import HARM_LEVELS, Prompt
from bedside.data import io as data_io
from bedside.data import splits
from bedside.data.prompts import COLUMNS, PROPOSED, ReadOptions, TablePrompts
from bedside.stats import tfidf
from bedside.stats.agreement import Agreement, Ratings, quadratic_kappa

FOLDS = 5
NO_COLUMNS: Mapping[str, str] = {}
ENDINGS = (".csv", ".jsonl", ".ndjson")
"""Files that proposals can be written to."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """The labels that the classifier proposes for one prompt."""

    prompt: Prompt
    harm: int
    probability: float
    """Probability of this harm level, 0 to 1."""
    principle: str | None


@dataclass(frozen=True)
class LabellingResult(Tabular):
    """How many proposals were written, and how reliable they are."""

    rows: int
    labelled: int
    """Labelled prompts that the classifier learned from."""
    agreement: Agreement
    """Cross-validated agreement with their labels."""

    def records(self) -> list[dict[str, Any]]:
        """One row: how many, and the quadratic κ with people on prompts held out."""
        kappa = self.agreement
        return [
            {
                "proposals": self.rows,
                "labelled": self.labelled,
                "kappa": kappa.value,
                "low": kappa.low,
                "high": kappa.high,
                "n": kappa.n,
            }
        ]


def propose(
    prompts: Path, learn_from: Path | None, out: Path, seed: int, columns: Mapping[str, str] = NO_COLUMNS
) -> LabellingResult:
    """Writes proposals for the unlabelled rows of ``prompts`` to ``out``, the least certain first.

    The classifier learns from the labelled rows of ``learn_from``, or of ``prompts`` itself. ``columns``: our name of a
    column to its name in ``prompts``, and in ``learn_from`` where it has such a column. DataError if ``out`` exists, or
    if there are too few labelled prompts.
    """
    for name in columns.keys() - COLUMNS.keys():
        raise DataError(f"--column {name}=…: no column is called {name!r} here; {did_you_mean(name, COLUMNS)}")
    everything = splits.group(_read_prompts(prompts, columns))
    known = _read_prompts(learn_from, _present(learn_from, columns)) if learn_from else everything
    labelled = [p for p in known if p.harm is not None]
    _check_ending(out)
    proposals = propose_labels(labelled, [p for p in everything if p.harm is None], seed)
    if out.exists():
        raise DataError(f"{out} already exists and may have somebody's work; confirm it with --confirm, or move it")
    _write(out, [_row(proposal) for proposal in proposals], like=prompts)
    return LabellingResult(len(proposals), len(labelled), cross_validated_agreement(splits.group(labelled), seed))


def confirm(file: Path, by: str, ask: Callable[[dict[str, Any], int], str | None]) -> int:
    """Calls ``ask`` for each row without a harm level until it returns None; returns how many rows were confirmed.

    ``ask`` gets the row and the number of rows left. It returns a level "0" to "3", "" to confirm the proposal, or "s"
    to skip the row. ``by`` is recorded as ``confirmed_by``.
    """
    _check_ending(file)
    rows = [_proposal_row(where, dict(row)) for where, row in data_io.rows(file)]
    open_rows = [row for row in rows if row.get("harm") in (None, "")]
    confirmed = 0
    for left, row in zip(range(len(open_rows), 0, -1), open_rows, strict=True):
        level = ask(row, left)
        if level is None:
            break
        if level != "s":
            row |= {"harm": int(level or row[PROPOSED]), "confirmed_by": by}
            confirmed += 1
            _write(file, rows, like=file)
    return confirmed


def propose_labels(labelled: Sequence[Prompt], unlabelled: Sequence[Prompt], seed: int) -> list[Proposal]:
    """One proposal per unlabelled prompt, the least certain first, because a person's check helps most there."""
    if not unlabelled:
        return []
    texts = [_text(prompt) for prompt in unlabelled]
    classifier = _fit_harm_classifier(labelled, seed)
    probability_BK = classifier.predict_proba(texts)
    proposals = (
        Proposal(prompt, int(classifier.classes_[best]), float(probability_K[best]), principle)
        for prompt, probability_K, best, principle in zip(
            unlabelled, probability_BK, probability_BK.argmax(axis=1), _principles(labelled, texts, seed), strict=True
        )
    )
    return sorted(proposals, key=lambda proposal: proposal.probability)


def cross_validated_agreement(labelled: Sequence[Prompt], seed: int) -> Agreement:
    """Quadratic κ of proposals for held-out prompts with the labels of people; value None if there are too few."""
    groups = np.random.default_rng(seed).permutation(sorted({prompt.cluster for prompt in labelled}))
    held_out, predicted = [], []
    for fold in (set(groups[start::FOLDS]) for start in range(FOLDS)):
        test = [prompt for prompt in labelled if prompt.cluster in fold]
        train = [prompt for prompt in labelled if prompt.cluster not in fold]
        if test and len({prompt.harm for prompt in train}) > 1:
            held_out += test
            predicted += [
                str(level) for level in _fit_harm_classifier(train, seed).predict([_text(prompt) for prompt in test])
            ]
    if not held_out:
        return Agreement(None, 0)
    return quadratic_kappa(
        Ratings(
            first=tuple(str(prompt.harm) for prompt in held_out),
            second=tuple(predicted),
            groups=tuple(prompt.cluster for prompt in held_out),
            labels=tuple(map(str, HARM_LEVELS)),
        )
    )


def _fit_harm_classifier(labelled: Sequence[Prompt], seed: int) -> tfidf.TextClassifier:
    levels = [prompt.harm for prompt in labelled]
    if len(set(levels)) < 2:
        raise DataError(
            f"{len(levels)} labelled prompts of {len(set(levels))} harm levels are too little to learn from; "
            "label prompts of at least two levels by hand first"
        )
    return tfidf.fit_classifier([_text(prompt) for prompt in labelled], levels, seed)


def _principles(labelled: Sequence[Prompt], texts: Sequence[str], seed: int) -> Sequence[str | None]:
    """The principle proposed for each text; None if the labelled prompts name fewer than two principles."""
    known = [prompt for prompt in labelled if prompt.principle is not None]
    if len({prompt.principle for prompt in known}) < 2:
        return [None] * len(texts)
    classifier = tfidf.fit_classifier([_text(p) for p in known], [p.principle for p in known], seed)
    return list(map(str, classifier.predict(texts)))


def _text(prompt: Prompt) -> str:
    return "\n".join(message.text for message in prompt.messages)


def _check_ending(file: Path) -> None:
    if file.suffix.lower() not in ENDINGS:
        raise DataError(f"{file}: proposals are kept as {' or '.join(ENDINGS)}; choose one of these endings")


def _read_prompts(path: Path, columns: Mapping[str, str]) -> list[Prompt]:
    options = ReadOptions(unlabelled="keep", columns=columns)
    return TablePrompts(str(path), lambda: data_io.rows(path), options).read()


def _present(path: Path, columns: Mapping[str, str]) -> dict[str, str]:
    """The ``columns`` that the file has."""
    names = {name for _, row in data_io.rows(path) for name in row}
    return {ours: theirs for ours, theirs in columns.items() if theirs in names}


def _proposal_row(where: str, row: dict[str, Any]) -> dict[str, Any]:
    """``row`` with the proposed level as an integer: a spreadsheet may have written 2.0."""
    try:
        return row | {PROPOSED: int(float(row[PROPOSED])), "prompt": row["prompt"]}
    except (KeyError, ValueError, TypeError):
        raise DataError(
            f"{where}: is not a proposal; `bedside label FILE -o PROPOSALS` writes them, --confirm reads that file"
        ) from None


def _row(proposal: Proposal) -> dict[str, Any]:
    prompt = proposal.prompt
    turns = [{"role": message.role, "content": message.text} for message in prompt.messages]
    return {
        "prompt": prompt.text if len(turns) == 1 else turns,
        "harm": None,
        PROPOSED: proposal.harm,
        "harm_probability": round(proposal.probability, 3),
        "principle": prompt.principle,
        "principle_proposed": proposal.principle,
        "group": prompt.group,
        "confirmed_by": None,
        "style": prompt.style,
        "source": prompt.source,
        "reference": prompt.reference,
        **prompt.metadata,
    }


def _write(out: Path, rows: list[dict[str, Any]], like: Path) -> None:
    """Writes ``rows`` as CSV or JSONL by the ending of ``out``; a CSV takes the dialect of ``like``."""
    if out.suffix.lower() != ".csv":
        data_io.write_text(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return
    if any(not isinstance(row["prompt"], str) for row in rows):
        raise DataError(f"{out}: some prompts have several turns, which a CSV cell cannot hold; write {out.stem}.jsonl")
    byte_order_mark, delimiter = data_io.csv_dialect(like)
    data_io.write_csv(out, rows, start=byte_order_mark, delimiter=delimiter)
