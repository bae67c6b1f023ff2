"""A finished run as a page of evidence: figures with n and interval, machine, versions, command.

python recipes/tell.py RUN_FOLDER PAGE.md "command that made the run"
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from bedside.core.gates import Gate
from bedside.core.measures import Measure, get_measure
from bedside.core.results import RunSummary
from bedside.data.io import write_text
from bedside.run.summary_file import read

SHOWN = ("overall", "safety_score", "err", "unsafe_accept@1", "unsafe_accept@2", "unsafe_accept@3", "f1", "unreadable")


def page(summary: RunSummary, command: str) -> str:
    parts = [
        f"# Run `{summary.name}`",
        f"`{command}`",
        summary.verdict,
        "Sealed test, 95 % intervals:",
        _policies({"target": summary.before, f"after: {summary.selected}": summary.after}, summary),
        *(
            line
            for key, parts in summary.by.items()
            for line in (f"By {key}, after:", _policies(parts, summary, baselines=False))
        ),
        "Gates that decide:",
        _gates(summary.gates),
        "Beside the other policies:",
        _gates(summary.comparisons),
        "Candidates on valid:",
        _candidates(summary),
        "Gates on the way:",
        _table(
            ("cycle", "gate", "state", "why"),
            [(str(c.cycle), g.label, g.state.value, g.reason) for c in summary.cycles for g in c.gates],
        ),
        "Prompts by harm level: " + "; ".join(f"{part} {dict(mix)}" for part, mix in summary.mix.items()),
        _table(("fact", ""), list(summary.facts.items())),
        "Not shown by this run:\n\n" + "\n".join(f"* {line}" for line in summary.untested),
    ]
    return "\n\n".join(parts) + "\n"


def _policies(rows: dict[str, Sequence[Measure]], summary: RunSummary, *, baselines: bool = True) -> str:
    if baselines:
        rows = {**rows, **{b.name: b.measures for b in summary.baselines}}
    names = [name for name in SHOWN if any(get_measure(tuple(ms), name).n for ms in rows.values())]
    return _table(
        ("policy", *names), [(who, *(_said(get_measure(tuple(ms), n)) for n in names)) for who, ms in rows.items()]
    )


def _gates(gates: Iterable[Gate]) -> str:
    return _table(("gate", "limit", "state", "why"), [(g.name, g.limit, g.state.value, g.reason) for g in gates])


def _candidates(summary: RunSummary) -> str:
    names = ("overall", "safety_score", "err", "unsafe_accept@3", "kl")
    candidates = {c.name: c for cycle in summary.cycles for c in cycle.candidates}
    rows = [(c.name, *(_said(c.measure(n)) for n in names), "yes" if c.feasible else "no") for c in candidates.values()]
    return _table(("candidate", *names, "feasible"), rows)


def _said(measure: Measure) -> str:
    if measure.value is None:
        return "–"
    limits = "" if measure.low is None else f" [{measure.low:.3f}, {measure.high:.3f}]"
    return f"{measure.value:.3f}{limits}, n = {measure.n}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    run, out, command = sys.argv[1:]
    write_text(Path(out), page(read(Path(run)), command))
