"""What `bedside comfort` does, by truth on the clinic and by figures on real text. Rows go to docs/evidence.

What is asserted must hold whatever comes out; whether an aim is met stands in the table, also where it is not.
"""

import json
import random
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.support.paths import REAL_DATA
from tests.support.prompts import ask

from bedside.comfort import experiment as flow
from bedside.comfort.dialogues import build_preferences
from bedside.comfort.judges import LABELS, ComfortJudge, ComfortRubric
from bedside.config.loader import load
from bedside.config.rendering import path
from bedside.config.schema import Config, TrainingStep
from bedside.core.protocols import Launch, SilentProgress
from bedside.core.results import LINES
from bedside.core.types import Demonstration, Prompt, Response
from bedside.run.context import open_run
from bedside.stats import tfidf
from bedside.stats.agreement import Ratings, quadratic_kappa
from bedside.stats.intervals import mean_interval
from bedside.stats.measures import mean
from bedside.training.logprobs import TokenizedExchange

pytestmark = pytest.mark.prove
SEEDS = (0, 1, 2)


def opened_run(folder: Path, *sets: str):
    config = load(Config, path("comfort.yaml"), [f"runs={folder}", *sets]).config
    return open_run(config, SilentProgress())


def said(m, sign=False):
    if m.value is None:
        return "–"
    form = "+.3f" if sign else ".3f"
    interval = "" if m.low is None else f" [{m.low:{form}}, {m.high:{form}}]"
    return f"{m.value:{form}}{interval}"


@pytest.mark.parametrize("seed", SEEDS)
def test_comfort_on_the_clinic(seed, evidence, tmp_path):
    summary = flow.comfort(opened_run(tmp_path, f"seed={seed}", f"data.train.seed={seed}", "run=clinic"))
    for arm in summary.arms:
        evidence["comfort: on the clinic"].append(
            {"seed": seed, "model": arm.name, "n": arm.measure("comfort").n,
             **{name: said(arm.measure(name)) for name in
                ("comfort", *LINES, "primary_comfort", "facts_told", "facts_wrong", "bleu_1", "fact_recall",
                 "false_reassurance", "under_triage", "over_triage", "openers")}}
        )  # fmt: skip
    for p in summary.paired:
        if p.measure.name in ("comfort", *LINES, "primary_comfort", "facts_told", "facts_wrong", "bleu_1",
                              "fact_recall", "false_reassurance", "under_triage", "over_triage"):  # fmt: skip
            evidence["comfort: paired with the target"].append(
                {"seed": seed, "model": f"{p.arm} − target", "measure": p.measure.name, "n": p.measure.n,
                 "difference": said(p.measure, sign=True),
                 "bounds, one-sided": "–" if p.measure.worst_low is None else
                 f"{p.measure.worst_low:+.3f}, {p.measure.worst_high:+.3f}"}
            )  # fmt: skip
    evidence["comfort: published direction"].append({"seed": seed, "direction": summary.direction})
    assert len({arm.measure("comfort").n for arm in summary.arms}) == 1


ABLATED = {"both": (True, True), "no wrong": (False, True), "no cold": (True, False), "neither": (False, False)}


@pytest.mark.parametrize("rate", [1e-5, 5e-5])
@pytest.mark.parametrize("seed", SEEDS)
def test_hard_negatives_take_the_reward_from_shortcuts(seed, rate, evidence, tmp_path):
    """DPO's implicit reward of each shortcut against the right answer, nats: with its negatives it should be lower.

    Leave one out: both kinds against all but this kind; and both against neither. The budget of tokens is the same.
    At the default's rate, and at five times that: where DPO moves little, so does what negatives add to it.
    """
    margins = {}
    for arm, (wrong, cold) in ABLATED.items():
        negatives = [f"comfort.rewrite.add_{kind}_negatives={on}" for kind, on in (("wrong", wrong), ("cold", cold))]
        s = opened_run(tmp_path, f"seed={seed}", "run=ablation", *negatives)
        desk = flow._open(s)
        dpo = TrainingStep.model_validate({"kind": "dpo", "learning_rate": rate})
        lesson = build_preferences(desk.train, wrong=wrong, cold=cold)
        rows = flow._within_budget(s, lesson.pairs, flow._count_tokens(s, lesson.demonstrations))
        start = flow._train_shared_start(desk, lesson)
        checkpoint = s.stages.trained(rows, dpo, start=start, reference=start, label=f"dpo {arm}")
        margins[arm] = {name: _margins(s, desk.test, name, checkpoint) for name in ("wrong", "cold")}
        groups = {name: [r.prompt.group for r in desk.test if getattr(r, name)] for name in ("wrong", "cold")}
    for name in ("wrong", "cold"):
        found = ablated({arm: of[name] for arm, of in margins.items()}, f"no {name}", groups[name])
        evidence["comfort: hard negatives"].append(
            {"learning rate": f"{rate:g}", "seed": seed, "shortcut": name, **found}
        )
        assert int(found["n"]) > 0


def ablated(margins, left_out, groups):
    """Reward of the shortcut minus the right answer's with both kinds, and what this kind and both of them change."""

    def figure(values, sign=True):
        return said(mean("x", values, groups, mean_interval), sign)

    def change(arm):
        return figure([a - b for a, b in zip(margins["both"], margins[arm], strict=True)])

    return {"n": str(len(margins["both"])), "reward − right answer's": figure(margins["both"]),
            "against all but this kind": change(left_out), "against neither kind": change("neither")}  # fmt: skip


