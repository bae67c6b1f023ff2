"""Dialogues: rewritten with comfort, and used for training."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bedside.api.configs import ConfigSource, settle
from bedside.api.opening import opened_run
from bedside.core.display import Tabular, measure_records
from bedside.core.extras import needs_extras
from bedside.core.hashing import plain
from bedside.core.protocols import Progress
from bedside.core.results import ComfortSummary, FilterCounts
from bedside.run.folder import write_config


@dataclass(frozen=True)
class RewriteResult(Tabular):
    """Dialogues that were rewritten and verified."""

    counts: Mapping[str, int]
    """Rows kept of each part."""
    filter_counts: tuple[FilterCounts, ...]
    folder: Path
    """The folder with train, valid, test, the TRL files and the data card."""
    why_empty: str = ""
    """The most frequent reasons, if no row was kept."""

    def records(self) -> list[dict[str, Any]]:
        """One row per step and reason; the reason is empty for rows that were kept."""
        return [
            {"step": c.step, "reason": reason, "rows": n}
            for c in self.filter_counts
            for reason, n in {"": c.kept, **c.dropped}.items()
        ]


@needs_extras()
def rewrite(config: ConfigSource, progress: Progress | None = None) -> RewriteResult:
    """Rewrite dialogues: distressed questions, soothing answers. A row that loses a fact is dropped with its reason.

    >>> result = bedside.rewrite(comfort, progress=bedside.SilentProgress())
    >>> sorted(result.counts)
    ['test', 'train', 'valid']
    """
    from bedside.comfort import experiment

    with opened_run(settle(config), progress) as opened:
        write_config(opened.cache, opened.config)
        rows, counts = experiment.rewrite(opened)
    kept = {part: len(dialogues) for part, dialogues in rows.items()}
    why = "" if any(kept.values()) else experiment.drop_reasons(counts)
    return RewriteResult(kept, counts, opened.folder / "dialogues", why)


@dataclass(frozen=True)
class ComfortRun(Tabular):
    """A finished comfort run: its summary, its folder, its page."""

    summary: ComfortSummary
    folder: Path
    page: Path

    @property
    def verdict(self) -> str:
        return self.summary.verdict

    def caption(self) -> str:
        return self.verdict

    def records(self) -> list[dict[str, Any]]:
        """One row per arm and measure, on the held-out dialogues."""
        arms = self.summary.arms
        return [{"arm": arm.name, **row} for arm in arms for row in measure_records((*arm.comfort, *arm.soothing))]

    def as_json(self) -> dict[str, Any]:
        return cast("dict[str, Any]", plain(self.summary))


@needs_extras()
def run_comfort(config: ConfigSource, progress: Progress | None = None) -> ComfortRun:
    """Rewrite, train SFT, KTO and DPO on the same rows, and compare comfort with knowledge. The same call resumes.

    >>> run = bedside.run_comfort(comfort, progress=bedside.SilentProgress())
    >>> sorted({row["arm"] for row in run.records()})
    ['dpo', 'kto', 'sft', 'target']
    """
    from bedside.comfort import experiment
    from bedside.report import html

    with opened_run(settle(config), progress) as opened:
        write_config(opened.cache, opened.config)
        summary = experiment.comfort(opened)
    return ComfortRun(summary, opened.folder, html.write_comfort(summary, opened.folder / "comfort.html"))
