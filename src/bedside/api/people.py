"""Work with people: confirming levels, a conversation, erasing a person's words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedside.api.configs import ConfigSource, settle
from bedside.api.opening import opened_run
from bedside.core.display import Tabular
from bedside.core.extras import needs_extras
from bedside.core.protocols import Progress
from bedside.run import erasure

if TYPE_CHECKING:
    from bedside.alignment.single_stage import Chat
    from bedside.data.labelling import LabellingResult


def label(
    prompts: str | Path,
    out: str | Path,
    *,
    learn_from: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
) -> "LabellingResult":
    """Propose a harm level for the prompts that have none, and write the proposals to ``out``, .csv or .jsonl.

    The levels are learned from ``learn_from``, by default from the labelled rows of ``prompts``. No proposal counts
    until a person confirms it. ``columns`` names the columns as a config does: ``{"prompt": "question text"}``. Raises
    DataError if ``out`` exists.

    >>> bedside.label("prompts.csv", "proposals.csv").rows
    2
    """
    from bedside.data.labelling import propose

    known = Path(learn_from) if learn_from is not None else None
    return propose(Path(prompts), known, Path(out), seed, columns or {})


def confirm_labels(file: str | Path, by: str, answer: Callable[[dict[str, Any], int], str | None]) -> int:
    """Ask ``answer`` about each proposal in ``file`` until it gives None. Returns how many were confirmed.

    ``answer`` gets the row and how many are left. It gives "0" to "3", "" for the proposal, or "s" to skip the row.
    ``by`` is written beside each confirmed level.

    >>> bedside.confirm_labels("proposals.csv", "anna", lambda row, left: "")
    2
    """
    from bedside.data.labelling import confirm

    return confirm(Path(file), by, answer)


@needs_extras()
def chat(
    config: ConfigSource,
    *,
    adapter: str | Path | None = None,
    system: str | None = None,
    progress: Progress | None = None,
) -> "Chat":
    """A conversation with ``adapter``, else with the released checkpoint of the run, else with the target.

    >>> chat = bedside.chat(config, progress=bedside.SilentProgress())
    >>> isinstance(chat.answer("May I drive after surgery?"), str)
    True
    """
    from bedside.alignment import single_stage

    with opened_run(settle(config), progress) as opened:
        return single_stage.chat(opened, Path(adapter) if adapter is not None else None, system)


@dataclass(frozen=True)
class Erasure(Tabular):
    """What was erased, or would be erased."""

    results: tuple[erasure.ErasureResult, ...]
    dry_run: bool

    def records(self) -> list[dict[str, Any]]:
        """One row per run or cache that held the text."""
        return [
            {
                "run": str(r.run),
                "stages": r.stages,
                "rows": r.rows,
                "adapters": ", ".join(r.adapters),
                "copies": ", ".join(r.copies),
                "left": ", ".join(r.left),
            }
            for r in self.results
        ]


def erase(
    text: str,
    runs: str | Path = "runs",
    *,
    reviews: Sequence[str | Path] = (),
    adapters: bool = False,
    dry_run: bool = False,
) -> Erasure:
    """Erase a person's text from every run in ``runs``, from caches, and from the reviews that were packed from them.

    ``reviews``: folders of reviews that were moved since. ``adapters``: also remove the adapters that learned from it.
    ``dry_run``: touch nothing. Raises DataError for a text of less than 8 characters, for a folder without runs, and
    where one of ``reviews`` is none.

    >>> bedside.erase("a text that nobody wrote", dry_run=True).results
    ()
    """
    from bedside.web import review_erasure

    folders = review_erasure.folders(Path(runs), map(Path, reviews))
    erasure.require_enough(text)
    of_reviews = [review_erasure.erase(folder, text, dry_run=dry_run) for folder in folders]
    results = erasure.erase(Path(runs), text, adapters=adapters, dry_run=dry_run)
    return Erasure((*results, *(result for result in of_reviews if result)), dry_run)