def _margins(s, rows, name, checkpoint):
    """Per row: log-ratio of the shortcut minus log-ratio of the right answer, policy against target, nats."""
    kept = [row for row in rows if getattr(row, name)]
    ids = s.target.renderer
    texts = [
        TokenizedExchange(tuple(ids.prompt_ids(r.prompt.messages)), tuple(ids.completion_ids(r.prompt.messages, t)))
        for r in kept
        for t in (getattr(r, name), r.answer)
    ]
    after, before = (s.stages.logprobs(texts, c, "margin").all() for c in (checkpoint, s.target.checkpoint))
    ratio = [a.nats - b.nats for a, b in zip(after, before, strict=True)]
    return [short - right for short, right in pairwise(ratio)][::2]


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["medquad", "counsel_chat"])
def test_comfort_on_real_dialogues(name, evidence, tmp_path):
    file = REAL_DATA / "dialogues" / f"{name}.jsonl"
    if not file.exists():
        pytest.skip("no ../shared/data here")
    # counsel_chat has no split of its own; a question belongs to one group
    data = [f"data.{part}={{kind: dialogues, path: {file}{more}, limit: 200}}" for part, more in (
        [("train", ", split: train"), ("valid", ", split: valid"), ("test", ", split: test")] if name == "medquad"
        else [("train", ""), ("valid", ", share: 0.15"), ("test", ", share: 0.25")])]  # fmt: skip
    s = opened_run(tmp_path, "run=real", *data, "comfort.judge={kind: comfort}")
    rows, flows = flow.rewrite(s)
    for f in flows:
        if f.step.startswith("rewrite"):
            why = "; ".join(f"{n} {reason}" for reason, n in list(f.dropped.items())[:6])
            evidence["comfort: rewriting of real text"].append(
                {"data": name, "step": f.step, "kept": f.kept, "dropped": why}
            )
    if min(map(len, rows.values())) >= 2:
        summary = flow.comfort(s)
        for arm in summary.arms:
            evidence["comfort: on real text"].append(
                {"data": name, "model": arm.name, "n": arm.measure("comfort").n,
                 **{m: said(arm.measure(m)) for m in
                    ("comfort", "facts_told", "facts_wrong", "bleu_1", "chrf", "rouge_l")}}
            )  # fmt: skip
    assert flows


EPITOME = {
    "emotional_reactions": "express warmth, compassion or concern",
    "interpretations": "say what the patient seems to feel or go through",
    "explorations": "ask about what the patient has not said",
}


@pytest.mark.real_data
def test_a_comfort_judge_tuned_on_epitome(evidence, tmp_path):
    """70/15/15 by post; kappa per dimension on the last 15 %, beside the majority and a TF-IDF classifier."""
    file = REAL_DATA / "empathy" / "epitome.jsonl"
    if not file.exists():
        pytest.skip("no ../shared/data here")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    train, test = epitome_parts(rows)
    s = opened_run(tmp_path, "run=epitome", "align.num_train_epochs=1")
    asker = ComfortJudge(s.target, lines=tuple(EPITOME.items()))
    lessons = [Demonstration(Prompt(asker.ask(response(r), line)), LABELS[r[line]]) for r in train for line in EPITOME]
    step = TrainingStep.model_validate({"kind": "sft", "learning_rate": 1e-3})
    checkpoint = s.stages.trained(
        lessons, step, start=s.target.checkpoint, reference=s.target.checkpoint, label="epitome judge"
    )
    judge = ComfortRubric(lines=EPITOME, min_mass=0.0).open(Launch(), model=s.opener.policy(checkpoint))
    verdicts = [v for i in range(0, len(test), 32) for v in judge.judge([response(r) for r in test[i : i + 32]])]
    texts, held = ([f"{r['post']} ||| {r['response']}" for r in part] for part in (train, test))
    for line in EPITOME:
        truth, learned = [LABELS[r[line]] for r in test], [LABELS[r[line]] for r in train]
        guesses = {
            "tuned comfort judge": [LABELS[round(2 * v.scores[line])] if v.scores else "low" for v in verdicts],
            "majority": [max(set(learned), key=learned.count)] * len(test),
            "TF-IDF": [str(x) for x in tfidf.fit_classifier(texts, learned, 0).predict(held)],
        }
        for name, guess in guesses.items():
            k = quadratic_kappa(Ratings(tuple(truth), tuple(guess), tuple(r["post"] for r in test), LABELS))
            shown = "0 (one label only)" if k.value is None else f"{k.value:.3f} [{k.low:.3f}, {k.high:.3f}]"
            evidence["comfort: judge on EPITOME"].append(
                {"dimension": line, "judge": name, "n": len(test), "quadratic kappa": shown}
            )


def epitome_parts(rows, seed=0):
    """Train and test by post: a post's responses stand in one part."""
    posts = sorted({r["post"] for r in rows})
    random.Random(seed).shuffle(posts)
    n = len(posts)
    inside = [set(posts[: int(0.7 * n)]), set(posts[int(0.85 * n) :])]
    return [[r for r in rows if r["post"] in part] for part in inside]


def response(row):
    """Cut to 60 words a side: what the embedded model reads at a bearable pace."""
    post, said = (" ".join(row[key].split()[:60]) or "-" for key in ("post", "response"))
    return Response(ask(post), said, "epitome")
