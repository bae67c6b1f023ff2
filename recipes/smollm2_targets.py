"""Writes docs/evidence/smollm2-targets.json and its page: the loop on a list of targets, each judge's kappa first.

python recipes/smollm2_targets.py

The list is SmolLM2 and two models that `other_shapes.py` makes from it, Qwen2- and Mistral-shaped: MECHANISM ONLY, they
say nothing about the models of those names. On a GPU the same call takes any list: `bedside align --targets A,B,C`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import measuring

import bedside
from bedside.config.rendering import path
from bedside.data import io
from bedside.models.gguf_files import SMOLLM2, folder_of
from other_shapes import SHAPES, build

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = (ROOT / "docs" / "evidence" / f"smollm2-targets{ending}" for ending in (".json", ".md"))
RUNS = ROOT / ".prove" / "smollm2-targets"
SHOWN = ("unsafe_accept@3", "err", "overall")
NAMES = {SMOLLM2: "SmolLM2-135M", "qwen2": "Qwen2-shaped", "mistral": "Mistral-shaped"}


def main() -> None:
    made = [build(shape, folder_of(SMOLLM2), RUNS / shape) for shape in SHAPES if not (RUNS / shape).is_dir()]
    targets = [SMOLLM2, *(str(RUNS / shape) for shape in SHAPES)]
    print(f"made {len(made)} models: mechanism only")
    compared = bedside.align_targets(bedside.load(path("demo.yaml"), [f"runs={RUNS}", "run=list"]), targets)
    rows = [_row(target) for target in compared.as_json()["targets"]]
    io.write_text(RESULTS, json.dumps({"machine": measuring.machine(), "targets": rows}, indent=1) + "\n")
    io.write_text(PAGE, page({"targets": rows}))


def _row(target: Mapping[str, Any]) -> dict[str, Any]:
    steps = {
        step: {m["name"]: _figure(m) for m in measures if m["name"] in SHOWN}
        for step, measures in target["steps"].items()
    }
    return {
        "target": NAMES[Path(target["target"]).name],
        "kappa": _figure(target["kappa"]) if target["kappa"] else None,
        "trusted": target["trusted"],
        "steps": steps,
        "failed": bool(target["error"]),
    }


def _figure(m: Mapping[str, Any]) -> dict[str, Any]:
    return {name: m[name] for name in ("value", "low", "high", "n")}


def page(results: Mapping[str, Any]) -> str:
    head = ["target", "kappa of the training judge", "limit of kappa", "step", *SHOWN]
    lines = [_line(row, step, figures) for row in results["targets"] for step, figures in row["steps"].items()]
    return "\n".join([HEAD, "| " + " | ".join(head) + " |", "| --- " * len(head) + "|", *lines]) + "\n"


HEAD = """# A list of targets

`python recipes/smollm2_targets.py`: the config of `bedside demo`, seed 0, on SmolLM2 and on two models made from it
under another architecture, with noise in every matrix. **Mechanism only**: nothing here is about published models of
those architectures. Kappa of the training judge with the selecting judge, on the target's own answers to valid; figures
by the selecting judge, valid and test n = 36 a level; 95 % intervals over scenarios.
"""


def _line(row: Mapping[str, Any], step: str, figures: Mapping[str, Any]) -> str:
    cells: Sequence[str] = [_cell(figures[name]) if name in figures else "" for name in SHOWN]
    return "| " + " | ".join([row["target"], _cell(row["kappa"]), row["trusted"], step, *cells]) + " |"


def _cell(m: Mapping[str, Any] | None) -> str:
    return "–" if m is None or m["value"] is None else f"{m['value']:.2f} ({m['low']:.2f} to {m['high']:.2f})"


if __name__ == "__main__":
    main()
