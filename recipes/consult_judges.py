"""Writes the packaged judges of `consult` and the labels that taught them.

python recipes/consult_judges.py labelled.csv

``labelled.csv`` holds answers of SmolLM2 (as given, counter-responses, half-trained, trained) to train and valid
prompts of `consult`, with labels of two readers: prompt, response, harm, group, part, made, label, complied, actionable
and degenerate. Answers that comply with a harmful request are not published: ``answers.jsonl`` has their digest instead
of their text. Some are to wordings of a prompt from before it was edited; those teach the judges and are not published.

    trainer    the answer's words, of every second scenario of train
    selector   question and answer without refusal phrases, of the other scenarios of train
    audit      each on the answers to valid prompts, which neither saw
"""

import csv
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from bedside.consult.prompts import CANARY, FOLDER, PROMPTS
from bedside.core.hashing import digest, seed_from
from bedside.core.types import Message, Prompt, Response, Stance, Verdict
from bedside.data.io import write_json, write_jsonl
from bedside.judge_audit import agreement_report
from bedside.judge_audit.train_classifier import cross_fitted
from bedside.judges import classifier
from bedside.judges.classifier import Reads
from bedside.judges.keyword import KeywordJudge

JUDGES: dict[str, Reads] = {"trainer": "answer", "selector": "exchange"}
SEED = 0


def main(path: str) -> None:
    with Path(path).open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["label"]]
    levels = {row["prompt"]: row["harm"] for row in map(json.loads, PROMPTS.read_text(encoding="utf-8").splitlines())}
    present = [{**row, "harm": str(levels[row["prompt"]])} for row in rows if row["prompt"] in levels]
    write_jsonl(FOLDER / "answers.jsonl", [_published(row) for row in present])
    train, valid = ([row for row in rows if row["part"] == part] for part in ("train", "valid"))
    audits = {}
    for role, (name, reads) in enumerate(JUDGES.items()):
        own = [row for row in train if seed_from(row["group"]) % 2 == role]
        judge = cross_fitted([_response(row) for row in own], [Stance(row["label"]) for row in own], reads, SEED)
        classifier.write(judge, FOLDER / "judges" / name)
        audits[name] = {"taught_on": len(own), **_audit(judge, valid)}
    audits["phrases"] = _audit(KeywordJudge(), valid)
    audits["prompt-only"] = _audit(_PromptOnly(train), valid)
    write_json(FOLDER / "judges" / "audit.json", audits)
    for name, measures in audits.items():
        print(name, measures)


class _PromptOnly:
    """A judge that sees the question alone."""

    def __init__(self, rows: list[dict[str, str]]) -> None:
        questions = [_response({**row, "response": row["prompt"]}) for row in rows]
        self.judge_ = cross_fitted(questions, [Stance(row["label"]) for row in rows], "answer", SEED)

    def judge(self, responses: list[Response]) -> list[Verdict]:
        return self.judge_.judge([Response(r.prompt, r.prompt.text, r.checkpoint) for r in responses])


def _audit(judge: Any, rows: list[dict[str, str]]) -> dict[str, Any]:
    """κ on answers balanced by stance, and how much that is accepted it misses."""
    least = min(Counter(row["label"] for row in rows if row["label"] != "caution").values())
    taken: Counter[str] = Counter()
    balanced = []
    for row in sorted(rows, key=lambda row: digest(SEED, row["prompt"], row["response"])):
        if taken[row["label"]] < least:
            taken[row["label"]] += 1
            balanced.append(row)
    responses = [_response(row) for row in balanced]
    truth = [Verdict(r.id, "model-labels", Stance(row["label"])) for r, row in zip(responses, balanced, strict=True)]
    compared = agreement_report.compare(responses, truth, judge.judge(responses), two=False)
    audit = agreement_report.audit(compared, judge="judge", name="judge", reference="labels", limit=None)
    return {
        name: {"value": m.value, "low": m.low, "high": m.high, "n": m.n}
        for name in ("kappa", "kappa_stratified", "accept_sensitivity", "accept_specificity")
        for m in (audit.measure(name),)
    }


def _response(row: dict[str, str]) -> Response:
    prompt = Prompt((Message("user", row["prompt"]),), harm=int(row["harm"]), group=row["group"])
    return Response(prompt, row["response"], row["made"])


def _published(row: dict[str, str]) -> dict[str, Any]:
    harmful = int(row["harm"]) >= 1 and (row["label"] != "refuse" or row["complied"] == "1")
    text = {"digest": digest(row["response"])} if harmful else {"response": row["response"]}
    labels = {name: row[name] for name in ("label", "complied", "actionable", "degenerate")}
    known = {name: row[name] for name in ("prompt", "harm", "group", "part", "made")}
    return {**known, **text, **labels, "readers": 2, "source": "model, unverified", "canary": CANARY}


if __name__ == "__main__":
    main(*sys.argv[1:])
