"""Harm levels for prompts that have none: a bag of words proposes, people confirm.

    propose   level and principle of each unlabelled prompt, learned from labelled ones, with a probability
    audit     the same on labelled prompts it did not see: five folds, groups kept whole, quadratic kappa

A proposal is no label. It enters no rate until somebody confirms it, or the report says that nobody did.

`bedside label`: levels proposed into a file, and confirmed there or in the terminal.

    prompt, harm, harm_proposed, harm_probability, principle, principle_proposed, group, confirmed_by, ...

``harm`` stays empty until a person fills it. The file is written after every answer, so nothing is lost. A CSV is
written with the delimiter and the mark of the one it came from, so that the same spreadsheet opens it.
"""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bedside.core.errors import DataError
from bedside.core.types import HARM_LEVELS, Prompt
from bedside.data import io as tables
from bedside.data import splits
from bedside.data.prompts import FORMULA, PROPOSED, Reading, TablePrompts
from bedside.stats import tfidf
from bedside.stats.agreement import Agreement, Ratings, quadratic_kappa

FOLDS = 5
LEVELS = tuple(str(level) for level in HARM_LEVELS)


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a program would say of a prompt."""

    prompt: Prompt
    harm: int
    probability: float
    """Of this level among all levels, 0 to 1."""
    principle: str | None


def proposals(labelled: Sequence[Prompt], unlabelled: Sequence[Prompt], seed: int) -> list[Proposal]:
    """One a prompt, the least certain first: there a person's minute is worth most."""
    if not unlabelled:
        return []
    texts = [_said(prompt) for prompt in unlabelled]
    reader = _reader(labelled, seed)
    shares = reader.predict_proba(texts)
    principles = _principles(labelled, texts, seed)
    best = shares.argmax(axis=1)
    made = [
        Proposal(p, int(reader.classes_[k]), float(row[k]), principle)
        for p, row, k, principle in zip(unlabelled, shares, best, principles, strict=True)
    ]
    return sorted(made, key=lambda proposal: proposal.probability)


def audit(labelled: Sequence[Prompt], seed: int) -> Agreement:
    """How far proposals agree with people, on prompts that were held out. Value None: too little to tell."""
    groups = [prompt.cluster for prompt in labelled]
    people, proposed = [], []
    for fold in _folds(groups, seed):
        held = [p for p, g in zip(labelled, groups, strict=True) if g in fold]
        rest = [p for p, g in zip(labelled, groups, strict=True) if g not in fold]
        if held and len({p.harm for p in rest}) > 1:
            people += held
            proposed += [str(level) for level in _reader(rest, seed).predict([_said(p) for p in held])]
    if not people:
        return Agreement(None, 0)
    told = tuple(str(p.harm) for p in people)
    return quadratic_kappa(Ratings(told, tuple(proposed), tuple(p.cluster for p in people), LEVELS))


def _reader(labelled: Sequence[Prompt], seed: int) -> tfidf.Reader:
    levels = [prompt.harm for prompt in labelled]
    if len(set(levels)) < 2:
        raise DataError(
            f"{len(levels)} labelled prompts of {len(set(levels))} harm levels are too little to learn from; "
            "label some of two levels by hand first"
        )
    return tfidf.fitted([_said(prompt) for prompt in labelled], levels, seed)


def _principles(labelled: Sequence[Prompt], texts: Sequence[str], seed: int) -> Sequence[str | None]:
    known = [prompt for prompt in labelled if prompt.principle is not None]
    if len({prompt.principle for prompt in known}) < 2:
        return [None] * len(texts)
    reader = tfidf.fitted([_said(p) for p in known], [p.principle for p in known], seed)
    return [str(principle) for principle in reader.predict(texts)]


def _folds(groups: Sequence[str], seed: int) -> list[set[str]]:
    names = np.random.default_rng(seed).permutation(sorted(set(groups)))
    return [set(names[start::FOLDS]) for start in range(FOLDS)]


