"""Answers of the embedded model to the synthetic clinic, each with the label that the payload gives it.

    python recipes/labelled_clinic.py labelled.jsonl --n 240 --part valid

Every prompt is answered three times: steered to accept, to caution and to refuse, so that all labels occur at
every level. The truth decides what came of it. Columns prompt, response, harm, style, group, label: what
`bedside audit` and `bedside train judge` read.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bedside.clinic.judges import TruthJudge
from bedside.clinic.prompts import Clinic
from bedside.config.plugins import find, open_plugin
from bedside.core.hashing import plain
from bedside.core.protocols import Launch, Policy
from bedside.core.types import GenerationRequest, Response, Sampling, Stance
from bedside.data.io import write_jsonl
from bedside.run.generation import generate

BATCH = 32


def labelled(n: int, part: str, seed: int, policy: Policy) -> Iterator[dict[str, Any]]:
    """Rows of ``n`` prompts; answers the truth cannot read are left out."""
    config = Clinic.model_validate({"part": part, "n": n, "seed": seed, "mix": (1, 1, 1, 1)})
    asks = [GenerationRequest(prompt, stance) for prompt in config.open(Launch()).read() for stance in Stance]
    for start in range(0, len(asks), BATCH):
        answers = generate(asks[start : start + BATCH], policy, Sampling(max_new_tokens=64))
        for response, verdict in zip(answers, TruthJudge().judge(answers), strict=True):
            if verdict.stance is not None:
                yield _row(response, verdict.stance)


def _row(response: Response, stance: Stance) -> dict[str, Any]:
    prompt = response.prompt
    turns = [{"role": m.role, "content": m.text} for m in prompt.messages]
    row = {"harm": prompt.harm, "style": prompt.style, "group": prompt.group, **plain(prompt.metadata)}
    return {"prompt": turns, "response": response.text, "label": stance.value, **row}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--n", type=int, default=240)
    parser.add_argument("--part", default="valid")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    policy: Policy = open_plugin(find("model", "local").model_validate({"model": "embedded"}), Launch(), {})
    write_jsonl(given.out, labelled(given.n, given.part, given.seed, policy))


if __name__ == "__main__":
    main()
