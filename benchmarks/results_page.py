"""The committed results as a page: `python -m benchmarks.results_page` writes docs/evidence/speed.md"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks import shapes

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "evidence" / "speed.md"
SIDES = ("trl", "generate")
HEAD = """# How fast

The other side is TRL 1.16 tuned, `generate` in its best batch, or labels of 16 generated tokens; the ratio is theirs by
ours, median, least and largest round. For `rss` it is ours by theirs. Two figures in a cell are ours and theirs: useful
tokens a second, useful arithmetic as a share of the matmul rate of the same run, and memory beside the weights. Weights
are random, prompts have 60 to 120 tokens, answers 100 to 300. Written by `python -m benchmarks.results_page` from
`benchmarks/results/`.
"""


def main() -> None:
    parts = [HEAD, *(section(file.stem, json.loads(file.read_text())) for file in sorted(RESULTS.glob("*.json")))]
    PAGE.write_text("\n".join(parts), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


def section(name: str, results: dict[str, Any]) -> str:
    machine = ", ".join(f"{key} {value}" for key, value in results["machine"].items())
    versions = ", ".join(f"{key} {value}" for key, value in results["versions"].items())
    details = {part: measured for question in results["details"].items() for part, measured in parts(*question)}
    rows = [row(ratio, details.get(ratio["name"], {})) for ratio in results["ratios"]]
    note = f"{results['note']}\n\n" if "note" in results else ""
    return f"## {name}\n\n{machine}; {versions}.\n\n{note}{table(rows)}\n"


def parts(question: str, details: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    """The measurements of a question by the name of their ratio; those of a GPU end with the model size."""
    size = f"_{question}" if question in shapes.LARGE else ""
    return ((f"{part}{size}", measured) for part, measured in details.items() if isinstance(measured, dict))


def row(ratio: dict[str, Any], measured: dict[str, Any]) -> dict[str, str]:
    each = (
        measured.get("tokens_per_second", {}),
        measured.get("model_flops_utilisation", {}),
        measured.get("peak_memory_gb", {}),
    )
    return {
        "what": ratio["name"],
        "ratio": f"{ratio['ratio']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]",
        **{head: both(figures) for head, figures in zip(("tokens/s", "model FLOPs", "peak GB"), each, strict=True)},
    }


def both(measured: dict[str, Any]) -> str:
    """Ours and theirs."""
    return f"{measured['bedside']} / {next(measured[side] for side in SIDES if side in measured)}" if measured else ""


def table(rows: list[dict[str, str]]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