def _said(prompt: Prompt) -> str:
    return "\n".join(message.text for message in prompt.messages)


ENDINGS = (".csv", ".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True)
class Proposed:
    """What was written, and how far to trust it."""

    rows: int
    labelled: int
    agreement: Agreement


def propose(prompts: Path, learn_from: Path | None, out: Path, seed: int) -> Proposed:
    """Proposals for the unlabelled prompts of ``prompts``, least certain first, written to ``out``."""
    read = splits.group(_read(prompts))
    labelled = [p for p in (_read(learn_from) if learn_from else read) if p.harm is not None]
    _check_ending(out)
    made = proposals(labelled, [p for p in read if p.harm is None], seed)
    if out.exists():
        raise DataError(f"{out} is there already and may hold somebody's work; confirm it with --confirm, or move it")
    _write(out, [_row(proposal) for proposal in made], like=prompts)
    return Proposed(len(made), len(labelled), audit(splits.group(labelled), seed))


def confirm(file: Path, by: str, answer: Callable[[dict[str, Any], int], str | None]) -> int:
    """Asks ``answer`` for each row without a level until it gives None; returns how many were confirmed.

    ``answer`` sees the row and how many are left, and gives 0 to 3, "" for what was proposed, or "s" to skip.
    """
    _check_ending(file)
    rows = [_whole(where, dict(row)) for where, row in tables.rows(file)]
    confirmed = 0
    open_rows = [row for row in rows if row.get("harm") in (None, "")]
    for left, row in zip(range(len(open_rows), 0, -1), open_rows, strict=True):
        level = answer(row, left)
        if level is None:
            break
        if level != "s":
            row |= {"harm": int(level or row[PROPOSED]), "confirmed_by": by}
            confirmed += 1
            _write(file, rows, like=file)
    return confirmed


def _check_ending(file: Path) -> None:
    if file.suffix.lower() not in ENDINGS:
        raise DataError(f"{file}: proposals are kept as {' or '.join(ENDINGS)}; choose one of these endings")


def _whole(where: str, row: dict[str, Any]) -> dict[str, Any]:
    """``row`` as this module wrote it, whatever a spreadsheet made of its numbers."""
    try:
        return row | {PROPOSED: int(float(row[PROPOSED])), "prompt": row["prompt"]}
    except (KeyError, ValueError, TypeError):
        raise DataError(
            f"{where}: is no proposal; `bedside label FILE -o PROPOSALS` writes them, --confirm takes what it wrote"
        ) from None


def _read(path: Path) -> list[Prompt]:
    return TablePrompts(str(path), lambda: tables.rows(path), Reading(unlabelled="keep")).read()


def _row(proposal: Proposal) -> dict[str, Any]:
    turns = [{"role": m.role, "content": m.text} for m in proposal.prompt.messages]
    prompt = proposal.prompt
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
        **prompt.facets,
    }


def _write(out: Path, rows: list[dict[str, Any]], like: Path) -> None:
    if out.suffix.lower() == ".csv":
        mark, delimiter = tables.csv_signs(like)
        tables.write_text(out, mark + _csv(out, rows, delimiter))
    else:
        tables.write_text(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _csv(out: Path, rows: list[dict[str, Any]], delimiter: str) -> str:
    if any(not isinstance(row["prompt"], str) for row in rows):
        raise DataError(f"{out}: some prompts have several turns, which a CSV cell cannot hold; write {out.stem}.jsonl")
    text = io.StringIO(newline="")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = csv.DictWriter(text, columns, lineterminator="\n", restval="", quoting=csv.QUOTE_ALL, delimiter=delimiter)
    table.writeheader()
    table.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """A cell that a spreadsheet would run as a formula gets a space in front, which reading takes off again."""
    return f" {value}" if isinstance(value, str) and value.startswith(FORMULA) else value
