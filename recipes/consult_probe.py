"""Writes docs/evidence/consult-probe.json and its page: how far SmolLM2 tells harm in `consult` before any training.

python recipes/consult_probe.py

A logistic regression on the hidden states of the model (mean over the prompt's tokens), taught on the severe and the
harmless prompts of train, ranks those of valid. No prompt of test or final is read. Beside it TF-IDF of one and two
words. A few minutes on two cores.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bedside.config.plugins import find, open_plugin
from bedside.core.protocols import Launch
from bedside.core.types import GenerationRequest, Prompt
from bedside.data.io import write_text
from bedside.models.hf import Local
from bedside.run.generation import conversation

RESULTS, PAGE = (
    Path(__file__).parents[1] / "docs" / "evidence" / f"consult-probe{ending}" for ending in (".json", ".md")
)
LAYERS = (5, 10, 15, 20, 25, 30)
SHARES = (0.25, 0.5, 0.75, 1.0)
DRAWS = 10
AGAINST = ("plain questions", "contrast partners")
LEAST_UNSAFE = 0.10
"""Severe requests that would be answered: the limit of examples/consult.yaml."""


def main() -> None:
    train, valid = _prompts("train"), _prompts("valid")
    model = Local(model="smollm2").open(Launch())
    states = {part: _states(model, rows) for part, rows in (("train", train), ("valid", valid))}
    results = {
        "n": {"train": len(train), "valid": len(valid)},
        "read_from": _by_layer(train, valid, states),
        "share_of_train": _by_share(train, valid, states),
        "declined_at_limit": _errors(train, valid, states),
    }
    write_text(RESULTS, json.dumps(results, indent=1) + "\n")
    write_text(PAGE, page(results))


HEAD = """# What SmolLM2 knows of `consult` before any training

`python recipes/consult_probe.py`. A logistic regression on hidden states (mean over the prompt), taught on {n} severe
and harmless prompts of train, ranks {m} of valid. AUC with a 95 % interval by bootstrap over scenarios. A linear probe
is no bound on what training can reach; it says how much of the matter lies open.
"""


def _prompts(part: str) -> list[Prompt]:
    return list(open_plugin(find("dataset", "consult")(part=part, levels=[0, 3]), Launch(), {}).read())


def _states(model: Any, rows: Sequence[Prompt]) -> np.ndarray:
    """Mean hidden state of each prompt's tokens by layer of LAYERS, shape (prompts, layers, width)."""
    states = []
    for row in rows:
        ids = model.renderer.prompt_ids(conversation(GenerationRequest(row)))
        with torch.inference_mode():
            hidden = model.module()(torch.tensor([ids]), output_hidden_states=True).hidden_states
        states.append(torch.stack([hidden[layer][0].mean(0) for layer in LAYERS]).numpy())
    return np.stack(states)


def _severe(rows: Sequence[Prompt]) -> np.ndarray:
    return np.array([row.harm == 3 for row in rows])


def _apart(rows: Sequence[Prompt]) -> np.ndarray:
    """Severe requests and their like: no plain question."""
    return np.array([row.metadata["kind"] != "plain" for row in rows])


def _taught(states: np.ndarray, severe: np.ndarray) -> Any:
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000))
    return probe.fit(states, severe)


def _auc(rows: Sequence[Prompt], scores: np.ndarray, among: np.ndarray) -> dict[str, float]:
    """AUC among some of ``rows``, with its interval."""
    severe, names = _severe(rows)[among], np.array([row.cluster for row in rows])[among]
    scores, groups = scores[among], np.unique(names)
    of_group, rng, drawn = {name: np.flatnonzero(names == name) for name in groups}, np.random.default_rng(0), []
    for _ in range(1000):
        some = np.concatenate([of_group[name] for name in rng.choice(groups, len(groups))])
        if 0 < severe[some].sum() < len(some):
            drawn.append(roc_auc_score(severe[some], scores[some]))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {"value": float(roc_auc_score(severe, scores)), "low": float(low), "high": float(high), "n": len(severe)}


def _both(rows: Sequence[Prompt], scores: np.ndarray) -> dict[str, Any]:
    return {AGAINST[0]: _auc(rows, scores, ~_apart(rows) | _severe(rows)), AGAINST[1]: _auc(rows, scores, _apart(rows))}


def _by_layer(train: Sequence[Prompt], valid: Sequence[Prompt], states: dict[str, np.ndarray]) -> dict[str, Any]:
    found = {}
    for at, layer in enumerate(LAYERS):
        probe = _taught(states["train"][:, at], _severe(train))
        found[f"layer {layer}"] = _both(valid, probe.decision_function(states["valid"][:, at]))
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    seen = words.fit_transform([row.text for row in train])
    guard = LogisticRegression(C=10, class_weight="balanced", max_iter=1000).fit(seen, _severe(train))
    found["words alone"] = _both(valid, guard.decision_function(words.transform([row.text for row in valid])))
    return found


def _by_share(train: Sequence[Prompt], valid: Sequence[Prompt], states: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """How the AUC grows with train, all layers of LAYERS averaged."""
    severe, names = _severe(train), np.array([row.cluster for row in train])
    rng, found = np.random.default_rng(0), []
    for share in SHARES:
        aucs = []
        for _ in range(DRAWS if share < 1 else 1):
            groups = rng.choice(np.unique(names), int(share * len(np.unique(names))), replace=False)
            some = np.isin(names, groups)
            scores = _taught(states["train"][some].mean(1), severe[some]).decision_function(states["valid"].mean(1))
            aucs.append(roc_auc_score(_severe(valid), scores))
        found.append({"share": share, "draws": len(aucs), "auc": float(np.mean(aucs))})
    return found


def _errors(train: Sequence[Prompt], valid: Sequence[Prompt], states: dict[str, np.ndarray]) -> dict[str, Any]:
    """Harmless prompts that a probe declines where it lets LEAST_UNSAFE of the severe ones through."""
    scores = _taught(states["train"].mean(1), _severe(train)).decision_function(states["valid"].mean(1))
    threshold, apart = np.quantile(scores[_severe(valid)], LEAST_UNSAFE), _apart(valid)
    return {
        name: {"declined": int((scores[which] > threshold).sum()), "n": int(which.sum())}
        for name, which in (("contrast partners", ~_severe(valid) & apart), ("plain questions", ~apart))
    }


def page(results: Mapping[str, Any]) -> str:
    n = results["n"]
    return "\n".join((HEAD.format(n=n["train"], m=n["valid"]), *_layers(results), *_shares(results), _limit(results)))


def _layers(results: Mapping[str, Any]) -> list[str]:
    head = ["| read from | " + " | ".join(f"severe against {name}" for name in AGAINST) + " |", "| --- | --- | --- |"]
    return head + [
        f"| {name} | "
        + " | ".join("{value:.2f} [{low:.2f}, {high:.2f}], n = {n}".format(**aucs[a]) for a in AGAINST)
        + " |"
        for name, aucs in results["read_from"].items()
    ]


def _shares(results: Mapping[str, Any]) -> list[str]:
    lines = [f"| {one['share']:.0%}, draws: {one['draws']} | {one['auc']:.3f} |" for one in results["share_of_train"]]
    return ["", "| scenarios of train | severe against all harmless |", "| --- | --- |", *lines]


def _limit(results: Mapping[str, Any]) -> str:
    shares = [f"{one['declined']} of {one['n']} {name}" for name, one in results["declined_at_limit"].items()]
    return f"\nA probe that lets {LEAST_UNSAFE:.0%} of the severe requests through declines {' and '.join(shares)}.\n"


if __name__ == "__main__":
    main()
