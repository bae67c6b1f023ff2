"""Answers of SmolLM2 before, during and after training, for readers to label: the input of `consult_judges.py`.

python recipes/consult_answers.py draw ROWS.jsonl half-trained=RUN/cycle-1/sft ...   answers, adapters by kind
python recipes/consult_answers.py join ROWS.jsonl A.jsonl B.jsonl LABELLED.csv       without those on which they differ

The target as given answers 420 prompts of train and 150 of valid; each adapter answers 130 and 60. Each time other
prompts are chosen, by digest, half of them harmless. The references of 180 and 60 prompts stand among the answers.
Readers get `n`, `prompt` and `response` in random order, and write `n`, `label`, `actionable` and `degenerate`. An
answer that two checkpoints give alike stands there once.
"""

import csv
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bedside
from bedside.config.rendering import path
from bedside.consult.prompts import FOLDER, PROMPTS
from bedside.core.hashing import digest
from bedside.core.types import STANCES
from bedside.data import io
from bedside.stats.agreement import Ratings, stratified_kappa

AS_GIVEN, WRITTEN = "as given", "written"
SIZES = {AS_GIVEN: {"train": 420, "valid": 150}, WRITTEN: {"train": 180, "valid": 60}}
OF_ADAPTER = {"train": 130, "valid": 60}
KNOWN = ("prompt", "group", "harm", "style")
LABELS = ("label", "actionable", "degenerate")
Row = dict[str, Any]

PUBLISHED = [json.loads(line) for line in PROMPTS.read_text(encoding="utf-8").splitlines()]


def main(step: str, rows: str, *others: str) -> None:
    draw(rows, others) if step == "draw" else join(rows, *others)


def join(path: str, first: str, second: str, out: str) -> None:
    rows, labels = _lines(path), [{row["n"]: row for row in _lines(one)} for one in (first, second)]
    io.write_json(
        FOLDER / "judges" / "readers.json", _agreement([r for r in rows if all(r["n"] in o for o in labels)], labels)
    )
    with open(out, "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, [*KNOWN, "response", "part", "made", *LABELS, "readers"], extrasaction="ignore")
        table.writeheader()
        for row in rows:
            given = [one[row["n"]] for one in labels if row["n"] in one]
            if len({one["label"] for one in given}) == 1:
                flags = {name: max(one[name] for one in given) for name in LABELS[1:]}
                table.writerow({**row, "label": given[0]["label"], **flags, "readers": len(given)})


def _agreement(rows: Sequence[Row], labels: Sequence[dict[int, Row]]) -> dict[str, Any]:
    """Kappa within harm levels of the two readers, on what both read."""
    a, b = (tuple(one[row["n"]]["label"] for row in rows) for one in labels)
    groups, levels = (tuple(str(row[name]) for row in rows) for name in ("group", "harm"))
    both = stratified_kappa(Ratings(a, b, groups, STANCES, levels))
    return {"value": both.value, "low": both.low, "high": both.high, "n": both.n}


def _lines(path: str) -> list[Row]:
    return [row for _, row in io.rows(Path(path))]


def draw(out: str, adapters: Sequence[str]) -> None:
    made = [(AS_GIVEN, None), *((name, folder) for name, _, folder in (one.partition("=") for one in adapters))]
    rows = [_row(row, row["reference"], WRITTEN) for part in OF_ADAPTER for row in _sample(part, WRITTEN, len(made))]
    for place, (name, adapter) in enumerate(made):
        rows += [row for part in OF_ADAPTER for row in _answered(_sample(part, name, place), name, adapter)]
    once = {(row["prompt"], row["response"]): row for row in reversed(rows)}
    mixed = sorted(once.values(), key=lambda row: digest("order", row["prompt"], row["response"]))
    io.write_jsonl(Path(out), [{"n": n, **row} for n, row in enumerate(mixed)])


def _sample(part: str, made: str, place: int) -> list[Row]:
    """Half harmless, half harmful."""
    half = SIZES.get(made, OF_ADAPTER)[part] // 2
    rows = [row for row in PUBLISHED if row["split"] == part and (made != WRITTEN or row.get("reference"))]
    rows.sort(key=lambda row: digest(place, row["prompt"]))
    kinds = ([row for row in rows if bool(row["harm"]) == harmful] for harmful in (False, True))
    return [row for kind in kinds for row in kind[:half]]


def _answered(rows: Sequence[Row], made: str, adapter: str | None) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder) / "prompts.jsonl"
        io.write_jsonl(prompts, [{name: row[name] for name in ("prompt", "harm", "group")} for row in rows])
        sets = [f"data.valid={{kind: jsonl, path: {prompts}}}", f"runs={folder}", "run=answers"]
        answers = bedside.generate(bedside.load(path("demo.yaml"), sets), "valid", adapter=adapter).responses
    by_prompt = {row["prompt"]: row for row in rows}
    return [_row(by_prompt[answer.prompt.text], answer.text, made) for answer in answers]


def _row(row: Row, answer: str, made: str) -> Row:
    known = {name: row.get(name, "") for name in KNOWN}
    return {**known, "response": answer, "part": row["split"], "made": made}


if __name__ == "__main__":
    main(*sys.argv[1:])
