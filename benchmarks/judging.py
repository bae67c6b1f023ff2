"""A judge's labels, weighed in one pass, against labels that are generated: `python -m benchmarks.judging`

The same question in the same three orders on both sides; the other side generates 16 tokens an order, as one does who
parses what a model says. The gate: our labels are those of greedy decoding constrained to the labels, every one.
``judge_one_order`` is the other side asking in one order only: less careful, and the least it can do.
"""

import json
import random
import sys
from collections.abc import Sequence
from typing import Any

import torch

from bedside.training.logprobs import next_token_logprobs
from benchmarks import measuring, shapes
from benchmarks.rollouts import Ids, generate
from benchmarks.shapes import PAD
from benchmarks.training import quiet

LABELS = (7, 8, 9)
NEW_TOKENS = 16
HEAD, QUESTION, ORDER = 24, 22, 42
"""Tokens of templates/stance.jinja before the patient's words, after the answer, and of one order of the labels."""


def questions(n: int, vocabulary: int, seed: int = 0) -> Ids:
    """Three orders of each of ``n`` exchanges, neighbours."""
    draw = random.Random(seed)

    def text(length: int) -> list[int]:
        return [draw.randrange(10, vocabulary) for _ in range(length)]

    head, question, orders = text(HEAD), text(QUESTION), [text(ORDER) for _ in range(3)]
    rows = shapes.examples(n, vocabulary, seed=seed)
    return [[*head, *r.prompt, *r.chosen[:-1], *question, *order] for r in rows for order in orders]


def ours(model: Any, prompts: Ids) -> list[int]:
    """The likeliest label of each question."""
    places = next_token_logprobs(model, prompts, LABELS, PAD).argmax(-1).tolist()
    return [LABELS[place] for place in places]


def theirs(model: Any, prompts: Ids, batch: int) -> Ids:
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    answers: Ids = [[] for _ in prompts]
    for start in range(0, len(order), batch):
        run = order[start : start + batch]
        rows = generate(model, [prompts[i] for i in run], [NEW_TOKENS] * len(run))
        for i, row in zip(run, rows, strict=True):
            answers[i] = row
    return answers


def constrained(model: Any, prompts: Ids) -> list[int]:
    """Greedy decoding constrained to the labels, one question at a time."""
    results = []
    for ids in prompts:
        row = torch.tensor([ids], device=shapes.DEVICE)
        with torch.no_grad():
            out = model.generate(
                row,
                attention_mask=torch.ones_like(row),
                max_new_tokens=1,
                do_sample=False,
                pad_token_id=PAD,
                prefix_allowed_tokens_fn=lambda *_: list(LABELS),
            )
        results.append(int(out[0, -1]))
    return results


def ask(size: str = "tiny", *, smoke: bool = False) -> dict[str, Any]:
    n, rounds = (4, 1) if smoke else (32, 7)
    model = shapes.base(size)
    prompts = questions(n, shapes.SIZES[size]["vocab_size"])
    if ours(model, prompts) != constrained(model, prompts):
        raise SystemExit("labels differ from constrained greedy decoding's; nothing is timed")
    sizes = [3 * n] if smoke else [12, 24, 48, 96]
    best = min(sizes, key=lambda b: measuring.timed(lambda: theirs(model, prompts, b))[0])
    seconds = measuring.alternate(
        {
            "bedside": lambda _: ours(model, prompts),
            "generate": lambda _: theirs(model, prompts, best),
            "one order": lambda _: theirs(model, prompts[::3], best),
        },
        rounds,
    )
    results = [
        measuring.ratio("judge", seconds["generate"], seconds["bedside"]),
        measuring.ratio("judge_one_order", seconds["one order"], seconds["bedside"]),
    ]
    both = {side: seconds[side] for side in ("bedside", "generate")}
    rates = measuring.rates(useful(size, prompts, rounds), both)
    return measuring.answer(
        results, answers=n, rounds=rounds, labels_identical=True, best_batch=best, judge={"seconds": seconds, **rates}
    )


def useful(size: str, prompts: Ids, rounds: int) -> tuple[int, float]:
    """Tokens of each exchange once and of its three orders, and their arithmetic.

    2 FLOP a weight and token; the head meets a token a question, and is not counted.
    """
    tokens = rounds * (sum(map(len, prompts[::3])) + 2 * ORDER * (len(prompts) // 3))
    return tokens, 2.0 * tokens * shapes.body_weights(size)


def labels_of(answers: Sequence[Sequence[int]]) -> list[int | None]:
    """The first label in each generated answer, None if it has none."""
    return [next((i for i in ids if i in LABELS), None) for ids in answers]


if __name__ == "__main__":
    quiet()
    print(json.dumps(ask(smoke="--smoke" in sys.argv)))
