"""Answers to prompts, against transformers' ``generate``: `python -m benchmarks.rollouts`

Greedy, on the policy's adapter: ``generate`` gets the merged model (its best), and its best batch. How long each
answer may be is drawn beforehand and given to both sides, for a random model ends nowhere; without it every row of a
batch would be as long as the longest, and there would be nothing to gain by leaving.
"""

import json
import random
import sys
from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from bedside.training.decoding import TokenSampler, decode
from benchmarks import measuring, shapes
from benchmarks.shapes import END, PAD
from benchmarks.training import quiet

Ids = list[list[int]]


class _Limits(StoppingCriteria):
    """A row is done at its own limit."""

    def __init__(self, start: int, limits: Sequence[int]) -> None:
        self.start, self.limits_B = start, torch.tensor(limits, device=shapes.DEVICE)

    def __call__(self, ids_BT: Any, scores: Any, **_: Any) -> Any:
        return ids_BT.shape[1] - self.start >= self.limits_B


def ours(model: Any, prompts: Ids, limits: Sequence[int]) -> Ids:
    answers = decode(model, prompts, limits, frozenset([END]), TokenSampler())
    assert answers is not None
    return answers


def theirs(model: Any, prompts: Ids, limits: Sequence[int], batch: int) -> Ids:
    """Batches of ``batch`` prompts, sorted by length so that little is padded."""
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    answers: Ids = [[] for _ in prompts]
    for start in range(0, len(order), batch):
        run = order[start : start + batch]
        rows = generate(model, [prompts[i] for i in run], [limits[i] for i in run])
        for i, row in zip(run, rows, strict=True):
            answers[i] = row
    return answers


def generate(model: Any, prompts: Ids, limits: Sequence[int]) -> Ids:
    """One left-padded batch."""
    width = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (width - len(p)) + p for p in prompts], device=shapes.DEVICE)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=shapes.DEVICE)
    config = GenerationConfig(max_new_tokens=max(limits), do_sample=False, pad_token_id=PAD, eos_token_id=END)
    stops = StoppingCriteriaList([_Limits(width, limits)])
    with torch.no_grad():
        out = model.generate(input_ids=ids, attention_mask=mask, generation_config=config, stopping_criteria=stops)
    return [_cut_at_end(row[:limit]) for row, limit in zip(out[:, width:].tolist(), limits, strict=True)]


def prompts_and_limits(n: int, *, skewed: bool, seed: int = 0) -> tuple[Ids, list[int]]:
    """Prompts and how many tokens each answer gets."""
    rows = shapes.examples(n, shapes.SIZES["tiny"]["vocab_size"], skewed=skewed, seed=seed)
    return [list(row.prompt) for row in rows], [len(row.chosen) for row in rows]


def ask(*, smoke: bool = False) -> dict[str, Any]:
    n, rounds = (6, 1) if smoke else (64, 5)
    model, merged = shapes.adapted("tiny").eval(), shapes.adapted("tiny").merge_and_unload().eval()
    ratios, details = [], {}
    for skewed in (False, True):
        prompts, limits = prompts_and_limits(n, skewed=skewed)
        limits = [limit // 8 for limit in limits] if smoke else limits
        seconds, best = compared(model, merged, prompts, limits, rounds)
        name = "rollout_skewed" if skewed else "rollout"
        ratios.append(measuring.ratio(name, seconds["generate"], seconds["bedside"]))
        rates = measuring.rates(useful("tiny", prompts, limits, rounds), seconds)
        details[name] = {"seconds": seconds, **rates, "best_batch": best}
    return measuring.answer(ratios, prompts=n, rounds=rounds, greedy_identical=True, **details)


def useful(size: str, prompts: Ids, limits: Sequence[int], rounds: int) -> tuple[int, float]:
    """Tokens of the answers, and the arithmetic of these and of their prompts, which do not meet the head."""
    answered, read = sum(limits) * shapes.weights(size), sum(map(len, prompts)) * shapes.body_weights(size)
    return rounds * sum(limits), 2.0 * rounds * (answered + read)


def compared(
    model: Any, merged: Any, prompts: Ids, limits: Sequence[int], rounds: int
) -> tuple[dict[str, list[float]], int]:
    """Seconds of both sides, and generate's best batch; the gate stands before any timing."""
    n = len(prompts)
    if ours(model, prompts, limits) != theirs(merged, prompts, limits, n):
        raise SystemExit("greedy answers differ from generate's; nothing is timed")
    sizes = [n] if rounds == 1 else [n // 4, n // 2, n]
    best = min(sizes, key=lambda b: measuring.timed(lambda: theirs(merged, prompts, limits, b))[0])
    sides = {
        "bedside": lambda _: ours(model, prompts, limits),
        "generate": lambda _: theirs(merged, prompts, limits, best),
    }
    return measuring.alternate(sides, rounds), best


def _cut_at_end(ids: list[int]) -> list[int]:
    return ids[: ids.index(END) + 1] if END in ids else ids


if __name__ == "__main__":
    quiet()
    random.seed(0)
    print(json.dumps(ask(smoke="--smoke" in sys.argv)))
