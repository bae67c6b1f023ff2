"""One stage on files: what `bedside generate`, `judge`, `evaluate`, `train` and `select` do.

Each goes through the run's store, so an interrupted one continues, and writes one file a person named.
"""

from dataclasses import replace
from pathlib import Path

from bedside.core.errors import ConfigError
from bedside.core.identity import plain
from bedside.core.types import Ask, Checkpoint, Response
from bedside.flows import exports, rules
from bedside.flows.session import Session
from bedside.kernel import rows as typed
from bedside.kernel import tables, trl
from bedside.kernel.registry import names
from bedside.kernel.schema import Step
from bedside.stages import train as training
from bedside.stages.judge import unreadable_share


def generate(session: Session, part: str, adapter: Path | None, out: Path) -> int:
    """Answer one part's prompts; returns how many."""
    parts = rules.read_parts(session.config, session.launch)
    if part not in ("train", "valid", "test"):
        raise ConfigError(f"--part is {part!r}; it is train, valid or test")
    checkpoint = session.target.checkpoint
    if adapter is not None:
        checkpoint = replace(training.checkpoint(adapter, checkpoint.base), path=str(adapter.resolve()))
    rows = session.answers([Ask(prompt) for prompt in getattr(parts, part)], checkpoint, part)
    tables.write_jsonl(out, [plain(row) for row in rows])
    return len(rows)


def judge(session: Session, responses: Path, name: str | None, out: Path) -> tuple[int, int]:
    """Judge a file of responses; returns how many were read and how many could not be."""
    name = name or session.config.selecting_judge
    if name not in session.config.judges:
        raise ConfigError(f"--judge is {name!r}; judges has {', '.join(session.config.judges)}")
    rows = session.judged(typed.read(responses, Response), session.open(session.config.judges[name]), responses.name)
    tables.write_jsonl(out, [plain(row.verdict) for row in rows])
    unreadable = round(unreadable_share(rows) * len(rows))
    return len(rows) - unreadable, unreadable


def train(session: Session, objective: str, data: Path, out: Path) -> Checkpoint:
    """One training of the target on TRL-shaped rows into the PEFT folder ``out``."""
    if objective not in names("objective"):
        raise ConfigError(f"{objective!r} is no objective; there is {', '.join(names('objective'))}")
    told = [step for step in session.config.align.train if step.objective.kind == objective]
    step = told[0] if told else Step.model_validate({"kind": objective})
    rows = trl.read(tables.rows(data), session.open(step.objective).reads)
    target = session.target.checkpoint
    checkpoint = session.trained(rows, step, target, target, objective)
    exports.adapter(session.store.root, checkpoint, out)
    return checkpoint
