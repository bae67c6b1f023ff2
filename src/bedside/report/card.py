"""The card of a run as Markdown: model, data, decisions, risks, and what reporting guidelines ask for.

Its head is the metadata that the Hugging Face hub reads. The same page is release/README.md. It offers evidence and
never says that something is compliant; what a run cannot know is "not provided".
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bedside.config.rendering import render
from bedside.core.hashing import digest_file
from bedside.core.measures import Measure, find_measure
from bedside.core.results import HEADLINES, RunSummary
from bedside.core.text import visible
from bedside.data.io import write_json, write_text
from bedside.report.page import figure
from bedside.run import approvals, summary_file, verification

UNKNOWN = "not provided"
BEYOND_A_RUN = (
    *("clinical setting and users", "ethics approval", "funding", "conflicts of interest", "registration"),
    *("patient and public involvement", "fairness towards groups of patients", "updating the model"),
)
"""Reporting items that no run can answer."""
MARK = b"tags:\n- bedside\n"
"""What the head of every card holds."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
LEVELS = ("harmless questions", "ethically doubtful requests", "legally doubtful requests", "severe requests")


def page(folder: Path) -> str:
    """The card of the finished run in ``folder``. DataError where there is none."""
    run = summary_file.read(folder)
    text = render(
        "card.md.jinja",
        run=run,
        facts=run.facts,
        unknown=UNKNOWN,
        metadata=yaml.safe_dump(_metadata(run), sort_keys=False, allow_unicode=True).strip(),
        measures=list(_measures(run)),
        history=list(_history(run, folder)),
        risks=list(_risks(run)),
        items=list(_items(run)),
    )
    return visible(text).rstrip() + "\n"


def complete_release(folder: Path) -> None:
    """Add the card to the release of a run, and run.json: what it was made from, and how far the log went."""
    run, end = summary_file.read(folder), verification.head(folder)
    release = folder / verification.RELEASE
    write_text(release / "README.md", page(folder))
    made_from = {
        "run": run.name,
        "checkpoint": run.released,
        "target digest": run.facts.get("target digest"),
        "adapter digest": run.facts.get("selected adapter, digest"),
        "summary": digest_file(folder / summary_file.FILE),
        "log": {"lines": end.lines, "chain": end.chain},
    }
    write_json(release / verification.RELEASED_FROM, made_from)
    for file in (release / "README.md", release / verification.RELEASED_FROM):
        file.chmod(0o644)


def _metadata(run: RunSummary) -> dict[str, Any]:
    """The hub's fields, with the measures of the held-out test as evaluation results (model-index)."""
    dataset = {"name": "held-out test", "type": "private"}
    known = [measure for name in HEADLINES if (measure := find_measure(run.after, name)) and measure.value is not None]
    metrics = [{"type": m.name, "name": m.name, "value": round(m.value or 0.0, 4)} for m in known]
    result = {"task": {"type": "text-generation"}, "dataset": dataset, "metrics": metrics}
    target = run.facts.get("target", "")
    return {
        **({"base_model": target} if HUB_ID.fullmatch(target) else {}),
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["bedside", "healthcare", "safety"],
        "model-index": [{"name": run.name, "results": [result]}],
    }


def _measures(run: RunSummary) -> Iterator[tuple[str, str, str]]:
    for name in dict.fromkeys([*HEADLINES, *(measure.name for measure in run.after)]):
        yield name, _figure(find_measure(run.before, name)), _figure(find_measure(run.after, name))


def _figure(measure: Measure | None) -> str:
    shown = figure(measure, 3)
    return ", ".join(filter(None, (f"{shown.value} {shown.interval}".strip(), shown.n)))


def _history(run: RunSummary, folder: Path) -> Iterator[tuple[str, str]]:
    yield "the run", run.facts.get("time", UNKNOWN)
    yield "the held-out test was opened", run.facts.get("held-out test opened", UNKNOWN)
    for cycle in run.cycles:
        yield f"cycle {cycle.cycle}", f"{cycle.selected} was selected: {cycle.why}"
    for approval in approvals.read(folder):
        yield (
            approval.time[:10],
            f"approved: {approval}" + ("" if approval.is_about(folder) else "; results changed since"),
        )


def _risks(run: RunSummary) -> Iterator[tuple[str, str, str]]:
    """Harm and principle, the cell of the test, and how often the answer was right there; the worst first."""
    cells = [cell for cell in run.cells if cell.style is None or cell.principle is None]
    for cell in sorted(cells, key=lambda one: (-one.harm, one.right.value if one.right.value is not None else 2.0)):
        named = cell.principle or cell.style
        wrong = "is declined" if cell.harm == 0 else "is answered"
        yield f"one of the {LEVELS[cell.harm]} {wrong}", f"harm {cell.harm}, {named or 'all'}", _figure(cell.right)


def _items(run: RunSummary) -> Iterator[tuple[str, str]]:
    facts: Mapping[str, str] = run.facts
    yield (
        "model: name, version, access",
        f"{facts.get('target', UNKNOWN)}, digest {facts.get('target digest', UNKNOWN)}",
    )
    yield "fine-tuning and alignment", facts.get("selected adapter learned", UNKNOWN)
    yield "prompts and decoding", "configuration, in the report" if "configuration" in facts else UNKNOWN
    yield "data: source, selection, dates", _joined(text for name, text in facts.items() if name.startswith("data, "))
    yield (
        "overlap of training and test data",
        "parts are split by group; what the target itself was trained on: not provided",
    )
    yield "sample size", _joined(f"{part}: {sum(mix.values())} prompts" for part, mix in run.mix.items())
    yield "annotation: who, guidance, agreement", UNKNOWN
    yield "evaluation: judges", facts.get("selecting judge", UNKNOWN)
    yield "performance, with uncertainty", "the table of measures above"
    yield "performance by subgroup", "the table of risks above" if run.cells else UNKNOWN
    yield "human oversight and approval", "approvals above, where there are any"
    yield "compute and cost", facts.get("machine", UNKNOWN)
    yield (
        "reproducibility: code, versions, seed",
        f"{facts.get('versions', UNKNOWN)}; seed {facts.get('seed', UNKNOWN)}",
    )
    yield "limitations", _joined(run.untested)
    for topic in BEYOND_A_RUN:
        yield topic, UNKNOWN


def _joined(texts: "Iterator[str] | Sequence[str]") -> str:
    return "; ".join(texts) or UNKNOWN
